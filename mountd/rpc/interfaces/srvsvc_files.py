"""The Server Service's calls about files' security ([MS-SRVS] 3.1.4.14, 3.1.4.15).

The worker that has the client's session does it, as by SMB itself: with the rights of who calls,
the share's limits, and the engine's own code of ACLs.
"""

from typing import Annotated, Final

from usmbd.mountd.ipc.messages import MAX_NAME, MAX_PATH, MAX_RPC_DATA, RpcAsks, RpcTold
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_FILE_NOT_FOUND,
    ERROR_GEN_FAILURE,
    ERROR_INVALID_NAME,
    ERROR_INVALID_OWNER,
    ERROR_INVALID_PARAMETER,
    ERROR_INVALID_SECURITY_DESCR,
    ERROR_NOT_SUPPORTED,
    ERROR_PATH_NOT_FOUND,
    ERROR_PRIVILEGE_NOT_HELD,
    ERROR_SHARING_VIOLATION,
    NERR_NET_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.interfaces.srvsvc import CALLS
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Octets, Unique, WideString, WideStringPointer, structure
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

ERRORS: Final = {
    0xC000000D: ERROR_INVALID_PARAMETER,
    0xC0000022: ERROR_ACCESS_DENIED,
    0xC0000033: ERROR_INVALID_NAME,
    0xC0000034: ERROR_FILE_NOT_FOUND,
    0xC000003A: ERROR_PATH_NOT_FOUND,
    0xC0000043: ERROR_SHARING_VIOLATION,
    0xC000005A: ERROR_INVALID_OWNER,
    0xC0000061: ERROR_PRIVILEGE_NOT_HELD,
    0xC0000079: ERROR_INVALID_SECURITY_DESCR,
    0xC00000BB: ERROR_NOT_SUPPORTED,
    0xC00000CC: NERR_NET_NAME_NOT_FOUND,
}
"""What the worker's statuses are here ([MS-ERREF] 2.3.1); others are ERROR_GEN_FAILURE."""


@structure
class FileDescriptor:
    """ADT_SECURITY_DESCRIPTOR ([MS-SRVS] 2.2.4.98)."""

    length: U32
    data: Annotated[bytes | None, Unique(Octets())]


def _ask(
    share: str | None, path: str, information: int, descriptor: bytes | None
) -> Asking[RpcTold]:
    """Have the worker do it; Status with what came of it."""
    if not share:
        raise Status(NERR_NET_NAME_NOT_FOUND)
    if len(share) > MAX_NAME or len(path) > MAX_PATH:
        raise Status(ERROR_INVALID_NAME)
    answer = yield RpcAsks(share, path, information, descriptor)
    if not isinstance(answer, RpcTold):
        raise CallError(Fault.ACCESS_DENIED)
    if answer.status:
        raise Status(ERRORS.get(answer.status, ERROR_GEN_FAILURE))
    return answer


@CALLS.call(39)
def get_file_security(
    view: View, server: WideStringPointer, share: WideStringPointer, path: WideString, wanted: U32
) -> Asking[Annotated[FileDescriptor | None, Unique(ndr.of(FileDescriptor))]]:
    """NetrpGetFileSecurity: the parts of a file's descriptor that are asked for."""
    told = yield from _ask(share, path, wanted, None)
    return FileDescriptor(len(told.descriptor), told.descriptor)


@CALLS.call(40)
def set_file_security(
    view: View,
    server: WideStringPointer,
    share: WideStringPointer,
    path: WideString,
    information: U32,
    descriptor: Annotated[FileDescriptor, ndr.of(FileDescriptor)],
) -> Asking[None]:
    """NetrpSetFileSecurity: set the parts that are named."""
    data = descriptor.data
    if data is None or descriptor.length != len(data) or len(data) > MAX_RPC_DATA:
        raise Status(ERROR_INVALID_PARAMETER)
    yield from _ask(share, path, information, data)
