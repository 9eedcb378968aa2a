"""SMB2 READ ([MS-SMB2] 2.2.19, 2.2.20)."""

from usmbd.protocol.wire.base import u8, u16, u32, u64
from usmbd.protocol.wire.body import Body, buffer_at
from usmbd.protocol.wire.channel import SMB2_CHANNEL_NONE
from usmbd.protocol.wire.header import HEADER_SIZE

# Flags of the request
SMB2_READFLAG_READ_UNBUFFERED = 0x01
SMB2_READFLAG_REQUEST_COMPRESSED = 0x02

# Flags of the response (3.1.1)
SMB2_READFLAG_RESPONSE_NONE = 0x00000000
SMB2_READFLAG_RESPONSE_RDMA_TRANSFORM = 0x00000001


class ReadRequest(Body, size=48):
    """SMB2 READ Request ([MS-SMB2] 2.2.19), before Buffer."""

    structure_size: u16 = 49
    padding: u8 = 0
    flags: u8 = 0
    length: u32
    offset: u64
    persistent: u64
    volatile: u64
    minimum_count: u32 = 0
    channel: u32 = SMB2_CHANNEL_NONE
    remaining_bytes: u32 = 0
    read_channel_info_offset: u16 = 0
    read_channel_info_length: u16 = 0


class ReadResponse(Body, size=16):
    """SMB2 READ Response ([MS-SMB2] 2.2.20), before Buffer."""

    structure_size: u16 = 17
    data_offset: u8 = HEADER_SIZE + 16
    reserved: u8 = 0
    data_length: u32
    data_remaining: u32 = 0
    flags: u32 = 0


_pack_response = ReadResponse.LAYOUT.pack


def read_channel_info(message: memoryview, request: ReadRequest) -> memoryview:
    """Return ReadChannelInfo; SmbError(INVALID_PARAMETER) when out of bounds."""
    return buffer_at(
        message,
        request.read_channel_info_offset,
        request.read_channel_info_length,
        ReadRequest.SIZE,
    )


def pack_read_response(data_length: int, data_remaining: int = 0, flags: int = 0) -> bytes:
    """Return the fixed part, which `data_length` bytes of data follow at once.

    By RDMA nothing follows: `data_length` is 0 and `data_remaining` counts the bytes written.
    """
    return _pack_response(17, HEADER_SIZE + 16, 0, data_length, data_remaining, flags)
