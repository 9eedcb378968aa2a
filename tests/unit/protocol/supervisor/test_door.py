"""What the door hands over: connected clients by TCP alone, with the address of the kernel."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.door import messages
from usmbd.protocol.supervisor.door import Door
from usmbd.protocol.supervisor.processes import Processes

GUID = bytes(range(16))
NO_PROCESSES = cast(Processes, None)
"""Nothing is started here."""

CLIENT = messages.encode(messages.Client(GUID, b"said"))


class Supervised:
    """A door without its process, and what it passed on."""

    def __init__(self) -> None:
        """Begin without clients."""
        self.passed: list[tuple[socket.socket, str, bytes, bytes]] = []
        self.door = asyncio.run(self._make())

    async def _make(self) -> Door:
        return Door(NO_PROCESSES, ServerConfig, lambda *client: self.passed.append(client))

    def say(self, data: bytes, *descriptors: int) -> None:
        """Say something as the door, and check that no descriptor stays but those passed on."""
        self.door._said(data, list(descriptors))
        kept = [sock.fileno() for sock, *_ in self.passed]
        for descriptor in descriptors:
            with suppress(OSError):
                os.fstat(descriptor)
                assert descriptor in kept


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    made = Supervised()
    yield made
    for sock, *_ in made.passed:
        sock.close()


def test_a_client_is_passed_on_with_its_own_address(supervised: Supervised) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), source_address=("127.3.2.1", 0)) as client,
    ):
        accepted, _ = listener.accept()
        supervised.say(CLIENT, accepted.detach())
        ((sock, *said),) = supervised.passed
        assert said == ["127.3.2.1", GUID, b"said"]
        sock.send(b"x")
        assert client.recv(1) == b"x"


def test_what_is_no_client_is_closed(supervised: Supervised) -> None:
    reading, writing = os.pipe()
    one, two = socket.socketpair()
    unconnected = socket.socket()
    for number in (reading, writing, one.detach(), two.detach(), unconnected.detach()):
        supervised.say(CLIENT, number)
    supervised.say(CLIENT)  # its descriptor found no room
    assert not supervised.passed


def test_what_is_nested_without_end_leaves_no_descriptor(supervised: Supervised) -> None:
    reading, writing = os.pipe()
    for number in (reading, writing):
        supervised.say(b"\x82\xa1x" + b"\x91" * 30_000, number)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_what_is_no_message_changes_nothing(supervised: Supervised) -> None:
    state = messages.State(places=3, used=2, displaced=1)
    supervised.say(messages.encode(state), os.dup(0))
    assert supervised.door.state == state
    for data in (
        b"\xc1",
        messages.encode(messages.Ask()),
        messages.encode(messages.Client(b"short", b"said")),
        messages.encode(messages.Client(GUID, bytes(messages.MESSAGE_LIMIT))),
    ):
        supervised.say(data, os.dup(0))
    assert supervised.door.state == state
    assert not supervised.passed
