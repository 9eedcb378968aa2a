"""Frames in: split anywhere, limited before memory is taken, never sharing memory."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from usmbd.transport import tcp
from usmbd.transport.tcp import READ_SIZE

Wires = Callable[..., Any]


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


MESSAGES = [b"first", b"", b"x" * 300, b"last"]
STREAM = b"".join(map(frame, MESSAGES))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100, len(STREAM)])
def test_frames_may_be_split_anywhere(wire: Any, size: int) -> None:
    for start in range(0, len(STREAM), size):
        wire.put(STREAM[start : start + size])
    assert wire.receiver.bytes == MESSAGES


@pytest.mark.parametrize("cut", [0, 1, 4, 8, 9, 10, 13, 14, 200, len(STREAM)])
def test_bytes_that_were_read_before_are_delivered_first(wires: Wires, cut: int) -> None:
    wire = wires(STREAM[:cut]).start()
    wire.put(STREAM[cut:])
    assert wire.receiver.bytes == MESSAGES


def test_large_messages_between_small_ones(wire: Any) -> None:
    messages = [b"a", bytes(range(256)) * 4096, b"b", b"c" * (READ_SIZE + 1), b"d" * READ_SIZE]
    wire.put(b"".join(map(frame, messages)))
    wire.step(50)
    assert wire.receiver.bytes == messages


def test_a_message_that_is_kept_is_not_overwritten(wire: Any) -> None:
    """The views of all messages stay alive; what comes later goes elsewhere."""
    messages = [bytes([n]) * (40_000 + n) for n in range(30)]
    for message in messages:
        wire.put(frame(message))
    assert wire.receiver.bytes == messages
    for view in wire.receiver.messages:
        view[0] = 255  # writable: decryption and signatures work in place


def test_a_message_may_be_overwritten_by_nobody_while_the_next_is_unfinished(wire: Any) -> None:
    wire.put(frame(b"one") + frame(b"two" * 1000)[:50])
    wire.receiver.messages[0][:] = b"???"
    wire.put(frame(b"two" * 1000)[50:])
    assert wire.receiver.bytes == [b"???", b"two" * 1000]


def test_an_idle_connection_holds_no_memory(wire: Any) -> None:
    wire.put(frame(b"hello"))
    assert wire.transport._buffer is None
    wire.put(b"\0")
    assert wire.transport._buffer is not None


def test_the_limit_holds_before_memory_is_taken(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    take = tcp.POOL.take
    monkeypatch.setattr(tcp.POOL, "take", lambda size: taken.append(size) or take(size))
    wire.receiver.message_limit = 1000
    wire.put(frame(b"x" * 1000))
    wire.put((1001).to_bytes(4, "big"))
    assert max(taken) <= READ_SIZE
    assert wire.receiver.bytes == [b"x" * 1000]
    assert len(wire.receiver.lost) == 1
    assert "1000 bytes allowed" in wire.receiver.lost[0]
    assert wire.take() == b""


def test_the_limit_may_change_with_every_message(wire: Any) -> None:
    """The first message may raise it: so does a login, in the middle of what was read."""

    def raise_limit(message: memoryview) -> None:
        wire.receiver.message_limit = 200

    wire.receiver.message_limit = 100
    wire.receiver.on_message = raise_limit
    wire.put(frame(b"x" * 100) + frame(b"y" * 200))
    assert [len(m) for m in wire.receiver.messages] == [100, 200]
    assert wire.receiver.lost == []


@pytest.mark.parametrize("first_byte", [1, 0x81, 0x84, 0xFF])
def test_other_frames_of_rfc_1002_end_the_connection(wire: Any, first_byte: int) -> None:
    wire.put(bytes([first_byte, 0, 0, 0]))
    assert len(wire.receiver.lost) == 1


def test_a_keep_alive_is_passed_over(wire: Any) -> None:
    keep_alive = b"\x85\0\0\0"
    wire.put(keep_alive + frame(b"one") + keep_alive + keep_alive + frame(b"two") + keep_alive[:2])
    wire.put(keep_alive[2:] + frame(b"three"))
    assert wire.receiver.bytes == [b"one", b"two", b"three"]
    assert wire.receiver.lost == []


def test_the_clients_end_is_told_once(wire: Any) -> None:
    wire.put(frame(b"one") + b"\0\0")
    wire.client.close()
    wire.step(3)
    wire.transport.close("later")
    assert wire.receiver.bytes == [b"one"]
    assert wire.receiver.lost == ["the client closed the connection"]


def test_nothing_is_delivered_after_the_receiver_closed(wire: Any) -> None:
    wire.receiver.on_message = lambda message: wire.transport.close("enough")
    wire.put(frame(b"one") + frame(b"two"))
    assert wire.receiver.bytes == [b"one"]
    assert wire.receiver.lost == ["enough"]
    wire.transport.send([b"late"])
    assert wire.take() == b""


def test_a_receiver_that_closes_in_start_is_not_served(wires: Wires) -> None:
    wire = wires(frame(b"bad") + frame(b"more"))
    wire.receiver.on_message = lambda message: wire.transport.close("bad")
    wire.start()
    wire.step(3)
    assert wire.receiver.bytes == [b"bad"]


class Slices:
    """Time that is over at each look; `go_on` gives what was put off its next slice."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def served(self, began: float) -> float:
        """Have what is left after the third wait."""
        return {0.0: -1.0, -1.0: 1.0}.get(began, 0.0)

    def over(self) -> bool:
        """Say so."""
        return True

    def later(self, owner: object, work: Callable[[], None]) -> None:
        """Keep work."""
        self.waiting.append(work)

    def go_on(self) -> None:
        """Do what was kept."""
        work, self.waiting = self.waiting, []
        for each in work:
            each()


def test_a_flood_of_messages_lets_others_have_their_turn(wire: Any) -> None:
    """A few are delivered, the rest when it is this connection's turn again, in order."""
    slices = wire.transport._turns = Slices()
    messages = [str(number).encode() for number in range(100)]
    wire.put(b"".join(map(frame, messages)))
    taken = []
    while slices.waiting:
        wire.step(3)  # nothing more is read meanwhile
        assert len(slices.waiting) == 1
        taken.append(len(wire.receiver.messages))
        slices.go_on()
    wire.step(3)
    assert taken == [3 * count for count in range(1, len(taken) + 1)]
    assert len(taken) >= 33
    assert wire.receiver.bytes == messages


def test_so_does_a_flood_of_keep_alives(wire: Any) -> None:
    slices = wire.transport._turns = Slices()
    wire.put(b"\x85\0\0\0" * 7 + frame(b"one"))
    rounds = 0
    while slices.waiting:
        assert wire.receiver.messages == []
        slices.go_on()
        rounds += 1
    assert (rounds, wire.receiver.bytes) == (2, [b"one"])


def test_a_connection_may_end_while_it_waits_for_its_turn(wire: Any) -> None:
    slices = wire.transport._turns = Slices()
    wire.put(frame(b"x") * 6)
    wire.transport.close("the test")
    slices.go_on()
    assert len(wire.receiver.messages) == 3


def test_who_is_cut_off_while_he_waits_for_his_turn_is_gone_at_once(wire: Any) -> None:
    """What he has sent is not taken up any more, nor held for him: whole seconds of a flood."""
    slices = wire.transport._turns = Slices()
    wire.put(frame(b"x") * 6)
    wire.client.close()
    wire.step()
    assert wire.receiver.lost == ["the client closed the connection"]
    slices.go_on()
    wire.step(3)
    assert len(wire.receiver.messages) == 3


def test_so_is_who_waits_from_the_beginning_on(wires: Wires) -> None:
    """The first messages came with the socket."""
    wire = wires(frame(b"x") * 6)
    wire.transport._turns = Slices()
    wire.start()
    wire.client.close()
    wire.step()
    assert len(wire.receiver.lost) == 1


def test_who_sends_no_more_may_still_read(wire: Any) -> None:
    """All that he has sent is answered, as for one who is read at once."""
    slices = wire.transport._turns = Slices()
    wire.receiver.on_message = lambda message: wire.transport.send([message])
    wire.put(frame(b"x") * 6)
    wire.client.shutdown(socket.SHUT_WR)
    wire.step(3)
    while slices.waiting:
        slices.go_on()
    assert wire.take() == frame(b"x") * 6
    assert wire.receiver.lost == ["the client closed the connection"]
