"""Byte-range locks in LMDB: one record a file, with the workers that wait for an unlock.

L + FileKey      u16 count of waiters, u16 each, then the packed locks of `ranges`
Q + open_id      LockSequenceArray of a durable open, once it has used it
"""

import struct
from collections.abc import Collection, Sequence
from typing import Final
from zlib import crc32

from usmbd.protocol.state.store import byte_range_locks as brl
from usmbd.protocol.state.store.base import MAX_LOCKS_PER_FILE, LockConflict, UnlockResult
from usmbd.protocol.state.store.hints import HINT_MASK
from usmbd.protocol.state.store.lmdb_environment import LmdbEnvironment, with_prefix, writes
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    LOCK,
    LOCK_SEQUENCES,
    NO_SEQUENCE,
    OPEN_ID,
    LockRange,
    LockRecord,
    LockSequence,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

MAX_COMPARISONS: Final = 1 << 14
# Of ranges that lie in each other, 0.2 us each; what clients send (Linux 170 ranges at once, beside
# each other) takes one for each lock that they touch. All workers' writers wait for one request.

NO_OPEN: Final = 0
"""No open has this id: taking the waiters of a file removes no locks with it."""

_NONE: Final = bytes(2)  # the head of an L record without waiters
_NO_SEQUENCES: Final = bytes([NO_SEQUENCE]) * LOCK_SEQUENCES


def _split_side(side: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the waiters and the locks of an L record (u16 count, u16 each, then locks)."""
    waiting = side[0] | side[1] << 8
    if not waiting:
        return (), side[2:]
    return struct.unpack_from(f"<{waiting}H", side, 2), side[2 + 2 * waiting :]


def waiting(side: bytes) -> tuple[int, ...]:
    """Return the workers that wait, by an L record."""
    return _split_side(side)[0]


def lock_owners(side: bytes) -> set[int]:
    """Return the ids of the opens that have locks, by an L record."""
    return {lock[2] for lock in LOCK.iter_unpack(_split_side(side)[1])}


def _conflict(
    locks: bytes, open_id: int, ranges: Sequence[LockRange]
) -> tuple[int, LockRecord] | None:
    """Return the first range that cannot be taken, and why; SmbError(INSUFFICIENT_RESOURCES)."""
    if len(ranges) == 1:
        conflict = brl.lock_conflict(locks, open_id, ranges[0])
        return None if conflict is None else (0, conflict)
    try:
        return brl.first_conflict(locks, open_id, ranges, MAX_COMPARISONS)
    except brl.TooLongError:
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES) from None


def locks_of(txn: Transaction, key: bytes, opens: Collection[int]) -> bytes:
    """Return the packed locks that some opens of a file have, in their order."""
    side = txn.get(b"L" + key)
    if side is None:
        return b""
    locks = LOCK.iter_unpack(_split_side(side)[1])
    return b"".join(LOCK.pack(*lock) for lock in locks if lock[2] in opens)


def put_locks(txn: Transaction, key: bytes, locks: bytes) -> None:
    """Add packed locks to a file; the hints have to be counted anew afterwards."""
    if locks:
        txn.put(b"L" + key, txn.get(b"L" + key, _NONE) + locks)


def _enter_sequence(txn: Transaction, open_id: int, sequence: LockSequence) -> None:
    """Note that the LOCK with this number is done."""
    name = b"Q" + OPEN_ID.pack(open_id)
    kept = bytearray(txn.get(name, _NO_SEQUENCES))
    kept[sequence.entry - 1] = sequence.number
    txn.put(name, bytes(kept))


class LmdbLocks:
    """Who has what locked, and which workers wait for an unlock."""

    def __init__(self, environment: LmdbEnvironment) -> None:
        """Keep the L records of an environment."""
        self.environment = environment
        self._begin = environment.begin
        self._write = environment.write
        self._worker = environment.worker
        self._hints = environment.lock_hints
        self._counts = environment.lock_hints.counts

    @writes
    def lock(
        self,
        key: bytes,
        open_id: int,
        ranges: Sequence[LockRange],
        wait: bool = False,
        sequence: LockSequence | None = None,
    ) -> LockConflict | None:
        """Take all ranges or none: see `Store.lock`."""
        self.environment.require_room()
        with self._write() as txn:
            side = txn.get(b"L" + key)
            waiters, before = ((), b"") if side is None else _split_side(side)
            conflict = _conflict(before, open_id, ranges)
            if conflict is not None:
                if wait and self._worker not in waiters:
                    self._put_side(txn, key, side, (*waiters, self._worker), before)
                return LockConflict(*conflict)
            locks = b"".join((before, *(brl.pack_lock(open_id, wanted) for wanted in ranges)))
            if len(locks) > min(MAX_LOCKS_PER_FILE * LOCK.size, self.environment.largest_value):
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            self._put_side(txn, key, side, waiters, locks)
            if sequence is not None:
                _enter_sequence(txn, open_id, sequence)
        return None

    @writes
    def unlock(
        self,
        key: bytes,
        open_id: int,
        ranges: Sequence[LockRange],
        sequence: LockSequence | None = None,
    ) -> UnlockResult:
        """Unlock ranges in order: see `Store.unlock`."""
        with self._write() as txn:
            side = txn.get(b"L" + key)
            if side is None:
                return UnlockResult(0)
            waiters, locks = _split_side(side)
            if len(ranges) == 1:
                fewer = brl.unlock(locks, open_id, ranges[0])
                unlocked, locks = (0, locks) if fewer is None else (1, fewer)
            else:
                unlocked, locks = brl.unlock_all(locks, open_id, ranges)
            if not unlocked:
                return UnlockResult(0)
            self._put_side(txn, key, side, (), locks)
            if sequence is not None and unlocked == len(ranges):
                _enter_sequence(txn, open_id, sequence)
        return UnlockResult(unlocked, waiters)

    def lock_sequences(self, open_id: int) -> dict[int, int]:
        """Return the LockSequenceArray of an open: see `Store.lock_sequences`."""
        with self._begin() as txn:
            kept = txn.get(b"Q" + OPEN_ID.pack(open_id), b"")
        return {at + 1: number for at, number in enumerate(kept) if number != NO_SEQUENCE}

    def count_locks(self, key: bytes) -> int:
        """Return how many locks a file or stream has."""
        with self._begin() as txn:
            side = txn.get(b"L" + key)
        return 0 if side is None else len(_split_side(side)[1]) // LOCK.size

    def release(self, txn: Transaction, key: bytes, open_id: int) -> tuple[int, ...]:
        """Remove the locks of an open and take the waiters, in the caller's transaction."""
        side = txn.get(b"L" + key)
        if side is None:
            return ()
        waiters, locks = _split_side(side)
        fewer = brl.without_open(locks, open_id)
        if waiters or fewer is not locks:
            self._put_side(txn, key, side, (), fewer)
        return waiters

    def wait(self, txn: Transaction, key: bytes, workers: tuple[int, ...]) -> None:
        """Have workers wait (again) that `release` has returned, in the caller's transaction."""
        if workers:
            side = txn.get(b"L" + key)
            locks = b"" if side is None else _split_side(side)[1]
            self._put_side(txn, key, side, workers, locks)

    @writes
    def drop_worker(self, worker: int) -> None:
        """Wake a worker no more that is gone; its locks go with its opens."""
        with self._begin() as txn:
            keys = [key[1:] for key, value in with_prefix(txn, b"L") if worker in waiting(value)]
        with self._write() as txn:
            for key in keys:
                side = txn.get(b"L" + key)
                waiters, locks = ((), b"") if side is None else _split_side(side)
                if worker in waiters:
                    others = tuple(waiter for waiter in waiters if waiter != worker)
                    self._put_side(txn, key, side, others, locks)

    def drop_stale(
        self, txn: Transaction, key: bytes, side: bytes, opens: Collection[int]
    ) -> tuple[int, ...]:
        """Remove from an L record the locks of all opens but these; return the workers to wake."""
        waiters, locks = _split_side(side)
        for owner in lock_owners(side) - set(opens):
            locks = brl.without_open(locks, owner)
        self._put_side(txn, key, side, (), locks)
        return waiters

    def _put_side(
        self,
        txn: Transaction,
        key: bytes,
        old: bytes | None,
        waiters: tuple[int, ...],
        locks: bytes,
    ) -> None:
        """Write the L record and its hint, which is never too low: see `hints`."""
        if waiters or locks:
            head = struct.pack(f"<H{len(waiters)}H", len(waiters), *waiters) if waiters else _NONE
            txn.put(b"L" + key, head + locks)
            if old is None:
                self._hints.add(key)
        elif old is not None:
            txn.delete(b"L" + key)
            self._hints.remove(key)

    def first_locked(self, txn: Transaction, key: bytes) -> int | None:
        """Return the lowest offset of a file's locks, in the caller's transaction; None: none."""
        if not self._counts[crc32(key) & HINT_MASK]:
            return None
        side = txn.get(b"L" + key)
        return None if side is None else brl.first_offset(_split_side(side)[1])

    def check_io(self, key: bytes, open_id: int, offset: int, length: int, write: bool) -> bool:
        """Tell whether locks permit the I/O; without a transaction when the file has none."""
        if not self._counts[crc32(key) & HINT_MASK] or not length:
            return True
        with self._begin() as txn:
            side = txn.get(b"L" + key)
        if side is None:
            return True
        return not brl.io_conflict(_split_side(side)[1], open_id, offset, length, write)

    @writes
    def add_waiter(self, key: bytes) -> None:
        """Have this worker woken by the next unlock or close of the file."""
        with self._write() as txn:
            side = txn.get(b"L" + key)
            waiters, locks = ((), b"") if side is None else _split_side(side)
            if self._worker not in waiters:
                self._put_side(txn, key, side, (*waiters, self._worker), locks)
