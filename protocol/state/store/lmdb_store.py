"""The state store of one machine: an LMDB environment on tmpfs, shared by all workers.

One unnamed database holds everything; the first byte of a key says what (a named database would
cost 15 % more per transaction). Writers are serialized by LMDB's robust mutex, which the kernel
hands on when its holder is killed; what the dead writer had not committed never happened.

    F + FileKey      header and the OpenRecords, in the order of the opens
    L + FileKey      waiting workers and the byte-range locks, while there are any
    D + FileKey      path of a delete-pending file
    S + SessionId    SessionRecord
    T + worker       WorkerStats
    A + worker       how often this worker number was attached
"""

import os
from typing import Any, Final

import msgspec

from usmbd.protocol.state.store.base import Doomed, DropResult, Store
from usmbd.protocol.state.store.lmdb_environment import FILE_HEADER, with_prefix, writes
from usmbd.protocol.state.store.lmdb_opens import FILE_DELETING, LmdbOpens
from usmbd.protocol.state.store.records import (
    BASE_KEY_SIZE,
    OPEN_ID,
    OPEN_SIZE,
    OPEN_WORKER_OFFSET,
    WORKER,
    SessionRecord,
    WorkerStats,
)

DROP_BATCH: Final = 64
# Files per transaction when a dead worker's opens are dropped: the others wait a millisecond.


_encode = msgspec.msgpack.Encoder().encode
_decode_session = msgspec.msgpack.Decoder(SessionRecord).decode
_decode_stats = msgspec.msgpack.Decoder(WorkerStats).decode


def _owned(value: bytes, worker: int) -> list[int] | None:
    """Return the opens of a worker in an F record; None when the record is no concern of it."""
    ids = [
        OPEN_ID.unpack_from(value, at)[0]
        for at in range(FILE_HEADER.size, len(value), OPEN_SIZE)
        if WORKER.unpack_from(value, at + OPEN_WORKER_OFFSET)[0] == worker
    ]
    _, _, flags, deleting = FILE_HEADER.unpack_from(value)
    return ids if ids or (flags & FILE_DELETING and deleting == worker) else None


class LmdbStore(LmdbOpens, Store):
    """The whole store: opens and locks by inheritance, sessions, statistics and workers here."""

    @writes
    def put_session(self, record: SessionRecord) -> None:
        """Add or replace a session."""
        self.require_room()
        with self._begin(write=True) as txn:
            txn.put(b"S" + OPEN_ID.pack(record.session_id), _encode(record))

    def get_session(self, session_id: int) -> SessionRecord | None:
        """Return a session of any worker."""
        with self._begin() as txn:
            value = txn.get(b"S" + OPEN_ID.pack(session_id))
        return None if value is None else _decode_session(value)

    @writes
    def remove_session(self, session_id: int) -> None:
        """Remove a session."""
        with self._begin(write=True) as txn:
            txn.delete(b"S" + OPEN_ID.pack(session_id))

    def sessions(self) -> list[SessionRecord]:
        """Return all sessions."""
        with self._begin() as txn:
            return [_decode_session(value) for _, value in with_prefix(txn, b"S")]

    @writes
    def put_stats(self, stats: WorkerStats) -> None:
        """Publish a worker's numbers."""
        with self._begin(write=True) as txn:
            txn.put(b"T" + WORKER.pack(stats.worker), _encode(stats))

    def stats(self) -> list[WorkerStats]:
        """Return the numbers of all workers."""
        with self._begin() as txn:
            return [_decode_stats(value) for _, value in with_prefix(txn, b"T")]

    @writes
    def drop_worker(self, worker: int) -> DropResult:
        """Remove all that a dead worker left: see `Store.drop_worker`."""
        self._env.reader_check()  # a dead reader would keep old pages from being used again
        with self._begin() as txn:
            # Found without the writers' lock: the dead worker adds nothing any more.
            files = [
                (key[1:], owned)
                for key, value in with_prefix(txn, b"F")
                if (owned := _owned(value, worker)) is not None
            ]
            sessions = [
                key
                for key, value in with_prefix(txn, b"S")
                if _decode_session(value).worker == worker
            ]
        result = DropResult([], [])
        for first in range(0, len(files), DROP_BATCH):
            with self._begin(write=True) as txn:
                for key, owned in files[first : first + DROP_BATCH]:
                    self._drop_opens(txn, key, owned, worker, result)
        with self._begin(write=True) as txn:
            for key in sessions:
                txn.delete(key)
            txn.delete(b"T" + WORKER.pack(worker))
        self.recount_hints()
        return result

    def _drop_opens(
        self, txn: Any, key: bytes, owned: list[int], worker: int, result: DropResult
    ) -> None:
        """Close a dead worker's opens of one file, or take over its deletion."""
        doomed = []
        for open_id in owned:
            closed = self._remove(txn, key, open_id)
            result.waiters.extend((waiter, key) for waiter in closed.waiters if waiter != worker)
            if closed.delete_now:
                doomed.append(key)
            if closed.delete_base:
                doomed.append(key[:BASE_KEY_SIZE])
        value = None if owned else txn.get(b"F" + key)
        if value is not None:
            txn.put(
                b"F" + key, FILE_HEADER.pack(0, 0, FILE_HEADER.unpack_from(value)[2], self.worker)
            )
            doomed.append(key)
        result.doomed.extend(
            Doomed(file, os.fsdecode(txn.get(b"D" + file, b""))) for file in doomed
        )
