"""Memory for messages, used again without being asked back.

Fresh memory for a 1 MiB message costs about 0.1 ms in page faults, more than all else that
is done for it, so buffers are kept. Who still uses one is known without bookkeeping: every
`memoryview` holds a reference to its buffer, so a buffer that only the pool refers to is free.
"""

import sys

SMALLEST_BITS = 16
"""Size classes begin at 64 KiB, below which malloc keeps its memory itself."""

STEPS_BITS = 2
"""There are four classes from one power of two to the next: a message of 8 MiB and 116 bytes, which
is what clients send, takes 10 MiB and not 16."""

KEPT_PER_CLASS = 16
"""Buffers that a class remembers; one more is made for the moment and forgotten. Sixteen of
8 MiB are what one client with 128 MiB of reads under way can use."""

KEPT_BYTES = 256 << 20
"""Bytes that all classes together remember."""

# One reference by the list, one by the loop's variable, one by getrefcount's own argument.
_UNUSED = 3


class BufferPool:
    """Buffers by size class, each lent to whoever holds a view of it."""

    def __init__(self) -> None:
        self._classes: dict[int, list[bytearray]] = {}
        self._taken: set[int] = set()  # the classes that were asked for since `tidy`
        self.kept = 0
        """Bytes that are remembered, used or not."""

    def take(self, size: int) -> bytearray:
        """Return a buffer of at least `size` bytes with arbitrary content."""
        step = max(SMALLEST_BITS, (size - 1).bit_length() - 1 - STEPS_BITS)
        size = max(1, -(-size >> step)) << step
        kept = self._classes.get(size)
        if kept is None:
            kept = self._classes[size] = []
        self._taken.add(size)
        for buffer in kept:
            if sys.getrefcount(buffer) == _UNUSED:
                return buffer
        buffer = bytearray(size)
        if len(kept) < KEPT_PER_CLASS and self.kept + size <= KEPT_BYTES:
            kept.append(buffer)
            self.kept += size
        return buffer

    def tidy(self) -> int:
        """Forget the free buffers of classes that nobody took one of since the last call.

        Returns the bytes that are freed: to be called now and then.
        """
        freed = 0
        for size in self._classes.keys() - self._taken:
            kept = self._classes.pop(size)
            used = [buffer for buffer in kept if sys.getrefcount(buffer) != _UNUSED]
            freed += size * (len(kept) - len(used))
            if used:
                self._classes[size] = used
        self._taken.clear()
        self.kept -= freed
        return freed

    def view(self, size: int) -> memoryview:
        """Return writable memory of exactly `size` bytes with arbitrary content."""
        return memoryview(self.take(size))[:size]

    def message(self, size: int) -> memoryview:
        """Return the same, but no more than `size` while it is small: many may wait."""
        return memoryview(bytearray(size)) if size < 1 << SMALLEST_BITS else self.view(size)


POOL = BufferPool()
"""The process's pool: a worker's connections share it, its loop alone uses it."""
