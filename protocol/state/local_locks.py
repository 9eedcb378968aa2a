"""`posix locking`: an open's byte-range locks as local programs and NFS see them.

The store decides among clients, of all workers; what it has granted is then locked in the kernel as
well, by the open's own descriptor, and what local programs have locked keeps clients out of it, as
on smbd: of locks, and of reads and writes, as a client's lock would.

Clients stack locks, and unlock only what they have locked; the kernel knows one kind for each byte.
So each byte has the strongest kind of those of the open's locks that lie on it.
"""

import errno
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

from usmbd.protocol.state.store.records import LockRange
from usmbd.protocol.vfs import ofd_locks
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.ofd_locks import EXCLUSIVE, NONE, SHARED
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.vfs")

_TAKEN: Final = (errno.EAGAIN, errno.EACCES)
_UNKNOWN: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # to this file system
_STRONGER: Final = {NONE: 0, SHARED: 1, EXCLUSIVE: 2}


class LocalLocks:
    """The kernel's locks of one open, and those of local programs that are in its way."""

    __slots__ = ("_held", "_node")

    def __init__(self, node: Node) -> None:
        """Begin with none."""
        self._node = node
        self._held: list[LockRange] = []
        """All that the open has locked, in the store's words."""

    def take(self, ranges: Sequence[LockRange]) -> bool:
        """Lock all ranges; False, and none, where a local program is in the way of one.

        SmbError(INSUFFICIENT_RESOURCES) when the kernel has no room for them.
        """
        before = len(self._held)
        self._held += ranges
        for number, wanted in enumerate(ranges, 1):
            try:
                self._apply(wanted)
            except OSError as error:
                if error.errno in _UNKNOWN:
                    log.info("no local locks: %s", error, extra={"path": self._node.path})
                    return True
                del self._held[before:]
                for touched in ranges[:number]:
                    with suppress(OSError):
                        self._apply(touched)
                if error.errno in _TAKEN:
                    return False
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES) from error
        return True

    def give_up(self, ranges: Sequence[LockRange]) -> None:
        """Unlock ranges in order, until one is not locked; of stacked ones the exclusive first."""
        for offset, length, _ in ranges:
            for exclusive in (True, False):
                lock = LockRange(offset, length, exclusive)
                if lock in self._held:
                    self._held.remove(lock)
                    break
            else:
                return
            with suppress(OSError):
                self._apply(lock)

    def end(self) -> None:
        """Unlock all, before the open leaves the store: its descriptor is closed a little later."""
        if self._held:
            self._held.clear()
            with suppress(OSError):
                ofd_locks.unlock_all(self._node.fd)

    def admit(self, offset: int, length: int, write: bool) -> bool:
        """Tell whether local programs' locks let the open read or write a range."""
        first, end = ofd_locks.in_range(offset, length)
        if first == end:
            return True
        try:
            return ofd_locks.is_free(self._node.fd, EXCLUSIVE if write else SHARED, first, end)
        except OSError:
            return True  # the file system has no locks

    def _kind(self, exclusive: int) -> int:
        """Return the kernel's kind of lock: what a descriptor is not open for it cannot lock.

        As smbd, who only reads has a shared lock for an exclusive one.
        """
        if exclusive and self._node.writable:
            return EXCLUSIVE
        return SHARED if self._node.readable else NONE

    def _apply(self, touched: LockRange) -> None:
        """Have each byte of a range locked as the open's locks on it say; OSError."""
        first, end = ofd_locks.in_range(touched.offset, touched.length)
        if first < end:
            for kind, start, stop in self._segments(first, end):
                ofd_locks.lock(self._node.fd, kind, start, stop)

    def _segments(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (kind, first, end) of the parts of a range that differ."""
        over = [
            (max(offset, first), min(offset + length, end), self._kind(exclusive))
            for offset, length, exclusive in self._held
            if length and offset < end and offset + length > first
        ]
        cuts = {first, end}.union(*(lock[:2] for lock in over))
        begin, last = first, -1
        for start, stop in pairwise(sorted(cuts)):
            kinds = (kind for a, b, kind in over if a <= start and stop <= b)
            kind = max(kinds, key=_STRONGER.__getitem__, default=NONE)
            if last not in (-1, kind):
                yield last, begin, start
                begin = start
            last = kind
        yield last, begin, end
