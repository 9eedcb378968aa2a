"""SMB2 WRITE ([MS-SMB2] 2.2.21, 2.2.22)."""

from usmbd.protocol.wire.base import u16, u32, u64
from usmbd.protocol.wire.body import Body, buffer_at
from usmbd.protocol.wire.channel import SMB2_CHANNEL_NONE
from usmbd.protocol.wire.status import NtStatus, SmbError

# Flags
SMB2_WRITEFLAG_WRITE_THROUGH = 0x00000001
SMB2_WRITEFLAG_WRITE_UNBUFFERED = 0x00000002

# Data lies at the latest here, from the header; farther is refused ([MS-SMB2] 3.3.5.13).
MAXIMUM_DATA_OFFSET = 0x100


class WriteRequest(Body, size=48):
    """SMB2 WRITE Request ([MS-SMB2] 2.2.21), before Buffer.

    By RDMA `length` is 0 and `remaining_bytes` counts the data to fetch.
    """

    structure_size: u16 = 49
    data_offset: u16 = 0
    length: u32
    offset: u64
    persistent: u64
    volatile: u64
    channel: u32 = SMB2_CHANNEL_NONE
    remaining_bytes: u32 = 0
    write_channel_info_offset: u16 = 0
    write_channel_info_length: u16 = 0
    flags: u32 = 0


class WriteResponse(Body, size=16):
    """SMB2 WRITE Response ([MS-SMB2] 2.2.22)."""

    structure_size: u16 = 17
    reserved: u16 = 0
    count: u32
    remaining: u32 = 0
    write_channel_info_offset: u16 = 0
    write_channel_info_length: u16 = 0


_pack_response = WriteResponse.LAYOUT.pack


def write_data(message: memoryview, request: WriteRequest) -> memoryview:
    """Return the data to write; SmbError(INVALID_PARAMETER) when out of bounds."""
    if request.data_offset > MAXIMUM_DATA_OFFSET:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return buffer_at(message, request.data_offset, request.length, WriteRequest.SIZE)


def write_channel_info(message: memoryview, request: WriteRequest) -> memoryview:
    """Return WriteChannelInfo; SmbError(INVALID_PARAMETER) when out of bounds."""
    return buffer_at(
        message,
        request.write_channel_info_offset,
        request.write_channel_info_length,
        WriteRequest.SIZE,
    )


def pack_write_response(count: int) -> bytes:
    """Return the body that acknowledges `count` bytes written."""
    return _pack_response(17, 0, count, 0, 0, 0)
