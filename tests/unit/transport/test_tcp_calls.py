"""How many system calls messages cost, counted by a socket that stands in for the real one."""

from collections.abc import Callable
from typing import Any

import pytest

from usmbd.transport.expected import FORGET_AFTER, GATHER_SIZE, READ_SIZE, Retry
from usmbd.transport.tcp import (
    FLUSH_SIZE,
    HELD_SHARE,
    MOVED_SIZE,
    READ_MOST,
    READS_AT_ONCE,
)
from usmbd.transport.turns import LARGE_MESSAGE

KIB = 1024
MIB = 1024 * KIB
HEAD = 116
"""Length field, header and body before a WRITE's data."""
SEALED = HEAD + 52
"""The same in a TRANSFORM_HEADER."""


class StandIn:
    """A socket whose peer is the test: what it has sent lies in `sent`, what it got in `taken`."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.sent = bytearray()
        self.taken = bytearray()
        self.receives: list[int] = []
        self.memory: list[object] = []
        self.sends = 0
        self.empty = 0

    def recv_into(self, view: memoryview) -> int:
        """Give what was sent, as far as it fits."""
        if not self.sent:
            self.empty += 1
            raise BlockingIOError
        count = min(len(view), len(self.sent))
        view[:count] = self.sent[:count]
        del self.sent[:count]
        self.receives.append(count)
        self.memory.append(view.obj)
        return count

    def send(self, data: bytes, flags: int = 0) -> int:
        """Take a reply."""
        return self.sendmsg([data])

    def sendmsg(self, parts: list[bytes], ancillary: object = (), flags: int = 0) -> int:
        """Take a reply in parts."""
        self.sends += 1
        self.taken += b"".join(parts)
        return sum(map(len, parts))

    def close(self) -> None:
        """End."""


class Slice:
    """A turn whose slice lasts until the test says that it is over."""

    def __init__(self) -> None:
        """Begin with one that lasts."""
        self.ended = False
        self.works: list[Callable[[], None]] = []

    def served(self, began: float) -> float:
        """Count."""
        return 0.0 if self.ended else 1.0

    def over(self) -> bool:
        """Say what the test does."""
        return self.ended

    def later(self, owner: object, work: Callable[[], None]) -> None:
        """Keep work."""
        self.works.append(work)


@pytest.fixture
def turn(wire: Any) -> Slice:
    wire.transport._turns = Slice()
    return wire.transport._turns  # type: ignore[no-any-return]


@pytest.fixture
def sock(wire: Any, turn: Slice) -> StandIn:
    wire.transport._sock.close()
    wire.transport._sock = stand_in = StandIn()
    wire.receiver.on_message = lambda message: wire.transport.send([b"reply"])
    return stand_in


@pytest.fixture
def put(wire: Any, sock: StandIn) -> Callable[..., None]:
    """Return a function that sends messages of given sizes and has the loop tell of them once."""

    def send(*sizes: int) -> None:
        for size in sizes:
            sock.sent += size.to_bytes(4, "big") + bytes(size)
        wire.transport._readable()

    return send


@pytest.mark.parametrize("size", [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB])
@pytest.mark.parametrize("head", [HEAD, SEALED])
def test_each_write_is_one_receive_into_its_place(
    wire: Any, sock: StandIn, put: Callable[..., None], size: int, head: int
) -> None:
    frame = size + head
    put(frame - 4)  # the first is not expected: its beginning fills the memory for small frames
    assert sock.receives == [READ_SIZE, frame - READ_SIZE]
    for _ in range(20):
        wire.receiver.messages.clear()
        sock.receives.clear()
        sock.memory.clear()
        put(frame - 4)
        assert sock.receives == [frame]
        assert wire.receiver.messages[0].obj is sock.memory[0]


def test_beside_others_a_large_write_is_received_in_parts(
    wire: Any, sock: StandIn, put: Callable[..., None], turn: Slice
) -> None:
    """One a turn of the loop, which has used up its slice."""
    turn.ended = True
    put(8 * MIB)
    assert sock.receives == [READ_SIZE, READ_MOST]
    wire.transport._readable()
    assert sock.receives == [READ_SIZE, READ_MOST, READ_MOST]


@pytest.mark.parametrize("size", [LARGE_MESSAGE - 1, LARGE_MESSAGE])
def test_a_large_message_begins_while_the_slice_lasts(
    wire: Any, sock: StandIn, put: Callable[..., None], turn: Slice, size: int
) -> None:
    """Small ones always do: each connection would have a large one in the same turn."""
    large, turn.ended = size >= LARGE_MESSAGE, True
    wire.transport._update_reading = lambda: None  # of a socket that is none
    put(size)
    assert len(wire.receiver.messages) == (not large)
    assert len(turn.works) == large
    if large:  # then it is this connection's turn, for one
        sock.sent += size.to_bytes(4, "big") + bytes(size)
        turn.works.pop()()
        assert len(wire.receiver.messages) == 1
        wire.transport._readable()
        assert len(wire.receiver.messages) == 1
        assert len(turn.works) == 1
        turn.works.pop()()
        assert len(wire.receiver.messages) == 2
    assert {len(message) for message in wire.receiver.messages} == {size}


def test_writes_that_come_together_are_one_receive_and_one_send(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    size = 64 * KIB + HEAD - 4
    put(size)
    for _ in range(5):
        sock.receives.clear()
        sock.sends = 0
        put(*[size] * 4)
        assert sock.receives == [4 * (size + 4)]
        assert sock.sends == 1
    assert sum(sock.receives) <= GATHER_SIZE


def test_the_data_of_reads_that_come_together_is_one_send(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    data = bytes(64 * KIB)
    wire.receiver.on_message = lambda message: wire.transport.send([b"head", memoryview(data)])
    for _ in range(5):
        sock.sends = 0
        put(*[113] * 4)
        assert sock.sends == 1


def test_large_replies_do_not_wait_for_the_batch(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    seen: list[int] = []

    def answer(message: memoryview) -> None:
        seen.append(wire.transport._queued)
        wire.transport.send([bytes(FLUSH_SIZE)])

    wire.receiver.on_message = answer
    put(1, 1, 1)
    assert seen == [0, 0, 0]
    assert sock.sends == 3


def test_a_write_that_is_not_whole_goes_on_in_its_place(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    """Behind others in one read, where its end has room."""
    size = 64 * KIB + HEAD - 4
    put(size)
    sock.memory.clear()
    wire.receiver.messages.clear()
    frames = 2 * (size.to_bytes(4, "big") + bytes(range(256)) * 256 + bytes(size - 64 * KIB))
    sock.sent += frames[: size + 4 + 30_000]
    wire.transport._readable()
    sock.sent += frames[size + 4 + 30_000 :]
    wire.transport._readable()
    assert [bytes(m) for m in wire.receiver.messages] == [frames[4 : size + 4]] * 2
    assert {id(m.obj) for m in wire.receiver.messages} == {id(m) for m in sock.memory}


def test_a_small_beginning_makes_room_for_what_follows(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    """Else the reads would become shorter and shorter to the end of the memory."""
    put(*[4 * KIB + HEAD - 4] * 15)
    sock.receives.clear()
    frame = (4 * KIB + HEAD - 4).to_bytes(4, "big") + bytes(4 * KIB + HEAD - 4)
    stream = frame * 60
    cut = 15 * len(frame) + MOVED_SIZE // 2
    sock.sent += stream[:cut]
    wire.transport._readable()
    sock.sent += stream[cut:]
    for _ in range(4):
        wire.transport._readable()
    assert not sock.sent
    assert len(sock.receives) <= 1 + -(-(len(stream) - cut) // (READ_SIZE - MOVED_SIZE))


def test_a_client_with_one_request_under_way_costs_a_receive_and_a_send_each(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    """Not the call that learns that there is no other request yet."""
    for _ in range(500):
        put(100)
    assert len(sock.receives) == sock.sends == 500
    assert sock.empty < 500 // Retry.MAXIMUM_SKIP + 8


def test_what_comes_meanwhile_is_taken_without_a_turn_of_the_loop(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    def answer_and_ask(message: memoryview) -> None:
        wire.transport.send([b"reply"])
        if len(wire.receiver.messages) % READS_AT_ONCE:
            sock.sent += b"\0\0\0\x04next"

    wire.receiver.on_message = answer_and_ask
    turns = 20
    for _ in range(turns):
        put(4)
    assert len(wire.receiver.messages) == turns * READS_AT_ONCE
    assert len(sock.receives) == turns * READS_AT_ONCE
    assert sock.empty == 0


def test_a_client_that_always_has_more_lets_others_have_their_turn(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    def answer_and_ask(message: memoryview) -> None:
        sock.sent += b"\0\0\0\x04next"

    wire.receiver.on_message = answer_and_ask
    put(4)
    assert len(wire.receiver.messages) == READS_AT_ONCE


def test_a_small_message_that_waits_holds_little_memory(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    def held(size: int) -> int:
        put(MIB + HEAD - 4)
        put(size)
        return len(wire.receiver.messages[-1].obj)

    assert held(100) == 100
    assert held(70 * KIB) == 70 * KIB
    room = MIB + MIB // 4
    assert held(room // HELD_SHARE) == room  # a part worth the memory


def test_large_frames_are_forgotten(wire: Any, sock: StandIn, put: Callable[..., None]) -> None:
    put(MIB)
    for _ in range(FORGET_AFTER - 1):
        put(100)
    put(MIB)
    assert sock.receives[-1] == MIB + 4
    for _ in range(FORGET_AFTER):
        put(100)
    put(MIB)
    assert sock.receives[-2:] == [READ_SIZE, MIB + 4 - READ_SIZE]


def test_what_is_received_at_once_follows_the_clients_frames(
    wire: Any, sock: StandIn, put: Callable[..., None]
) -> None:
    """Never more than four small writes or one large one, whatever the client sent before."""
    taken: list[int] = []
    for size in (70_000, 100_000, 131_072, 131_073, 300_000, MIB, 8 * MIB, 70_000):
        put(size)
        taken.append(wire.transport._expected.room)
        assert taken[-1] <= max(GATHER_SIZE, size + 4)
        assert not taken[-1] % (size + 4)
