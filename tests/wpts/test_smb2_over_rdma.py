"""Smb2OverRdma, Smb2OverRdmaChannel: READ and WRITE by RDMA ([MS-SMB2] 3.3.5.12, 3.3.5.13)."""

import os
from collections.abc import Callable

import pytest
from smbdirect.client import Region
from smbengine import requests
from smbengine.rdma import V1, V1_INVALIDATE, Session, check_read, check_written
from smbengine.server import Engine

from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import RemoteBuffer

OPERATIONS = 64

DESCRIPTORS = 65535 // 16
"""As many as the length of the channel information can tell."""

READS_INVALIDATE = (0x302, 0x311)
"""Dialects that know SMB2_CHANNEL_RDMA_V1_INVALIDATE."""


def read_over_rdma(engine: Engine, operations: int = 1) -> None:
    """Read a large file, each piece into memory of its own."""
    session = Session(engine)
    length = session.sizes.max_read_size // operations
    content = os.urandom(length * operations)
    session.path.write_bytes(content)
    for start in range(0, len(content), length):
        region = session.register(length)
        check_read(session.read(length, region.remote(), offset=start), length)
        assert region.data == content[start : start + length]
        assert not region.invalidated


def write_over_rdma(engine: Engine, operations: int = 1) -> None:
    """Write a large file piece by piece, and read it back."""
    session = Session(engine)
    length = session.sizes.max_write_size // operations
    content = os.urandom(length)
    for index in range(operations):
        region = session.register(content)
        check_written(session.write(length, region.remote(), index * length), length)
    region = session.register(length)
    for index in range(operations):
        check_read(session.read(length, region.remote(), offset=index * length), length)
        assert region.data == content
    assert session.path.stat().st_size == length * operations


def test_BVT_Smb2OverRdmaChannel_ReadLargeFile(smb2_engine: Engine) -> None:
    read_over_rdma(smb2_engine)


def test_BVT_Smb2OverRdmaChannel_WriteLargeFile(smb2_engine: Engine) -> None:
    write_over_rdma(smb2_engine)


def test_Smb2OverRdmaChannel_ReadMultipleOperation(smb2_engine: Engine) -> None:
    read_over_rdma(smb2_engine, OPERATIONS)


def test_Smb2OverRdmaChannel_WriteMultipleOperation(smb2_engine: Engine) -> None:
    write_over_rdma(smb2_engine, OPERATIONS)


def test_Smb2OverRdmaChannel_ReadWriteMultipleBufferDescriptorList(smb2_engine: Engine) -> None:
    session = Session(smb2_engine)
    size = min(session.sizes.max_read_size, session.sizes.max_write_size)
    each = size // DESCRIPTORS + 1
    content = os.urandom(size)
    padded = content.ljust(each * DESCRIPTORS, b"\0")
    pieces = [
        session.register(padded[start : start + each]) for start in range(0, len(padded), each)
    ]
    info = requests.descriptors(*(piece.remote() for piece in pieces))
    check_written(session.write(size, info), size)
    assert session.path.read_bytes() == content
    pieces = [session.register(each) for _ in range(DESCRIPTORS)]
    check_read(session.read(size, *(piece.remote() for piece in pieces)), size)
    assert b"".join(piece.data for piece in pieces) == padded


def check_refused(engine: Engine, describe: Callable[[Session, int], RemoteBuffer]) -> None:
    """Assert that a READ into wrong memory does not succeed and the server lives on."""
    session = Session(engine)
    length = session.sizes.max_read_size
    session.path.write_bytes(bytes(length))
    replies = session.post_read(length, describe(session, length))
    assert all(reply.status is not NtStatus.SUCCESS for reply in replies)
    assert replies or session.rdma.lost
    session.rdma.close()
    engine.settle()
    again = Session(engine)
    assert again.client.close(again.file) is NtStatus.SUCCESS


def test_Smb2OverRdmaChannel_InvalidBufferDescriptor_Offset(smb2_engine: Engine) -> None:
    def describe(session: Session, length: int) -> RemoteBuffer:
        return session.register(length).remote()._replace(offset=length + 1)

    check_refused(smb2_engine, describe)


def test_Smb2OverRdmaChannel_InvalidBufferDescriptor_Length(smb2_engine: Engine) -> None:
    def describe(session: Session, length: int) -> RemoteBuffer:
        return session.register(length - 1).remote()._replace(length=length)

    check_refused(smb2_engine, describe)


def test_Smb2OverRdmaChannel_InvalidBufferDescriptor_Token(smb2_engine: Engine) -> None:
    def describe(session: Session, length: int) -> RemoteBuffer:
        remote = session.register(length).remote()
        return remote._replace(token=remote.token + 1)

    check_refused(smb2_engine, describe)


def test_Smb2OverRdmaChannel_InvalidBufferDescriptor_DeregisteredBuffer(
    smb2_engine: Engine,
) -> None:
    def describe(session: Session, length: int) -> RemoteBuffer:
        region = session.register(length)
        region.memory.deregister()
        return region.remote()

    check_refused(smb2_engine, describe)


def check_terminated(session: Session, replies: list[object], region: Region) -> None:
    """Assert that a second use of invalidated memory has ended the connection."""
    assert region.invalidated
    assert replies == []
    assert session.rdma.lost


def test_BVT_Smb2OverRdma_Smb302_Write_SMB2_CHANNEL_RDMA_V1_INVALIDATE(
    smb2_engine: Engine,
) -> None:
    session = Session(smb2_engine, *READS_INVALIDATE)
    size = session.sizes.max_write_size
    content = os.urandom(size)
    region = session.register(content)
    check_written(session.write(size, region.remote(), channel=V1_INVALIDATE), size)
    assert session.path.read_bytes() == content
    replies = session.post_write(size, region.remote(), channel=V1_INVALIDATE)
    check_terminated(session, list(replies), region)


def test_BVT_Smb2OverRdma_Smb302_Read_SMB2_CHANNEL_RDMA_V1_INVALIDATE(
    smb2_engine: Engine,
) -> None:
    session = Session(smb2_engine, *READS_INVALIDATE)
    size = session.sizes.max_read_size
    content = os.urandom(size)
    source = session.register(content)
    check_written(session.write(size, source.remote(), channel=V1_INVALIDATE), size)
    region = session.register(size)
    check_read(session.read(size, region.remote(), channel=V1_INVALIDATE), size)
    assert region.data == content
    replies = session.post_read(size, region.remote(), channel=V1_INVALIDATE)
    check_terminated(session, list(replies), region)


def test_Smb2OverRdma_Write_SMB2_CHANNEL_RDMA_V1(smb2_engine: Engine) -> None:
    session = Session(smb2_engine)
    size = session.sizes.max_write_size
    region = session.register(size)
    for _ in range(2):
        content = os.urandom(size)
        region.memory.view[:] = content
        check_written(session.write(size, region.remote()), size)
        assert session.path.read_bytes() == content
    assert not region.invalidated


def test_Smb2OverRdma_Read_SMB2_CHANNEL_RDMA_V1(smb2_engine: Engine) -> None:
    session = Session(smb2_engine)
    size = session.sizes.max_read_size
    content = os.urandom(size)
    check_written(session.write(size, session.register(content).remote()), size)
    region = session.register(size)
    for _ in range(2):
        region.memory.view[:] = bytes(size)
        check_read(session.read(size, region.remote()), size)
        assert region.data == content
    assert not region.invalidated


@pytest.fixture
def smb300(smb2_engine: Engine) -> Session:
    """Give a session of the dialect that knows no remote invalidation."""
    return Session(smb2_engine, 0x300)


def test_Smb2OverRdma_Smb300_Write_SMB2_CHANNEL_RDMA_V1_INVALIDATE(smb300: Session) -> None:
    size = smb300.sizes.max_write_size
    region = smb300.register(size)
    reply = smb300.write(size, region.remote(), channel=V1_INVALIDATE)
    assert reply.status is NtStatus.INVALID_PARAMETER
    assert not region.invalidated


def test_Smb2OverRdma_Smb300_Read_SMB2_CHANNEL_RDMA_V1_INVALIDATE(smb300: Session) -> None:
    size = smb300.sizes.max_read_size
    region = smb300.register(os.urandom(size))
    check_written(smb300.write(size, region.remote(), channel=V1), size)
    reply = smb300.read(size, region.remote(), channel=V1_INVALIDATE)
    assert reply.status is NtStatus.INVALID_PARAMETER
    assert not region.invalidated
