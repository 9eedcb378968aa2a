"""The process at the door, in this one: what the supervisor says, and the clients it is handed."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator

import pytest

from usmbd.protocol.door import messages, process
from usmbd.protocol.door.process import DoorProcess
from usmbd.protocol.wire.header import Header
from usmbd.protocol.wire.negotiate import NegotiateRequest

Until = Callable[[Callable[[], object]], None]
GUID = bytes(range(16))


def first_message() -> bytes:
    body = NegotiateRequest(dialect_count=1, security_mode=1, capabilities=0, client_guid=GUID)
    said = Header(command=0, message_id=0, signature=bytes(16)).pack() + body.pack() + b"\2\2"
    return len(said).to_bytes(4, "big") + said


class Supervisor:
    """The supervisor's end of a door."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with a door that serves nothing."""
        self.control, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(0)
        self.door = DoorProcess(self.theirs, loop)  # type: ignore[arg-type]
        self.heard: list[tuple[messages.FromDoor, list[int]]] = []

    def say(self, message: messages.ToDoor, *descriptors: int) -> None:
        """Tell the door something."""
        socket.send_fds(self.control, [messages.encode(message)], descriptors)

    def hears(self) -> bool:
        """Take what it says; whether it has said anything."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, messages.MESSAGE_LIMIT, 2)
        except BlockingIOError:
            return bool(self.heard)
        self.heard.append((messages.decode_from_door(data), list(descriptors)))
        return True


@pytest.fixture
def supervisor(loop: asyncio.AbstractEventLoop) -> Iterator[Supervisor]:
    made = Supervisor(loop)
    yield made
    for guest in list(made.door.keeper._guests):
        made.door.keeper._dismiss(guest)
    for listener in made.door._listeners.values():
        made.door.keeper.leave(listener)
        listener.close()
    loop.remove_reader(made.theirs)
    made.theirs.close()
    made.control.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def connect(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname(), timeout=5)


def test_a_client_is_handed_over(
    supervisor: Supervisor, listener: socket.socket, until: Until
) -> None:
    supervisor.say(messages.Serve(7), listener.fileno())
    until(lambda: supervisor.door._listeners)
    assert list(supervisor.door._listeners) == [7]
    with connect(listener) as client:
        client.sendall(first_message())
        until(supervisor.hears)
        ((said, (descriptor,)),) = supervisor.heard
        assert said == messages.Client(GUID, first_message())
        with socket.socket(fileno=descriptor) as served:
            served.sendall(b"served")
            assert client.recv(10) == b"served"
        assert client.recv(1) == b""  # nobody else has it any more


def test_it_says_how_it_is(supervisor: Supervisor, listener: socket.socket, until: Until) -> None:
    supervisor.say(messages.Serve(1), listener.fileno())
    with connect(listener):
        until(lambda: supervisor.door.keeper._guests)
        supervisor.say(messages.Ask())
        until(supervisor.hears)
    capacity = supervisor.door.keeper.places.capacity
    assert supervisor.heard == [(messages.State(capacity, 1, 0), [])]


def test_what_is_left_is_not_served_any_more(
    supervisor: Supervisor, listener: socket.socket, until: Until
) -> None:
    supervisor.say(messages.Serve(1), listener.fileno())
    until(lambda: supervisor.door._listeners)
    own = supervisor.door._listeners[1]
    supervisor.say(messages.Leave(2))  # one that it does not have
    supervisor.say(messages.Leave(1))
    until(lambda: not supervisor.door._listeners)
    assert own.fileno() == -1
    with connect(listener):
        supervisor.say(messages.Ask())
        until(supervisor.hears)
    assert isinstance(supervisor.heard[0][0], messages.State)
    assert supervisor.heard[0][0].used == 0


def test_no_room_for_a_socket_is_no_end(supervisor: Supervisor, until: Until) -> None:
    """The kernel leaves it out; the supervisor tries again."""
    supervisor.say(messages.Serve(1))
    supervisor.say(messages.Ask())
    until(supervisor.hears)
    assert not supervisor.door._listeners


def test_the_log_is_as_the_supervisor_says(
    supervisor: Supervisor, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[object] = []
    monkeypatch.setattr(process.logs, "set_up", lambda *of, as_json: said.append((*of, as_json)))
    monkeypatch.setattr(process.logs, "debug_only", said.append)
    supervisor.say(messages.Log(2, True, ["conn"]))
    until(lambda: len(said) == 2)
    assert said == [("door", 2, True), ["conn"]]


def test_it_ends_with_the_supervisor(
    supervisor: Supervisor, loop: asyncio.AbstractEventLoop
) -> None:
    supervisor.control.close()
    loop.run_forever()  # it stops it


def test_a_client_is_lost_where_nobody_takes_it(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.control.close()
    ours, theirs = socket.socketpair()
    with caplog.at_level(logging.ERROR):
        supervisor.door._pass_on(theirs, GUID, first_message())
    assert "a client is lost on the way to its worker" in caplog.text
    assert ours.recv(1) == b""
    ours.close()
