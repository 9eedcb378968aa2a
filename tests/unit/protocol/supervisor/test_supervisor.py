"""Which worker a client gets, how many may come, where the server listens."""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.supervisor.clients import GUESTS
from usmbd.protocol.supervisor.processes import Processes
from usmbd.protocol.supervisor.supervisor import Supervisor, _explain, server_guid
from usmbd.protocol.wire.negotiate import NO_GUID
from usmbd.protocol.worker import messages

A, B = bytes([1] * 16), bytes([2] * 16)


class FakeWorker:
    """A worker that remembers what it is sent."""

    def __init__(self, number: int, ready: bool = True) -> None:
        """Be worker `number`."""
        self.number = number
        self.clients: dict[int, tuple[str, bytes]] = {}
        self.sent: list[tuple[Any, socket.socket]] = []
        self.ready = SimpleNamespace(is_set=lambda: ready)

        self.rdma: dict[str, str] = {}
        self.silent = False

    def send(self, message: Any, sock: socket.socket | None = None) -> None:
        """Take a client."""
        self.sent.append((message, sock))


class Clients:
    """A supervisor with fake workers, to which clients come."""

    def __init__(self, state: Path, **config: Any) -> None:
        """Begin with two workers."""
        self.supervisor = Supervisor(
            ServerConfig(state_directory=str(state), **config), [], cast(Processes, None)
        )
        self.workers = [FakeWorker(0), FakeWorker(1)]
        self.supervisor.workers.update({w.number: w for w in self.workers})  # type: ignore[misc]
        self._sockets: list[socket.socket] = []

    def come(self, guid: bytes = NO_GUID, address: str = "192.0.2.1") -> int | None:
        """Let a client come; return the number of its worker, or None when it was closed."""
        ours, theirs = socket.socketpair()
        self._sockets += [ours, theirs]
        before = [len(w.sent) for w in self.workers]
        self.supervisor._pass_on(theirs, address, guid, b"first")
        for worker, sent in zip(self.workers, before, strict=True):
            if len(worker.sent) > sent:
                message, sock = worker.sent[sent]
                assert isinstance(message, messages.Adopt)
                assert (message.first, sock) == (b"first", theirs)
                return worker.number
        assert theirs.fileno() == -1
        return None

    def go(self, worker: int, index: int = 0) -> None:
        """Let the client go that a worker was given as its `index`th."""
        message, _ = self.workers[worker].sent[index]
        ended = messages.Ended(connection=message.connection)
        self.supervisor._worker_says(self.workers[worker], ended)  # type: ignore[arg-type]

    def log_in(self, worker: int, index: int = 0, standing: Standing = Standing.USER) -> None:
        """Let that client log in, or a share let it in as a guest."""
        self.says(worker, self.given(worker)[index], standing)

    def says(self, worker: int, connection: int, standing: Standing) -> None:
        """Let a worker say what has been proved on a connection."""
        admitted = messages.Admitted(connection, standing)
        self.supervisor._worker_says(self.workers[worker], admitted)  # type: ignore[arg-type]

    def given(self, worker: int) -> list[int]:
        """Return the numbers of the connections that a worker was given."""
        sent = [message for message, _ in self.workers[worker].sent]
        return [message.connection for message in sent if isinstance(message, messages.Adopt)]

    def dismissed(self) -> list[Any]:
        """Return what the workers were told to close."""
        told = [message for worker in self.workers for message, _ in worker.sent]
        return [message for message in told if isinstance(message, messages.Dismiss)]

    def close(self) -> None:
        """Close all sockets."""
        for sock in self._sockets:
            sock.close()


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Callable[..., Clients]]:
    made: list[Clients] = []

    def make(**config: Any) -> Clients:
        made.append(Clients(tmp_path, **config))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_least_loaded_worker(clients: Callable[..., Clients]) -> None:
    door = clients()
    assert [door.come() for _ in range(4)] == [0, 1, 0, 1]
    door.go(1)
    assert door.come() == 1


def test_all_channels_of_a_client_meet(clients: Callable[..., Clients]) -> None:
    door = clients()
    assert [door.come(A), door.come(A), door.come(B), door.come(A)] == [0, 0, 1, 0]
    for index in range(3):
        door.go(0, index)
    assert door.come() == 0  # nothing of A is left there
    assert door.come(A) in (0, 1)
    assert door.supervisor.clients.guids[A][1] == 1


def test_clients_without_a_guid_are_strangers(clients: Callable[..., Clients]) -> None:
    door = clients()
    assert [door.come(NO_GUID), door.come(NO_GUID)] == [0, 1]
    assert door.supervisor.clients.guids == {}


def test_no_worker_is_ready(clients: Callable[..., Clients]) -> None:
    door = clients()
    for number in (0, 1):
        door.workers[number] = FakeWorker(number, ready=False)
    door.supervisor.workers.update({w.number: w for w in door.workers})  # type: ignore[misc]
    assert door.come() is None
    assert door.supervisor.clients.addresses == {}


def test_limits(clients: Callable[..., Clients]) -> None:
    """They count those who have logged in, and no strangers."""
    door = clients(max_connections=3, max_ip_connections=2)
    admit = partial(door.supervisor.clients.admit, door.supervisor.config)
    for _ in range(10):
        door.come(A)
        assert admit("192.0.2.1")
    door.log_in(0, 0)
    assert admit("192.0.2.1")
    door.log_in(0, 1)
    assert not admit("192.0.2.1")
    assert door.come(A) is None
    assert admit("192.0.2.2")
    door.come(A, "192.0.2.2")
    door.log_in(0, 10)
    assert not admit("192.0.2.4")
    assert door.dismissed() == []
    door.log_in(0, 2)  # who came as a stranger, and is one too many
    (dismissed,) = door.dismissed()
    assert dismissed.standing is Standing.USER
    for index in range(3):
        door.go(0, index)
    assert admit("192.0.2.1")
    unlimited = clients(max_connections=0, max_ip_connections=0)
    assert unlimited.come(A) == 0


def test_strangers_displace_a_crowd_of_strangers(clients: Callable[..., Clients]) -> None:
    door = clients()
    strangers = door.supervisor.clients.strangers
    strangers.capacity = 8
    door.come(A, "192.0.2.9")
    door.log_in(0)
    door.come(A, "192.0.2.1")
    for _ in range(100):
        door.come(A, "192.0.2.2")
    assert len(strangers) == 8
    told = door.dismissed()
    numbers = door.given(0)
    assert [message.connection for message in told] == numbers[2 : 2 + len(told)], "the eldest"
    assert all(message.standing is Standing.STRANGER for message in told)
    assert (0, numbers[1]) in strangers, "the only one of its address"


def test_guests_take_no_users_places_and_displace_each_other(
    clients: Callable[..., Clients],
) -> None:
    door = clients(max_connections=16, max_ip_connections=2)
    known = door.supervisor.clients
    for index in range(20):
        door.come(A, "192.0.2.1")
        door.log_in(0, index, Standing.GUEST)
    numbers = door.given(0)
    assert len(known.guests) == known.guests.capacity == 16 // GUESTS
    assert known.guest_places(ServerConfig(max_connections=16)) == 16 // GUESTS
    assert known.guest_places(ServerConfig(max_connections=1)) == 1
    told = door.dismissed()
    assert [message.connection for message in told] == numbers[:16], "the eldest"
    assert all(message.standing is Standing.GUEST for message in told)
    assert (known.known_total, known.known("192.0.2.1"), len(known.strangers)) == (0, 0, 0)
    worker = door.workers[0]
    for number in numbers[:15]:
        known.gone(worker, number)  # type: ignore[arg-type]
    assert (known.known_total, known.total, known.known("192.0.2.1")) == (0, 5, 0)
    door.says(0, numbers[15], Standing.USER)  # who has logged in before he could be closed
    door.says(0, numbers[16], Standing.USER)
    door.says(0, numbers[16], Standing.USER)
    assert (known.known_total, len(known.guests)) == (2, 3)
    door.says(0, numbers[17], Standing.USER)  # is one too many of his address
    assert door.dismissed()[-1] == messages.Dismiss(
        connection=numbers[17], reason="`max connections` or `max ip connections` is reached"
    )


def test_an_end_is_counted_once(clients: Callable[..., Clients]) -> None:
    door = clients()
    door.come(A)
    door.come(A)
    door.go(0)
    door.go(0)
    assert door.supervisor.clients.guids == {A: (0, 1)}
    assert door.supervisor.clients.addresses == {"192.0.2.1": {0: 1}}


def test_the_servers_guid_lasts() -> None:
    assert server_guid() == server_guid()
    assert len(server_guid()) == 16


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EADDRINUSE, "port 4455 is taken: stop the server that has it (`ss -ltnp`)"),
        (errno.EACCES, "port 4455 needs root: start as root"),
        (errno.EADDRNOTAVAIL, "[Errno 99] Cannot assign requested address"),
    ],
)
def test_a_port_that_cannot_be_had_is_explained(number: int, said: str) -> None:
    error = OSError(number, os.strerror(number))
    assert _explain(error, ServerConfig(tcp_port=4455)).startswith(said)
