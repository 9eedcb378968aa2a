"""The client of mountd: answers in any order, a mountd that is restarted, late or wrong."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd.ipc.codec import mountd_client, mountd_server
from usmbd.mountd.ipc.messages import (
    AnonymousRequest,
    ConfigReloaded,
    Failed,
    LoginRequest,
    LoginResponse,
    LoginStatus,
    Logout,
)
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.worker import ipc_client
from usmbd.protocol.worker.ipc_client import IpcClient

Until = Callable[[Callable[[], object]], None]
ANSWER = LoginResponse(status=LoginStatus.ANONYMOUS)


class Mountd:
    """The other end of the socket."""

    def __init__(self, path: Path) -> None:
        """Listen."""
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(5)
        self._codec = mountd_server()
        self._client: socket.socket | None = None

    @property
    def client(self) -> socket.socket:
        """The connection of the engine."""
        if self._client is None:
            self._client, _ = self._listener.accept()
            self._client.settimeout(5)
        return self._client

    def take(self) -> tuple[int, Any]:
        """Return the next request and its handle."""
        return self._codec.decode(self.client.recv(1 << 20))

    def say(self, handle: int, message: Any) -> None:
        """Send an answer."""
        self.client.send(self._codec.encode(handle, message))

    def close(self) -> None:
        """End."""
        if self._client is not None:
            self._client.close()
        self._listener.close()


class Answers:
    """What came back, by the name of the question."""

    def __init__(self) -> None:
        """Begin without."""
        self.got: dict[str, Any] = {}

    def to(self, name: str) -> Callable[..., None]:
        """Return the `resume` of one question."""

        def resume(value: Any = None, error: BaseException | None = None) -> None:
            assert name not in self.got, "answered twice"
            self.got[name] = value if error is None else error

        return resume


@pytest.fixture
def path(state: Path) -> Path:
    return state / "mountd.sock"


@pytest.fixture
def mountd(path: Path) -> Iterator[Mountd]:
    server = Mountd(path)
    yield server
    server.close()


Make = Callable[..., IpcClient]


@pytest.fixture
def make(path: Path, loop: asyncio.AbstractEventLoop) -> Iterator[Make]:
    made: list[IpcClient] = []

    def new(**options: Any) -> IpcClient:
        made.append(IpcClient(path, mountd_client(), loop, **options))
        return made[-1]

    yield new
    for client in made:
        client.close()


@pytest.fixture
def answers() -> Answers:
    return Answers()


def ask(client: IpcClient, answers: Answers, name: str) -> None:
    client.ask(AnonymousRequest(client_address=name), answers.to(name))


def test_answers_come_in_any_order(
    mountd: Mountd, make: Make, answers: Answers, until: Until
) -> None:
    client = make()
    for name in ("one", "two"):
        ask(client, answers, name)
    (first, one), (second, two) = mountd.take(), mountd.take()
    assert (one.client_address, two.client_address) == ("one", "two")
    mountd.say(second, LoginResponse(status=LoginStatus.REFUSED))
    mountd.say(first, ANSWER)
    mountd.say(first, ANSWER)  # nobody waits any more
    mountd.say(999, ANSWER)
    until(lambda: len(answers.got) == 2)
    assert answers.got["one"] == ANSWER
    assert answers.got["two"].status is LoginStatus.REFUSED


def test_what_is_not_answered_is_asked_again(
    mountd: Mountd, make: Make, path: Path, answers: Answers, until: Until
) -> None:
    connected: list[IpcClient] = []
    client = make(on_connect=connected.append)
    ask(client, answers, "one")
    mountd.take()
    lost, outbox = client._socket, client._outbox
    assert lost is not None
    assert outbox is not None
    number = lost.fileno()
    outbox._unsent.append(b"what it did not take")
    mountd.close()
    until(lambda: client._socket is None)
    assert lost.fileno() == -1  # nothing of the old connection stays open, or is looked at
    assert not client._loop.remove_reader(number)
    assert not outbox
    ask(client, answers, "two")  # while it is away
    again = Mountd(path)
    until(lambda: len(connected) == 2)
    assert {again.take()[1].client_address, again.take()[1].client_address} == {"one", "two"}
    for handle in (1, 2):
        again.say(handle, ANSWER)
    until(lambda: len(answers.got) == 2)
    again.close()


def test_a_mountd_that_comes_late(
    make: Make, path: Path, answers: Answers, until: Until, loop: asyncio.AbstractEventLoop
) -> None:
    client = make()
    ask(client, answers, "one")
    loop.run_until_complete(asyncio.sleep(0.01))
    late = Mountd(path)
    until(lambda: client._socket is not None)
    handle, _ = late.take()
    late.say(handle, ANSWER)
    until(lambda: answers.got)
    late.close()


def test_a_mountd_that_never_answers(
    mountd: Mountd,
    make: Make,
    answers: Answers,
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = make(timeout=7)
    ask(client, answers, "one")
    handle, _ = mountd.take()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + 7.1)
    client._sweep()
    assert answers.got["one"].status is NtStatus.IO_TIMEOUT
    assert handle == 1
    assert client._pending == {}


def test_a_fault_of_mountd_is_one_requests(
    mountd: Mountd, make: Make, answers: Answers, until: Until
) -> None:
    client = make()
    ask(client, answers, "one")
    mountd.say(mountd.take()[0], Failed(reason="a fault"))
    until(lambda: answers.got)
    assert answers.got["one"].status is NtStatus.UNSUCCESSFUL
    ask(client, answers, "two")
    mountd.say(mountd.take()[0], ANSWER)
    until(lambda: "two" in answers.got)


def test_garbage_ends_the_connection_not_the_request(
    mountd: Mountd, make: Make, answers: Answers, until: Until
) -> None:
    client = make()
    ask(client, answers, "one")
    mountd.take()
    mountd.client.send(b"garbage")
    until(lambda: client._socket is None)
    mountd._client = None
    until(lambda: client._socket is not None)
    mountd.say(mountd.take()[0], ANSWER)
    until(lambda: answers.got)


def test_a_dead_mountd_costs_no_memory(
    make: Make, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc_client, "MAXIMUM_PENDING", 2)
    client = make()
    for name in ("one", "two", "three"):
        ask(client, answers, name)
    assert list(answers.got) == ["three"]
    assert answers.got["three"].status is NtStatus.INSUFF_SERVER_RESOURCES
    client.tell(Logout(session_id=1))
    assert client._outbox is None


def test_what_cannot_be_said_is_refused(make: Make, answers: Answers) -> None:
    """A client may put half of a surrogate pair into its name."""
    request = LoginRequest("\ud800", "", "", bytes(8), b"", "")
    make().ask(request, answers.to("login"))
    error = answers.got["login"]
    assert isinstance(error, SmbError)
    assert error.status is NtStatus.INVALID_PARAMETER


def test_what_mountd_says_unasked(mountd: Mountd, make: Make, until: Until) -> None:
    said: list[Any] = []
    make(on_message=said.append)
    mountd.say(0, ConfigReloaded(generation=2))
    until(lambda: said)
    assert said == [ConfigReloaded(generation=2)]


def test_many_requests_wait_for_a_mountd_that_does_not_read(
    mountd: Mountd, make: Make, answers: Answers, until: Until
) -> None:
    client = make()
    names = [f"{n:03d}" for n in range(900)]
    for name in names:
        ask(client, answers, name)
    assert client._outbox
    taken: list[str] = []

    def serve() -> bool:
        mountd.client.settimeout(0)
        for _ in range(10):  # so few that the answers find room
            try:
                handle, request = mountd.take()
            except BlockingIOError:
                break
            taken.append(request.client_address)
            mountd.say(handle, ANSWER)
        return len(answers.got) == len(names)

    until(serve)
    assert taken == names
