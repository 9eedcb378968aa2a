"""SMB2 LOGOFF ([MS-SMB2] 2.2.7, 2.2.8)."""

from usmbd.protocol.wire.base import u16
from usmbd.protocol.wire.body import Body


class LogoffRequest(Body, size=4):
    """SMB2 LOGOFF Request ([MS-SMB2] 2.2.7)."""

    structure_size: u16 = 4
    reserved: u16 = 0


class LogoffResponse(Body, size=4):
    """SMB2 LOGOFF Response ([MS-SMB2] 2.2.8)."""

    structure_size: u16 = 4
    reserved: u16 = 0
