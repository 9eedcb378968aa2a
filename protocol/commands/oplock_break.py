"""SMB2 OPLOCK_BREAK Acknowledgment ([MS-SMB2] 3.3.5.22)."""

from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.wire.oplock_break import LeaseBreak, OplockBreak, parse_acknowledgment
from usmbd.protocol.wire.status import NtStatus, SmbError


def oplock_break(request: Request) -> Answer:
    """Take the client's answer to the break of an oplock or, by 3.3.5.22.2, of a lease."""
    body = parse_acknowledgment(request.message)
    connection = request.connection
    caching = connection.server.caching
    if isinstance(body, LeaseBreak):
        caching.leases.acknowledge(connection.client_guid, body.lease_key, body.lease_state)
        return LeaseBreak(lease_key=body.lease_key, lease_state=body.lease_state).pack()
    open_ = request.session.open_table.get(body.volatile)
    if open_ is None or open_.persistent_id != body.persistent or open_.tree is not request.tree:
        raise SmbError(NtStatus.FILE_CLOSED)
    level = caching.oplocks.acknowledge(open_, body.oplock_level)
    return OplockBreak(
        oplock_level=level, persistent=body.persistent, volatile=body.volatile
    ).pack()
