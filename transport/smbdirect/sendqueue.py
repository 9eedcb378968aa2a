"""Upper messages that wait for credits, and their way into slots, one fragment at a time."""

from collections import deque


class SendQueue:
    """`Connection.SendQueue`: messages leave in order, and no two are mixed.

    Parts are kept as they are and copied once, into the slots; they must not change meanwhile.
    """

    __slots__ = (
        "_index",
        "_invalidate",
        "_offset",
        "_parts",
        "_waiting",
        "queued_bytes",
        "remaining",
    )

    def __init__(self) -> None:
        """Begin empty."""
        self._waiting: deque[tuple[list[memoryview], int, int]] = deque()
        self._parts: list[memoryview] = []
        self._index = 0
        self._offset = 0
        self._invalidate = 0
        self.remaining = 0
        """Bytes of the message under way that are not in a slot yet; 0: none is under way."""
        self.queued_bytes = 0
        """Bytes that are not in a slot yet, of all messages."""

    def append(self, parts: list[memoryview], size: int, invalidate: int) -> None:
        """Add a message of `size` bytes, which is what the parts hold and is not 0."""
        self._waiting.append((parts, size, invalidate))
        self.queued_bytes += size

    def fill(self, slot: memoryview, start: int, end: int) -> tuple[int, int, int]:
        """Copy the next fragment to `slot[start:end]`, as much as there is room for.

        Returns its length, how much of the message is left, and, with the last fragment, the
        token to invalidate. The queue must not be empty.
        """
        left = self.remaining
        if not left:
            self._parts, left, self._invalidate = self._waiting.popleft()
            self._index = self._offset = 0
        length = min(left, end - start)
        end = start + length
        while start < end:
            part = self._parts[self._index]
            offset = self._offset
            count = min(len(part) - offset, end - start)
            slot[start : start + count] = part[offset : offset + count]
            start += count
            offset += count
            if offset == len(part):
                self._index += 1
                offset = 0
            self._offset = offset
        self.queued_bytes -= length
        left -= length
        self.remaining = left
        if left:
            return length, left, 0
        self._parts = []
        return length, 0, self._invalidate
