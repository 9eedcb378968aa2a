"""Commands whose feature is not there yet, answered as a server without it answers."""

from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.wire.status import NtStatus, SmbError


def change_notify(request: Request) -> Answer:
    """SMB2 CHANGE_NOTIFY: clients then ask again by themselves ([MS-SMB2] 3.3.5.19)."""
    raise SmbError(NtStatus.NOT_SUPPORTED)
