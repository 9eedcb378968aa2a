"""Opens in LMDB: one record a file or stream, with the sharing of all its opens counted.

F + FileKey      header (holders and deniers of `sharing`, flags, deleting worker), OpenRecords
D + FileKey      of a file that is to be deleted: see lmdb_dooms.py

What is kept of durable ones beside it is in `lmdb_kept`.
"""

from collections.abc import Iterator
from typing import Final
from zlib import crc32

from usmbd.protocol.state.store import sharing
from usmbd.protocol.state.store.base import (
    MAX_OPENS_PER_FILE,
    Admit,
    RemoveOpenResult,
    SharingViolation,
)
from usmbd.protocol.state.store.hints import HINT_MASK
from usmbd.protocol.state.store.lmdb_dooms import (
    FILE_DELETING,
    FILE_HAS_PATH,
    FILE_ONE_NAME,
    FILE_PENDING,
    User,
    doom,
    doom_of,
    keep_path,
    pending_names,
    pending_names_of,
    spare,
)
from usmbd.protocol.state.store.lmdb_environment import (
    FILE_HEADER,
    LmdbEnvironment,
    with_prefix,
    writes,
)
from usmbd.protocol.state.store.lmdb_kept import enter_guid, forget_durable, keep_durable
from usmbd.protocol.state.store.lmdb_leases import LEASE, LmdbLeases
from usmbd.protocol.state.store.lmdb_locks import NO_OPEN, LmdbLocks
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import (
    BASE_KEY_SIZE,
    DIRECTORIES,
    NO_ID,
    OPEN_DELETE_ON_CLOSE,
    OPEN_DIRECTORY,
    OPEN_DISCONNECTED,
    OPEN_DURABLE,
    OPEN_HEAD,
    OPEN_ID,
    OPEN_LASTING,
    OPEN_LEASE_STATE_OFFSET,
    OPEN_OPLOCK_OFFSET,
    OPEN_PERSISTENT,
    OPEN_SIZE,
    OPEN_WORKER_OFFSET,
    OPLOCK_BREAKING,
    OPLOCK_HELD,
    DurableRecord,
    OpenRecord,
    may_wait,
    parse_opens,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_NONE
from usmbd.protocol.wire.status import NtStatus, SmbError

LEFT_MOST: Final = 1024
"""Durable opens of one file that wait for their clients, but for those that last: whoever wants
the file has each of them ended, which takes 0.2 ms then."""

_DELETE: Final = 0x0001_0000  # access right DELETE ([MS-SMB2] 2.2.13.1.1)


def find_open(value: bytes, open_id: int) -> int:
    """Return where the record of `open_id` stands in an F record, or -1."""
    needle = OPEN_ID.pack(open_id)
    at = value.find(needle, FILE_HEADER.size)
    while at > 0 and (at - FILE_HEADER.size) % OPEN_SIZE:
        at = value.find(needle, at + 1)
    return at


def _disconnected(opens: bytes) -> list[int] | None:
    """Return the ids of packed opens that all wait for their clients; None if one does not.

    Or if one lasts: its client was promised it.
    """
    heads = [OPEN_HEAD.unpack_from(opens, at) for at in range(0, len(opens), OPEN_SIZE)]
    waits = OPEN_DISCONNECTED | OPEN_LASTING
    if not all(flags & waits == OPEN_DISCONNECTED for _, _, _, flags in heads):
        return None
    return [open_id for open_id, _, _, _ in heads]


def _are_many(value: bytes) -> bool:
    """Whether as many opens of an F record wait for their clients as may."""
    if len(value) <= FILE_HEADER.size + LEFT_MOST * OPEN_SIZE:
        return False
    flags = value[FILE_HEADER.size + OPEN_WORKER_OFFSET - 4 :: OPEN_SIZE]  # the low bytes of them
    return sum(flag & OPEN_DISCONNECTED != 0 for flag in flags) >= LEFT_MOST


class LmdbOpens:
    """Who has what open, and what is to be deleted."""

    def __init__(self, environment: LmdbEnvironment, locks: LmdbLocks, leases: LmdbLeases) -> None:
        """Keep the F and D records of an environment; an open that goes takes its locks along."""
        self.environment = environment
        self._locks = locks
        self._leases = leases
        self._begin = environment.begin
        self._write = environment.write
        self._worker = environment.worker
        self._lock_counts = environment.lock_hints.counts
        self._oplock_hints = environment.oplock_hints
        self._oplock_counts = environment.oplock_hints.counts

    @writes
    def add_open(
        self,
        key: bytes,
        record: OpenRecord,
        path: str = "",
        admit: Admit | None = None,
        durable: DurableRecord | None = None,
        *,
        keeps: int | None = None,
        user: User = (),
    ) -> None:
        """Add an open: see `Store.add_open`."""
        record.worker = self._worker
        new = sharing.profile(record.granted_access, record.share_access)
        file = b"F" + key
        self.environment.require_room()
        with self._write() as txn:
            value = txn.get(file)
            if value is None:
                holders = deniers = flags = deleting = 0
                others = b""
            else:
                holders, deniers, flags, deleting = FILE_HEADER.unpack_from(value)
                others = value[FILE_HEADER.size :]
                if flags & FILE_PENDING and pending_names(txn, key, flags, path)[1]:
                    raise SmbError(NtStatus.DELETE_PENDING)
                if sharing.conflicts(holders, deniers, new):
                    raise SharingViolation(key, others)
                if (
                    len(others) >= MAX_OPENS_PER_FILE * OPEN_SIZE
                    or len(value) > self.environment.largest_value
                ):
                    raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            if len(key) > BASE_KEY_SIZE:
                if pending_names_of(txn, key[:BASE_KEY_SIZE], path)[1]:
                    raise SmbError(NtStatus.DELETE_PENDING)
            elif record.granted_access & _DELETE:
                # Deleting the file deletes its streams: they must be shared for it as well.
                for name, stream in self._streams(txn, key):
                    if sharing.denies_delete(FILE_HEADER.unpack_from(stream)[1]):
                        raise SharingViolation(name[1:], stream[FILE_HEADER.size :])
            if admit is not None and others and (record.oplock_level or self.oplock_count(key)):
                admit(record, Others(others), self._locks.first_locked(txn, key))
            if keeps is not None:
                record.granted_access = keeps
                new = sharing.profile(keeps, record.share_access)
            if record.oplock_level == LEASE:
                others = self._leases.join(txn, key, record, others)
            if durable is not None:
                keep_durable(txn, self.environment, record, durable)
            # Where names are delete pending already, the D record is theirs.
            if path and record.flags & OPEN_DELETE_ON_CLOSE and not flags & FILE_ONE_NAME:
                flags |= keep_path(txn, self.environment, key, record, path, user)
            header = FILE_HEADER.pack(holders + new.holds, deniers + new.denies, flags, deleting)
            txn.put(file, b"".join((header, others, record.pack())))  # they may be megabytes
            if record.oplock_level or record.flags & OPEN_PERSISTENT:
                also = DIRECTORIES if record.flags & OPEN_DIRECTORY else b""  # as `counted_with`
                self._oplock_hints.add(key, also)

    @writes
    def remove_open(self, key: bytes, open_id: int) -> RemoveOpenResult:
        """Remove an open: see `Store.remove_open`."""
        with self._write() as txn:
            return self.remove_in(txn, key, open_id)

    def remove_in(self, txn: Transaction, key: bytes, open_id: int) -> RemoveOpenResult:
        """Remove an open and its locks in the transaction of the caller."""
        file = b"F" + key
        waiters: tuple[int, ...] = ()
        if self._lock_counts[crc32(key) & HINT_MASK]:
            waiters = self._locks.release(txn, key, open_id)
        value = txn.get(file, b"")
        at = find_open(value, open_id)
        if at < 0:
            return RemoveOpenResult(last=False, waiters=waiters)
        holders, deniers, flags, deleting = FILE_HEADER.unpack_from(value)
        _, access, share, open_flags = OPEN_HEAD.unpack_from(value, at)
        alone = len(value) == FILE_HEADER.size + OPEN_SIZE
        if open_flags & OPEN_DELETE_ON_CLOSE:
            if flags & FILE_HAS_PATH and not flags & FILE_PENDING and not alone:
                path = txn.get(b"D" + key, b"")[len(NO_ID) :]  # of several it is this one that asks
                txn.put(b"D" + key, OpenRecord.parse(value, at).parent_lease_key + path)
            flags |= FILE_PENDING
        if open_flags & OPEN_DURABLE:
            forget_durable(txn, value, at, open_flags)
        level = value[at + OPEN_OPLOCK_OFFSET]
        if level or open_flags & OPEN_LASTING:
            also = DIRECTORIES if open_flags & OPEN_DIRECTORY else b""
            self._oplock_hints.remove(key, also)
            if level == LEASE:
                self._leases.leave(txn, value, at)
        if not alone and flags & FILE_PENDING and not open_flags & OPEN_DISCONNECTED:
            others = _disconnected(value[FILE_HEADER.size : at] + value[at + OPEN_SIZE :])
            if others is not None:
                # Nobody comes back to a file that is deleted: this close is the last one.
                for other in others:
                    waiters += self.remove_in(txn, key, other).waiters
                holders, deniers, _, _ = FILE_HEADER.unpack_from(txn.get(file, b""))
                alone = True
        if not alone:
            old = sharing.profile(access, share)
            header = FILE_HEADER.pack(holders - old.holds, deniers - old.denies, flags, deleting)
            view = memoryview(value)
            txn.put(file, b"".join((header, view[FILE_HEADER.size : at], view[at + OPEN_SIZE :])))
            return RemoveOpenResult(last=False, waiters=waiters)
        delete_now = False
        if not flags & FILE_PENDING:
            txn.delete(file)
            if flags & FILE_HAS_PATH:
                txn.delete(b"D" + key)
        elif len(key) == BASE_KEY_SIZE and self._stream_is_open(txn, key):
            # The file goes with the last open of its streams.
            txn.put(file, FILE_HEADER.pack(0, 0, flags, 0))
        elif flags & FILE_DELETING and not open_flags & OPEN_DELETE_ON_CLOSE:
            # Another deletes one of its names, and this open had it by one that stays.
            txn.put(file, FILE_HEADER.pack(0, 0, flags, deleting))
        else:
            txn.put(file, FILE_HEADER.pack(0, 0, flags | FILE_DELETING, self._worker))
            delete_now = True
        if len(key) > BASE_KEY_SIZE and self._claim_base(txn, key[:BASE_KEY_SIZE]):
            if delete_now:  # the file takes this stream with it
                txn.delete(file)
                txn.delete(b"D" + key)
            return RemoveOpenResult(True, False, True, waiters)
        if not delete_now:
            return RemoveOpenResult(True, waiters=waiters)
        self._locks.wait(txn, key, waiters)  # for `deleted`
        return RemoveOpenResult(True, True, False, (), *doom_of(txn, key))

    def _streams(self, txn: Transaction, base: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the F records of the named streams of a file."""
        for key, value in with_prefix(txn, b"F" + base):
            if len(key) > 1 + BASE_KEY_SIZE:
                yield key, value

    def _stream_is_open(self, txn: Transaction, base: bytes) -> bool:
        """Tell whether any named stream of the file is open."""
        return any(len(value) > FILE_HEADER.size for _, value in self._streams(txn, base))

    def _claim_base(self, txn: Transaction, base: bytes) -> bool:
        """Take over the deletion of a file that only waited for its streams to be closed."""
        value = txn.get(b"F" + base)
        if value is None or len(value) > FILE_HEADER.size:
            return False
        flags = FILE_HEADER.unpack_from(value)[2]
        if flags & FILE_DELETING or self._stream_is_open(txn, base):
            return False
        txn.put(b"F" + base, FILE_HEADER.pack(0, 0, flags | FILE_DELETING, self._worker))
        return True

    @writes
    def update_open(self, key: bytes, record: OpenRecord) -> None:
        """Replace a record: see `Store.update_open`."""
        with self._write() as txn:
            value = txn.get(b"F" + key, b"")
            at = find_open(value, record.open_id)
            if at < 0:
                raise SmbError(NtStatus.FILE_CLOSED)
            holders, deniers, flags, deleting = FILE_HEADER.unpack_from(value)
            _, access, share, _ = OPEN_HEAD.unpack_from(value, at)
            old = sharing.profile(access, share)
            new = sharing.profile(record.granted_access, record.share_access)
            holders += new.holds - old.holds
            deniers += new.denies - old.denies
            header = FILE_HEADER.pack(holders, deniers, flags, deleting)
            before, after = value[FILE_HEADER.size : at], value[at + OPEN_SIZE :]
            txn.put(b"F" + key, header + before + record.pack() + after)

    @writes
    def set_oplock(self, key: bytes, open_id: int, level: int, state: int) -> tuple[int, ...]:
        """Change the oplock of an open: see `Store.set_oplock`."""
        with self._write() as txn:
            value = txn.get(b"F" + key, b"")
            at = find_open(value, open_id)
            if at < 0:
                return ()
            lasting = OPEN_HEAD.unpack_from(value, at)[3] & OPEN_LASTING
            at += OPEN_OPLOCK_OFFSET
            if value[at] and not level and not lasting:
                self._oplock_hints.remove(key)
            elif level and not value[at] and not lasting:
                self._oplock_hints.add(key)
            txn.put(b"F" + key, value[:at] + bytes((level, state)) + value[at + 2 :])
            # Who waits for a break waits for its end.
            return () if state == OPLOCK_BREAKING else self._locks.release(txn, key, NO_OPEN)

    def oplock_count(self, key: bytes) -> int:
        """Return how many opens may cache or last, without a transaction."""
        return self._oplock_counts[crc32(key) & HINT_MASK]

    def opens(self, key: bytes) -> list[OpenRecord]:
        """Return the opens of a file or stream."""
        return self.look(key).all

    def look(self, key: bytes) -> Others:
        """Return them unread: see `Store.look`."""
        with self._begin() as txn:
            return Others(txn.get(b"F" + key, b"")[FILE_HEADER.size :])

    def holders(self, key: bytes) -> list[OpenRecord]:
        """Return the opens whose clients cache something: see `Store.holders`."""
        with self._begin() as txn:
            value = txn.get(b"F" + key, b"")
        # All levels, and the low bytes of all states, by one step of a slice each.
        levels = value[FILE_HEADER.size + OPEN_OPLOCK_OFFSET :: OPEN_SIZE]
        if not any(levels):
            return []
        states = value[FILE_HEADER.size + OPEN_LEASE_STATE_OFFSET :: OPEN_SIZE]
        return [
            OpenRecord.parse(value, FILE_HEADER.size + number * OPEN_SIZE)
            for number, level in enumerate(levels)
            if level and (level != LEASE or states[number])
        ]

    def count_opens(self, key: bytes) -> int:
        """Return how many opens a file or stream has."""
        return max(self.environment.size(b"F" + key) - FILE_HEADER.size, 0) // OPEN_SIZE

    def stream_opens(self, key: bytes) -> list[OpenRecord]:
        """Return the opens of all named streams of a file."""
        with self._begin() as txn:
            packed = b"".join(value[FILE_HEADER.size :] for _, value in self._streams(txn, key))
        return parse_opens(packed)

    @writes
    def set_delete_pending(
        self,
        key: bytes,
        open_id: int,
        pending: bool,
        path: str = "",
        user: User = (),
        *,
        one_name: bool = False,
    ) -> None:
        """Set or clear delete pending: see `Store.set_delete_pending`."""
        with self._write() as txn:
            value = txn.get(b"F" + key)
            at = -1 if value is None else find_open(value, open_id)
            if value is None or at < 0:
                raise SmbError(NtStatus.FILE_CLOSED)
            holders, deniers, flags, deleting = FILE_HEADER.unpack_from(value)
            if pending:
                record = OpenRecord.parse(value, at)
                flags = doom(txn, self.environment, key, flags, record, path, user, one_name)
            else:
                flags = spare(txn, key, flags, path)
            header = FILE_HEADER.pack(holders, deniers, flags, deleting)
            txn.put(b"F" + key, header + value[FILE_HEADER.size :])

    def is_delete_pending(self, key: bytes, path: str = "") -> bool:
        """Tell whether a file is delete pending: see `Store.is_delete_pending`."""
        return self.pending_names(key, path)[1]

    def pending_names(self, key: bytes, path: str) -> tuple[int, bool]:
        """Tell how many names are delete pending: see `Store.pending_names`."""
        base = key[:BASE_KEY_SIZE]
        with self._begin() as txn:
            count, this = pending_names_of(txn, base, path)
            if key != base:
                this = this or pending_names_of(txn, key)[1]
        return count, this

    def is_being_deleted(self, key: bytes) -> bool:
        """Tell whether a worker deletes a file: see `Store.is_being_deleted`."""
        with self._begin() as txn:
            value = txn.get(b"F" + key)
        return value is not None and bool(FILE_HEADER.unpack_from(value)[2] & FILE_DELETING)

    @writes
    def deleted(self, key: bytes) -> tuple[int, ...]:
        """Forget a deleted file; return who waited for that."""
        with self._write() as txn:
            value = txn.get(b"F" + key)
            if value is None:
                return ()
            holders, deniers, flags, _ = FILE_HEADER.unpack_from(value)
            if not flags & FILE_DELETING:
                return ()
            txn.delete(b"D" + key)
            opens = value[FILE_HEADER.size :]
            if opens:  # of another name, that it lives on by
                txn.put(b"F" + key, FILE_HEADER.pack(holders, deniers, 0, 0) + opens)
            else:
                txn.delete(b"F" + key)
            return self._locks.release(txn, key, NO_OPEN)

    def disconnect(
        self, txn: Transaction, key: bytes, value: bytes, at: int, deadline: int
    ) -> bool:
        """Let a durable open wait for its client, in the caller's transaction; False if it cannot.

        Not where somebody has its file deleted, nor where somebody else already wants what it
        caches, nor where many wait already: one that lasts gives up what it caches, and stays.
        """
        record = OpenRecord.parse(value, at)
        pending = FILE_HEADER.unpack_from(value)[2] & FILE_PENDING
        if not record.flags & OPEN_LASTING and (pending or _are_many(value)):
            return False
        if not may_wait(record):
            return False
        if record.oplock_state == OPLOCK_BREAKING:
            if record.oplock_level == LEASE:
                value = self._leases.end_break(value, at)
                record = OpenRecord.parse(value, at)
            else:
                record.oplock_level = SMB2_OPLOCK_LEVEL_NONE
                record.oplock_state = OPLOCK_HELD
        record.flags |= OPEN_DISCONNECTED
        record.durable_open_scavenger_timeout = deadline
        enter_guid(txn, record)
        txn.put(b"F" + key, value[:at] + record.pack() + value[at + OPEN_SIZE :])
        return True
