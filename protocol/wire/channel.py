"""Where READ and WRITE data travel: in the message or by RDMA ([MS-SMB2] 2.2.19, 2.2.21)."""

from usmbd.protocol.wire.base import Wire, u32, u64
from usmbd.protocol.wire.status import NtStatus, SmbError

# Channel
SMB2_CHANNEL_NONE = 0x00000000
SMB2_CHANNEL_RDMA_V1 = 0x00000001
SMB2_CHANNEL_RDMA_V1_INVALIDATE = 0x00000002
SMB2_CHANNEL_RDMA_TRANSFORM = 0x00000003

# A client registers one piece of memory per request, some a few; the kernel client's ceiling of
# pages per registration keeps the number far below this.
MAXIMUM_DESCRIPTORS = 64


class BufferDescriptor(Wire, size=16):
    """SMB_DIRECT_BUFFER_DESCRIPTOR_V1 ([MS-SMBD] 2.2.3.1): memory that the client registered."""

    offset: u64
    token: u32
    length: u32


def parse_descriptors(data: memoryview, length: int) -> list[BufferDescriptor]:
    """Return the descriptors in the channel information `data`.

    SmbError(INVALID_PARAMETER) when there is none, one is cut off, there are too many, or
    together they hold less than the `length` bytes that the request moves.
    """
    count, rest = divmod(len(data), BufferDescriptor.SIZE)
    if not count or rest or count > MAXIMUM_DESCRIPTORS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    descriptors = [
        BufferDescriptor.parse(data, index * BufferDescriptor.SIZE) for index in range(count)
    ]
    if sum(descriptor.length for descriptor in descriptors) < length:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return descriptors
