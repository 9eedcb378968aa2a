"""Faults of the upper layer: they end their connection, and leave nothing behind."""

import logging
from typing import Any

import pytest
from smbdirect.network import Network

from usmbd.transport.smbdirect import posted_work
from usmbd.transport.smbdirect.connection import State
from usmbd.transport.smbdirect.provider import DeviceError

from .conftest import Link, pattern


def fail(*_: object) -> None:
    """Raise what nobody expects."""
    raise ValueError("nobody expects this")


def test_a_fault_in_a_message_ends_its_connection_alone(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    link, other = Link(network).start(), Link(network).start().echo()
    link.upper.on_message = fail
    for number in range(3):
        link.client.send([b"%d" % number])
    network.pump()
    network.advance(1.0)
    assert link.upper.messages == [b"0"]
    assert link.upper.lost == ["a fault of the server"]
    assert link.transport.state is State.FINISHED
    assert "nobody expects this" in caplog.text
    assert other.call(b"still there") == b"still there"


def test_a_fault_when_a_read_ends_loses_no_completion(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(network).start()
    region = link.client.register(pattern(5000))
    for answer in (fail, link.done.append):
        link.transport.read_remote(link.memory(bytes(5000)), [region.remote()], answer)
    network.pump()
    network.advance(1.0)
    assert link.upper.lost == ["a fault of the server"]
    assert len(link.done) == 1
    assert link.transport.state is State.FINISHED
    caplog.clear()  # its tracebacks refer to the reads' memory


def test_a_fault_at_the_end_does_not_keep_the_device_waiting(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(network).start()
    monkeypatch.setattr(link.upper, "connection_lost", fail)
    link.client.close()
    with caplog.at_level(logging.ERROR):
        network.pump()
    state: Any = link.transport.state
    assert state is State.FINISHED
    assert "nobody expects this" in caplog.text


def test_memory_of_work_that_the_device_keeps_is_never_lent_again(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(network).start()
    queue_pair: Any = link.transport.queue_pair
    region = link.client.register(5000)
    queue_pair.withhold()
    link.transport.write_remote([link.memory(pattern(5000))], [region.remote()])
    close = queue_pair.close

    def refuse() -> None:
        close()
        raise DeviceError("busy")

    monkeypatch.setattr(queue_pair, "close", refuse)
    link.transport.disconnected("gone")
    network.advance(10.0)
    assert link.transport.state is State.FINISHED
    assert network.pool.in_use() >= 5000
    posted_work._lost.clear()
    assert network.pool.in_use() == 0


def test_a_refused_receive_loses_no_completion(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(network).start()
    queue_pair: Any = link.transport.queue_pair

    def refuse(*_: object) -> None:
        raise DeviceError("no room")

    for _ in range(5):
        link.client.send([b"x"])
    link.client.pump()
    monkeypatch.setattr(queue_pair, "post_receive", refuse)
    network.pump()
    assert link.upper.messages == []
    assert link.upper.lost == ["no room"]
    assert link.transport.state is State.FINISHED  # at once, not when the device seems dead


def test_what_is_flushed_late_after_a_refused_start_ends_it(network: Network) -> None:
    link = Link(network)
    queue_pair: Any = link.transport.queue_pair
    queue_pair.withhold()
    link.transport.disconnected("a state was refused")  # before `start`
    network.pump()
    state: Any = link.transport.state
    assert state is State.FAILED
    queue_pair.release()
    network.pump()
    state = link.transport.state
    assert state is State.FINISHED


def test_nothing_is_sent_after_a_fault(network: Network) -> None:
    link = Link(network).start()
    sent: list[int] = []
    queue_pair: Any = link.transport.queue_pair
    send = queue_pair.post_send

    def record(id: int, segments: Any, **how: Any) -> None:
        sent.append(len(segments))
        send(id, segments, **how)

    def answer_and_fail(message: memoryview) -> None:
        link.transport.send([b"an answer"])
        raise ValueError("nobody expects this")

    link.upper.on_message = answer_and_fail
    link.client.send([b"x"])
    link.client.pump()
    link.transport._stopped = True  # it is taken up by `_serve_backlog`
    queue_pair.post_send = record
    network.pump()
    assert link.upper.messages == [b"x"]
    assert not any(sent)  # but the marker, which has no memory
