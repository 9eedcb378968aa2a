"""The lab's switch, and the wire that a test can do harm to."""

import fcntl
import select
import socket
import struct
import termios
import time
from collections.abc import Iterator

import pytest
from cable import Switch

ONE, TWO, ALL = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", b"\xff" * 6


@pytest.fixture
def switch() -> Iterator[Switch]:
    """Start one with three cables."""
    with Switch(3) as made:
        yield made


def frame(target: bytes, source: bytes, text: bytes = b"") -> bytes:
    """Return an Ethernet frame."""
    return target + source + b"\x88\xb5" + text


def came(end: socket.socket) -> list[bytes]:
    """Return the frames that lie at an end."""
    found = []
    while select.select([end], [], [], 0)[0]:
        found.append(end.recv(1 << 16))
    return found


def is_taken(end: socket.socket) -> bool:
    """Say whether the switch has read what was sent."""
    waits = fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4))
    return not struct.unpack("i", waits)[0]


def test_each_learns_where_the_other_is(switch: Switch) -> None:
    one, two, three = switch.ends
    one.send(frame(ALL, ONE))
    assert (two.recv(99), three.recv(99)) == (frame(ALL, ONE), frame(ALL, ONE))
    two.send(frame(ONE, TWO))
    assert one.recv(99) == frame(ONE, TWO)
    assert came(three) == []


@pytest.mark.parametrize("odd", [b"", b"x", ALL + ONE[:5], ALL + ONE], ids=repr)
def test_what_is_no_frame_is_dropped(switch: Switch, odd: bytes) -> None:
    """And its sender is heard as before."""
    one, two, _ = switch.ends
    one.send(odd)
    one.send(frame(ALL, ONE))
    assert two.recv(99) == frame(ALL, ONE)


def test_it_learns_of_many_and_serves_the_last(switch: Switch) -> None:
    one, two, three = switch.ends
    for number in range(3000):
        one.send(frame(ALL, number.to_bytes(6, "big")))
        two.recv(99)
        three.recv(99)
    two.send(frame((2999).to_bytes(6, "big"), TWO))
    assert one.recv(99)[6:12] == TWO
    assert came(three) == []


def test_a_cable_is_cut_and_mended(switch: Switch) -> None:
    one, two, _ = switch.ends
    for harm in (lambda: switch.cut(0), lambda: switch.lose(0, 1.0)):
        harm()
        one.send(frame(ALL, ONE, b"lost"))
        while not is_taken(one):
            time.sleep(0.001)
        switch.mend(0)
    switch.delay(0, 0.01)
    for text in (b"first", b"second"):
        one.send(frame(ALL, ONE, text))
    assert [two.recv(99)[14:] for _ in range(2)] == [b"first", b"second"]


def test_wrong_orders_are_told(switch: Switch) -> None:
    for wrong in (
        lambda: switch.cut(3),
        lambda: switch.cut(-1),
        lambda: switch.lose(0, 2),
        lambda: switch.delay(0, -1),
    ):
        with pytest.raises(ValueError, match=r"no cable|a part is|no frame arrives"):
            wrong()
    switch._process.kill()
    with pytest.raises(RuntimeError, match="the switch has ended"):
        switch.cut(0)
