"""What a call of DCE/RPC asks of a file, done as its client could do it by SMB.

The client's session connects the share, opens the file and closes both again by the handlers of
those commands, so that nobody has more rights by RPC than he has by SMB.
"""

from copy import copy
from types import GeneratorType

from usmbd.mountd.ipc.messages import RpcAsks
from usmbd.protocol.commands import security
from usmbd.protocol.commands.create import create
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.commands.tree_connect import connect_share
from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.vfs.errors import is_refusal, status_of
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
)
from usmbd.protocol.wire.create import (
    FILE_OPEN,
    FILE_OPEN_REPARSE_POINT,
    FILE_SHARE_ALL,
    CreateRequest,
)
from usmbd.protocol.wire.header import HEADER_SIZE
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
    SACL_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

_OWNERS = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION


def file_security(request: Request, asked: RpcAsks) -> Waiting[tuple[NtStatus, bytes]]:
    """Read or set a file's descriptor for the client of a pipe; return the status and what it is.

    Meanwhile the request that reads the pipe is one of that share, so that its calls run as the
    share's user.
    """
    own = request.tree
    inner = Request(request.connection, copy(request.header), request.message[:0])
    inner.session, inner.signer, inner.sealed = request.session, request.signer, request.sealed
    try:
        yield from _connect(inner, asked.share)
        request.tree = inner.tree
        return NtStatus.SUCCESS, (yield from _opened(inner, asked))
    except SmbError as error:
        return error.status, b""
    except OSError as error:
        if not is_refusal(error):
            raise
        return status_of(error), b""
    finally:
        request.tree = own
        if inner.tree is not None:
            request.connection.server.close_tree(inner.tree)  # with what is open in it


def _connect(request: Request, share: str) -> Waiting[None]:
    """Connect a share, as TREE_CONNECT does, for the time of one question."""
    tree = yield from connect_share(request, request.connection.transport.local, share)
    request.tree = tree
    if tree.share.encryption_required and request.sealed is None:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if tree.is_pipe:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)


def _opened(request: Request, asked: RpcAsks) -> Waiting[bytes]:
    """Open the file with the rights that it takes, and read or set its descriptor."""
    information = asked.information
    if asked.descriptor is None:
        access = READ_CONTROL
    else:
        access = WRITE_OWNER if information & _OWNERS else 0
        access |= WRITE_DAC if information & DACL_SECURITY_INFORMATION else 0
    if information & SACL_SECURITY_INFORMATION:
        access |= ACCESS_SYSTEM_SECURITY
    if not access:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    name = asked.path.replace("/", "\\").strip("\\").encode("utf-16-le", "surrogatepass")
    body = CreateRequest(
        desired_access=access,
        share_access=FILE_SHARE_ALL,
        create_disposition=FILE_OPEN,
        create_options=FILE_OPEN_REPARSE_POINT,
        name_offset=HEADER_SIZE + CreateRequest.SIZE,
        name_length=len(name),
    )
    request.message = memoryview(bytes(HEADER_SIZE) + body.pack() + name)
    yield from _handled(create(request))
    if asked.descriptor is not None:
        data = memoryview(asked.descriptor)
        yield from _handled(security.change(request, information, data))
        return b""
    security.require_for_query(request.open, information)
    found = yield from Blocking(security.query, request.open.node, information, request.tree)
    return found


def _handled(answer: Answer | Handling) -> Waiting[None]:
    """Take a handler to its end; what it answers goes nowhere."""
    if isinstance(answer, GeneratorType):
        yield from answer
