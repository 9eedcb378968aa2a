"""Whole messages through a connection: order, parts, batches, limits, timers."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_pair import data, request
from smbdirect.client import RawClient
from smbdirect.network import Network

from usmbd.transport.base import FileSpan
from usmbd.transport.buffer_pool import POOL
from usmbd.transport.loop import EpollLoop
from usmbd.transport.smbdirect.batches import FLUSH_SIZE, ROUNDS
from usmbd.transport.smbdirect.connection import LINGER_SECONDS, State
from usmbd.transport.smbdirect.depths import SENDS, Depths, open_queue_pair
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.provider import Completion, DeviceError, DeviceLimits, Opcode

from .conftest import Link, Upper, pattern


@pytest.mark.parametrize("size", [1, 1340, 1341, 70_000, 1 << 20])
def test_a_message_of_any_size_goes_both_ways(link: Link, size: int) -> None:
    assert link.echo().call(pattern(size)) == pattern(size)


def test_messages_keep_their_order(link: Link) -> None:
    link.echo()
    messages = [pattern(size, size) for size in (5, 5000, 1, 20_000, 3)]
    for message in messages:
        link.client.send([message])
    link.network.pump()
    assert link.upper.messages == link.client.delivered == messages


def test_what_comes_meanwhile_needs_no_wake_up(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, arms = link.transport.queue_pair.arm, []
    monkeypatch.setattr(link.transport.queue_pair, "arm", lambda: arms.append(arm()))
    later = [b"second", b"third"]

    def answer(message: memoryview) -> None:
        link.transport.send([message])
        if later:
            link.client.send([later.pop(0)])
            link.client.pump()

    link.upper.on_message = answer
    link.client.send([b"first"])
    link.client.pump()
    arms.clear()
    assert link.network.loop.turn() == 1
    assert link.upper.messages == [b"first", b"second", b"third"]
    assert len(arms) == 1
    link.network.pump()
    assert link.client.delivered == [b"first", b"second", b"third"]


def test_a_client_that_always_asks_has_one_turn_at_a_time(link: Link) -> None:
    asking = True

    def answer(message: memoryview) -> None:
        link.transport.send([message])
        if asking:
            link.client.send([message])
            link.client.pump()

    link.upper.on_message = answer
    link.client.send([b"again"])
    link.client.pump()
    for _ in range(10):
        before = len(link.upper.messages)
        link.network.loop.turn()
        assert 0 < len(link.upper.messages) - before <= ROUNDS
    asking = False
    link.network.pump()
    assert link.client.delivered == link.upper.messages


def test_what_comes_before_the_connection_is_looked_at_is_kept(network: Network) -> None:
    link = Link(network).echo()
    link.client.send([b"early"])
    network.pump()
    assert not link.transport.engine.established
    link.transport.start(link.upper)
    network.pump()
    assert link.client.delivered == [b"early"]


def test_all_kinds_of_parts(link: Link, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(5000))
    fd = os.open(path, os.O_RDONLY)
    parts = [b"a", bytearray(b"b"), memoryview(b"xcx")[1:2], FileSpan(fd, 100, 5000), b"d"]
    link.transport.send(parts)
    os.close(fd)
    link.network.pump()
    assert link.client.delivered == [b"abc" + pattern(5000)[100:] + bytes(100) + b"d"]


def test_a_file_that_is_shorter_by_now_is_filled_up_with_zeros(link: Link, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDONLY)
    POOL.view(3000)[:] = b"\xff" * 3000
    link.transport.send([FileSpan(fd, 7, 3000)])
    os.close(fd)
    link.network.pump()
    assert link.client.delivered == [bytes(3000)]


def test_what_the_peer_does_not_take_is_refused(network: Network) -> None:
    link = Link(network, Limits(max_fragmented_size=140_000))
    assert link.transport.max_message == 0
    with pytest.raises(ValueError, match="nothing is negotiated"):
        link.transport.send([b"x"])
    link.start()
    assert link.transport.max_message == 140_000
    for size in (0, 140_001):
        with pytest.raises(ValueError, match="bytes: the peer takes"):
            link.transport.send([bytes(size)])
    link.transport.send([bytes(140_000)])
    network.pump()
    assert link.client.delivered == [bytes(140_000)]


def test_a_token_ends_with_the_last_fragment(link: Link) -> None:
    region = link.client.register(100)
    network, fabric = link.network, link.network.fabric
    fabric.pause()
    link.transport.send([bytes(3000)], region.remote().token)
    fabric.step(2)
    assert not region.invalidated
    fabric.step(1)
    assert region.invalidated
    fabric.resume()
    network.pump()
    assert link.client.delivered == [bytes(3000)]


def test_replies_to_what_came_at_once_leave_at_once(link: Link) -> None:
    queued = []

    def answer(message: memoryview) -> None:
        link.transport.send([message])
        queued.append(link.transport.engine.queued_bytes)

    link.upper.on_message = answer
    for _ in range(3):
        link.client.send([bytes(100)])
    link.client.pump()
    link.network.loop.turn()
    assert queued == [100, 200, 300]
    assert link.transport.engine.queued_bytes == 0
    link.transport.send([bytes(100)])
    assert link.transport.engine.queued_bytes == 0  # nothing more is awaited: it goes at once


def test_large_replies_do_not_wait_for_all_that_came_at_once(link: Link) -> None:
    queued = []

    def answer(message: memoryview) -> None:
        link.transport.send([bytes(FLUSH_SIZE - 1)])
        queued.append(link.transport.engine.queued_bytes)

    link.upper.on_message = answer
    for _ in range(3):
        link.client.send([b"x"])
    link.client.pump()
    link.network.loop.turn()
    assert queued == [FLUSH_SIZE - 1, 2 * FLUSH_SIZE - 2, FLUSH_SIZE - 1]


def test_a_refusal_arrives_before_the_end(network: Network) -> None:
    client = RawClient(network.client_device)
    transport = network.connect(client)
    upper = Upper()
    transport.start(upper)
    client.post(request(versions=(0x101, 0x101)))
    network.pump()
    assert len(client.messages) == 1
    assert upper.lost == ["the negotiation failed"]
    assert transport.state is State.FINISHED  # without lingering


def test_few_sends_ask_for_a_completion(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    link.echo()
    queue_pair: Any = link.transport.queue_pair
    seen: list[Completion] = []

    def poll(limit: int) -> list[Completion]:
        completions = type(queue_pair).poll(queue_pair, limit)
        seen.extend(completions)
        return completions

    monkeypatch.setattr(queue_pair, "poll", poll)
    for index in range(4 * SENDS):
        assert link.call(pattern(20, index)) == pattern(20, index)
    sends = [c for c in seen if c.opcode is Opcode.SEND]
    assert len(sends) <= 4 * 4 + 1


def test_the_limit_is_asked_for_every_message_of_several_fragments(link: Link) -> None:
    def shrink(message: memoryview) -> None:
        link.upper.message_limit = 5000

    link.upper.on_message = shrink
    for size in (10_000, 5000, 5001, 10):
        link.client.send([bytes(size)])
    link.network.pump()
    assert [len(message) for message in link.upper.messages] == [10_000, 5000]
    assert link.upper.lost == ["a message of 5001 bytes, where 5000 are allowed"]


def test_a_receiver_may_allow_more_than_was_negotiated(network: Network) -> None:
    link = Link(network).start()
    client = RawClient(network.client_device)
    transport = network.connect(client)
    upper = Upper()
    transport.start(upper)
    client.post(request())
    network.pump()
    client.post(data(b"x", remaining=transport.engine.limits.max_fragmented_size))
    network.pump()
    assert "bytes, where 1048576 are allowed" in upper.lost[0]
    assert not link.upper.lost


def test_there_is_one_timer(link: Link) -> None:
    for _ in range(3):
        link.client.send([b"x"])
        link.network.pump()
        link.network.advance(60.0)
        assert len(link.network.loop.timers) == 1
    link.network.advance(1000.0)
    assert link.transport.state is State.OPEN
    assert len(link.network.loop.timers) == 1


def test_a_peer_that_is_gone_is_noticed(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    link.network.clients.clear()  # it answers nothing
    link.network.advance(119.0)
    assert link.upper.lost == []
    link.network.advance(7.0)
    assert link.upper.lost == ["the peer does not answer"]
    link.network.advance(LINGER_SECONDS)
    assert queue_pair.closed


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, EpollLoop])
def test_on_real_loops(network: Network, new_loop: Callable[[], Any]) -> None:
    steps, network.loop = network.loop, new_loop()
    loop: asyncio.AbstractEventLoop = network.loop  # type: ignore[assignment]
    link = Link(network).echo()
    link.transport.start(link.upper)

    def until(condition: Callable[[], object]) -> None:
        end = loop.time() + 5.0
        while not condition():
            assert loop.time() < end
            link.client.pump()
            loop.call_soon(loop.stop)
            loop.run_forever()

    for size in (10, 100_000):
        link.client.send([pattern(size)])
        until(lambda size=size: pattern(size) in link.client.delivered)
    region = link.client.register(pattern(100))
    link.transport.read_remote(link.memory(bytes(100)), [region.remote()], link.done.append)
    until(lambda: link.done == [None])
    link.transport.close("enough")
    until(lambda: link.transport.state is State.FINISHED)
    assert link.upper.lost == ["enough"]
    loop.close()
    network.loop = steps


@pytest.mark.parametrize("most", [1024, 200, 60, 18])
def test_a_device_with_short_queues_has_shorter_ones(most: int) -> None:
    device = DeviceLimits(most, 1, 1, most * 2, 1 << 30, 16, 16)
    depths = Depths.fit(Limits(), device)
    assert max(depths.receives, depths.send_queue) <= most
    assert min(depths.receives, depths.sends, depths.reads, depths.writes, depths.segments) > 0
    network = Network(device=device)
    link = Link(network).start().echo()
    for _ in range(3):
        assert link.call(pattern(100_000)) == pattern(100_000)
    network.close()


def test_a_device_with_hardly_any_queue_is_refused(network: Network) -> None:
    network.server_device.limits = DeviceLimits(8, 1, 1, 16, 1 << 30, 16, 16)
    with pytest.raises(DeviceError, match="too short"):
        open_queue_pair(network.server_device, Limits())
