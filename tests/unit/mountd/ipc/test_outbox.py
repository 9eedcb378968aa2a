"""What waits for a socket: sent whole, in order, and forgotten when nobody reads any more."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from usmbd.mountd.ipc.outbox import Outbox

MESSAGE = b"x" * 4000


class Pair:
    """An outbox, and the other side of its socket."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.ours, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.setblocking(False)
        self.said: list[OSError | None] = []
        self.outbox = Outbox(self.ours, self.loop, self.said.append)

    def fill(self) -> int:
        """Put messages until one waits; return how many have gone."""
        count = 0
        while not self.outbox:
            assert self.outbox.put(b"%d" % count + MESSAGE)
            count += 1
        return count - 1

    def turn(self) -> None:
        """Let the loop look at the socket."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.outbox.close()
    pair.ours.close()
    pair.other.close()
    pair.loop.close()


def test_what_is_taken_at_once_does_not_wait(pair: Pair) -> None:
    assert pair.outbox.put(b"one")
    assert len(pair.outbox) == 0
    assert pair.other.recv(10) == b"one"
    assert pair.said == [None]


def test_what_waits_goes_in_its_order(pair: Pair) -> None:
    gone = pair.fill()
    for number in range(3):
        assert pair.outbox.put(b"%d" % (gone + 1 + number) + MESSAGE)
    assert len(pair.outbox) == 4
    for number in range(gone + 4):
        pair.turn()
        assert pair.other.recv(8000) == b"%d" % number + MESSAGE
    assert len(pair.outbox) == 0
    assert not pair.loop.remove_writer(pair.ours)  # it is asked for no more
    assert set(pair.said) == {None}


def test_who_is_gone_takes_nothing(pair: Pair) -> None:
    pair.fill()
    pair.other.close()
    assert not pair.outbox.put(b"more")
    assert len(pair.outbox) == 0
    assert isinstance(pair.said[-1], ConnectionError)
    assert not pair.loop.remove_writer(pair.ours)


def test_who_goes_while_something_waits_is_noticed(pair: Pair) -> None:
    pair.fill()
    pair.other.close()
    pair.turn()
    assert isinstance(pair.said[-1], OSError)
    assert len(pair.outbox) == 0


def test_what_is_closed_sends_nothing(pair: Pair) -> None:
    gone = pair.fill()
    pair.outbox.close()
    for _ in range(gone):
        pair.other.recv(8000)
    pair.turn()
    pair.other.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.other.recv(8000)
