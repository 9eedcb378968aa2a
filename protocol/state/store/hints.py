"""A table in shared memory that says "no locks here" without a transaction.

Reads and writes must respect byte-range locks, but hardly any file has them. A slot counts the
files with locks (or waiters) whose key falls on it; only when it is not zero does `check_io` ask
the store. Slots change inside the store's write transaction, which admits one writer at a time.
A writer killed between slot and commit leaves a wrong count; `drop_worker` counts anew.
"""

import mmap
import os
from pathlib import Path
from typing import Final
from zlib import crc32

HINT_MASK: Final = 0xFFFF
"""A file's slot is crc32(key) & HINT_MASK, the same in every process."""

_SLOTS: Final = HINT_MASK + 1
# 256 KiB; with a thousand locked files at once, one other file in 65 takes the slow path.


class Hints:
    """Counters of locked files, by a hash of the file's key; shared by all processes."""

    def __init__(self, path: Path) -> None:
        """Map the table at `path`, which `create` has made."""
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SLOTS * 4)
        self.counts = memoryview(self._map).cast("I")

    @staticmethod
    def create(path: Path) -> None:
        """Make the table, zeroed and with its memory taken: a later write cannot fail."""
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _SLOTS * 4)
        finally:
            os.close(descriptor)

    def add(self, key: bytes) -> None:
        """Count one more file."""
        self.counts[crc32(key) & HINT_MASK] += 1

    def remove(self, key: bytes) -> None:
        """Count one file less."""
        slot = crc32(key) & HINT_MASK
        if self.counts[slot]:
            self.counts[slot] -= 1

    def recount(self, keys: list[bytes]) -> None:
        """Make the table right for exactly these keys; slots in use never pass through zero."""
        fresh = [0] * _SLOTS
        for key in keys:
            fresh[crc32(key) & HINT_MASK] += 1
        for slot, count in enumerate(fresh):
            if self.counts[slot] != count:
                self.counts[slot] = count

    def close(self) -> None:
        """Unmap the table."""
        self.counts.release()
        self._map.close()
