"""A TcpTransport on one end of a socket pair, on a real event loop that runs step by step."""

import select
import socket
from collections.abc import Callable, Iterator

import pytest

from usmbd.transport.loop import EpollLoop
from usmbd.transport.tcp import TcpTransport

STEPS = 200


class Receiver:
    """Keeps what arrives; `on_message` may answer."""

    def __init__(self) -> None:
        """Begin empty, with a generous limit."""
        self.message_limit = (1 << 24) - 1
        self.messages: list[memoryview] = []
        self.lost: list[str] = []
        self.on_message: Callable[[memoryview], None] = lambda message: None

    def message_received(self, message: memoryview) -> None:
        """Take a message, and keep its view as a slow request does."""
        self.messages.append(message)
        self.on_message(message)

    def connection_lost(self, reason: str) -> None:
        """Learn the end."""
        self.lost.append(reason)

    @property
    def bytes(self) -> list[bytes]:
        """The messages' content as it is now."""
        return [bytes(message) for message in self.messages]


class Wire:
    """The client's end of the pair, and the transport under test with its receiver."""

    def __init__(self, first: bytes = b"", buffer: int = 0) -> None:
        """Join both; `buffer` makes the kernel's buffers small."""
        self.loop = EpollLoop()
        self.client, theirs = socket.socketpair()
        self.client.setblocking(False)
        if buffer:
            for sock in (self.client, theirs):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.receiver = Receiver()
        self.transport = TcpTransport(theirs, self.loop, first)

    def start(self) -> "Wire":
        """Begin to deliver."""
        self.transport.start(self.receiver)
        return self

    def step(self, times: int = 1) -> None:
        """Let the loop look at its sockets once, without waiting."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def put(self, data: bytes) -> None:
        """Send bytes to the transport, which takes them as they come."""
        while data:
            try:
                data = data[self.client.send(data) :]
            except BlockingIOError:
                self.step()
        self.step(3)

    def take(self, size: int = -1) -> bytes:
        """Read what the transport sent: `size` bytes, or all there is."""
        data = bytearray()
        for _ in range(STEPS if size < 0 else STEPS * 50):
            self.step()
            if size >= 0 and len(data) >= size:
                break
            try:
                part = self.client.recv(size - len(data) if size >= 0 else 1 << 20)
            except BlockingIOError:
                if size < 0 and not select.select([self.client], [], [], 0)[0]:
                    break
                continue
            if not part:
                break
            data += part
        return bytes(data)

    def close(self) -> None:
        """End all of it."""
        self.transport.close("the test is over")
        self.client.close()
        self.loop.close()


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    """Return a worker's event loop."""
    loop = EpollLoop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two ends that are joined, both without waiting."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def wires() -> Iterator[Callable[..., Wire]]:
    """Return a function that makes wires, closed at the end."""
    made: list[Wire] = []

    def make(first: bytes = b"", buffer: int = 0) -> Wire:
        made.append(Wire(first, buffer))
        return made[-1]

    yield make
    for wire in made:
        wire.close()


@pytest.fixture
def wire(wires: Callable[..., Wire]) -> Wire:
    """Return a wire that delivers."""
    return wires().start()
