"""Durable opens in LMDB: what they are found by, and made anew from when their clients come back.

P + open_id                    DurableRecord
C + ClientGuid + CreateGuid    open_id, while it waits for its client; of a persistent one always

The open itself stands among the others of its file, connected or not (`lmdb_opens`); with its end
both records go.
"""

import os

import msgspec

from usmbd.protocol.state.store.base import Doomed, DurableOpen, EndResult
from usmbd.protocol.state.store.lmdb_dooms import FILE_ONE_NAME, FILE_PENDING, left_by, spare
from usmbd.protocol.state.store.lmdb_environment import (
    FILE_HEADER,
    LmdbEnvironment,
    with_prefix,
    writes,
)
from usmbd.protocol.state.store.lmdb_kept import forget_durable, forget_guid
from usmbd.protocol.state.store.lmdb_locks import NO_OPEN, LmdbLocks
from usmbd.protocol.state.store.lmdb_opens import LmdbOpens, find_open
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_DISCONNECTED,
    OPEN_DURABLE,
    OPEN_FORK_BESIDE,
    OPEN_HEAD,
    OPEN_ID,
    OPEN_LASTING,
    OPEN_PERSISTENT,
    OPEN_RESILIENT,
    OPEN_SIZE,
    DurableRecord,
    OpenRecord,
    caches_handle,
    counted_with,
)
from usmbd.protocol.wire.access import DELETE
from usmbd.protocol.wire.status import NtStatus, SmbError

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DurableRecord).decode


class LmdbDurable:
    """Opens that outlive their connections."""

    def __init__(self, environment: LmdbEnvironment, opens: LmdbOpens, locks: LmdbLocks) -> None:
        """Keep the P and C records of an environment, beside the opens' own."""
        self.environment = environment
        self._opens = opens
        self._locks = locks
        self._begin = environment.begin
        self._write = environment.write
        self._worker = environment.worker

    def find_durable(self, open_id: int) -> DurableOpen | None:
        """Return a durable open: see `Store.find_durable`."""
        with self._begin() as txn:
            return self._get(txn, OPEN_ID.pack(open_id))

    def find_create_guid(self, client_guid: bytes, create_guid: bytes) -> DurableOpen | None:
        """Return a durable open: see `Store.find_create_guid`."""
        with self._begin() as txn:
            packed = txn.get(b"C" + client_guid + create_guid)
            return None if packed is None else self._get(txn, packed)

    def _get(self, txn: Transaction, packed: bytes) -> DurableOpen | None:
        """Return the durable open with this packed id."""
        kept = txn.get(b"P" + packed)
        if kept is None:
            return None
        durable = _decode(kept)
        value, at = self._find(txn, durable.key, OPEN_ID.unpack(packed)[0])
        return None if at < 0 else DurableOpen(OpenRecord.parse(value, at), durable)

    @writes
    def make_resilient(
        self, key: bytes, open_id: int, durable: DurableRecord, timeout: int, owner: bytes
    ) -> None:
        """Have an open outlive its connection: see `Store.make_resilient`."""
        with self._write() as txn:
            value, at = self._find(txn, key, open_id)
            if at < 0:
                raise SmbError(NtStatus.FILE_CLOSED)
            if not self.environment.takes_path(durable.path, durable.beside_path):
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            record = OpenRecord.parse(value, at)
            if not record.oplock_level and not record.flags & OPEN_LASTING:
                self.environment.oplock_hints.add(key)
            record.flags |= OPEN_DURABLE | OPEN_RESILIENT
            record.durable_open_timeout = timeout
            record.durable_owner = owner
            txn.put(b"F" + key, value[:at] + record.pack() + value[at + OPEN_SIZE :])
            txn.put(b"P" + OPEN_ID.pack(open_id), _encode(durable))

    @writes
    def end_persistence(self, key: bytes, open_id: int) -> bool:
        """Have an open be persistent no more: see `Store.end_persistence`."""
        with self._write() as txn:
            value, at = self._find(txn, key, open_id)
            if at < 0:
                return False
            record = OpenRecord.parse(value, at)
            if not record.oplock_level:
                self.environment.oplock_hints.remove(key, counted_with(record.flags))
            record.flags &= ~OPEN_PERSISTENT
            forget_guid(txn, value, at)
            if not caches_handle(record):
                forget_durable(txn, value, at, record.flags)
                record.flags &= ~OPEN_DURABLE
            txn.put(b"F" + key, value[:at] + record.pack() + value[at + OPEN_SIZE :])
            return bool(record.flags & OPEN_DURABLE)

    @staticmethod
    def _find(txn: Transaction, key: bytes, open_id: int) -> tuple[bytes, int]:
        """Return a file's F record and where an open stands in it, -1 for nowhere."""
        value = txn.get(b"F" + key)
        return (b"", -1) if value is None else (value, find_open(value, open_id))

    @writes
    def move_durable(self, key: bytes, path: bytes) -> None:
        """Have a file's opens made anew from another path: see `Store.move_durable`."""
        with self._write() as txn:
            value = txn.get(b"F" + key, b"")
            most = self.environment.takes_copies(path) * OPEN_SIZE
            end = min(len(value), FILE_HEADER.size + most)
            for place in range(FILE_HEADER.size, end, OPEN_SIZE):
                open_id, _, _, flags = OPEN_HEAD.unpack_from(value, place)
                if flags & OPEN_DURABLE:
                    _change(txn, OPEN_ID.pack(open_id), path=path)

    @writes
    def disconnect_open(
        self, open_id: int, durable: DurableRecord, deadline: int
    ) -> tuple[int, ...] | None:
        """Keep an open without its client: see `Store.disconnect_open`."""
        with self._write() as txn:
            value, at = self._find(txn, durable.key, open_id)
            if at < 0 or not self.environment.takes_path(durable.path, durable.beside_path):
                return None
            if not self._opens.disconnect(txn, durable.key, value, at, deadline):
                return None
            txn.put(b"P" + OPEN_ID.pack(open_id), _encode(durable))
            return self._locks.release(txn, durable.key, NO_OPEN)

    @writes
    def claim_open(self, open_id: int, session_id: int, tree_id: int) -> OpenRecord | None:
        """Make a disconnected open this worker's: see `Store.claim_open`."""
        packed = OPEN_ID.pack(open_id)
        with self._write() as txn:
            found = self._get(txn, packed)
            if found is None or not found.record.flags & OPEN_DISCONNECTED:
                return None
            record, key = found.record, found.durable.key
            record.flags &= ~OPEN_DISCONNECTED
            record.worker = self._worker
            record.session_id = session_id
            record.tree_id = tree_id
            record.durable_open_scavenger_timeout = 0
            value, at = self._find(txn, key, open_id)
            if not record.flags & OPEN_PERSISTENT:
                forget_guid(txn, value, at)
            txn.put(b"F" + key, value[:at] + record.pack() + value[at + OPEN_SIZE :])
            for place in range(FILE_HEADER.size, len(value), OPEN_SIZE):
                other, _, _, flags = OPEN_HEAD.unpack_from(value, place)
                if flags & OPEN_DISCONNECTED:
                    _change(txn, OPEN_ID.pack(other), seen=())
            return record

    @writes
    def end_disconnected(
        self, key: bytes, open_id: int, deadline: int = 0, deletes: bool | None = True
    ) -> EndResult:
        """Remove a disconnected open: see `Store.end_disconnected`."""
        with self._write() as txn:
            value, at = self._find(txn, key, open_id)
            if at < 0:
                return EndResult()
            record = OpenRecord.parse(value, at)
            if not record.flags & OPEN_DISCONNECTED:
                return EndResult()
            if deadline and record.durable_open_scavenger_timeout != deadline:
                return EndResult()
            kept = txn.get(b"P" + OPEN_ID.pack(open_id), b"")
            if deletes is None and _may_delete(value, record):
                return EndResult(asks=DurableOpen(record, _decode(kept)))
            durable = _decode(kept)
            path = f"{durable.share_path}/{os.fsdecode(durable.path)}"
            if deletes is False:
                _spare(txn, key, value, record, path)
            result = self._opens.remove_in(txn, key, open_id)
            if not result.delete_now:
                return EndResult(result.waiters)
            fork_beside = bool(record.flags & OPEN_FORK_BESIDE)
            doomed = Doomed(key, path, durable.birth, durable.seen, fork_beside)
            if FILE_HEADER.unpack_from(txn.get(b"F" + key, b""))[2] & FILE_ONE_NAME:
                # Not by its own name, but by those that others were to delete whose workers died.
                doomed = left_by(txn, key, durable.birth, durable.seen)
            return EndResult(result.waiters, doomed)

    def disconnected(self) -> list[tuple[bytes, OpenRecord]]:
        """Return this worker's disconnected opens: see `Store.disconnected`."""
        found = []
        with self._begin() as txn:
            for name, _ in with_prefix(txn, b"P"):
                kept = self._get(txn, name[1:])
                if kept is not None:
                    record = kept.record
                    if record.flags & OPEN_DISCONNECTED and record.worker == self._worker:
                        found.append((kept.durable.key, record))
        return found


def _may_delete(value: bytes, record: OpenRecord) -> bool:
    """Tell whether the end of an open of this F record may have the file deleted."""
    pending = FILE_HEADER.unpack_from(value)[2] & FILE_PENDING
    return bool(pending or record.flags & OPEN_DELETE_ON_CLOSE)


def _spare(txn: Transaction, key: bytes, value: bytes, record: OpenRecord, path: str) -> None:
    """Have nothing deleted because of an open of this F record: see `Open.lose_writing`."""
    holders, deniers, flags, deleting = FILE_HEADER.unpack_from(value)
    if len(value) == FILE_HEADER.size + OPEN_SIZE:
        flags = spare(txn, key, flags, "")
    elif record.granted_access & DELETE:
        flags = spare(txn, key, flags, path)
    at = find_open(value, record.open_id)
    record.flags &= ~OPEN_DELETE_ON_CLOSE
    header = FILE_HEADER.pack(holders, deniers, flags, deleting)
    before, after = value[FILE_HEADER.size : at], value[at + OPEN_SIZE :]
    txn.put(b"F" + key, header + before + record.pack() + after)


def _change(txn: Transaction, packed: bytes, **fields: object) -> None:
    """Change what is kept of a durable open, by its packed id."""
    kept = txn.get(b"P" + packed)
    if kept is None:
        return
    before = _decode(kept)
    after = msgspec.structs.replace(before, **fields)
    if after != before:
        txn.put(b"P" + packed, _encode(after))


def is_durable(txn: Transaction, kept: bytes, packed: bytes) -> bool:
    """Tell whether there is an open for a P record and its packed id."""
    (open_id,) = OPEN_ID.unpack(packed)
    return find_open(txn.get(b"F" + _decode(kept).key, b""), open_id) >= 0
