"""When a client is stopped that takes no replies, and what it goes on asking until it does."""

from collections import deque

HIGH_WATER = 1 << 20
"""Queued bytes from which on no further request of this client is taken up: a client that gives
no credits for its replies stops being served."""

LOW_WATER = 1 << 18
"""Queued bytes below which a stopped client is served again."""

TRANSFERS_HIGH = 32 << 20
"""Bytes of direct transfers from which on no further request is taken up: four of the largest,
so that no client has more than an eighth of the pool. A short READ counts as what it asked for."""

TRANSFERS_LOW = 16 << 20
"""Bytes of direct transfers below which a stopped client is served again."""

LEAST_POSTED = 4
"""Receives that a stopped client keeps: it needs some to grant us what gets it going again."""

HELD_HIGH = 32 << 20
"""Bytes of a stopped client's messages from which on it is lost: it would fill our memory."""

HELD_OVERHEAD = 512
"""Bytes that a held message takes beside its own."""


class Backlog:
    """Messages in their order; their memory counts, which may be more than is used."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self) -> None:
        """Begin empty."""
        self._messages: deque[memoryview] = deque()
        self._bytes = 0

    def add(self, message: memoryview) -> bool:
        """Keep one more; False when that is too much."""
        self._messages.append(message)
        self._bytes += memoryview(message.obj).nbytes + HELD_OVERHEAD
        return self._bytes <= HELD_HIGH

    def take(self) -> memoryview | None:
        """Return the oldest, None when there is none."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= memoryview(message.obj).nbytes + HELD_OVERHEAD
        return message

    def clear(self) -> None:
        """Forget all."""
        self._messages.clear()
        self._bytes = 0
