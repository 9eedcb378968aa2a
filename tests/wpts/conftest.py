"""A server's side of SMB Direct that tests talk to in raw bytes, and a client made of them.

`connect()` opens a connection and gives a `Client` over a `Wire`. What the tests know of the layer
above is `Upper`: messages that the server answers. The wire is the engine alone, and then a whole
connection over an in-memory fabric; the layer above answers with digests.
"""

import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest
from smbdirect.network import Network
from smbengine.server import Engine as SmbEngine

from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.limits import Limits, ProtocolError, Role

from .connection_wire import ConnectionWire

VERSION = 0x0100
RESPONSE_REQUESTED = 1
DATA_OFFSET = 24

CREDITS = 10
SIZE = 1024
FRAGMENTED = 128 * 1024
"""What the tests ask for in a negotiation unless they are about something else."""

SMALL = 500
MODERATE = 65536
"""Bytes of a message that fits into one fragment, and of one that does not."""

_DATA = struct.Struct("<4H3I")


class Wire(Protocol):
    """One connection, as the client's side of the network sees it."""

    def send(self, message: bytes) -> None:
        """Let one message arrive at the server."""

    def receive(self) -> bytes:
        """Return the next message of the server; TimeoutError if there is none at this time."""

    def advance(self, seconds: float) -> None:
        """Let time pass for the server."""

    def disconnect(self) -> None:
        """End the connection from the client's side."""

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""


class Upper(Protocol):
    """What the server's upper layer answers."""

    def establish(self, client: "Client") -> None:
        """Do what has to come before other messages."""

    def upload(self, length: int) -> bytes:
        """Return a message of `length` bytes that gets a short answer."""

    def download(self, length: int) -> bytes:
        """Return a short message that gets an answer of `length` bytes."""

    def check(self, request: bytes, reply: bytes) -> None:
        """Assert that `reply` answers `request`, every byte of which has arrived."""


class Response(NamedTuple):
    """A Negotiate Response, [MS-SMBD] 2.2.2."""

    min_version: int
    max_version: int
    negotiated_version: int
    reserved: int
    credits_requested: int
    credits_granted: int
    status: int
    max_read_write_size: int
    preferred_send_size: int
    max_receive_size: int
    max_fragmented_size: int


class Data(NamedTuple):
    """A Data Transfer message, [MS-SMBD] 2.2.3, and all that follows its fixed part."""

    credits_requested: int
    credits_granted: int
    flags: int
    reserved: int
    remaining: int
    offset: int
    length: int
    rest: bytes

    @property
    def payload(self) -> bytes:
        """The upper layer's bytes."""
        start = self.offset - _DATA.size
        return self.rest[start : start + self.length] if self.length else b""

    def check_empty(self, flags: int = 0) -> None:
        """Assert that it carries credits and flags alone."""
        assert self.credits_requested > 0
        assert self.flags == flags
        assert (self.reserved, self.remaining, self.offset, self.length) == (0, 0, 0, 0)
        assert self.rest == b""


def negotiate_request(
    *,
    versions: tuple[int, int] = (VERSION, VERSION),
    credits: int = CREDITS,
    send: int = SIZE,
    receive: int = SIZE,
    fragmented: int = FRAGMENTED,
) -> bytes:
    """Build a Negotiate Request, [MS-SMBD] 2.2.1."""
    return struct.pack("<4H3I", *versions, 0, credits, send, receive, fragmented)


def split(message: bytes, size: int) -> Iterator[tuple[bytes, int]]:
    """Cut a message into payloads of `size` bytes, each with what is left after it."""
    for start in range(0, len(message), size):
        piece = message[start : start + size]
        yield piece, len(message) - start - len(piece)


class Client:
    """A client that keeps count of both sides' credits and holds the server to them."""

    def __init__(self, wire: Wire) -> None:
        """Begin on a connection that has not negotiated."""
        self.wire = wire
        self.send_credits = 0
        """Messages that the server lets us send."""
        self.granted = 0
        """Messages that we let the server send."""
        self.target = CREDITS
        self.response: Response | None = None

    def negotiate(
        self,
        *,
        versions: tuple[int, int] = (VERSION, VERSION),
        credits: int = CREDITS,
        send: int = SIZE,
        receive: int = SIZE,
        fragmented: int = FRAGMENTED,
        redundant: int = 0,
    ) -> Response:
        """Send a request, `redundant` bytes longer than it need be, and return the answer."""
        request = negotiate_request(
            versions=versions, credits=credits, send=send, receive=receive, fragmented=fragmented
        )
        self.wire.send(request + bytes(redundant))
        answer = self.wire.receive()
        assert len(answer) == 32
        self.response = response = Response._make(struct.unpack("<6H5I", answer))
        self.send_credits = response.credits_granted
        self.target = credits
        return response

    def send(
        self,
        payload: bytes = b"",
        *,
        granted: int = 1,
        flags: int = 0,
        remaining: int = 0,
        offset: int | None = None,
        length: int | None = None,
        requested: int | None = None,
        redundant: int = 0,
    ) -> None:
        """Send one Data Transfer message; what is not given is as it should be."""
        assert self.send_credits > 0
        self.send_credits -= 1
        self.granted += granted
        fields = (
            self.target if requested is None else requested,
            granted,
            flags,
            0,
            remaining,
            (DATA_OFFSET if payload else 0) if offset is None else offset,
            len(payload) if length is None else length,
        )
        padding = bytes(DATA_OFFSET - _DATA.size) if payload or offset else b""
        self.wire.send(_DATA.pack(*fields) + padding + payload + bytes(redundant))

    def receive(self) -> Data:
        """Take one Data Transfer message of the server, which must have had a credit for it."""
        message = self.wire.receive()
        assert self.granted > 0, "the server sent without a credit"
        self.granted -= 1
        data = Data(*_DATA.unpack_from(message), message[_DATA.size :])
        self.send_credits += data.credits_granted
        assert self.granted or data.credits_granted, "the last credit went without a grant"
        assert data.credits_requested > 0
        assert data.offset % 8 == 0
        assert data.length == 0 or data.offset + data.length == len(message)
        return data

    def wait_for_credits(self) -> None:
        """Take empty messages of the server until it has granted something."""
        while not self.send_credits:
            self.receive().check_empty()

    def send_message(self, message: bytes, size: int = SIZE - DATA_OFFSET) -> None:
        """Send an upper message in fragments of `size` bytes, and wait for credits in between."""
        for payload, remaining in split(message, size):
            self.wait_for_credits()
            self.send(payload, remaining=remaining)

    def receive_message(self, grant: int = 0) -> bytes:
        """Take an upper message; when the server has used all it had, grant it `grant` more."""
        message = b""
        while True:
            if not self.granted and grant:
                self.send(granted=grant)
            data = self.receive()
            if not data.length:
                assert not message, "an empty message between two fragments"
                continue
            message += data.payload
            if not data.remaining:
                return message

    def check_closed(self) -> None:
        """Assert that the server has ended the connection."""
        assert self.wire.closed

    def check_silent(self) -> None:
        """Assert that the server has nothing to say, and has not gone."""
        with pytest.raises(TimeoutError):
            self.wire.receive()
        assert not self.wire.closed


Connect = Callable[[], Client]


class DigestUpper:
    """Answers a message, which begins with the answer's length, with digests of all of it."""

    SHORT = 80

    def establish(self, client: Client) -> None:
        """Need nothing."""

    def upload(self, length: int) -> bytes:
        """Build a message that asks for a short answer."""
        return self._request(length, self.SHORT)

    def download(self, length: int) -> bytes:
        """Build a short message that asks for an answer of `length` bytes."""
        return self._request(112, length)

    def check(self, request: bytes, reply: bytes) -> None:
        """Compare with what the server has to answer."""
        assert reply == self.answer(request)

    @staticmethod
    def _request(length: int, answer: int) -> bytes:
        filler = bytes(n % 251 for n in range(length - 4))
        return struct.pack("<I", answer) + filler

    @staticmethod
    def answer(message: bytes) -> bytes:
        """Return the server's answer."""
        (length,) = struct.unpack_from("<I", message)
        digest = hashlib.sha256(message).digest()
        return (digest * (length // len(digest) + 1))[:length]


class EngineWire:
    """The engine as the server, with its receives posted again at once and its own clock."""

    LIMITS = Limits()

    def __init__(self) -> None:
        """Accept a connection at time 0."""
        self._now = 0.0
        self._engine = Engine(
            Role.SERVER, self.LIMITS, lambda size: memoryview(bytearray(size)), self._now
        )
        self._engine.posted(self.LIMITS.receive_credit_max)
        self._slot = memoryview(bytearray(self.LIMITS.max_send_size))
        self._sent: deque[bytes] = deque()
        self.closed = False

    def send(self, message: bytes) -> None:
        """Complete one receive."""
        assert not self.closed
        if len(message) > self.LIMITS.max_receive_size:
            self.closed = True  # by the queue pair: the receive is too short for it
            return
        try:
            whole = self._engine.received(memoryview(message), self._now)
        except ProtocolError:
            self.closed = True
            return
        self._engine.posted(1)
        if whole is not None:
            self._engine.queue([DigestUpper.answer(bytes(whole))])
        self._flush()

    def receive(self) -> bytes:
        """Return the oldest message that was sent and not taken yet."""
        if not self._sent:
            raise TimeoutError
        return self._sent.popleft()

    def advance(self, seconds: float) -> None:
        """Run the timers that expire on the way."""
        end = self._now + seconds
        while not self.closed and self._engine.deadline() <= end:
            self._now = self._engine.deadline()
            try:
                self._engine.tick(self._now)
            except ProtocolError:
                self.closed = True
            else:
                self._flush()
        self._now = end

    def disconnect(self) -> None:
        """Forget the connection."""
        self.closed = True

    def _flush(self) -> None:
        while (sent := self._engine.next_send(self._slot, self._now)) is not None:
            self._sent.append(bytes(self._slot[: sent.length]))
        if self._engine.negotiation_refused:
            self.closed = True


@pytest.fixture(params=["engine", "connection"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Open connections to one server: its engine alone, or all of it; nothing is left of it."""
    if request.param == "engine":
        yield lambda: Client(EngineWire())
        return
    network = Network()
    yield lambda: Client(ConnectionWire(network, DigestUpper.answer))
    network.close()


@pytest.fixture
def wire(connect: Connect) -> Wire:
    """Give one connection, without a client's bookkeeping."""
    return connect().wire


@pytest.fixture
def upper() -> Upper:
    """Give the messages that the server answers."""
    return DigestUpper()


@pytest.fixture
def smb2_engine(tmp_path: Path) -> Iterator[SmbEngine]:
    """Run a whole SMB server that clients reach by SMB Direct; nothing is left of it."""
    engine = SmbEngine(tmp_path, transport="smbdirect")
    yield engine
    engine.close()
