"""The server of the processes' sockets: who may connect, how many, and who does not read."""

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from usmbd.mountd.ipc import codec, server
from usmbd.mountd.ipc.messages import MountdRequest, ServerConfigRequest, ShareConfigRequest
from usmbd.mountd.ipc.server import BURST, MAX_CLIENTS, MAX_QUEUED, Client, Server, listen

CODEC = codec.mountd_client()


class Ends:
    """A server on a loop that runs step by step, and its clients' sockets."""

    def __init__(self, path: Path) -> None:
        """Listen."""
        self.path = path
        self.loop = asyncio.new_event_loop()
        self.got: list[tuple[int, object]] = []
        self.closed: list[str] = []
        self.answer: Callable[[Client[MountdRequest], int], None] = lambda client, handle: None
        self.server = self.loop.run_until_complete(self._make())
        self.sockets: list[socket.socket] = []

    async def _make(self) -> Server[MountdRequest]:
        return Server(listen(self.path), codec.mountd_server(), self._take, self._lose)

    def _take(self, client: Client[MountdRequest], handle: int, message: MountdRequest) -> None:
        self.got.append((handle, message))
        self.answer(client, handle)

    def _lose(self, client: Client[MountdRequest], reason: str) -> None:
        self.closed.append(reason)

    def connect(self) -> socket.socket:
        """Return the socket of a new client."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(str(self.path))
        client.setblocking(False)
        self.sockets.append(client)
        self.step()
        return client

    def step(self, times: int = 2) -> None:
        """Let the loop look at its sockets."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def end(self) -> None:
        """Close everything."""
        for client in self.sockets:
            client.close()
        self.server.close()
        self.loop.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path / "s")
    yield ends
    ends.end()


def is_open(client: socket.socket) -> bool:
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True


def test_the_socket_is_this_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("what an older process left")
    before = os.umask(0o022)
    listener = listen(path)
    assert os.umask(before) == 0o022
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not listener.getblocking()
    listener.close()


def test_messages_come_to_the_owner_and_answers_go_back(ends: Ends) -> None:
    ends.answer = lambda client, handle: client.send(handle, ShareConfigRequest("x"))
    client = ends.connect()
    client.send(CODEC.encode(7, ServerConfigRequest()))
    ends.step()
    assert ends.got == [(7, ServerConfigRequest())]
    assert client.recv(1000) == CODEC.encode(7, ShareConfigRequest("x"))
    client.close()
    ends.step()
    assert ends.closed == [""]
    assert ends.server.clients == set()


def test_what_is_no_message_ends_its_connection_alone(ends: Ends) -> None:
    bad, good = ends.connect(), ends.connect()
    bad.send(b"\xc1")
    ends.step()
    assert (is_open(bad), is_open(good)) == (False, True)
    assert ends.closed[0].startswith("it sent a bad message")


def test_so_many_may_connect(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_CLIENTS == 512
    monkeypatch.setattr(server, "MAX_CLIENTS", 3)
    first, second, third, fourth = (ends.connect() for _ in range(4))
    assert [is_open(client) for client in (first, second, third, fourth)] == [True] * 3 + [False]
    second.close()
    ends.step()
    assert is_open(ends.connect())


def test_strangers_may_not_connect(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "peer", lambda connection: (os.getpid(), os.getuid() + 1))
    assert not is_open(ends.connect())
    assert ends.server.clients == set()


def test_one_client_does_not_keep_the_others_waiting(ends: Ends) -> None:
    busy, other = ends.connect(), ends.connect()
    for number in range(BURST + 5):
        busy.send(CODEC.encode(number, ServerConfigRequest()))
    other.send(CODEC.encode(1000, ServerConfigRequest()))
    ends.step(1)
    handles = [handle for handle, _ in ends.got]
    assert BURST == 32
    assert handles.index(1000) <= BURST
    ends.step()
    assert sorted(handle for handle, _ in ends.got) == [*range(BURST + 5), 1000]


def test_a_client_that_does_not_read_is_closed(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_QUEUED == 1024
    monkeypatch.setattr(server, "MAX_QUEUED", 10)
    client = ends.connect()
    (theirs,) = ends.server.clients
    sent = 0
    while not theirs._outbox:
        theirs.send(sent, ShareConfigRequest("x" * 200))
        sent += 1
    for _ in range(9):
        theirs.send(sent, ShareConfigRequest("x" * 200))
        sent += 1
    ends.step()
    assert theirs.is_open
    assert len(theirs._outbox) == 10
    for number in range(sent):  # who reads gets all, in their order
        assert CODEC.encode(number, ShareConfigRequest("x" * 200)) == client.recv(1000)
        ends.step(1)
    assert len(theirs._outbox) == 0
    while theirs.is_open:
        theirs.send(0, ShareConfigRequest("x" * 200))
    assert ends.closed == ["it does not read its answers"]
    theirs.send(0, ServerConfigRequest())  # nothing happens
