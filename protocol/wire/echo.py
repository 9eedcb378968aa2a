"""SMB2 ECHO ([MS-SMB2] 2.2.28, 2.2.29)."""

from usmbd.protocol.wire.base import u16
from usmbd.protocol.wire.body import Body


class EchoRequest(Body, size=4):
    """SMB2 ECHO Request ([MS-SMB2] 2.2.28)."""

    structure_size: u16 = 4
    reserved: u16 = 0


class EchoResponse(Body, size=4):
    """SMB2 ECHO Response ([MS-SMB2] 2.2.29)."""

    structure_size: u16 = 4
    reserved: u16 = 0
