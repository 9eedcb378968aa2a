"""A table in shared memory that says "no locks here" without a transaction.

Reads and writes must respect byte-range locks, but hardly any file has them. A slot counts the
files with locks (or waiters) whose key falls on it; only when it is not zero does `check_io` ask
the store. Slots change inside the store's write transaction, which admits one writer at a time.

A count is never too low, wherever its writer is killed: it is raised before the record is
committed, and lowered by the first transaction after the commit that removed the record (`Late`).
Too high it costs a transaction; `recount`, after a death, makes it right again.
"""

import threading
from array import array
from collections import deque
from pathlib import Path
from typing import Final
from zlib import crc32

from usmbd.protocol.state.store import shared_table

HINT_MASK: Final = 0xFFFF
"""A file's slot is crc32(key) & HINT_MASK, the same in every process."""

_SLOTS: Final = HINT_MASK + 1
# 256 KiB; with a thousand locked files at once, one other file in 65 takes the slow path.

_SIZE: Final = (_SLOTS + 1) * 4
# Behind the slots stands how often they were counted anew.

_TOGETHER: Final = 256
"""Slots that are compared at once: hardly any is wrong."""


class _Going(threading.local):
    """The slots that this thread's transaction lowers if it is committed."""

    def __init__(self) -> None:
        """Begin with none."""
        self.slots: list[tuple[Hints, int, int]] = []


class Late:
    """Slots of a process that have to be lowered, once what they counted is surely gone."""

    def __init__(self) -> None:
        """Begin with none."""
        self.going = _Going()
        self._due: deque[tuple[Hints, int, int]] = deque()

    def committed(self) -> None:
        """Let the next transaction lower what this thread's last one removed."""
        going = self.going.slots
        if going:
            self._due.extend(going)
            going.clear()

    def undone(self) -> None:
        """Forget what this thread's transaction would have removed."""
        self.going.slots.clear()

    def settle(self) -> None:
        """Lower what is due; within a write transaction alone."""
        while self._due:
            hints, generation, slot = self._due.popleft()
            hints.lower(generation, slot)


class Hints:
    """Counters of locked files, by a hash of the file's key; shared by all processes."""

    def __init__(self, path: Path, late: Late) -> None:
        """Map the table at `path`, which `create` has made."""
        self._map = shared_table.attach(path, _SIZE)
        self._late = late
        self._view = memoryview(self._map).cast("I")
        self.counts = self._view[:_SLOTS]

    @staticmethod
    def create(path: Path) -> None:
        """Make the table: nobody has locked anything."""
        shared_table.create(path, _SIZE)

    def add(self, key: bytes, also: bytes = b"") -> None:
        """Count one more, and one under another key if there is one."""
        counts = self.counts
        counts[crc32(key) & HINT_MASK] += 1
        if also:
            counts[crc32(also) & HINT_MASK] += 1

    def remove(self, key: bytes, also: bytes = b"") -> None:
        """Count one less of each, after this transaction's commit."""
        going, generation = self._late.going.slots, self._view[_SLOTS]
        going.append((self, generation, crc32(key) & HINT_MASK))
        if also:
            going.append((self, generation, crc32(also) & HINT_MASK))

    def lower(self, generation: int, slot: int) -> None:
        """Lower a slot, unless it was counted anew since `generation`, without what is gone."""
        view = self._view
        if generation == view[_SLOTS] and view[slot]:
            view[slot] -= 1

    def recount(self, keys: list[bytes]) -> None:
        """Make the table right for exactly these keys; slots in use never pass through zero."""
        fresh = array("I", bytes(_SLOTS * 4))
        for key in keys:
            fresh[crc32(key) & HINT_MASK] += 1
        # First: of those who die or lower in between, nobody lowers what is right already.
        self._view[_SLOTS] = (self._view[_SLOTS] + 1) & 0xFFFF_FFFF
        # The write transaction that everybody waits for is 4 ms long if each slot is looked at.
        wanted, counts = memoryview(fresh), self.counts
        for begin in range(0, _SLOTS, _TOGETHER):
            if wanted[begin : begin + _TOGETHER] != counts[begin : begin + _TOGETHER]:
                for slot in range(begin, begin + _TOGETHER):
                    if counts[slot] != fresh[slot]:
                        counts[slot] = fresh[slot]

    def close(self) -> None:
        """Unmap the table."""
        self.counts.release()
        self._view.release()
        self._map.close()
