"""Replies out: batched, partially taken, from files, held back when nobody reads them."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from usmbd.transport.base import FileSpan
from usmbd.transport.tcp import FLUSH_SIZE, HIGH_WATER, LOW_WATER

Wires = Callable[..., Any]


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


class CountedSocket:
    """A socket whose system calls of sending are counted."""

    def __init__(self, sock: Any) -> None:
        """Stand before `sock`."""
        self._sock = sock
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        """Pass everything on."""
        return getattr(self._sock, name)

    def send(self, *args: Any) -> int:
        """Count and send."""
        self.calls += 1
        return self._sock.send(*args)

    def sendmsg(self, *args: Any) -> int:
        """Count and send."""
        self.calls += 1
        return self._sock.sendmsg(*args)


@pytest.fixture
def counted(wire: Any) -> CountedSocket:
    wire.transport._sock = CountedSocket(wire.transport._sock)
    return wire.transport._sock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)  # 2 MiB
    return path


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_reply_leaves_at_once(wire: Any, counted: CountedSocket) -> None:
    wire.transport.send([b"head", b"", memoryview(b"body"), bytearray(b"tail")])
    assert wire.client.recv(100) == frame(b"headbodytail")
    assert counted.calls == 1


def test_replies_to_one_read_leave_together(wire: Any, counted: CountedSocket) -> None:
    wire.receiver.on_message = lambda message: wire.transport.send([b"re:", bytes(message)])
    wire.put(b"".join(frame(b"%d" % n) for n in range(20)))
    assert wire.take() == b"".join(frame(b"re:%d" % n) for n in range(20))
    assert counted.calls == 1


def test_many_parts_in_order(wire: Any) -> None:
    parts = [b"%04d" % n for n in range(3000)]  # more than one sendmsg takes
    wire.transport.send(parts)
    assert wire.take(4 + 12000) == frame(b"".join(parts))


@pytest.mark.parametrize("sizes", [[5_000_000], [3, 1_000_000, 0, 7, 2_000_000], [100_000] * 30])
def test_partial_sends_lose_nothing(wires: Wires, sizes: list[int]) -> None:
    wire = wires(buffer=4096).start()
    parts = [os.urandom(size) for size in sizes]
    wire.transport.send(parts)
    wire.transport.send([b"and another"])
    expected = frame(b"".join(parts)) + frame(b"and another")
    assert wire.take(len(expected)) == expected
    assert wire.transport._queued == 0
    assert not wire.transport._writing


def test_a_client_that_does_not_read_is_not_served(wires: Wires) -> None:
    """Its memory is bounded by the high water mark and one reply; it is served when it reads."""
    wire = wires(buffer=4096).start()
    reply = bytes(300_000)
    wire.receiver.on_message = lambda message: wire.transport.send([reply])
    total = 30
    wire.client.send(b"".join(frame(b"%03d" % n) for n in range(total)))
    wire.step(20)
    served = len(wire.receiver.messages)
    assert served * len(reply) < HIGH_WATER + 2 * len(reply)
    assert not wire.transport._reading
    wire.step(20)
    assert len(wire.receiver.messages) == served
    wire.take(served * (len(reply) + 4) - LOW_WATER - len(reply))
    assert len(wire.take((total - served) * (len(reply) + 4))) > 0
    wire.take(total * (len(reply) + 4))
    assert wire.receiver.bytes == [b"%03d" % n for n in range(total)]
    assert wire.transport._reading


def test_a_stopped_client_resumes_within_a_frame(wires: Wires) -> None:
    wire = wires(buffer=4096).start()
    wire.receiver.on_message = lambda message: wire.transport.send([bytes(2 * HIGH_WATER)])
    wire.client.send(frame(b"one") + frame(b"two")[:5])
    wire.step(5)
    assert wire.receiver.bytes == [b"one"]
    wire.client.send(frame(b"two")[5:])
    wire.step(5)
    assert wire.receiver.bytes == [b"one"]
    wire.take(2 * (2 * HIGH_WATER + 4))
    assert wire.receiver.bytes == [b"one", b"two"]


def test_the_clients_end_is_noticed_while_it_is_not_served(wires: Wires) -> None:
    wire = wires(buffer=4096).start()
    wire.transport.send([bytes(2 * HIGH_WATER)])
    wire.client.close()
    wire.step(5)
    assert len(wire.receiver.lost) == 1


def test_a_file_span_between_other_parts(wire: Any, file: Path) -> None:
    fd = os.open(file, os.O_RDONLY)
    wire.transport.send([b"<", FileSpan(fd, 3, 10), b">"])
    os.close(fd)  # sent, or duplicated
    assert wire.take(4 + 12) == frame(b"<" + bytes(range(3, 13)) + b">")


def test_a_file_span_outlives_its_descriptor(wires: Wires, file: Path) -> None:
    wire = wires(buffer=4096).start()
    before = descriptors()
    fd = os.open(file, os.O_RDONLY)
    wire.transport.send([b"a", FileSpan(fd, 0, 1 << 20), b"b"])
    wire.transport.send([b"c", FileSpan(fd, 1 << 20, 1 << 20), b"d"])
    os.close(fd)
    decoy = os.open(os.devnull, os.O_RDONLY)  # takes the number
    data = file.read_bytes()
    expected = frame(b"a" + data[: 1 << 20] + b"b") + frame(b"c" + data[1 << 20 :] + b"d")
    assert wire.take(len(expected)) == expected
    os.close(decoy)
    assert descriptors() == before


def test_a_file_that_shrank_is_filled_up_with_zeros(wires: Wires, file: Path) -> None:
    wire = wires(buffer=4096).start()
    before = descriptors()
    fd = os.open(file, os.O_RDONLY)
    wire.transport.send([b"<", FileSpan(fd, 0, 2 << 20), b">"])
    os.close(fd)
    os.truncate(file, 1_500_000)
    data = wire.take(4 + (2 << 20) + 2)
    assert data[:5] == ((2 << 20) + 2).to_bytes(4, "big") + b"<"
    assert data[5 : 5 + 1_500_000] == file.read_bytes()
    assert data[5 + 1_500_000 :] == bytes((2 << 20) - 1_500_000) + b">"
    assert descriptors() == before
    assert wire.transport._queued == 0


def test_a_file_span_in_a_batch_leaves_before_the_next_request(wire: Any, file: Path) -> None:
    """The next request may close the descriptor, and its number be another file's."""

    def answer(message: memoryview) -> None:
        if bytes(message) == b"read":
            self_fd.append(os.open(file, os.O_RDONLY))
            wire.transport.send([b"r", FileSpan(self_fd[0], 0, 4)])
        else:
            os.close(self_fd[0])
            wire.transport.send([b"closed"])

    self_fd: list[int] = []
    wire.receiver.on_message = answer
    wire.put(frame(b"read") + frame(b"close"))
    assert wire.take() == frame(b"r\0\1\2\3") + frame(b"closed")


def test_close_sends_what_is_queued(wire: Any) -> None:
    wire.receiver.on_message = lambda message: (
        wire.transport.send([b"bye"]),
        wire.transport.close("done"),
    )
    wire.put(frame(b"x"))
    assert wire.take() == frame(b"bye")
    assert wire.receiver.lost == ["done"]


def test_close_gives_up_what_the_client_does_not_take(wires: Wires, file: Path) -> None:
    wire = wires(buffer=4096).start()
    before = descriptors()
    fd = os.open(file, os.O_RDONLY)
    wire.transport.send([b"<", FileSpan(fd, 0, 2 << 20)])
    os.close(fd)
    wire.transport.close("no time")
    assert wire.receiver.lost == ["no time"]
    assert descriptors() == before - 1  # the socket too
    assert not wire.transport._out


def test_a_send_that_fails_ends_the_connection_once(wire: Any) -> None:
    wire.client.close()
    wire.transport.send([b"x"])
    wire.transport.send([b"y"])
    wire.step(3)
    assert len(wire.receiver.lost) == 1


def test_addresses_of_a_socket_without_any(wire: Any) -> None:
    assert wire.transport.peer == wire.transport.local == "unix"


def test_a_file_that_cannot_be_held_ends_the_connection(
    wires: Wires, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number would be another file's after the close: nothing more of it may be sent."""
    wire = wires(buffer=4096).start()
    before = descriptors()

    def full(_fd: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("usmbd.transport.tcp.os.dup", full)
    fd = os.open(file, os.O_RDONLY)
    wire.transport.send([b"<", FileSpan(fd, 0, 2 << 20)])
    os.close(fd)
    assert wire.receiver.lost == ["its reply cannot wait: Too many open files"]
    assert not wire.transport._out
    wire.transport.send([b"more"])
    wire.transport.close("again")
    assert len(wire.receiver.lost) == 1
    assert descriptors() == before - 1


def test_a_client_that_does_not_read_costs_one_try(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it takes nothing there is no sense in trying again at each reply."""
    wire = wires(buffer=4096).start()
    wire.receiver.on_message = lambda message: wire.transport.send([bytes(2 * FLUSH_SIZE // 100)])
    tries: list[int] = []
    flush = wire.transport._flush
    monkeypatch.setattr(wire.transport, "_flush", lambda: (tries.append(1), flush()))
    for _ in range(100):
        wire.put(frame(b"x"))
    assert wire.transport._writing
    writable = len(tries)
    for _ in range(100):
        wire.put(frame(b"x"))
    assert len(tries) == writable


def test_what_waits_in_files_is_not_memory(wires: Wires, file: Path) -> None:
    wire = wires(buffer=4096).start()
    kept: list[int] = []
    wire.transport.meter = SimpleNamespace(
        full=False, room=lambda size: True, keep=kept.append, starve=lambda again: None
    )
    fd = os.open(file, os.O_RDONLY)
    wire.transport.send([bytes(1000), FileSpan(fd, 0, 2 << 20), bytes(500)])
    os.close(fd)
    assert sum(kept) <= 1504
    wire.take(4 + 1500 + (2 << 20))
    assert sum(kept) == 0
    assert wire.transport._in_files == 0


def test_a_receiver_that_fails_gets_no_message_twice(wire: Any) -> None:
    def fails(_message: memoryview) -> None:
        raise RuntimeError("a fault")

    wire.receiver.on_message = fails
    wire.put(frame(b"one") + frame(b"two"))
    wire.step(5)
    assert wire.receiver.bytes == [b"one"]
    assert wire.receiver.lost == ["a fault of the server"]
