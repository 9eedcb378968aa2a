"""What a connection asks of its device for each request: for software ones, by system calls."""

from collections.abc import Callable

import pytest
from smbdirect.network import Network

from usmbd.transport.smbdirect.batches import HELD_POLLS
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.posted_work import CHAINED, KEPT, PINNED
from usmbd.transport.smbdirect.tidying import TIDY_SECONDS

from .conftest import Link

SMALL, LARGE = 4096, 1 << 16


class Calls:
    """What the server's queue pair was asked for."""

    def __init__(self, link: Link, patch: pytest.MonkeyPatch) -> None:
        """Count from now on."""
        self.doorbells = 0
        """Lists of work that were posted."""
        self.posts = 0
        self.signaled = 0
        """Posts whose completion was asked for."""
        self.arms = 0
        pair = link.transport.queue_pair
        assert isinstance(pair, FabricQueuePair)
        submit, arm, post = pair._submit, pair.arm, pair._post

        def counted_submit() -> None:
            self.doorbells += bool(pair._chain)
            submit()

        def counted_arm() -> None:
            self.arms += 1
            arm()

        def counted_post(work: object, more: bool = False) -> None:
            self.posts += 1
            self.signaled += work.signaled  # type: ignore[attr-defined]
            post(work, more)  # type: ignore[arg-type]

        patch.setattr(pair, "_submit", counted_submit)
        patch.setattr(pair, "arm", counted_arm)
        patch.setattr(pair, "_post", counted_post)


def reads(link: Link, size: int) -> Callable[[memoryview], None]:
    """Return what answers each message as a READ: data into the client's memory, and a reply."""
    region = link.client.register(size)

    def answer(message: memoryview) -> None:
        link.transport.write_remote([link.memory(bytes(size))], [region.remote()])
        link.transport.send([b"read"])

    return answer


def writes(link: Link, size: int) -> Callable[[memoryview], None]:
    """Return what answers each message as a WRITE: the client's memory is read, a reply follows."""
    region = link.client.register(size)

    def answer(message: memoryview) -> None:
        link.transport.read_remote(
            link.transport.buffer(size), [region.remote()], lambda _: link.transport.send([b"w"])
        )

    return answer


def come(link: Link, depth: int) -> None:
    """Have the client send requests that arrive together, and let all be answered."""
    for _ in range(depth):
        link.client.send([b"request"])
    link.client.pump()
    link.network.pump()
    assert len(link.client.delivered) == depth
    link.client.delivered.clear()


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_reads_that_come_together_are_answered_by_one_list(
    link: Link, monkeypatch: pytest.MonkeyPatch, depth: int, size: int
) -> None:
    link.upper.on_message = reads(link, size)
    come(link, depth)
    calls = Calls(link, monkeypatch)
    come(link, depth)
    assert (calls.posts, calls.doorbells) == (2 * depth, 1)
    assert calls.arms == 1


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_writes_that_come_together_need_two_lists(
    link: Link, monkeypatch: pytest.MonkeyPatch, depth: int, size: int
) -> None:
    link.upper.on_message = writes(link, size)
    come(link, depth)
    calls = Calls(link, monkeypatch)
    come(link, depth)
    assert (calls.posts, calls.doorbells) == (2 * depth, 2)
    assert calls.arms <= 2


def test_a_reply_goes_with_the_next_requests_read(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = link.client.register(SMALL)
    left = 5

    def done(error: OSError | None) -> None:
        link.transport.send([b"written"])

    def answer(message: memoryview) -> None:
        nonlocal left
        left -= 1
        if left:  # the next request is there before this one's data is
            link.client.send([b"request"])
            link.client.pump()
        link.transport.read_remote(link.transport.buffer(SMALL), [region.remote()], done)

    link.upper.on_message = answer
    calls = Calls(link, monkeypatch)
    link.client.send([b"request"])
    link.client.pump()
    link.network.pump()
    assert link.client.delivered == [b"written"] * 5
    assert calls.posts == 10
    assert calls.doorbells < 8


def test_what_never_ends_to_come_is_answered_in_between(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 10 * HELD_POLLS

    def answer(message: memoryview) -> None:
        nonlocal left
        left -= 1
        link.transport.send([b"answer"])
        if left:
            link.client.send([b"request"])
            link.client.pump()

    link.upper.on_message = answer
    calls = Calls(link, monkeypatch)
    link.client.send([b"request"])
    link.client.pump()
    link.network.pump()
    assert len(link.client.delivered) == 10 * HELD_POLLS
    assert calls.doorbells >= 10


def test_large_transfers_begin_at_once(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    link.upper.on_message = writes(link, 4 * CHAINED)
    calls = Calls(link, monkeypatch)
    come(link, 4)
    assert calls.doorbells == 4 + 1


def test_a_read_that_nothing_follows_begins_at_once(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = link.client.register(SMALL)
    calls = Calls(link, monkeypatch)
    link.transport.read_remote(link.transport.buffer(SMALL), [region.remote()], link.done.append)
    assert calls.doorbells == 1
    link.network.pump()
    assert link.done == [None]


def test_few_reads_wake_the_server_by_their_completion(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    link.upper.on_message = reads(link, LARGE)
    come(link, 1)
    calls = Calls(link, monkeypatch)
    for _ in range(64):
        come(link, 1)
    assert calls.doorbells == 64
    assert calls.signaled == 64 * LARGE // PINNED
    assert calls.arms <= 64 + calls.signaled


def test_an_idle_connection_gives_memory_back(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(network).start()
    link.upper.on_message = reads(link, LARGE)
    calls = Calls(link, monkeypatch)
    come(link, 3)
    assert network.pool.in_use() == 3 * LARGE
    posts = calls.posts
    network.advance(TIDY_SECONDS)
    assert network.pool.in_use() == 0
    assert calls.posts == posts + 1
    network.advance(10 * TIDY_SECONDS)
    assert calls.posts == posts + 1
    link.upper.on_message = reads(link, SMALL)
    come(link, KEPT // SMALL - 1)
    posts = calls.posts
    network.advance(10 * TIDY_SECONDS)
    assert calls.posts == posts
    assert 0 < network.pool.in_use() < KEPT


def test_an_end_before_that_leaves_nothing(network: Network) -> None:
    link = Link(network).start()
    link.upper.on_message = reads(link, LARGE)
    come(link, 3)
    link.client.close()
    network.advance(10.0)
    assert network.pool.in_use() == 0
    assert network.loop.timers == []
