"""Upper messages that wait for credits, and their way into slots, one fragment at a time."""

from collections import deque

_NOTHING = b""


class SendQueue:
    """`Connection.SendQueue`: messages leave in order, and no two are mixed.

    They are kept as they are and must not change meanwhile.
    """

    __slots__ = ("_invalidate", "_message", "_waiting", "queued_bytes", "remaining")

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: deque[tuple[bytes | memoryview, int]] = deque()
        self._message: bytes | memoryview = _NOTHING
        self._invalidate = 0
        self.remaining = 0
        """Bytes of the message under way that are not in a slot yet; 0: none is under way."""
        self.queued_bytes = 0
        """Bytes that are not in a slot yet, of all messages."""

    def append(self, message: bytes | memoryview, invalidate: int) -> None:
        """Add a message, of bytes and not empty."""
        self._waiting.append((message, invalidate))
        self.queued_bytes += len(message)

    def fill(self, slot: memoryview, start: int, end: int) -> tuple[int, int, int]:
        """Copy the next fragment to `slot[start:end]`, as much as there is room for.

        Returns its length, how much of the message is left, and, with the last fragment, the
        token to invalidate. The queue must not be empty.
        """
        left = self.remaining
        if not left:
            self._message, self._invalidate = self._waiting.popleft()
            left = len(self._message)
        message = self._message
        room = end - start
        if left <= room:
            slot[start : start + left] = message if left == len(message) else message[-left:]
            self._message = _NOTHING
            self.remaining = 0
            self.queued_bytes -= left
            return left, 0, self._invalidate
        offset = len(message) - left
        slot[start:end] = message[offset : offset + room]
        left -= room
        self.remaining = left
        self.queued_bytes -= room
        return room, left, 0
