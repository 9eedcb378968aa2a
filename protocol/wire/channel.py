"""Where READ and WRITE data travel: in the message or by RDMA ([MS-SMB2] 2.2.19, 2.2.21)."""

from usmbd.protocol.wire.base import Layout
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.base import RemoteBuffer

# Channel
SMB2_CHANNEL_NONE = 0x00000000
SMB2_CHANNEL_RDMA_V1 = 0x00000001
SMB2_CHANNEL_RDMA_V1_INVALIDATE = 0x00000002
SMB2_CHANNEL_RDMA_TRANSFORM = 0x00000003

_DESCRIPTOR = Layout("<QII")
"""SMB_DIRECT_BUFFER_DESCRIPTOR_V1 ([MS-SMBD] 2.2.3.1): Offset, Token, Length."""

_ADDRESSES = 1 << 64


def parse_descriptors(data: memoryview, length: int) -> list[RemoteBuffer]:
    """Return what the channel information `data` describes: memory that the client registered.

    SmbError(INVALID_PARAMETER) when there is none, one is cut off or reaches beyond 64 bits, the
    first is empty, or together they hold less than the `length` bytes that the request moves.
    There are at most 4095, as the length of the channel information has 16 bits; clients use
    one, Microsoft's tests all of them.
    """
    if not data or len(data) % _DESCRIPTOR.size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    buffers = []
    for fields in _DESCRIPTOR.iter_unpack(data):
        offset, _, size = fields
        if offset + size > _ADDRESSES:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        length -= size
        buffers.append(RemoteBuffer._make(fields))
    if length > 0 or not buffers[0].length:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return buffers


def first_token(data: memoryview) -> int:
    """Return the token of the first descriptor, whatever else is wrong; MalformedError if none."""
    token: int = _DESCRIPTOR.unpack_from(data)[1]
    return token
