"""Streams that get another name while they are open, in LMDB: their records get another key."""

from usmbd.protocol.state.store.lmdb_environment import FILE_HEADER, LmdbEnvironment, writes
from usmbd.protocol.state.store.lmdb_leases import LEASE
from usmbd.protocol.state.store.lmdb_locks import waiting
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_DURABLE,
    OPEN_LASTING,
    OPEN_SIZE,
    OPLOCK_BREAKING,
    OpenRecord,
    counted_with,
)


class LmdbMoves:
    """Moves records from one FileKey to another."""

    def __init__(self, environment: LmdbEnvironment) -> None:
        """Move the F, L and G records of an environment."""
        self.environment = environment
        self._write = environment.write
        self._lock_hints = environment.lock_hints
        self._oplock_hints = environment.oplock_hints

    @writes
    def move_stream(self, key: bytes, new: bytes, open_id: int) -> bool:
        """Give the only open of a stream another key: see `Store.move_stream`."""
        with self._write() as txn:
            value = txn.get(b"F" + key, b"")
            if len(value) != FILE_HEADER.size + OPEN_SIZE or txn.get(b"F" + new) is not None:
                return False
            record = OpenRecord.parse(value, FILE_HEADER.size)
            flags = FILE_HEADER.unpack_from(value)[2]
            stays = OPEN_DELETE_ON_CLOSE | OPEN_DURABLE | OPEN_LASTING
            if record.open_id != open_id or flags or record.flags & stays:
                return False
            locks = txn.get(b"L" + key)
            if record.oplock_state == OPLOCK_BREAKING or (locks is not None and waiting(locks)):
                return False  # who waits is woken by the old key
            txn.delete(b"F" + key)
            txn.put(b"F" + new, value)
            if locks is not None:
                self._lock_hints.add(new)
                txn.delete(b"L" + key)
                txn.put(b"L" + new, locks)
                self._lock_hints.remove(key)
            if record.oplock_level:
                self._oplock_hints.add(new, counted_with(record.flags))
                self._oplock_hints.remove(key, counted_with(record.flags))
            if record.oplock_level == LEASE:
                txn.put(b"G" + record.client_guid + record.lease_key, new)
            return True
