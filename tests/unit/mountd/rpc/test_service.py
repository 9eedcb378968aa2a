"""The RPC process with its workers: who does not read, and whom it trusts."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from usmbd.mountd import log as logs
from usmbd.mountd.ipc.codec import rpc_client
from usmbd.mountd.ipc.messages import RpcOpen, RpcStatus
from usmbd.mountd.ipc.server import listen
from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc import service as module
from usmbd.mountd.rpc.configuration import Debugging, Frames, Home, RpcConfiguration, frame
from usmbd.mountd.rpc.interfaces import PIPES
from usmbd.mountd.rpc.outside import Alone
from usmbd.mountd.rpc.service import MAX_UNSENT, Service

CODEC = rpc_client()


def configuration(*shares: str) -> RpcConfiguration:
    return RpcConfiguration(
        ServerConfig(), 1, [ShareConfig(name=name, path="/srv") for name in shares]
    )


def test_homes_are_shares_of_their_users() -> None:
    homes = ShareConfig(name="homes", path="", comment="of all", read_only=False)
    told = RpcConfiguration(
        ServerConfig(), 1, [ShareConfig(name="data", path="/srv")], homes,
        {"alice": Home("/home/alice", "hers")},
    )  # fmt: skip
    seen = told.snapshot()
    found = seen.home("alice")
    assert found is not None
    assert (found.name, found.path, found.comment) == ("alice", "/home/alice", "hers")
    assert found.read_only is False
    assert seen.home("bob") is None
    assert [share.name for share in seen.shares] == ["data", "homes"]
    assert RpcConfiguration(ServerConfig(), 1, [], home=told.home).snapshot().home("alice") is None


class NoDirectory(Alone):
    """Nobody to ask; what it is told of the configuration it forgets."""

    def configured(self, generation: int) -> None:
        """Take a configuration's number."""


class Ends:
    """The service on a loop that runs step by step, and its workers' sockets."""

    def __init__(self, path: Path) -> None:
        """Listen, with a configuration of one share."""
        reading, self.mountd = os.pipe()
        os.set_blocking(reading, False)
        self.frames = Frames(reading)
        self.loop = asyncio.new_event_loop()
        self.path = path / "rpc.sock"
        self.service = self.loop.run_until_complete(self._make())
        self.sockets: list[socket.socket] = []

    async def _make(self) -> Service:
        trusted = (0, os.getuid())
        told = configuration("data")
        return Service(listen(self.path), trusted, PIPES, told, self.frames, NoDirectory())  # type: ignore[arg-type]

    def connect(self) -> socket.socket:
        """Return the socket of a new worker."""
        worker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker.connect(str(self.path))
        worker.setblocking(False)
        self.sockets.append(worker)
        self.step()
        return worker

    def step(self, times: int = 2) -> None:
        """Let the loop look at its sockets."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    monkeypatch.setattr(logs, "set_up", lambda *_, **__: None)  # the tests' own log stays
    ends = Ends(tmp_path)
    yield ends
    for worker in ends.sockets:
        worker.close()
    ends.service.close()
    ends.loop.close()
    os.close(ends.frames.descriptor)
    with suppress(OSError):
        os.close(ends.mountd)


def ask(number: int) -> bytes:
    return CODEC.encode(number, RpcOpen(number, "none", "alice"))


def test_answers_come_in_the_order_of_the_requests(ends: Ends) -> None:
    worker = ends.connect()
    for number in (5, 3, 9):
        worker.send(ask(number))
    ends.step(6)
    answers = [CODEC.decode(worker.recv(1000)) for _ in range(3)]
    assert [handle for handle, _ in answers] == [5, 3, 9]
    assert {answer.status for _, answer in answers} == {RpcStatus.NO_PIPE}


def test_of_a_worker_that_does_not_read_nothing_more_is_taken(ends: Ends) -> None:
    assert MAX_UNSENT == 64
    worker = ends.connect()
    (connection,) = ends.service.connections
    sent = 0
    while len(connection._outbox) < MAX_UNSENT:
        worker.send(ask(sent))
        sent += 1
        ends.step(1)
        assert sent < 100_000
    worker.send(ask(sent))
    ends.step(5)
    assert len(connection._outbox) == MAX_UNSENT
    for number in range(sent + 1):  # it reads: all is answered, also what waited
        handle, _ = CODEC.decode(worker.recv(1000))
        assert handle == number
        ends.step(2)
    assert len(connection._outbox) == 0


def test_what_is_no_message_ends_its_connection_alone(ends: Ends) -> None:
    bad, good = ends.connect(), ends.connect()
    bad.send(b"\xc1")
    ends.step()
    assert bad.recv(10) == b""
    good.send(ask(1))
    ends.step()
    assert CODEC.decode(good.recv(1000))[0] == 1


def test_a_stranger_is_no_worker(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "peer_uid", lambda sock: os.getuid() + 12345)
    assert ends.connect().recv(10) == b""
    assert ends.service.connections == set()


def test_what_mountd_says_comes_in_pieces(ends: Ends) -> None:
    told = frame(configuration("other", "third")) + frame(Debugging(["vfs"]))
    for start in range(0, len(told), 100):
        assert "vfs" not in logs.debugged()
        os.write(ends.mountd, told[start : start + 100])
        ends.step()
    assert [share.name for share in ends.service.snapshot.shares] == ["other", "third"]
    assert logs.debugged() == ["vfs"]
    os.write(ends.mountd, frame(Debugging([])) + frame(configuration("last")))
    ends.step()
    assert logs.debugged() == []
    assert [share.name for share in ends.service.snapshot.shares] == ["last"]
    assert not ends.service.ended.is_set()


def test_a_new_configuration_is_the_log_s_as_well(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int, bool]] = []
    monkeypatch.setattr(
        module.logs,
        "set_up",
        lambda process, level, *, as_json: told.append((process, level, as_json)),
    )
    config = RpcConfiguration(ServerConfig(log_json=True), 3, [])
    os.write(ends.mountd, frame(config))
    ends.step()
    assert told == [("rpc", 3, True)]


def test_a_process_begins_with_a_configuration() -> None:
    reading, writing = os.pipe()
    os.write(writing, frame(Debugging(["vfs"])) + frame(configuration("data")))
    found = Frames(reading).first()
    assert found is not None
    assert [share.name for share in found.shares] == ["data"]
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("told", [b"", frame(Debugging(["vfs"]))])
def test_a_mountd_that_ends_before_it_has_told_what_to_serve(told: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, told)
    os.close(writing)
    frames = Frames(reading)
    reads = []
    frames.read = lambda: (reads.append(1), Frames.read(frames))[1]  # type: ignore[method-assign]
    assert frames.first() is None
    assert frames.ended
    assert frames.first() is None
    assert len(reads) == (2 if told else 1)  # none after the end
    os.close(reading)


def test_it_ends_with_mountd(ends: Ends) -> None:
    os.close(ends.mountd)
    ends.step()
    assert ends.service.ended.is_set()
