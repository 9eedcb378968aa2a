"""FSCTL_LMR_REQUEST_RESILIENCY ([MS-SMB2] 3.3.5.15.9): an open that outlives its connection.

Unlike a durable open it needs no oplock and no lease, and gives way to nobody: its share mode and
its locks hold until its client is back or its time is over. What it caches, others may break while
the client is gone ([MS-SMB2] 3.3.4.6). The client comes back as to a durable open (`durable`).
"""

from typing import Final

from usmbd.protocol.commands.durable import kept_of, owner_of
from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.state.durable import Durable, absent
from usmbd.protocol.wire.create import FILE_OPENED
from usmbd.protocol.wire.fsctl_smb2 import ResiliencyRequest
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_202
from usmbd.protocol.wire.status import NtStatus, SmbError

MAX_RESILIENCY_TIMEOUT: Final = 300
"""MaxResiliencyTimeout, in seconds: as with Windows. Longer requests are refused."""

RESILIENCY_TIMEOUT: Final = 120 * 1000
"""Open.ResiliencyTimeout where the client names none, in ms: as with Windows."""


def request_resiliency(request: Request, body: IoctlRequest, data: memoryview) -> Answer:
    """Make an open resilient; asked again it has the new time-out.

    SmbError FILE_CLOSED without an open, INVALID_DEVICE_REQUEST in dialect 2.0.2 and on a pipe,
    INVALID_PARAMETER for a cut request or a longer time-out; NOT_SUPPORTED where no open may
    survive (the share's `durable handles`, nobody's session) and for what could not be made anew:
    folders, named streams, a file that is deleted on close.
    """
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    open_, connection = request.open, request.connection
    if connection.dialect == SMB2_DIALECT_202:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    if len(data) < ResiliencyRequest.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    timeout = ResiliencyRequest.parse(data).timeout
    if timeout // 1000 > MAX_RESILIENCY_TIMEOUT:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    node = open_.node
    owner = owner_of(request.tree, node)
    if open_.stream is not None or open_.delete_on_close or not owner:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    timeout = timeout or RESILIENCY_TIMEOUT
    before = open_.durable
    action = FILE_OPENED if before is None else before.record.action
    granted, mode = open_.granted_access, open_.mode
    who = absent(request.tree, connection)
    kept = kept_of(request.tree, open_.key, node, granted, action, mode, who)
    connection.server.store.make_resilient(open_.key, open_.persistent_id, kept, timeout, owner)
    persistent = before is not None and before.persistent
    open_.durable = Durable(kept, timeout, lasting=True, persistent=persistent)
    if persistent:
        connection.server.persistence.later(open_.key)
    return list(build_ioctl_response(body))
