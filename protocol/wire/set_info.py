"""SMB2 SET_INFO ([MS-SMB2] 2.2.39, 2.2.40); its InfoType and flags are those of QUERY_INFO."""

from usmbd.protocol.wire.base import u8, u16, u32, u64
from usmbd.protocol.wire.body import Body, buffer_at


class SetInfoRequest(Body, size=32):
    """SMB2 SET_INFO Request ([MS-SMB2] 2.2.39), before Buffer."""

    structure_size: u16 = 33
    info_type: u8
    file_info_class: u8
    buffer_length: u32
    buffer_offset: u16 = 0
    reserved: u16 = 0
    additional_information: u32 = 0
    persistent: u64
    volatile: u64


class SetInfoResponse(Body, size=2):
    """SMB2 SET_INFO Response ([MS-SMB2] 2.2.40)."""

    structure_size: u16 = 2


def set_info_buffer(message: memoryview, request: SetInfoRequest) -> memoryview:
    """Return the information to set; SmbError(INVALID_PARAMETER) when out of bounds."""
    return buffer_at(message, request.buffer_offset, request.buffer_length, SetInfoRequest.SIZE)
