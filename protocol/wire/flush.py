"""SMB2 FLUSH ([MS-SMB2] 2.2.17, 2.2.18)."""

from usmbd.protocol.wire.base import u16, u32, u64
from usmbd.protocol.wire.body import Body


class FlushRequest(Body, size=24):
    """SMB2 FLUSH Request ([MS-SMB2] 2.2.17)."""

    structure_size: u16 = 24
    reserved1: u16 = 0
    reserved2: u32 = 0
    persistent: u64
    volatile: u64


class FlushResponse(Body, size=4):
    """SMB2 FLUSH Response ([MS-SMB2] 2.2.18)."""

    structure_size: u16 = 4
    reserved: u16 = 0
