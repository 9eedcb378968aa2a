"""The RDMA transforms ([MS-SMB2] 2.2.43): their bytes, and what is not one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.protocol.wire.rdma_transform import (
    SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION,
    SMB2_RDMA_TRANSFORM_TYPE_SIGNING,
    CryptoTransform,
    build_rdma_transform,
    find_descriptors,
    parse_rdma_transform,
)
from usmbd.protocol.wire.status import SmbError

SIGNATURE = bytes(range(16))
NONCE = bytes(range(100, 112))
DESCRIPTOR = struct.pack("<QII", 1, 2, 3)


def test_a_signed_read_is_answered_by_56_bytes() -> None:
    built = build_rdma_transform(
        CryptoTransform(SMB2_RDMA_TRANSFORM_TYPE_SIGNING, SIGNATURE, NONCE)
    )
    assert built == (
        bytes.fromhex("0000 0000 00000000 0100 0000 00000000")
        + bytes.fromhex("0200 1000 0c00 0000")
        + SIGNATURE
        + NONCE
        + bytes(4)
    )
    assert len(built) == 56


def test_without_a_nonce_it_is_40_bytes() -> None:
    built = build_rdma_transform(CryptoTransform(SMB2_RDMA_TRANSFORM_TYPE_SIGNING, SIGNATURE, b""))
    assert len(built) == 40


def packed(nonce: bytes = NONCE) -> bytes:
    """Build a WRITE's channel information with one descriptor."""
    crypto = struct.pack("<4H", 1, len(SIGNATURE), len(nonce), 0xFFFF) + SIGNATURE + nonce
    crypto += b"\xff" * (-len(crypto) % 8)
    fixed = struct.pack("<HHIHHI", 16 + len(crypto), 16, 2, 1, 0xFFFF, 0xFFFFFFFF)
    return fixed + crypto + DESCRIPTOR


@pytest.mark.parametrize("nonce", [NONCE, NONCE[:11], b"", bytes(16)], ids=len)
def test_a_write_is_read(nonce: bytes) -> None:
    data = memoryview(packed(nonce))
    channel, descriptors, transform = parse_rdma_transform(data)
    assert channel == 2
    assert descriptors == DESCRIPTOR
    assert transform == (SMB2_RDMA_TRANSFORM_TYPE_ENCRYPTION, SIGNATURE, nonce)
    assert find_descriptors(data) == (2, DESCRIPTOR)


def test_nothing_may_be_cut_off() -> None:
    data = packed()
    for end in range(len(data)):
        with pytest.raises(SmbError):
            parse_rdma_transform(memoryview(data[:end]))


@given(st.binary(max_size=200))
def test_whatever_comes(data: bytes) -> None:
    try:
        _, descriptors, transform = parse_rdma_transform(memoryview(data))
    except SmbError:
        return
    assert len(descriptors) + len(transform.signature) + len(transform.nonce) <= len(data)
    assert find_descriptors(memoryview(data))[1] == descriptors
