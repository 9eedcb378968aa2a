"""The byte-range locks of one stream: what conflicts, what unlocks ([MS-FSA] 2.1.4.10, 2.1.5.9).

Functions take the packed list of `records.LOCK` entries in the order in which they were granted.
With last = offset + length - 1 in unbounded integers, the overlap rule of the document holds for
ranges of no length too: they conflict only strictly inside another range, {0, 0} never.
"""

import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from usmbd.protocol.state.store.records import LOCK, LockRange, LockRecord

_IDENTITY = struct.Struct("<QQQI")  # a LOCK entry without the room at its end


def lock_conflict(locks: bytes, open_id: int, wanted: LockRange) -> LockRecord | None:
    """Return the first lock that keeps `open_id` from taking `wanted`, or None.

    An exclusive lock admits only shared locks of its own open (stacking), a shared lock admits
    only shared locks, of any open.
    """
    offset, length, exclusive = wanted
    last = offset + length - 1
    for start, size, owner, is_exclusive in LOCK.iter_unpack(locks):
        if (
            last >= start
            and offset < start + size
            and (exclusive or (is_exclusive and owner != open_id))
        ):
            return LockRecord(start, size, owner, is_exclusive)
    return None


def first_offset(locks: bytes) -> int | None:
    """Return where the first of the locked bytes is; None: there are no locks."""
    return min((lock[0] for lock in LOCK.iter_unpack(locks)), default=None)


class TooLongError(Exception):
    """The ranges lie in each other, so that more has to be compared than is allowed."""


def first_conflict(
    locks: bytes, open_id: int, ranges: Sequence[LockRange], budget: int
) -> tuple[int, LockRecord] | None:
    """Return which range cannot be taken after those before it, and why; None when all can.

    Not each range with each lock: the ranges that a lock touches are found by bisection, and of
    those no more than `budget` are compared; else TooLongError.
    """
    order = sorted(range(len(ranges)), key=lambda index: ranges[index].offset)
    starts = [ranges[index].offset for index in order]
    lasts = (ranges[index].offset + ranges[index].length - 1 for index in order)
    reach = list(accumulate(lasts, max))  # the last byte of all that begin before
    found: tuple[int, LockRecord] | None = None
    for lock in LOCK.iter_unpack(locks):
        start, size, owner, is_exclusive = lock
        at = bisect_left(starts, start + size)
        while at and reach[at - 1] >= start:
            at -= 1
            budget -= 1
            index = order[at]
            offset, length, exclusive = ranges[index]
            if (
                offset + length - 1 >= start
                and (exclusive or (is_exclusive and owner != open_id))
                and (found is None or index < found[0])
            ):
                found = index, LockRecord(*lock)
        if budget < 0:
            raise TooLongError
    for later, (offset, length, exclusive) in enumerate(ranges):
        if found is not None and later >= found[0]:
            break
        at = bisect_left(starts, offset + length) if exclusive else 0
        earlier = later
        while at and reach[at - 1] >= offset:
            at -= 1
            budget -= 1
            index = order[at]
            if index < earlier and ranges[index].offset + ranges[index].length > offset:
                earlier = index
        if earlier < later:
            start, size, is_exclusive = ranges[earlier]
            return later, LockRecord(start, size, open_id, is_exclusive)
        if budget < 0:
            raise TooLongError
    return found


def io_conflict(locks: bytes, open_id: int, offset: int, length: int, write: bool) -> bool:
    """Tell whether the locks forbid `open_id` to read or write the range.

    The open's own exclusive lock permits its I/O; a shared lock forbids writing to all opens,
    its owner included.
    """
    last = offset + length - 1
    for start, size, owner, is_exclusive in LOCK.iter_unpack(locks):
        if (
            last >= start
            and offset < start + size
            and (owner != open_id if is_exclusive else write)
        ):
            return True
    return False


def _find(locks: bytes, needle: bytes) -> int:
    """Return where the entry that begins with `needle` stands, or -1."""
    position = locks.find(needle)
    while position > 0 and position % LOCK.size:
        position = locks.find(needle, position + 1)
    return position


def pack_lock(open_id: int, wanted: LockRange) -> bytes:
    """Return the entry of a granted lock."""
    return LOCK.pack(wanted.offset, wanted.length, open_id, wanted.exclusive)


def unlock(locks: bytes, open_id: int, wanted: LockRange) -> bytes | None:
    """Return `locks` without the open's lock of exactly this range, or None when it has none.

    Of stacked locks the exclusive one goes first.
    """
    for exclusive in (1, 0):
        needle = _IDENTITY.pack(wanted.offset, wanted.length, open_id, exclusive)
        position = _find(locks, needle)
        if position >= 0:
            return locks[:position] + locks[position + LOCK.size :]
    return None


def unlock_all(locks: bytes, open_id: int, ranges: Sequence[LockRange]) -> tuple[int, bytes]:
    """Unlock ranges in order until the open has none of them; return how many, and what is left."""
    held: dict[tuple[int, int], tuple[deque[int], deque[int]]] = {
        (offset, length): (deque(), deque()) for offset, length, _ in ranges
    }
    for position, (start, size, owner, is_exclusive) in enumerate(LOCK.iter_unpack(locks)):
        if owner == open_id and (kinds := held.get((start, size))) is not None:
            kinds[not is_exclusive].append(position)  # of stacked locks the exclusive goes first
    gone = []
    for offset, length, _ in ranges:
        exclusive, shared = held[offset, length]
        kind = exclusive or shared
        if not kind:
            break
        gone.append(kind.popleft())
    left = []
    begin = 0
    for position in sorted(gone):
        left.append(locks[begin : position * LOCK.size])
        begin = (position + 1) * LOCK.size
    return len(gone), b"".join((*left, locks[begin:]))


def without_open(locks: bytes, open_id: int) -> bytes:
    """Return `locks` without those of one open."""
    needle = open_id.to_bytes(8, "little")
    if needle not in locks:
        return locks
    size = LOCK.size
    entries = (locks[at : at + size] for at in range(0, len(locks), size))
    return b"".join(entry for entry in entries if entry[16:24] != needle)
