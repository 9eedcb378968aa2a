"""What a dead worker leaves in LMDB: opens that are closed, others that wait, files to delete."""

import time
from collections.abc import Iterable, Iterator
from typing import Final

from usmbd.protocol.state.store.base import Doomed, Waiters
from usmbd.protocol.state.store.lmdb_dooms import FILE_DELETING, left_by
from usmbd.protocol.state.store.lmdb_environment import (
    FILE_HEADER,
    LmdbEnvironment,
    with_prefix,
    writes,
)
from usmbd.protocol.state.store.lmdb_kept import keep_user
from usmbd.protocol.state.store.lmdb_locks import NO_OPEN, LmdbLocks
from usmbd.protocol.state.store.lmdb_opens import LmdbOpens, find_open
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    BASE_KEY_SIZE,
    OPEN_DISCONNECTED,
    OPEN_DURABLE,
    OPEN_HEAD,
    OPEN_ID,
    OPEN_SIZE,
    OPEN_WORKER_OFFSET,
    WORKER,
    OpenRecord,
)
from usmbd.protocol.wire.filetime import from_ns

DROP_BATCH: Final = 64
"""Files per transaction when a dead worker's opens are dropped: the others wait a millisecond. As
many opens of one file, which take more where that has thousands."""

MS: Final = 10_000
"""Units of a FILETIME in a millisecond."""


class LmdbDeaths:
    """Closes what a dead worker had open, and hands on what it was to delete."""

    def __init__(self, environment: LmdbEnvironment, opens: LmdbOpens, locks: LmdbLocks) -> None:
        """Work on the F records of an environment, by those whose they are."""
        self.environment = environment
        self._opens = opens
        self._locks = locks
        self._begin = environment.begin
        self._write = environment.write
        self._worker = environment.worker

    @writes
    def drop_worker(self, worker: int, heir: int) -> Waiters:
        """Remove the opens and locks of a dead worker: see `Store.drop_worker`.

        `heir` is who deletes what it was to delete.
        """
        with self._begin() as txn:
            # Found without the writers' lock: the dead worker adds nothing any more.
            files = [
                (key[1:], owned)
                for key, value in with_prefix(txn, b"F")
                if (owned := _owned(value, worker)) is not None
            ]
        found: Waiters = []
        now = from_ns(time.time_ns())
        for batch in _batches(files):
            with self._write() as txn:
                for key, owned in batch:
                    waiters = self._drop_opens(txn, key, owned, worker, heir, now)
                    found.extend((waiter, key) for waiter in waiters if waiter != worker)
        return found

    def left_to_delete(self) -> list[Doomed]:
        """Return what this worker has to delete: see `Store.left_to_delete`."""
        with self._begin() as txn:
            return [
                left_by(txn, key[1:])
                for key, value in with_prefix(txn, b"F")
                if _deletes(value, self._worker)
            ]

    def _drop_opens(
        self, txn: Transaction, key: bytes, owned: list[int], worker: int, heir: int, now: int
    ) -> tuple[int, ...]:
        """Close a dead worker's opens of one file but those that wait for their clients.

        Returns whom to wake.
        """
        waiters: tuple[int, ...] = ()
        doomed = [key]
        for open_id in owned:
            if self._survive(txn, key, open_id, now):
                waiters += self._locks.release(txn, key, NO_OPEN)
                continue
            closed = self._opens.remove_in(txn, key, open_id)
            waiters += closed.waiters
            if closed.delete_base:
                doomed.append(key[:BASE_KEY_SIZE])
        for file in doomed:
            value = txn.get(b"F" + file, b"")
            if _deletes(value, worker) or _deletes(value, self._worker):
                hand_on(txn, file, value, heir)
        return waiters

    def _survive(self, txn: Transaction, key: bytes, open_id: int, now: int) -> bool:
        """Keep a dead worker's open if it is durable: its successor ends it; see `disconnect`."""
        value = txn.get(b"F" + key, b"")
        at = find_open(value, open_id)
        if at < 0 or not OPEN_HEAD.unpack_from(value, at)[3] & OPEN_DURABLE:
            return False
        record = OpenRecord.parse(value, at)
        if record.flags & OPEN_DISCONNECTED:
            return True
        if not keep_user(txn, self.environment, record):
            return False
        deadline = now + record.durable_open_timeout * MS
        return self._opens.disconnect(txn, key, value, at, deadline)


def _batches(files: Iterable[tuple[bytes, list[int]]]) -> Iterator[list[tuple[bytes, list[int]]]]:
    """Yield files with some of their opens, as many as are dropped at once."""
    batch, size = list[tuple[bytes, list[int]]](), 0
    for key, owned in files:
        for first in range(0, max(len(owned), 1), DROP_BATCH):
            part = owned[first : first + DROP_BATCH]
            batch.append((key, part))
            size += max(len(part), 1)
            if size >= DROP_BATCH:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def hand_on(txn: Transaction, key: bytes, value: bytes, heir: int) -> None:
    """Have another worker delete a file, whose F record this is."""
    holders, deniers, flags, _ = FILE_HEADER.unpack_from(value)
    header = FILE_HEADER.pack(holders, deniers, flags | FILE_DELETING, heir)
    txn.put(b"F" + key, header + value[FILE_HEADER.size :])


def _deletes(value: bytes, worker: int) -> bool:
    """Tell whether a worker deletes the file of an F record, which may be empty."""
    if not value:
        return False
    _, _, flags, deleting = FILE_HEADER.unpack_from(value)
    return bool(flags & FILE_DELETING) and deleting == worker


def _owned(value: bytes, worker: int) -> list[int] | None:
    """Return the opens of a worker in an F record; None when the record is no concern of it."""
    ids = [
        OPEN_ID.unpack_from(value, at)[0]
        for at in range(FILE_HEADER.size, len(value), OPEN_SIZE)
        if WORKER.unpack_from(value, at + OPEN_WORKER_OFFSET)[0] == worker
    ]
    return ids if ids or _deletes(value, worker) else None
