"""The contract between a transport and the engine.

A transport carries whole messages, each at most as long as its receiver allows, and knows
nothing of what is in them. The shape is that of ksmbd's transport operations: messages in,
scattered parts out, and (on RDMA alone) direct reads and writes of the peer's memory.

Data flows one way: transport -> `Receiver.message_received` -> engine -> `Transport.send`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

Buffer = bytes | bytearray | memoryview


class FileSpan(NamedTuple):
    """A part of a message that the transport takes from an open file itself (sendfile).

    `fd` stays open until `Transport.send` returns; a transport that has to wait duplicates it.
    """

    fd: int
    offset: int
    length: int


Part = Buffer | FileSpan


def host_text(address: str) -> str:
    """Return a host's address for people: an IPv4 client of a socket for both families is one."""
    return address.removeprefix("::ffff:")


class RemoteBuffer(NamedTuple):
    """Memory of the peer: a Buffer Descriptor V1, [MS-SMBD] 2.2.3.1.

    `offset` is an address of the peer's (64 bits), `token` its key (32 bits), `length` in bytes.
    """

    offset: int
    token: int
    length: int


class Receiver(Protocol):
    """What a transport delivers to: one connection of the engine.

    It raises nothing. Where it does, that is a fault of the server, is logged as one, and the
    connection ends: what the message was to do may be half done, and it must not come twice.
    """

    @property
    def message_limit(self) -> int:
        """Return how many bytes a message may have now; checked before memory is taken."""

    def message_received(self, message: memoryview) -> None:
        """Take one whole message.

        The memory is writable and belongs to the message: it is used again only when no view
        of it is left, so a receiver keeps what it needs by keeping the view.
        """

    def connection_lost(self, reason: str) -> None:
        """Learn, once, that no message will come or go any more."""


class Meter(Protocol):
    """Counts the memory that a connection keeps from one turn of the loop to the next."""

    @property
    def full(self) -> bool:
        """Whether no further message is to be delivered, until it says otherwise."""

    def room(self, size: int) -> bool:
        """Whether a frame that has begun may take memory of `size` bytes."""

    def keep(self, change: int) -> None:
        """Count bytes that are kept, or, below 0, that are given back."""

    def starve(self, go_on: Callable[[], None]) -> None:
        """Call `go_on`, once and later, when it is not full any more or may have room."""


class Unmetered:
    """Memory without end, for connections that nobody limits."""

    full = False

    def room(self, size: int) -> bool:
        """Say yes."""
        return True

    def keep(self, change: int) -> None:
        """Count nothing."""

    def starve(self, go_on: Callable[[], None]) -> None:
        """Nobody starves."""


UNMETERED = Unmetered()


class Transport(ABC):
    """One connection that carries whole messages both ways."""

    meter: Meter = UNMETERED
    """What counts this connection's memory."""

    @property
    def progress(self) -> object:
        """Return what changes with every 64 KiB that arrive or leave; None: no memory is kept."""
        return None

    def reached(self, times: int) -> bool | None:
        """Tell whether the peer has acknowledged all that was sent; None: not yet.

        False: it acknowledges nothing, though it was sent again so many times. By RDMA such a
        connection is ended by its device, which knows.
        """
        return True

    peer: str
    """The peer's address, as text, for the log and for `hosts allow`."""

    local: str
    """Our own address on this connection, as text."""

    @abstractmethod
    def start(self, receiver: Receiver) -> None:
        """Begin to deliver messages to `receiver`."""

    @abstractmethod
    def send(self, parts: Sequence[Part]) -> None:
        """Send one message made of `parts`, in order; never blocks.

        The parts must not be changed afterwards. A send on a lost connection does nothing:
        the receiver has been told.
        """

    @abstractmethod
    def buffer(self, size: int) -> memoryview:
        """Return writable memory of `size` bytes to build a part in (RDMA: registered memory).

        It is free again when no view of it is left.
        """

    @abstractmethod
    def close(self, reason: str) -> None:
        """Send what is queued as far as the peer takes it at once, then end the connection."""


class RdmaTransport(Transport):
    """A transport whose peer's memory can be read and written directly.

    What the peer says of its memory is not believed but tried: a wrong descriptor makes the
    device end the connection.
    """

    max_remote_length: int
    """How many bytes one `read_remote` or `write_remote` may have."""

    bytes_written = 0
    """Bytes given to `write_remote` so far, for status."""

    bytes_read = 0
    """Bytes asked for by `read_remote` so far, for status."""

    @property
    def saturated(self) -> bool:
        """Whether so much is on its way that no further request is taken up."""
        return False

    @property
    @abstractmethod
    def max_message(self) -> int:
        """Return how many bytes a message to the peer may have; 0 before the negotiation."""

    @abstractmethod
    def send(self, parts: Sequence[Part], invalidate: int = 0) -> None:
        """Send one message as `Transport.send`; it arrives after earlier `write_remote`s' data.

        The peer's device gives up `invalidate`, one of its tokens, when the whole message is
        there (0: none). A message of 0 or more than `max_message` bytes raises ValueError.
        """

    @abstractmethod
    def write_remote(self, data: Sequence[memoryview], remote: Sequence[RemoteBuffer]) -> None:
        """Write `data` to the peer's memory, in order over the buffers; never blocks.

        Memory of `buffer` goes as it is and must not be changed afterwards, other memory is
        copied. ValueError for more than `remote` holds or than `max_remote_length`. On a lost
        connection it does nothing: the receiver has been told.
        """

    @abstractmethod
    def read_remote(
        self,
        data: memoryview,
        remote: Sequence[RemoteBuffer],
        done: Callable[[OSError | None], None],
    ) -> None:
        """Fill `data`, memory of `buffer`, from the peer's memory, in order over the buffers.

        `done` is called exactly once and never from inside this call: with None when all of
        it is there, with ConnectionError when the connection was lost before. ValueError for
        more than `remote` holds or than `max_remote_length`, or for other memory.
        """
