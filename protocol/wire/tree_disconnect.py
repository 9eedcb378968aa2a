"""SMB2 TREE_DISCONNECT ([MS-SMB2] 2.2.11, 2.2.12)."""

from usmbd.protocol.wire.base import u16
from usmbd.protocol.wire.body import Body


class TreeDisconnectRequest(Body, size=4):
    """SMB2 TREE_DISCONNECT Request ([MS-SMB2] 2.2.11)."""

    structure_size: u16 = 4
    reserved: u16 = 0


class TreeDisconnectResponse(Body, size=4):
    """SMB2 TREE_DISCONNECT Response ([MS-SMB2] 2.2.12)."""

    structure_size: u16 = 4
    reserved: u16 = 0
