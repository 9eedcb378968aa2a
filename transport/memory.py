"""A joined pair of transports in memory, for tests and for clients inside the process.

Nothing is delivered before `pump`, so a test decides when each side runs, and no call
re-enters its caller.
"""

import os
from collections import deque
from collections.abc import Sequence

from usmbd.transport.base import FileSpan, Part, Receiver, Transport


class MemoryTransport(Transport):
    """One end of a pair; messages are copied once, as a wire would."""

    peer = local = "memory"

    def __init__(self) -> None:
        self.other: MemoryTransport = self
        self.arrived: deque[bytearray] = deque()
        self.closed = False
        self._receiver: Receiver | None = None

    def start(self, receiver: Receiver) -> None:
        """Begin to deliver messages to `receiver` (at the next `pump`)."""
        self._receiver = receiver

    def send(self, parts: Sequence[Part]) -> None:
        """Put one message into the other end's queue."""
        if self.closed:
            return
        message = bytearray()
        for part in parts:
            if isinstance(part, FileSpan):
                data = os.pread(part.fd, part.length, part.offset)
                message += data.ljust(part.length, b"\0")
            else:
                message += part
        self.other.arrived.append(message)

    def buffer(self, size: int) -> memoryview:
        """Return writable memory of `size` bytes."""
        return memoryview(bytearray(size))

    def close(self, reason: str) -> None:
        """End the connection on both sides."""
        for end in (self, self.other):
            if not end.closed:
                end.closed = True
                receiver, end._receiver = end._receiver, None
                if receiver is not None:
                    receiver.connection_lost(reason)

    def pump(self) -> int:
        """Deliver what has arrived; return how many messages that was."""
        count = 0
        while self.arrived and not self.closed and self._receiver is not None:
            message = self.arrived.popleft()
            if len(message) > self._receiver.message_limit:
                self.close(f"a message of {len(message)} bytes")
                break
            self._receiver.message_received(memoryview(message))
            count += 1
        return count


def pair() -> tuple[MemoryTransport, MemoryTransport]:
    """Return two joined ends."""
    one, two = MemoryTransport(), MemoryTransport()
    one.other, two.other = two, one
    return one, two
