"""How connections end: in every phase, by anyone; each is told once and everything given back."""

from collections.abc import Callable
from typing import Any

import pytest
from smbdirect.network import Network

from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect.attributes import State as QueueState
from usmbd.transport.smbdirect.connection import (
    DRAIN_SECONDS,
    LINGER_SECONDS,
    SmbDirectTransport,
    State,
)
from usmbd.transport.smbdirect.depths import open_queue_pair
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.posted_work import PINNED
from usmbd.transport.smbdirect.provider import (
    Access,
    DeviceError,
    RegistrationError,
    Segment,
    Status,
)

from .conftest import Link, Upper, pattern

LARGE = 100_000


def _accepted(link: Link) -> None:
    """Look at nothing."""


def _started(link: Link) -> None:
    """Wait for the client's part of the negotiation."""
    link.transport.start(link.upper)


def _idle(link: Link) -> None:
    """Say all there is."""
    link.start()


def _half_received(link: Link) -> None:
    """Receive some fragments of a message."""
    link.start()
    link.network.fabric.pause()
    link.client.send([pattern(LARGE)])
    link.client.pump()
    link.network.fabric.step(20)
    link.network.loop.pump()


def _half_sent(link: Link) -> None:
    """Send some fragments of a message; others wait for the device."""
    link.start()
    link.network.fabric.pause()
    link.transport.send([pattern(LARGE)])
    link.network.fabric.step(20)


def _without_credits(link: Link) -> None:
    """Send more than the client grants credits for."""
    link.start()
    link.client.reposts = False
    link.transport.send([pattern(1 << 20)])
    link.network.pump()


def _transferring(link: Link) -> None:
    """Begin reads and writes of all kinds; some are under way, others wait."""
    link.start()
    region = link.client.register(pattern(LARGE))
    link.network.fabric.pause()
    for index in range(8):
        view = link.transport.buffer(LARGE) if index & 1 else memoryview(bytearray(LARGE))
        link.transport.read_remote(view, [region.remote()], link.done.append)
        data = link.memory(pattern(LARGE)) if index & 1 else memoryview(pattern(LARGE))
        link.transport.write_remote([data], [region.remote(n, 1000) for n in range(0, LARGE, 1000)])
        link.transport.send([b"done"])
    link.network.fabric.step(5)


PHASES = (
    _accepted,
    _started,
    _idle,
    _half_received,
    _half_sent,
    _without_credits,
    _transferring,
)


def _client_disconnects(link: Link) -> None:
    link.client.close()


def _client_vanishes(link: Link) -> None:
    link.client.close(tell=False)
    link.network.advance(200.0)


def _server_closes(link: Link) -> None:
    link.transport.close("enough")


def _manager_tells(link: Link) -> None:
    link.transport.disconnected("enough")


def _wire_is_cut(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    queue_pair.sever()
    link.network.fabric.resume()
    link.network.advance(200.0)


def _device_fails(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    queue_pair.fail()


def _device_fails_slowly(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    queue_pair.withhold()
    link.transport.disconnected("enough")
    link.network.pump()
    for _ in range(400):
        queue_pair.release(1)
        link.network.pump()
    queue_pair.release()


ENDS = (
    _client_disconnects,
    _client_vanishes,
    _server_closes,
    _manager_tells,
    _wire_is_cut,
    _device_fails,
    _device_fails_slowly,
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_everyone_is_told_once(
    network: Network, phase: Callable[[Link], None], end: Callable[[Link], None]
) -> None:
    link = Link(network)
    phase(link)
    end(link)
    network.pump()
    if link.transport.state is State.OPEN:
        # Before it is started nobody looks at the queue pair.
        assert phase is _accepted
        link.transport.close("it was never started")
    network.advance(DRAIN_SECONDS)
    assert link.transport.state is State.FINISHED
    assert len(link.upper.lost) == (phase is not _accepted)
    if phase is _transferring:
        assert len(link.done) == 8
        if end not in (_client_vanishes, _wire_is_cut):
            assert any(isinstance(error, ConnectionError) for error in link.done)
    network.fabric.resume()
    network.advance(1000.0)
    assert len(link.upper.lost) == (phase is not _accepted)
    # The fixture asserts that nothing is left, and that the manager was told once.


def test_a_lost_connection_takes_nothing_and_says_nothing(link: Link) -> None:
    region = link.client.register(10)
    link.transport.disconnected("gone")
    link.transport.send([b"x"])
    link.transport.send([b""])
    link.transport.write_remote([memoryview(b"x")], [region.remote()])
    link.transport.read_remote(memoryview(bytearray(1)), [region.remote()], link.done.append)
    link.transport.close("again")
    link.transport.disconnected("and again")
    assert link.done == []
    link.network.pump()
    assert [type(error) for error in link.done] == [ConnectionError]
    assert link.upper.lost == ["gone"]
    assert region.data == bytes(10)


@pytest.mark.parametrize("direction", ["read", "write"])
@pytest.mark.parametrize("wrong", ["token", "address", "length", "right"])
def test_a_wrong_descriptor_ends_the_connection(link: Link, direction: str, wrong: str) -> None:
    access = {"read": Access.REMOTE_READ, "write": Access.REMOTE_WRITE | Access.LOCAL_WRITE}
    region = link.client.register(1000, Access(access[direction]))
    offset, token, length = region.remote()
    if wrong == "right":
        other = {"read": Access.LOCAL_WRITE | Access.REMOTE_WRITE, "write": Access.REMOTE_READ}
        offset, token, length = link.client.register(1000, other[direction]).remote()
    remote = RemoteBuffer(
        offset - (wrong == "address"), token + (wrong == "token"), length + (wrong == "length")
    )
    view = link.transport.buffer(remote.length)
    if direction == "read":
        link.transport.read_remote(view, [remote], link.done.append)
    else:
        link.transport.write_remote([view], [remote])
        link.transport.send([b"never seen"])
    del view
    link.network.pump()
    assert link.upper.lost == [f"RDMA: {Status.REMOTE_ACCESS}"]
    assert [type(error) for error in link.done] == [ConnectionError] * (direction == "read")
    assert link.client.delivered == []
    assert link.transport.state is State.FINISHED


@pytest.mark.parametrize(
    "status", [Status.RETRY_EXCEEDED, Status.RECEIVER_NOT_READY, Status.LOCAL_PROTECTION]
)
def test_the_reason_is_the_first_failure(link: Link, status: Status) -> None:
    queue_pair: Any = link.transport.queue_pair
    queue_pair.fail_next(status, 2)
    link.transport.send([pattern(10_000)])
    link.network.pump()
    assert link.upper.lost == [f"RDMA: {status}"]


def test_a_client_that_posts_too_few_receives(link: Link) -> None:
    link.transport.engine.send_credits += 100  # it has granted what it has not got
    link.transport.send([pattern(400_000)])
    link.network.loop.pump()
    assert link.upper.lost == [f"RDMA: {Status.RECEIVER_NOT_READY}"]


def test_late_completions_find_what_they_need(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    region = link.client.register(pattern(LARGE))
    view = link.transport.buffer(LARGE)
    queue_pair.withhold()
    link.transport.read_remote(view, [region.remote()], link.done.append)
    link.transport.write_remote([link.memory(bytes(500))], [region.remote()])
    link.client.send([pattern(5000)])
    link.network.pump()
    link.transport.disconnected("gone")
    link.network.pump()
    assert link.transport.state is State.FAILED
    assert [str(error) for error in link.done] == ["gone"]
    del view
    assert link.network.pool.in_use() > 0  # the device may still use it
    assert not queue_pair.closed
    queue_pair.release()
    link.network.pump()
    assert link.transport.state is State.FINISHED
    assert link.upper.messages == []
    assert len(link.done) == 1


def test_a_device_that_gives_nothing_back_is_not_waited_for_for_ever(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    region = link.client.register(pattern(LARGE))
    queue_pair.withhold()
    link.transport.read_remote(link.transport.buffer(10), [region.remote()], link.done.append)
    link.transport.disconnected("gone")
    link.network.advance(DRAIN_SECONDS - 1)
    assert link.transport.state is State.FAILED
    link.network.advance(1)
    assert link.transport.state is State.FINISHED
    assert queue_pair.closed
    assert link.network.pool.in_use() == 0


def test_what_was_queued_goes_before_the_end(link: Link) -> None:
    def last_words(message: memoryview) -> None:
        link.transport.send([pattern(10_000)])
        link.transport.close("enough")
        assert link.upper.lost == ["enough"]

    link.upper.on_message = last_words
    link.client.send([b"one"])
    link.client.send([b"two"])
    link.network.pump()
    assert link.client.delivered == [pattern(10_000)]
    assert link.upper.messages == [b"one"]
    assert link.client.lost == "the server disconnected"
    assert link.transport.state is State.FINISHED  # the last of it told of its end: no lingering


def test_what_was_sent_has_some_time_to_arrive(link: Link) -> None:
    link.network.fabric.pause()
    link.transport.send([pattern(10_000)])
    link.transport.close("enough")
    link.network.advance(LINGER_SECONDS / 2)
    assert link.transport.state is State.CLOSING
    assert link.upper.lost == ["enough"]
    link.network.fabric.resume()
    link.network.advance(LINGER_SECONDS / 2)
    assert link.client.delivered == [pattern(10_000)]
    assert link.transport.state is State.FINISHED


def test_what_does_not_arrive_is_not_waited_for_for_ever(link: Link) -> None:
    link.network.fabric.pause()
    link.transport.send([pattern(10_000)])
    link.transport.close("enough")
    link.network.advance(LINGER_SECONDS)
    assert link.client.delivered == []
    assert link.transport.state is State.FINISHED


@pytest.mark.parametrize("method", ["post_send", "post_receive", "post_write", "post_read", "poll"])
def test_a_device_that_refuses_ends_the_connection(
    link: Link, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    region = link.client.register(10)
    link.echo()

    def refuse(*args: object, **options: object) -> None:
        raise DeviceError("the device is gone")

    monkeypatch.setattr(link.transport.queue_pair, method, refuse)
    if method == "post_write":
        link.transport.write_remote([memoryview(b"x")], [region.remote()])
    elif method == "post_read":
        link.transport.read_remote(memoryview(bytearray(1)), [region.remote()], link.done.append)
        assert link.done == []
    else:
        link.client.send([b"x"])
    link.network.pump()
    assert link.upper.lost == ["the device is gone"]
    assert len(link.done) == (method == "post_read")
    link.network.advance(DRAIN_SECONDS)
    assert link.transport.state is State.FINISHED


def test_a_refused_list_is_not_waited_for(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    queue_pair: Any = link.transport.queue_pair
    region = link.client.register(PINNED)

    def refuse() -> None:
        monkeypatch.undo()
        queue_pair._chain.clear()
        raise DeviceError("the device is gone")

    monkeypatch.setattr(queue_pair, "submit", refuse)
    # The last of the list asks for its completion, which never comes.
    link.transport.write_remote([link.transport.buffer(PINNED)], [region.remote()])
    link.network.pump()
    assert link.upper.lost == ["the device is gone"]
    assert link.transport.state is State.FINISHED


def test_a_device_that_does_not_even_fail_is_given_up(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_pair: Any = link.transport.queue_pair
    closed = []

    def refuse() -> None:
        raise DeviceError("the device is gone")

    def close() -> None:
        closed.append(True)
        type(queue_pair).close(queue_pair)
        raise DeviceError("the device is gone")

    monkeypatch.setattr(queue_pair, "fail", refuse)
    monkeypatch.setattr(queue_pair, "close", close)
    link.transport.disconnected("gone")
    link.network.pump()
    assert link.transport.state is State.FINISHED
    assert closed == [True]


def _transport(network: Network, queue_pair: FabricQueuePair) -> SmbDirectTransport:
    def disconnect() -> None:
        network.disconnects[transport] += 1

    transport = SmbDirectTransport(
        network.server_device,
        network.pool,
        queue_pair,
        network.limits,
        network.loop,
        peer="",
        local="",
        disconnect=disconnect,
        reads=1,
    )
    network.transports.append(transport)
    network.disconnects[transport] = 0
    return transport


def test_a_refused_preparation(network: Network) -> None:
    queue_pair = open_queue_pair(network.server_device, network.limits)
    assert isinstance(queue_pair, FabricQueuePair)
    transport = _transport(network, queue_pair)
    attributes = network.fabric.attributes
    with pytest.raises(DeviceError):
        transport.prepare(attributes(QueueState.INIT), attributes(QueueState.RTS))
    transport.close("not accepted")
    network.pump()
    assert transport.state is State.FINISHED


@pytest.mark.parametrize("room", [100_000, 500_000])
def test_memory_that_is_refused_leaves_nothing(network: Network, room: int) -> None:
    device = network.server_device
    queue_pair = open_queue_pair(device, network.limits)
    assert isinstance(queue_pair, FabricQueuePair)
    before = device.registered_bytes
    device.registration_limit = before + room
    with pytest.raises(RegistrationError):
        _transport(network, queue_pair)
    assert device.registered_bytes == before
    queue_pair.close()


def test_a_read_that_is_told_of_the_end_may_do_anything(link: Link) -> None:
    region = link.client.register(10)

    def done(error: OSError | None) -> None:
        link.done.append(error)
        link.transport.send([b"x"])
        link.transport.close("again")
        if len(link.done) == 1:
            view = memoryview(bytearray(1))
            link.transport.read_remote(view, [region.remote()], done)

    link.network.fabric.pause()
    link.transport.read_remote(memoryview(bytearray(10)), [region.remote()], done)
    link.transport.disconnected("gone")
    link.network.pump()
    assert [type(error) for error in link.done] == [ConnectionError] * 2
    assert link.upper.lost == ["gone"]


def test_a_receiver_may_close_when_it_is_told(network: Network) -> None:
    link = Link(network)

    class Closing(Upper):
        def connection_lost(self, reason: str) -> None:
            super().connection_lost(reason)
            link.transport.close("again")

    link.upper = Closing()
    link.start()
    link.client.close()
    network.pump()
    assert link.upper.lost == ["the client disconnects"]


def test_a_stray_segment_is_no_message(link: Link) -> None:
    """A WRITE with immediate data completes a receive of 0 bytes; so does an empty SEND."""
    link.client.queue_pair.post_send(1, (Segment(0, 0, 0),)[:0])
    link.network.pump()
    assert link.upper.lost == ["a Data Transfer message of 0 bytes"]
