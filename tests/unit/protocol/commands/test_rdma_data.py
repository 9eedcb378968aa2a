"""READ and WRITE by RDMA: what arrives where, and the sizes of what goes beside it."""

import os
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.rdma import (
    CONTENT,
    CREDIT,
    SIZE,
    V1_INVALIDATE,
    Session,
    check_read,
    check_written,
)
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import Encryption
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import FILE_APPEND_DATA
from usmbd.protocol.wire.header import SMB2_FLAGS_ASYNC_COMMAND, Command
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.smbdirect.limits import Limits

INVALID = NtStatus.INVALID_PARAMETER

LEAST = Limits(max_fragmented_size=128 << 10)
"""What every client takes in one message, and no more."""


def refuse(*_: object) -> int:
    """Read nothing without waiting."""
    raise BlockingIOError


@pytest.mark.parametrize("dialect", [0x300, 0x302, 0x311])
@pytest.mark.parametrize("encrypted", [False, True])
def test_data_goes_both_ways(rdma_engine: Engine, dialect: int, encrypted: bool) -> None:
    session = Session(rdma_engine, dialect, encrypted=encrypted)
    check_written(session.write(SIZE, session.register(CONTENT).remote()), SIZE)
    region = session.register(SIZE)
    check_read(session.read(SIZE, region.remote()), SIZE)
    assert region.data == CONTENT == session.path.read_bytes()


def test_a_pinned_engine_moves_data_too(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root's can be pinned")
    engine = Engine(tmp_path, transport="smbdirect", pinned=True)
    session = Session(engine)
    check_written(session.write(SIZE, session.register(CONTENT).remote()), SIZE)
    region = session.register(SIZE)
    check_read(session.read(SIZE, region.remote()), SIZE)
    assert region.data == CONTENT
    engine.close()


def test_memory_is_filled_in_order_and_no_further(session: Session) -> None:
    pieces = [session.register(size) for size in (10, 1, 4096, 60_000)]
    empty = session.register(1).remote(length=0)
    remotes = [pieces[0].remote(), empty, *(piece.remote() for piece in pieces[1:])]
    check_read(session.read(50_000, *remotes, offset=7), 50_000)
    joined = b"".join(piece.data for piece in pieces)
    assert joined == CONTENT[7:50_007].ljust(len(joined), b"\0")


def test_the_end_of_the_file_makes_a_read_short(session: Session) -> None:
    region = session.register(SIZE)
    check_read(session.read(SIZE, region.remote(), offset=SIZE - 10), 10)
    assert region.data == CONTENT[-10:].ljust(SIZE, b"\0")


def test_short_reads_leave_no_large_memory_pinned(session: Session, rdma_engine: Engine) -> None:
    assert rdma_engine.network is not None
    size = 8 << 20
    region = session.register(size)
    for _ in range(20):
        check_read(session.read(size, region.remote(), offset=SIZE - 10), 10)
        assert rdma_engine.network.pool.in_use() == 0


def test_a_write_to_the_end_by_an_open_that_may_only_append(session: Session) -> None:
    at_end = 0xFFFFFFFFFFFFFFFF
    region = session.register(b"more")
    reply = session.write(4, region.remote(), at_end)
    assert reply.status is NtStatus.INVALID_PARAMETER
    session.file = session.client.open("file", FILE_APPEND_DATA)
    check_written(session.write(4, region.remote(), at_end), 4)
    assert session.path.read_bytes() == CONTENT + b"more"


def test_a_slow_volume_moves_data_on_threads(session: Session, rdma_engine: Engine) -> None:
    session.be_slow()
    region = session.register(b"!" * SIZE)
    check_written(session.write(SIZE, region.remote()), SIZE)
    assert rdma_engine.threads.submitted
    assert session.path.read_bytes() == b"!" * SIZE


def test_a_read_that_has_to_wait_for_the_disk(
    session: Session, rdma_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Node, "read_nowait_into", refuse)
    session.be_slow()
    region = session.register(SIZE)
    check_read(session.read(SIZE, region.remote(), channel=V1_INVALIDATE), SIZE)
    assert rdma_engine.threads.submitted
    assert region.data == CONTENT
    assert region.invalidated


def test_reads_that_wait_for_the_disk_do_not_stop_others(
    rdma_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, other = Session(rdma_engine), Session(rdma_engine, name="other")
    session.path.write_bytes(CONTENT)
    network = rdma_engine.network
    assert network is not None
    large = 8 << 20
    many = network.pool.limit // large
    session.be_slow()
    rdma_engine.threads.held = True
    with monkeypatch.context() as patch:
        patch.setattr(Node, "read_nowait_into", refuse)
        for _ in range(many):  # they have all of the pool
            assert session.post_read(large, session.register(large).remote()) == []
    # This one's data goes through the reserve.
    assert len(session.post_read(4096, session.register(4096).remote())) == 1
    rdma_engine.release(rdma_engine.threads)
    network.advance(1.0)
    rdma_engine.settle()
    assert len(session.client.replies) == many
    replies = other.post_write(5000, other.register(b"!" * 5000).remote())
    network.advance(1.0)
    assert replies + other.settled()


def test_compounds_carry_one_token(session: Session) -> None:
    first, second = session.register(10), session.register(10)
    elements = [
        (Command.READ, requests.read_remote(
            session.file, 10, requests.descriptors(region.remote()), V1_INVALIDATE
        ))
        for region in (first, second)
    ]  # fmt: skip
    replies = session.client.compound(*elements, related=False)
    assert [reply.status for reply in replies] == [NtStatus.SUCCESS] * 2
    assert first.data == second.data == CONTENT[:10]
    assert (first.invalidated, second.invalidated) == (True, False)


def test_a_write_in_a_compound_waits_for_its_data(session: Session) -> None:
    info = requests.descriptors(session.register(b"data").remote())
    replies = session.client.compound(
        (Command.WRITE, requests.write_remote(session.file, 4, info, V1_INVALIDATE)),
        (Command.CLOSE, requests.close(requests.RELATED)),
    )
    assert [reply.status for reply in replies] == [NtStatus.SUCCESS] * 2
    assert session.path.read_bytes() == b"data" + CONTENT[4:]


def test_pipes_by_rdma(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, share="IPC$", name="echo")
    check_written(session.write(5, session.register(b"hello").remote()), 5)
    region = session.register(8)
    check_read(session.read(5, region.remote(), channel=V1_INVALIDATE), 5)
    assert region.data == b"hello\0\0\0"
    assert region.invalidated


def test_a_pipe_gives_memory_back_with_its_last_reply(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, share="IPC$", name="echo")
    region = session.register(8)
    (interim,) = session.post_read(5, region.remote(), channel=V1_INVALIDATE)
    assert interim.status is NtStatus.PENDING
    assert not region.invalidated
    session.client.cancel(interim.header.message_id, interim.header.async_id)
    (reply,) = session.settled()
    assert reply.header.flags & SMB2_FLAGS_ASYNC_COMMAND
    assert reply.status is NtStatus.CANCELLED
    assert region.invalidated


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_read_without_a_channel_must_fit_a_message(rdma_engine: Engine, encrypted: bool) -> None:
    session = Session(rdma_engine, 0x311, limits=LEAST, encrypted=encrypted)
    assert session.sizes.max_read_size == session.sizes.max_write_size == 8 << 20
    assert session.sizes.max_transact_size == CREDIT
    content = os.urandom(1 << 20)
    session.path.write_bytes(content)
    most = session.client.connection.max_inline_read
    # Linux asks for that much when it signs or seals.
    assert most >= session.client.connection.transport.max_message - 164
    # A short answer would be taken for the end of the file.
    for length, status in ((most, NtStatus.SUCCESS), (most + 1, INVALID), (1 << 20, INVALID)):
        body = requests.read(session.file, length)
        reply = session.client.call(Command.READ, body, credit_charge=-(-length // CREDIT))
        assert reply.status is status
        if status is NtStatus.SUCCESS:
            assert reply.data == content[:length]
    assert not session.rdma.lost


@pytest.mark.parametrize("encryption", Encryption)
@pytest.mark.parametrize("dialect", [0x300, 0x311])
def test_where_data_has_to_be_encrypted_reads_are_announced_that_fit_a_message(
    tmp_path: Path, encryption: Encryption, dialect: int
) -> None:
    engine = Engine(tmp_path, transport="smbdirect", encryption=encryption)
    insists = encryption in (Encryption.DESIRED, Encryption.REQUIRED)
    session = Session(engine, dialect, limits=LEAST, encrypted=insists)
    assert session.sizes.max_read_size == (CREDIT if insists else 8 << 20)
    assert session.sizes.max_write_size == 8 << 20
    engine.close()


def test_a_write_without_a_channel(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x311)
    content = os.urandom(8 * CREDIT)
    reply = session.client.call(
        Command.WRITE, requests.write(session.file, content), credit_charge=8
    )
    check_written(reply, len(content))
    assert session.path.read_bytes() == content


def test_the_replies_of_a_compound_must_fit_a_message(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x311, limits=LEAST)
    session.path.write_bytes(bytes(CREDIT))
    read = (Command.READ, requests.read(session.file, 40_000))
    replies = session.client.compound(read, read, read, related=False)
    assert [reply.status for reply in replies] == [
        NtStatus.SUCCESS,
        NtStatus.INSUFFICIENT_RESOURCES,
        NtStatus.INSUFFICIENT_RESOURCES,
    ]


def test_a_compound_of_too_many_small_replies_ends_the_connection(rdma_engine: Engine) -> None:
    session = Session(rdma_engine, 0x311, limits=LEAST)
    session.path.write_bytes(bytes(CREDIT))
    read = (Command.READ, requests.read(session.file, 1000))
    assert session.client.compound(*[read] * 200, related=False) == []
    assert session.rdma.lost
