"""Reads and writes of the peer's memory: pieces, order, depths, memory that is pinned or short."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smbdirect.network import READS, Network

from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect.backlog import TRANSFERS_HIGH
from usmbd.transport.smbdirect.batches import HELD_SIZE
from usmbd.transport.smbdirect.connection import State
from usmbd.transport.smbdirect.depths import WRITES
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.posted_work import PINNED
from usmbd.transport.smbdirect.provider import RegistrationError
from usmbd.transport.smbdirect.registered_memory import LARGEST, Pool
from usmbd.transport.smbdirect.transfer_queue import RETRY_SECONDS
from usmbd.transport.smbdirect.transfers import BOUNCE

from .conftest import Link, pattern

SPLITS = st.lists(st.integers(0, 4000), min_size=1, max_size=12)


def parts(content: bytes, lengths: list[int]) -> list[bytes]:
    """Cut content; the last part is what is left."""
    cut = []
    for length in lengths:
        cut.append(content[:length])
        content = content[length:]
    return [*cut, content]


def remotes(link: Link, content: bytes, lengths: list[int]) -> tuple[Any, list[RemoteBuffer]]:
    """Register content at the client, and describe it in pieces."""
    region = link.client.register(content)
    found, start = [], 0
    for part in parts(content, lengths):
        found.append(region.remote(start, len(part)))
        start += len(part)
    return region, found


@settings(max_examples=40, deadline=None)
@given(SPLITS, SPLITS, st.lists(st.booleans(), min_size=13, max_size=13))
def test_a_write_arrives_however_it_is_cut(
    ours: list[int], theirs: list[int], registered: list[bool]
) -> None:
    network = Network()
    link = Link(network).start()
    content = pattern(30_000)
    region, remote = remotes(link, bytes(40_000), theirs)
    pieces = parts(content, ours)
    views = [
        link.memory(piece) if own else memoryview(piece)
        for piece, own in zip(pieces, registered, strict=False)
    ]
    link.transport.write_remote(views, remote)
    del views
    network.pump()
    assert region.data == content + bytes(10_000)
    network.close()


@settings(max_examples=40, deadline=None)
@given(SPLITS, st.booleans(), st.integers(1, 16))
def test_a_read_arrives_however_it_is_cut(theirs: list[int], registered: bool, depth: int) -> None:
    network = Network()
    link = Link(network, reads=depth).start()
    content = pattern(40_000)
    _, remote = remotes(link, content, theirs)
    view = link.transport.buffer(30_000) if registered else memoryview(bytearray(30_000))
    link.transport.read_remote(view, remote, link.done.append)
    assert link.done == []
    network.pump()
    assert link.done == [None]
    assert view == content[:30_000]
    del view
    network.close()


def test_a_reply_follows_the_data(link: Link) -> None:
    region = link.client.register(100_000)
    fabric = link.network.fabric
    fabric.pause()
    link.transport.write_remote([link.memory(pattern(100_000))], [region.remote()])
    link.transport.send([b"there it is"], region.remote().token)
    fabric.step(1)
    assert region.data == pattern(100_000)
    assert not region.invalidated
    fabric.step(1)
    assert region.invalidated
    fabric.resume()
    link.network.pump()
    assert link.client.delivered == [b"there it is"]


@pytest.mark.parametrize(("size", "waits"), [(HELD_SIZE, False), (HELD_SIZE // 4, True)])
def test_much_data_and_its_reply_leave_before_the_next_request(
    link: Link, size: int, waits: bool
) -> None:
    region = link.client.register(size)
    queued = []

    def answer(message: memoryview) -> None:
        queued.append(link.transport.engine.queued_bytes)
        link.transport.write_remote([link.memory(pattern(size))], [region.remote()])
        link.transport.send([b"1"])

    link.upper.on_message = answer
    for _ in range(3):
        link.client.send([b"x"])
    link.client.pump()
    link.network.loop.turn()
    assert queued == ([0, 1, 2] if waits else [0, 0, 0])
    link.network.pump()
    assert link.client.delivered == [b"1"] * 3


def test_more_pieces_than_the_device_has_room_for_keep_their_place(link: Link) -> None:
    count = 3 * WRITES
    region = link.client.register(count)
    link.network.fabric.pause()
    for turn in range(2):
        content = bytes([turn + 1]) * count
        buffers = [region.remote(n, 1) for n in range(count)]
        link.transport.write_remote([link.memory(content)], buffers)
        link.transport.send([bytes([turn])])
    link.transport.send([b"last"])
    assert link.transport.engine.queued_bytes == 0  # they wait behind the writes
    with pytest.raises(ValueError, match="bytes: the peer takes"):
        link.transport.send([b""])
    link.network.fabric.resume()
    link.network.until(lambda: link.client.delivered)
    assert region.data[0] in (1, 2)
    link.network.pump()
    assert link.client.delivered == [b"\0", b"\1", b"last"]
    assert link.transport._send_order.queued_bytes == 0
    assert region.data == bytes([2]) * count


def test_no_more_reads_than_the_peer_answers_at_once(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    network = link.network
    network.fabric.pause()
    content = pattern(20_000)
    _, remote = remotes(link, content, [100] * 5)
    views = [link.transport.buffer(20_000) for _ in range(3)]
    for view in views:
        link.transport.read_remote(view, remote, link.done.append)
    most = 0
    while link.done != [None] * 3:
        most = max(most, queue_pair.posted_sends)
        assert network.fabric.step(1) + network.pump()
    assert most == READS
    assert all(view == content for view in views)
    network.fabric.resume()


def test_reads_that_the_peer_does_not_answer_fail_alone(network: Network) -> None:
    link = Link(network, reads=0).start().echo()
    region = link.client.register(10)
    link.transport.read_remote(link.memory(bytes(10)), [region.remote()], link.done.append)
    assert link.done == []
    network.pump()
    assert isinstance(link.done[0], OSError)
    assert link.call(b"still there") == b"still there"


def test_nothing_is_read_or_written_at_once(link: Link) -> None:
    link.transport.read_remote(memoryview(bytearray(0)), [], link.done.append)
    link.transport.write_remote([], [])
    link.transport.write_remote([memoryview(b"")], [RemoteBuffer(1, 2, 0)])
    assert link.done == []
    link.network.pump()
    assert link.done == [None]


@pytest.mark.parametrize(
    ("size", "buffers"),
    [
        (11, [RemoteBuffer(0, 1, 10)]),
        (11, [RemoteBuffer(0, 1, 5), RemoteBuffer(0, 1, 5)]),
        (1, []),
        (10, [RemoteBuffer((1 << 64) - 9, 1, 10)]),
        (10, [RemoteBuffer(-1, 1, 10)]),
        (10, [RemoteBuffer(0, 1 << 32, 10)]),
        (10, [RemoteBuffer(0, -1, 10)]),
        (10, [RemoteBuffer(5, 1, -5), RemoteBuffer(0, 1, 15)]),
        (131_073, [RemoteBuffer(0, 1, 1 << 20)]),
    ],
)
def test_what_cannot_be_is_refused(size: int, buffers: list[RemoteBuffer]) -> None:
    network = Network(Limits(max_read_write_size=131_072))
    link = Link(network).start()
    with pytest.raises(ValueError, match="bytes"):
        link.transport.write_remote([link.transport.buffer(size)], buffers)
    with pytest.raises(ValueError, match="bytes"):
        link.transport.read_remote(link.transport.buffer(size), buffers, link.done.append)
    network.pump()
    assert link.done == []
    assert link.transport.state is State.OPEN
    network.close()


def test_nothing_is_read_into_what_must_not_change(link: Link) -> None:
    with pytest.raises(ValueError, match="read-only"):
        link.transport.read_remote(memoryview(b"xx"), [RemoteBuffer(0, 1, 2)], link.done.append)


def test_memory_is_pinned_until_the_completion(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    pool = link.network.pool
    region = link.client.register(bytes(LARGEST))
    queue_pair.withhold()
    link.transport.write_remote([link.memory(bytes(PINNED))], [region.remote()])
    link.transport.read_remote(link.transport.buffer(1 << 20), [region.remote()], link.done.append)
    link.network.pump()
    assert pool.in_use() == PINNED + (1 << 20)
    assert link.done == []
    queue_pair.release()
    link.network.pump()
    assert pool.in_use() == 0
    assert link.done == [None]


def test_a_large_write_asks_for_its_completion(link: Link) -> None:
    region = link.client.register(bytes(PINNED))
    link.transport.write_remote([link.memory(bytes(PINNED))], [region.remote()])
    link.network.pump()
    assert link.network.pool.in_use() == 0


def test_small_writes_share_a_completion_and_keep_little_pinned(link: Link) -> None:
    region = link.client.register(bytes(4096))
    used = []
    for _ in range(100):
        link.transport.write_remote([link.memory(bytes(4096))], [region.remote()])
        link.network.pump()
        used.append(link.network.pool.in_use())
    assert 0 < max(used) <= WRITES // 4 * 4096
    assert used.count(0) >= 100 // (WRITES // 4)


@pytest.mark.parametrize("size", [PINNED, 1 << 20, LARGEST])
def test_few_bytes_of_much_memory_pin_little(link: Link, size: int) -> None:
    region = link.client.register(bytes(300))
    for _ in range(20):
        link.transport.write_remote([link.transport.buffer(size)[:300]], [region.remote()])
        link.network.pump()
        assert link.network.pool.in_use() == 0


def test_a_write_of_many_pieces_asks_for_the_completion_of_the_last(link: Link) -> None:
    queue_pair: Any = link.transport.queue_pair
    region = link.client.register(bytes(PINNED))
    many = [region.remote(start, 100) for start in range(0, 1500, 100)]
    queue_pair.withhold()
    link.transport.write_remote([link.transport.buffer(PINNED)[:1500]], many)
    link.network.pump()
    queue_pair.release(1)
    link.network.pump()
    assert link.network.pool.in_use() == 0
    queue_pair.release()


def test_the_last_bytes_of_much_memory_are_not_left_pinned(link: Link) -> None:
    region = link.client.register(bytes(LARGEST))
    ends = [region.remote(0, LARGEST - 100), region.remote(LARGEST - 100, 100)]
    link.transport.write_remote([link.transport.buffer(LARGEST)], ends)
    link.network.pump()
    assert link.network.pool.in_use() == 0


@pytest.mark.parametrize("pieces", [1, 2, WRITES + 1])
def test_few_bytes_of_much_memory_count_as_much(pieces: int) -> None:
    network = Network(pool_limit=TRANSFERS_HIGH + LARGEST)
    link = Link(network).start()
    region = link.client.register(bytes(pieces))
    remote = [region.remote(start, 1) for start in range(pieces)]
    for _ in range(2):  # nothing stays counted
        network.fabric.pause()
        for _ in range(TRANSFERS_HIGH // LARGEST):
            assert not link.transport.saturated
            link.transport.write_remote([link.transport.buffer(LARGEST)[:pieces]], remote)
        assert link.transport.saturated
        network.fabric.resume()
        network.pump()
        assert not link.transport.saturated
        assert network.pool.in_use() == 0
    network.close()


def test_memory_that_is_borrowed_from_is_not_counted(link: Link) -> None:
    region = link.client.register(bytes(300))
    for _ in range(2 * TRANSFERS_HIGH // LARGEST):
        much = memoryview(bytearray(LARGEST))
        link.transport.write_remote([much[:300]], [region.remote()])
        link.network.pump()
        assert not link.transport.saturated
    assert link.network.pool.in_use() < PINNED


def hoard_all(pool: Pool) -> list[memoryview]:
    """Take all memory of a pool, the reserve last."""
    return [*(pool.take(LARGEST) for _ in range(pool.limit // LARGEST)), pool.borrow(BOUNCE)]


def test_a_pool_without_memory_delays_what_needs_it(network: Network) -> None:
    link = Link(network).start()
    pool = network.pool
    content = pattern(3 << 20)
    region = link.client.register(content)
    hoard = hoard_all(pool)
    view = link.transport.buffer(3 << 20)
    assert not pool.owns(view)
    link.transport.read_remote(view, [region.remote()], link.done.append)
    other = link.client.register(3 << 20)
    data = memoryview(content)
    link.transport.write_remote([data], [other.remote()])
    link.transport.send([b"after it"])
    network.advance(10 * RETRY_SECONDS)
    assert link.done == []
    assert link.client.delivered == []
    hoard.pop()
    network.advance(RETRY_SECONDS)
    assert link.done == [None]
    assert view == content
    assert link.client.delivered == [b"after it"]
    assert other.data == content
    hoard.clear()


def test_what_has_no_memory_is_not_starved_by_what_waits_behind_it(network: Network) -> None:
    link, other = Link(network).start(), Link(network).start()
    region = link.client.register(LARGEST)
    # READs that threads serve have their memory already.
    slow = [link.transport.buffer(LARGEST) for _ in range(network.pool.limit // LARGEST)]
    small = link.transport.buffer(4096)
    assert not network.pool.owns(small)
    link.transport.write_remote([small], [region.remote(0, 4096)])
    link.transport.send([b"small"])
    while slow:
        link.transport.write_remote([slow.pop()], [region.remote()])
        link.transport.send([b"slow"])
    theirs = other.client.register(4096)
    other.transport.write_remote([other.transport.buffer(4096)], [theirs.remote()])
    other.transport.send([b"other"])
    network.advance(1.0)
    assert link.client.delivered == [b"small", b"slow", b"slow"]
    assert other.client.delivered == [b"other"]


def test_a_little_registered_memory_is_enough(network: Network) -> None:
    link = Link(network).start()
    pool = network.pool
    hoard = [pool.take(LARGEST) for _ in range(pool.limit // LARGEST - 1)]
    hoard += [pool.take(BOUNCE) for _ in range(LARGEST // BOUNCE - 1)]
    content = pattern(3 * BOUNCE)
    region = link.client.register(len(content))
    link.transport.write_remote([memoryview(content)], [region.remote()])
    view = memoryview(bytearray(len(content)))
    network.advance(10 * RETRY_SECONDS)
    assert region.data == content
    link.transport.read_remote(view, [region.remote()], link.done.append)
    network.advance(10 * RETRY_SECONDS)
    assert link.done == [None]
    assert view == content
    hoard.clear()


def test_a_delay_loses_nothing_of_what_goes_together(network: Network) -> None:
    link = Link(network).start()
    first, second = link.memory(pattern(5000)), memoryview(pattern(5000, 7))
    region = link.client.register(10_000)
    hoard = []
    for size in (LARGEST, BOUNCE, 5000):
        with suppress(RegistrationError):
            while True:
                hoard.append(network.pool.borrow(size))
    link.transport.write_remote([first, second], [region.remote()])
    network.pump()
    assert region.data == pattern(5000) + bytes(5000)
    hoard.clear()
    network.advance(RETRY_SECONDS)
    assert region.data == pattern(5000) + pattern(5000, 7)
    del first


def test_a_delay_ends_with_the_connection(network: Network) -> None:
    link = Link(network).start()
    region = link.client.register(10)
    hoard = hoard_all(network.pool)
    view = link.transport.buffer(10)
    link.transport.read_remote(view, [region.remote()], link.done.append)
    link.transport.close("enough")
    network.advance(10 * RETRY_SECONDS)
    assert [str(error) for error in link.done] == ["enough"]
    hoard.clear()


def test_more_than_the_largest_slice_is_other_memory(link: Link) -> None:
    assert not link.network.pool.owns(link.transport.buffer(LARGEST + 1))
    assert len(link.transport.buffer(LARGEST + 1)) == LARGEST + 1
