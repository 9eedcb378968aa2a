"""SMB2 OPLOCK_BREAK Acknowledgment ([MS-SMB2] 3.3.5.22)."""

from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.wire.oplock_break import LeaseBreak, OplockBreak, parse_acknowledgment
from usmbd.protocol.wire.status import NtStatus, SmbError


def oplock_break(request: Request) -> Answer:
    """Take the client's answer to the break of an oplock; no lease is given, so none is broken."""
    body = parse_acknowledgment(request.message)
    if isinstance(body, LeaseBreak):
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    open_ = request.session.open_table.get(body.volatile)
    if open_ is None or open_.persistent_id != body.persistent or open_.tree is not request.tree:
        raise SmbError(NtStatus.FILE_CLOSED)
    level = request.connection.server.oplocks.acknowledge(open_, body.oplock_level)
    return OplockBreak(
        oplock_level=level, persistent=body.persistent, volatile=body.volatile
    ).pack()
