"""New clients: read up to the end of their first message, passed on by their ClientGuid."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from usmbd.protocol.door import doorkeeper
from usmbd.protocol.door.doorkeeper import Doorkeeper
from usmbd.protocol.wire.header import Header
from usmbd.protocol.wire.negotiate import NO_GUID, NegotiateRequest, client_guid
from usmbd.protocol.worker.messages import FIRST_MESSAGE_LIMIT

Until = Callable[[Callable[[], object]], None]
GUID = bytes(range(1, 17))


def negotiate(guid: bytes = GUID) -> bytes:
    body = NegotiateRequest(dialect_count=1, security_mode=1, capabilities=0, client_guid=guid)
    header = Header(command=0, message_id=0, signature=bytes(16))
    return header.pack() + body.pack() + b"\x02\x02"


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


class Listener:
    """A listening socket made of socket pairs: `fileno` is readable while somebody waits."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._reader, self._writer = os.pipe()
        self._waiting: list[tuple[socket.socket, tuple[str, int]]] = []
        self.accepted = 0
        self.error: OSError | None = None

    def fileno(self) -> int:
        """Return what the loop watches."""
        return self._reader

    def connect(self, address: str = "192.0.2.1") -> socket.socket:
        """Return a client's socket whose other end waits to be accepted."""
        ours, theirs = socket.socketpair()
        self._waiting.append((theirs, (address, 40000)))
        os.write(self._writer, b"x")
        ours.settimeout(5)
        return ours

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept one client."""
        if self.error is not None:
            raise self.error
        if not self._waiting:
            raise BlockingIOError
        os.read(self._reader, 1)
        self.accepted += 1
        return self._waiting.pop(0)

    def close(self) -> None:
        """End."""
        os.close(self._reader)
        os.close(self._writer)


class Door:
    """A doorkeeper, and what it passed on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let everybody in."""
        self.passed: list[tuple[socket.socket, bytes, bytes]] = []
        self.listener = Listener()
        self.keeper = Doorkeeper(loop, lambda *client: self.passed.append(client))
        self.keeper.serve(self.listener)  # type: ignore[arg-type]

    def accepted(self) -> int:
        """Return how many clients were accepted."""
        return self.listener.accepted

    def guests(self) -> int:
        """Return how many clients have not said their first message."""
        return len(self.keeper._guests)


@pytest.fixture
def door(loop: asyncio.AbstractEventLoop) -> Iterator[Door]:
    door = Door(loop)
    yield door
    for guest in list(door.keeper._guests):
        door.keeper._dismiss(guest)
    for sock, *_ in door.passed:
        sock.close()
    loop.remove_reader(door.listener.fileno())
    door.listener.close()


@pytest.mark.parametrize("size", [1, 3, 50, 1000])
def test_a_client_is_passed_on_with_what_it_said(door: Door, until: Until, size: int) -> None:
    client = door.listener.connect()
    said = frame(negotiate())
    for start in range(0, len(said), size):
        assert not door.passed
        client.send(said[start : start + size])
        taken = min(start + size, len(said))
        until(lambda taken=taken: door.passed or _read(door) == taken)
    until(lambda: door.passed)
    ((sock, guid, first),) = door.passed
    assert (guid, first) == (GUID, said)
    sock.send(b"served")
    assert client.recv(10) == b"served"
    assert door.guests() == 0
    assert len(door.keeper.places) == 0


def _read(door: Door) -> int:
    return next((len(guest.data) for guest in door.keeper._guests.values()), -1)


def test_what_follows_the_first_message_is_kept(door: Door, until: Until) -> None:
    client = door.listener.connect()
    client.send(frame(negotiate()) + b"more")
    until(lambda: door.passed)
    assert door.passed[0][2] == frame(negotiate()) + b"more"


NAMES = b"\x20" + b"CA" * 16 + b"\0" + b"\x20" + b"AC" * 16 + b"\0"


def session_request(names: bytes = NAMES) -> bytes:
    """[RFC1002] 4.3.2."""
    return b"\x81\0" + len(names).to_bytes(2, "big") + names


@pytest.mark.parametrize("names", [NAMES, b"", bytes(2 * 255)])
@pytest.mark.parametrize("split", [1, 4, 10, 500])
def test_a_client_of_netbios_is_answered_and_goes_on(
    door: Door, until: Until, names: bytes, split: int
) -> None:
    client = door.listener.connect()
    request = session_request(names)
    client.send(request[:split])
    until(lambda: _read(door) in (len(request[:split]), 0))
    client.send(request[split:])
    until(lambda: door.guests() and next(iter(door.keeper._guests.values())).greeted)
    assert client.recv(100) == b"\x82\0\0\0"
    client.send(frame(negotiate()))
    until(lambda: door.passed)
    assert door.passed[0][1:] == (GUID, frame(negotiate()))
    client.setblocking(False)
    with pytest.raises(BlockingIOError):  # it is answered once
        client.recv(1)


def test_what_comes_with_a_session_request_is_kept(door: Door, until: Until) -> None:
    client = door.listener.connect()
    client.send(session_request() + frame(negotiate()) + b"more")
    until(lambda: door.passed)
    assert door.passed[0][1:] == (GUID, frame(negotiate()) + b"more")
    assert client.recv(100) == b"\x82\0\0\0"


@pytest.mark.parametrize("said", [session_request(bytes(2 * 255 + 1)), session_request() * 2])
def test_session_requests_that_are_none(door: Door, until: Until, said: bytes) -> None:
    """One whose names are too long, and a second one: frames like others, and too long."""
    client = door.listener.connect()
    client.send(said)
    until(lambda: door.accepted() and not door.guests())
    assert not door.passed
    assert client.recv(100) in (b"", b"\x82\0\0\0")


@pytest.mark.parametrize(
    "said", [bytes(4), (FIRST_MESSAGE_LIMIT + 1).to_bytes(4, "big"), b"GET / HTTP/1.1\r\n"]
)
def test_what_is_no_first_message_is_closed(door: Door, until: Until, said: bytes) -> None:
    client = door.listener.connect()
    client.send(said)
    until(lambda: door.accepted() and not door.guests())
    assert client.recv(1) == b""
    assert not door.passed


def test_the_longest_first_message(door: Door, until: Until) -> None:
    client = door.listener.connect()
    said = frame(bytes(FIRST_MESSAGE_LIMIT))
    client.sendall(said)
    until(lambda: door.passed)
    assert door.passed[0][1:] == (NO_GUID, said)


def test_a_client_that_goes_is_forgotten(door: Door, until: Until) -> None:
    client = door.listener.connect()
    client.send(b"\0\0")
    until(door.guests)
    client.close()
    until(lambda: not door.guests())
    assert len(door.keeper.places) == 0


def test_a_silent_client_is_closed(
    door: Door, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorkeeper, "FIRST_MESSAGE_SECONDS", 0.02)
    client = door.listener.connect()
    until(door.guests)
    until(lambda: not door.guests())
    assert client.recv(1) == b""


def test_silent_clients_displace_each_other_alone(door: Door, until: Until) -> None:
    door.keeper.places.capacity = 3
    clients = [door.listener.connect(f"192.0.2.{n}") for n in range(5)]
    until(lambda: door.accepted() == 5)
    assert door.guests() == 3
    assert [c.recv(1) for c in clients[:2]] == [b"", b""]
    clients[4].send(frame(negotiate()))
    until(lambda: door.passed)


def test_a_flood_from_one_network_displaces_itself(door: Door, until: Until) -> None:
    door.keeper.places.capacity = 8
    slow = door.listener.connect("192.0.2.1")
    flood = [door.listener.connect(f"2001:db8::{n:x}") for n in range(100)]
    until(lambda: door.accepted() == 101)
    assert door.guests() == 8
    assert flood[0].recv(1) == b""
    slow.send(frame(negotiate()))
    until(lambda: door.passed)


def test_accepting_goes_on_after_a_shortage(
    door: Door, until: Until, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    later = loop.call_later

    def call_later(delay: float, *args: Any) -> Any:
        delays.append(delay)
        return later(delay / 100, *args)

    monkeypatch.setattr(loop, "call_later", call_later)
    door.listener.error = OSError(24, "Too many open files")
    client = door.listener.connect()
    until(lambda: 0.5 in delays)
    assert 0.5 in delays
    door.listener.error = None
    monkeypatch.setattr(loop, "call_later", later)
    client.send(frame(negotiate()))
    until(lambda: door.passed)


@pytest.mark.parametrize(
    ("message", "guid"),
    [
        (negotiate(), GUID),
        (negotiate()[:99], NO_GUID),
        (b"\xffSMB" + negotiate()[4:], NO_GUID),
        (negotiate()[:12] + b"\1\0" + negotiate()[14:], NO_GUID),
        (b"", NO_GUID),
    ],
)
def test_client_guid(message: bytes, guid: bytes) -> None:
    assert client_guid(message) == guid
