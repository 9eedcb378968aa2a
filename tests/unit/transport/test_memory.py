"""The joined pair in memory."""

import os
from pathlib import Path

from usmbd.transport.base import FileSpan
from usmbd.transport.memory import MemoryTransport, pair


class Taker:
    """Keeps what it is given."""

    message_limit = 10

    def __init__(self) -> None:
        """Begin empty."""
        self.messages: list[bytes] = []
        self.lost: list[str] = []

    def message_received(self, message: memoryview) -> None:
        """Take a message."""
        message[0:1] = message[0:1]  # it has to be writable
        self.messages.append(bytes(message))

    def connection_lost(self, reason: str) -> None:
        """Learn the end."""
        self.lost.append(reason)


def joined() -> tuple[MemoryTransport, MemoryTransport, Taker, Taker]:
    one, two = pair()
    takers = Taker(), Taker()
    one.start(takers[0])
    two.start(takers[1])
    return one, two, *takers


def test_a_message_arrives_whole_at_the_next_pump() -> None:
    one, two, _, taker = joined()
    one.send([b"ab", memoryview(b"cd"), bytearray(b"ef")])
    assert taker.messages == []
    assert two.pump() == 1
    assert taker.messages == [b"abcdef"]
    assert two.pump() == 0


def test_a_file_span_is_read_and_filled_up_with_zeros(tmp_path: Path) -> None:
    one, two, _, taker = joined()
    (tmp_path / "file").write_bytes(b"0123456")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    one.send([b"<", FileSpan(fd, 5, 4), b">"])
    os.close(fd)
    two.pump()
    assert taker.messages == [b"<56\0\0>"]


def test_a_message_above_the_limit_ends_the_connection_on_both_sides() -> None:
    one, two, first, second = joined()
    one.send([bytes(10)])
    one.send([bytes(11)])
    assert two.pump() == 1
    assert one.closed
    assert len(first.lost) == len(second.lost) == 1


def test_nothing_goes_on_a_closed_connection() -> None:
    one, two, first, _ = joined()
    two.send([b"late"])
    one.close("enough")
    one.close("again")
    one.send([b"more"])
    assert not two.arrived  # what nobody will take is not kept
    assert first.lost == ["enough"]
    assert one.pump() == two.pump() == 0
    assert first.messages == []


def test_a_receiver_may_close_while_it_is_served() -> None:
    one, two, _, taker = joined()
    taker.message_received = lambda message: two.close("no more")  # type: ignore[method-assign]
    one.send([b"1"])
    one.send([b"2"])
    assert two.pump() == 1
    assert taker.lost == ["no more"]
