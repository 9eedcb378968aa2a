"""The byte-range locks of one stream: what conflicts, what unlocks ([MS-FSA] 2.1.4.10, 2.1.5.9).

Functions take the packed list of `records.LOCK` entries in the order in which they were granted.
With last = offset + length - 1 in unbounded integers, the overlap rule of the document holds for
ranges of no length too: they conflict only strictly inside another range, {0, 0} never.
"""

import struct

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


def without_open(locks: bytes, open_id: int) -> bytes:
    """Return `locks` without those of one open."""
    needle = open_id.to_bytes(8, "little")
    if needle not in locks:
        return locks
    size = LOCK.size
    entries = (locks[at : at + size] for at in range(0, len(locks), size))
    return b"".join(entry for entry in entries if entry[16:24] != needle)
