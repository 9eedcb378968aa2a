"""Faults of the upper layer: they end their connection, and leave nothing behind."""

import logging
from typing import Any

import pytest
from smbdirect.network import Network

from usmbd.transport.smbdirect import sendwork
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
    sendwork._lost.clear()
    assert network.pool.in_use() == 0
