"""READ and WRITE by RDMA: what happens while the data is on its way."""

import gc
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.rdma import (
    CONTENT,
    SIZE,
    V1_INVALIDATE,
    Session,
    check_written,
)
from smbengine.server import Engine

from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus
from usmbd.transport.base import RdmaTransport


def refuse(*_: object) -> int:
    """Read nothing without waiting."""
    raise BlockingIOError


class Held:
    """RDMA READs of one connection that wait for `release`."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hold what is asked for from now on."""
        transport = session.client.connection.transport
        assert isinstance(transport, RdmaTransport)
        self._read = transport.read_remote
        self._calls: list[tuple[Any, ...]] = []
        monkeypatch.setattr(transport, "read_remote", lambda *args: self._calls.append(args))

    def release(self) -> None:
        """Let them go."""
        while self._calls:
            self._read(*self._calls.pop(0))


@pytest.fixture
def reads(session: Session, monkeypatch: pytest.MonkeyPatch) -> Held:
    """Hold the RDMA READs of `session`."""
    return Held(session, monkeypatch)


def test_a_file_that_is_closed_meanwhile_is_not_written(session: Session, reads: Held) -> None:
    region = session.register(b"!" * SIZE)
    assert session.post_write(SIZE, region.remote(), channel=V1_INVALIDATE) == []
    assert session.client.close(session.file) is NtStatus.SUCCESS
    reads.release()
    (reply,) = session.settled()
    assert reply.status is NtStatus.FILE_CLOSED
    assert region.invalidated
    assert session.path.read_bytes() == CONTENT


def test_logoff_meanwhile(session: Session, reads: Held) -> None:
    assert session.post_write(SIZE, session.register(SIZE).remote()) == []
    assert session.client.call(Command.LOGOFF, requests.EMPTY).status is NtStatus.SUCCESS
    reads.release()
    (reply,) = session.settled()
    assert reply.status is NtStatus.FILE_CLOSED
    assert session.path.read_bytes() == CONTENT


def test_cancel_does_not_touch_a_write_whose_data_is_coming(session: Session, reads: Held) -> None:
    message_id = session.client.message_id
    assert session.post_write(SIZE, session.register(b"!" * SIZE).remote()) == []
    session.client.cancel(message_id)
    assert session.settled() == []
    reads.release()
    (reply,) = session.settled()
    check_written(reply, SIZE)
    assert session.path.read_bytes() == b"!" * SIZE


def test_writes_overtake_each_other(session: Session, reads: Held) -> None:
    for start in (0, 10):
        region = session.register(b"!" * 10)
        assert session.post_write(10, region.remote(), start) == []
    assert session.client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    reads.release()
    assert [reply.status for reply in session.settled()] == [NtStatus.SUCCESS] * 2
    assert session.path.read_bytes() == b"!" * 20 + CONTENT[20:]


@pytest.mark.parametrize("tell", [True, False])
def test_a_loss_meanwhile_writes_nothing(session: Session, rdma_engine: Engine, tell: bool) -> None:
    assert rdma_engine.network is not None
    gc.disable()  # nothing may wait for it
    try:
        fabric = rdma_engine.network.fabric
        fabric.pause()
        assert session.post_write(SIZE, session.register(b"!" * SIZE).remote()) == []
        fabric.step(1, session.rdma.queue_pair)
        rdma_engine.settle()
        assert rdma_engine.network.pool.in_use()
        connection = session.client.connection
        session.rdma.close(tell=tell)
        fabric.resume()
        rdma_engine.settle()
        rdma_engine.network.advance(1.0)
        assert connection.closed
        assert rdma_engine.network.pool.in_use() == 0
        assert session.path.read_bytes() == CONTENT
    finally:
        gc.enable()


def test_the_session_goes_on_where_another_channel_is_left(
    session: Session, rdma_engine: Engine
) -> None:
    other = Client(rdma_engine, session.client.guid, by_memory=True)
    other.negotiate(0x311)
    assert other.bind(session.client).status is NtStatus.SUCCESS
    other.tree_id = session.client.tree_id
    region = session.register(SIZE)
    region.memory.deregister()
    assert session.post_write(SIZE, region.remote()) == []
    assert session.rdma.lost
    assert other.call(Command.READ, requests.read(session.file, 100)).data == CONTENT[:100]
    assert session.path.read_bytes() == CONTENT


@pytest.mark.parametrize("slow", [False, True])
def test_a_loss_while_a_thread_reads(session: Session, rdma_engine: Engine, slow: bool) -> None:
    session.be_slow()
    rdma_engine.threads.held = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "read_nowait_into", refuse)
        assert session.post_read(SIZE, session.register(SIZE).remote()) == []
    if slow:
        assert session.post_write(SIZE, session.register(SIZE).remote()) == []
    session.rdma.close()
    rdma_engine.settle()
    rdma_engine.release(rdma_engine.threads)
    assert session.path.read_bytes() == CONTENT
