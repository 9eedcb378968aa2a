"""How data that travels by RDMA is encrypted or signed ([MS-SMB2] 2.2.43).

A SMB2_RDMA_TRANSFORM, one SMB2_RDMA_CRYPTO_TRANSFORM padded to 8 bytes, and in a WRITE request the
descriptors.
"""

from typing import NamedTuple

from usmbd.protocol.wire.base import Wire, u16, u32
from usmbd.protocol.wire.channel import SMB2_CHANNEL_NONE
from usmbd.protocol.wire.status import NtStatus, SmbError

# TransformType
SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION = 0x0001
SMB2_RDMA_TRANSFORM_TYPE_SIGNING = 0x0002


class RdmaTransform(Wire, size=16):
    """SMB2_RDMA_TRANSFORM ([MS-SMB2] 2.2.43)."""

    rdma_descriptor_offset: u16 = 0
    rdma_descriptor_length: u16 = 0
    channel: u32 = SMB2_CHANNEL_NONE
    transform_count: u16 = 1
    reserved1: u16 = 0
    reserved2: u32 = 0


class RdmaCryptoTransform(Wire, size=8):
    """SMB2_RDMA_CRYPTO_TRANSFORM ([MS-SMB2] 2.2.43.1), before Signature and Nonce."""

    transform_type: u16
    signature_length: u16
    nonce_length: u16
    reserved: u16 = 0


class CryptoTransform(NamedTuple):
    """What a SMB2_RDMA_CRYPTO_TRANSFORM says."""

    transform_type: int
    signature: bytes
    nonce: bytes


def parse_rdma_transform(data: memoryview) -> tuple[int, memoryview, CryptoTransform]:
    """Return Channel, descriptors and the one transform of a WRITE's channel information.

    SmbError(INVALID_PARAMETER) as [MS-SMB2] 3.3.5.13 asks: a structure is cut off, there is not
    exactly one transform, or the descriptors do not begin behind it at the next multiple of 8.
    """
    if len(data) < RdmaTransform.SIZE + RdmaCryptoTransform.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    fixed = RdmaTransform.parse(data)
    crypto = RdmaCryptoTransform.parse(data, RdmaTransform.SIZE)
    start = RdmaTransform.SIZE + RdmaCryptoTransform.SIZE
    middle = start + crypto.signature_length
    end = middle + crypto.nonce_length
    # Both types together, either of them twice, or one that is not known: all are refused, so
    # that no more than one is ever right.
    if (
        fixed.transform_count != 1
        or crypto.transform_type
        not in (SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION, SMB2_RDMA_TRANSFORM_TYPE_SIGNING)
        or fixed.rdma_descriptor_offset != (end + 7) & ~7
    ):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    transform = CryptoTransform(
        crypto.transform_type, bytes(data[start:middle]), bytes(data[middle:end])
    )
    return fixed.channel, _descriptors(data, fixed), transform


def find_descriptors(data: memoryview) -> tuple[int, memoryview]:
    """Return Channel and descriptors, whatever the transforms are.

    SmbError(INVALID_PARAMETER) when they are cut off.
    """
    fixed = RdmaTransform.parse(data)
    return fixed.channel, _descriptors(data, fixed)


def build_rdma_transform(transform: CryptoTransform) -> bytes:
    """Return a READ response's buffer: padded to 8 bytes, and without descriptors."""
    crypto = RdmaCryptoTransform(
        transform_type=transform.transform_type,
        signature_length=len(transform.signature),
        nonce_length=len(transform.nonce),
    )
    built = RdmaTransform().pack() + crypto.pack() + transform.signature + transform.nonce
    return built + bytes(-len(built) % 8)


def _descriptors(data: memoryview, fixed: RdmaTransform) -> memoryview:
    """Return the bytes of the descriptors; SmbError(INVALID_PARAMETER) when out of bounds."""
    start = fixed.rdma_descriptor_offset
    end = start + fixed.rdma_descriptor_length
    if start < RdmaTransform.SIZE or end > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return data[start:end]
