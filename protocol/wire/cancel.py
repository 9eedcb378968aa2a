"""SMB2 CANCEL ([MS-SMB2] 2.2.30), which has no response."""

from usmbd.protocol.wire.base import u16
from usmbd.protocol.wire.body import Body


class CancelRequest(Body, size=4):
    """SMB2 CANCEL Request ([MS-SMB2] 2.2.30)."""

    structure_size: u16 = 4
    reserved: u16 = 0
