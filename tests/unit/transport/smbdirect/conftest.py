"""Connections over the in-memory fabric, and the server's upper layer."""

from collections.abc import Callable, Iterator

import pytest
from smbdirect.client import Client
from smbdirect.network import READS, Network

from usmbd.transport.smbdirect.connection import SmbDirectTransport
from usmbd.transport.smbdirect.limits import Limits


class Upper:
    """Keeps what arrives; `on_message` may answer."""

    def __init__(self) -> None:
        """Begin empty, with a generous limit."""
        self.message_limit = 1 << 24
        self.messages: list[bytes] = []
        self.lost: list[str] = []
        self.on_message: Callable[[memoryview], None] = lambda message: None

    def message_received(self, message: memoryview) -> None:
        """Take a message."""
        self.messages.append(bytes(message))
        self.on_message(message)

    def connection_lost(self, reason: str) -> None:
        """Learn the end."""
        self.lost.append(reason)


class Link:
    """A client with an engine, and the server's side of its connection."""

    def __init__(
        self, network: Network, limits: Limits | None = None, *, reads: int = READS
    ) -> None:
        """Connect; nothing has moved yet."""
        self.network = network
        self.upper = Upper()
        self.client = Client(network.client_device, limits)
        self.transport: SmbDirectTransport = network.connect(self.client, reads=reads)
        self.done: list[OSError | None] = []
        """What reads of the server's side have told."""

    def start(self) -> "Link":
        """Deliver, and negotiate."""
        self.transport.start(self.upper)
        self.network.pump()
        assert self.transport.engine.established
        return self

    def echo(self) -> "Link":
        """Have the upper layer send back what it gets."""
        self.upper.on_message = lambda message: self.transport.send([message])
        return self

    def call(self, message: bytes) -> bytes:
        """Send a message and return the answer."""
        self.client.send([message])
        self.network.pump()
        (answer,) = self.client.delivered
        self.client.delivered.clear()
        return answer

    def memory(self, content: bytes) -> memoryview:
        """Return the server's registered memory with something in it."""
        view = self.transport.buffer(len(content))
        assert self.network.pool.owns(view)
        view[:] = content
        return view


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a network; nothing may be left of it."""
    network = Network()
    yield network
    network.close()


@pytest.fixture
def link(network: Network) -> Link:
    """Return a connection that has negotiated."""
    return Link(network).start()


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes that are not the same anywhere near."""
    return (bytes((seed + n) % 251 for n in range(251)) * (size // 251 + 1))[:size]
