"""Smb2OverRdmaChannelTransform: what travels by RDMA encrypted or signed ([MS-SMB2] 2.2.43)."""

import os

import pytest
from smbengine import requests
from smbengine.rdma import (
    CCM_128,
    CCM_256,
    CMAC,
    ENCRYPTION,
    GCM_128,
    GCM_256,
    GMAC,
    SIGNING,
    TRANSFORM,
    V1,
    V1_INVALIDATE,
    Session,
    Transform,
    build_transform,
    check_read,
    check_written,
    parse_transform,
)
from smbengine.server import Engine

from usmbd.protocol.wire.read import ReadResponse
from usmbd.protocol.wire.status import NtStatus

LARGE = 1 << 20
"""Bytes of what is written where it is refused."""


def read_transformed(session: Session) -> tuple[bytes, bytes, Transform]:
    """READ a large file; return its content, what came by RDMA, and the transform."""
    size = session.sizes.max_read_size
    content = os.urandom(size)
    session.path.write_bytes(content)
    region = session.register(size)
    reply = session.read(size, region.remote())
    assert reply.status is NtStatus.SUCCESS
    response = reply.parse(ReadResponse)
    assert (response.data_offset, response.data_remaining, response.flags) == (80, size, 1)
    assert response.data_length == len(reply.data) == len(reply.message) - 80
    return content, region.data, parse_transform(reply.data)


def read_encrypted(engine: Engine, cipher: int, nonce: int) -> None:
    """READ by RDMA, encrypted by `cipher` with a nonce of so many bytes."""
    session = Session(engine, 0x311, transforms=(ENCRYPTION,), cipher=cipher, encrypted=True)
    assert session.client.contexts.rdma_transforms == (ENCRYPTION,)
    content, received, transform = read_transformed(session)
    assert received != content
    assert transform.kind == ENCRYPTION
    assert len(transform.nonce) == nonce
    assert session.decrypt(received, transform) == content


def check_content(session: Session, content: bytes) -> None:
    """Read a file back on a connection without transforms: its content is the same."""
    again = Session(session.engine, 0x311, encrypted=session.client.seals)
    region = again.register(len(content))
    check_read(again.read(len(content), region.remote()), len(content))
    assert region.data == content


def write_encrypted(engine: Engine, cipher: int) -> None:
    """WRITE by RDMA, encrypted by `cipher`."""
    session = Session(engine, 0x311, transforms=(ENCRYPTION,), cipher=cipher, encrypted=True)
    size = session.sizes.max_write_size
    content = os.urandom(size)
    encrypted, transform = session.encrypt(content)
    region = session.register(encrypted)
    info = build_transform(transform, requests.descriptors(region.remote()), V1)
    check_written(session.write(size, info, channel=TRANSFORM), size)
    assert region.data == encrypted
    assert not region.invalidated
    check_content(session, content)


def read_signed(engine: Engine, algorithm: int, nonce: int) -> None:
    """READ by RDMA, signed by `algorithm` with a nonce of so many bytes."""
    session = Session(engine, 0x311, transforms=(SIGNING,), algorithm=algorithm)
    content, received, transform = read_transformed(session)
    assert received == content
    assert transform.kind == SIGNING
    assert len(transform.nonce) == nonce
    assert session.signature(content, transform.nonce) == transform.signature


def write_signed(engine: Engine, algorithm: int) -> None:
    """WRITE by RDMA, signed by `algorithm`; the memory is invalidated by the answer."""
    session = Session(engine, 0x311, transforms=(SIGNING,), algorithm=algorithm)
    size = session.sizes.max_write_size
    content = os.urandom(size)
    region = session.register(content)
    info = build_transform(
        session.sign(content), requests.descriptors(region.remote()), V1_INVALIDATE
    )
    check_written(session.write(size, info, channel=TRANSFORM), size)
    assert region.invalidated
    check_content(session, content)


def refuse_signed(
    session: Session, status: NtStatus, *, count: int = 1, damage: bool = False
) -> None:
    """Assert that a signed WRITE is refused, writes nothing, and still invalidates."""
    content = os.urandom(LARGE)
    transform = session.sign(content)
    if damage:
        damaged = bytes([transform.signature[0] ^ 1]) + transform.signature[1:]
        transform = transform._replace(signature=damaged)
    region = session.register(content)
    info = build_transform(transform, requests.descriptors(region.remote()), V1_INVALIDATE, count)
    assert session.write(LARGE, info, channel=TRANSFORM).status is status
    assert region.invalidated
    assert session.path.read_bytes() == b""


def test_BVT_Smb2OverRdmaChannelTransform_Encryption_ReadLargeFile_AES128CCM(
    smb2_engine: Engine,
) -> None:
    read_encrypted(smb2_engine, CCM_128, 11)


def test_Smb2OverRdmaChannelTransform_Encryption_ReadLargeFile_AES128GCM(
    smb2_engine: Engine,
) -> None:
    read_encrypted(smb2_engine, GCM_128, 12)


def test_Smb2OverRdmaChannelTransform_Encryption_ReadLargeFile_AES256CCM(
    smb2_engine: Engine,
) -> None:
    read_encrypted(smb2_engine, CCM_256, 11)


def test_Smb2OverRdmaChannelTransform_Encryption_ReadLargeFile_AES256GCM(
    smb2_engine: Engine,
) -> None:
    read_encrypted(smb2_engine, GCM_256, 12)


def test_BVT_Smb2OverRdmaChannelTransform_Encryption_WriteLargeFile_AES128CCM(
    smb2_engine: Engine,
) -> None:
    write_encrypted(smb2_engine, CCM_128)


def test_Smb2OverRdmaChannelTransform_Encryption_WriteLargeFile_AES128GCM(
    smb2_engine: Engine,
) -> None:
    write_encrypted(smb2_engine, GCM_128)


def test_Smb2OverRdmaChannelTransform_Encryption_WriteLargeFile_AES256CCM(
    smb2_engine: Engine,
) -> None:
    write_encrypted(smb2_engine, CCM_256)


def test_Smb2OverRdmaChannelTransform_Encryption_WriteLargeFile_AES256GCM(
    smb2_engine: Engine,
) -> None:
    write_encrypted(smb2_engine, GCM_256)


def test_Smb2OverRdmaChannelTransform_Signing_ReadLargeFile_AES_GMAC(smb2_engine: Engine) -> None:
    read_signed(smb2_engine, GMAC, 12)


def test_Smb2OverRdmaChannelTransform_Signing_ReadLargeFile_AES_CMAC(smb2_engine: Engine) -> None:
    read_signed(smb2_engine, CMAC, 0)


def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_AES_GMAC(smb2_engine: Engine) -> None:
    write_signed(smb2_engine, GMAC)


def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_AES_CMAC(smb2_engine: Engine) -> None:
    write_signed(smb2_engine, CMAC)


def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_FlagsSignedNotSet_Fails(
    smb2_engine: Engine,
) -> None:
    session = Session(smb2_engine, 0x311, transforms=(SIGNING,), encrypted=True)
    refuse_signed(session, NtStatus.INVALID_PARAMETER)


def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_SigningStructure_EncryptionId_Fails(
    smb2_engine: Engine,
) -> None:
    for encrypted in (True, False):
        session = Session(smb2_engine, 0x311, transforms=(ENCRYPTION,), encrypted=encrypted)
        refuse_signed(session, NtStatus.INVALID_PARAMETER)


@pytest.mark.parametrize("algorithm", [CMAC, GMAC])
def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_InvalidSignature_Fails(
    smb2_engine: Engine, algorithm: int
) -> None:
    session = Session(smb2_engine, 0x311, transforms=(SIGNING,), algorithm=algorithm)
    refuse_signed(session, NtStatus.INVALID_SIGNATURE, damage=True)


def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_NoTransformIds_Fails(
    smb2_engine: Engine,
) -> None:
    refuse_signed(Session(smb2_engine, 0x311), NtStatus.INVALID_PARAMETER)


def test_Smb2OverRdmaChannelTransform_Signing_WriteLargeFile_ZeroTransformCount_Fails(
    smb2_engine: Engine,
) -> None:
    session = Session(smb2_engine, 0x311, transforms=(SIGNING,), algorithm=CMAC)
    refuse_signed(session, NtStatus.INVALID_PARAMETER, count=0)
