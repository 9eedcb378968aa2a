"""The contract between a transport and the engine.

A transport carries whole messages, each at most as long as its receiver allows, and knows
nothing of what is in them. The shape is that of ksmbd's transport operations: messages in,
scattered parts out, and (on RDMA alone) direct reads and writes of the peer's memory.

Data flows one way: transport -> `Receiver.message_received` -> engine -> `Transport.send`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
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


class Receiver(Protocol):
    """What a transport delivers to: one connection of the engine."""

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


class Transport(ABC):
    """One connection that carries whole messages both ways."""

    peer: str
    """The peer's address, as text, for the log and for `hosts allow`."""

    local: str
    """Our own address on this connection, as text."""

    rdma = False
    """Whether the peer's memory can be read and written directly."""

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
