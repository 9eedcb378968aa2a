"""What belongs to nobody: records that no living worker will ever remove.

`drop_worker` leaves none, wherever its worker was killed; this looks whether that is true.
"""

from collections.abc import Sequence

import msgspec

from usmbd.protocol.state.store.base import Waiters
from usmbd.protocol.state.store.lmdb_deaths import DROP_BATCH, hand_on
from usmbd.protocol.state.store.lmdb_dooms import FILE_DELETING, FILE_PENDING
from usmbd.protocol.state.store.lmdb_durable import is_durable
from usmbd.protocol.state.store.lmdb_environment import (
    FILE_HEADER,
    LmdbEnvironment,
    with_prefix,
    writes,
)
from usmbd.protocol.state.store.lmdb_leases import has_lease
from usmbd.protocol.state.store.lmdb_locks import LmdbLocks, lock_owners, waiting
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    BASE_KEY_SIZE,
    OPEN_DISCONNECTED,
    OPEN_HEAD,
    OPEN_ID,
    OPEN_SIZE,
    OPEN_WORKER_OFFSET,
    WORKER,
    SessionRecord,
)

_decode_session = msgspec.msgpack.Decoder(SessionRecord).decode


class LmdbOrphans:
    """Finds such records of all tables, and removes them."""

    def __init__(self, environment: LmdbEnvironment, locks: LmdbLocks) -> None:
        """Look at an environment; locks are removed by their own table."""
        self.environment = environment
        self._locks = locks

    def workers(self) -> set[int]:
        """Return the workers that anything in the store belongs to."""
        with self.environment.begin() as txn:
            return _workers(txn)

    def find(self) -> list[bytes]:
        """Return the keys of all records of which something belongs to nobody."""
        with self.environment.begin() as txn:
            return [
                key
                for prefix in (b"L", b"F", b"D", b"G", b"P", b"Q", b"C")
                for key, value in with_prefix(txn, prefix)
                if _is_orphan(txn, key, value)
            ]

    @writes
    def remove(self, keys: Sequence[bytes], heir: int, waiters: Waiters) -> int:
        """Remove what is wrong with records, if it still is; return with how many it was.

        Who has to be woken is added to `waiters`; `heir` deletes what is to be deleted.
        """
        found = 0
        for first in range(0, len(keys), DROP_BATCH):
            with self.environment.write() as txn:
                for key in keys[first : first + DROP_BATCH]:
                    found += self._remove(txn, key, heir, waiters)
        return found

    def _remove(self, txn: Transaction, record: bytes, heir: int, woken: Waiters) -> bool:
        """Remove what is wrong with one record, and note what that leaves to do."""
        kind, key = record[:1], record[1:]
        value = txn.get(record)
        if value is None or not _is_orphan(txn, record, value):
            return False
        if kind == b"L":
            waiters = self._locks.drop_stale(txn, key, value, _open_ids(txn.get(b"F" + key)))
            woken.extend((waiter, key) for waiter in waiters)
        elif kind == b"F" and FILE_HEADER.unpack_from(value)[2] & FILE_PENDING:
            hand_on(txn, key, value, heir)
        else:
            txn.delete(record)
        return True


def _open_ids(file: bytes | None) -> set[int]:
    """Return the ids of the opens of an F record."""
    places = range(FILE_HEADER.size, len(file or b""), OPEN_SIZE)
    return {OPEN_ID.unpack_from(file, at)[0] for at in places} if file else set()


def _workers(txn: Transaction) -> set[int]:
    """Return the workers that anything in the store belongs to."""
    found = {_decode_session(value).worker for _, value in with_prefix(txn, b"S")}
    for _, value in with_prefix(txn, b"L"):
        found.update(waiting(value))
    for _, value in with_prefix(txn, b"F"):
        found.update(  # not who deletes it: that may be one that is about to start
            WORKER.unpack_from(value, at + OPEN_WORKER_OFFSET)[0]
            for at in range(FILE_HEADER.size, len(value), OPEN_SIZE)
            # Who waits for its client needs no worker: any may claim it, the next keeps its time.
            if not OPEN_HEAD.unpack_from(value, at)[3] & OPEN_DISCONNECTED
        )
    return found


def _is_orphan(txn: Transaction, record: bytes, value: bytes) -> bool:
    """Tell whether something in a record belongs to nobody: see the cases."""
    kind, key = record[:1], record[1:]
    if kind == b"P":  # what a durable open would be made anew from, which is closed
        return not is_durable(txn, value, key)
    if kind == b"Q":
        return txn.get(b"P" + key) is None
    if kind == b"C":
        return txn.get(b"P" + value) is None
    file = txn.get(b"F" + key)
    if kind == b"G":  # a lease that no open of its file has
        return not has_lease(txn.get(b"F" + value), key)
    if kind == b"L":  # locks of opens that are closed
        return not lock_owners(value) <= _open_ids(file)
    if kind == b"D":  # the path of a file that nobody has open
        return file is None
    if len(value) > FILE_HEADER.size:
        return False
    flags = FILE_HEADER.unpack_from(value)[2]
    if flags & FILE_DELETING:  # by a worker, which is there or about to start
        return False
    # Without opens a file is kept only because it is deleted with the last of its streams.
    return not (flags & FILE_PENDING and len(key) == BASE_KEY_SIZE and _stream_is_open(txn, key))


def _stream_is_open(txn: Transaction, base: bytes) -> bool:
    """Tell whether a named stream of the file is open."""
    return any(
        len(key) > 1 + BASE_KEY_SIZE and len(value) > FILE_HEADER.size
        for key, value in with_prefix(txn, b"F" + base)
    )
