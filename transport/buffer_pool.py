"""Memory for messages, used again without being asked back.

Fresh memory for a 1 MiB message costs about 0.1 ms in page faults, more than all else that
is done for it, so buffers are kept. Who still uses one is known without bookkeeping: every
`memoryview` holds a reference to its buffer, so a buffer that only the pool refers to is free.
"""

import sys

SMALLEST_BITS = 16
"""Size classes are powers of two from 64 KiB, below which malloc keeps its memory itself."""

KEPT_PER_CLASS = 16
"""Buffers that a class remembers; one more is made for the moment and forgotten. Sixteen of
8 MiB are what one client with 128 MiB of reads under way can use."""

# One reference by the list, one by the loop's variable, one by getrefcount's own argument.
_UNUSED = 3


class BufferPool:
    """Buffers by size class, each lent to whoever holds a view of it."""

    def __init__(self) -> None:
        self._classes: dict[int, list[bytearray]] = {}

    def take(self, size: int) -> bytearray:
        """Return a buffer of at least `size` bytes with arbitrary content."""
        bits = max(SMALLEST_BITS, (size - 1).bit_length())
        kept = self._classes.get(bits)
        if kept is None:
            kept = self._classes[bits] = []
        for buffer in kept:
            if sys.getrefcount(buffer) == _UNUSED:
                return buffer
        buffer = bytearray(1 << bits)
        if len(kept) < KEPT_PER_CLASS:
            kept.append(buffer)
        return buffer

    def view(self, size: int) -> memoryview:
        """Return writable memory of exactly `size` bytes with arbitrary content."""
        return memoryview(self.take(size))[:size]

    def message(self, size: int) -> memoryview:
        """Return the same, but no more than `size` while it is small: many may wait."""
        return memoryview(bytearray(size)) if size < 1 << SMALLEST_BITS else self.view(size)


POOL = BufferPool()
"""The process's pool: a worker's connections share it, its loop alone uses it."""
