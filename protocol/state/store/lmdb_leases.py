"""Leases in LMDB: the table of [MS-SMB2] 3.3.1.11, and a change of one for all its opens.

G + ClientGuid + LeaseKey     FileKey

All opens of a lease are of one file, and stand in one F record. So what the lease is stands in each
of them, and is changed in one transaction; the G record only says which file it is.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from usmbd.protocol.state.store.base import LeaseChange
from usmbd.protocol.state.store.lmdb_environment import FILE_HEADER, LmdbEnvironment, writes
from usmbd.protocol.state.store.lmdb_locks import NO_OPEN, LmdbLocks
from usmbd.protocol.state.store.lmdb_transaction import Transaction
from usmbd.protocol.state.store.records import (
    LEASE_ID_SIZE,
    LEASE_STATE,
    OPEN_LEASE_OFFSET,
    OPEN_LEASE_STATE_OFFSET,
    OPEN_OPLOCK_OFFSET,
    OPEN_SIZE,
    OPLOCK_BREAKING,
    OPLOCK_HELD,
    LeaseState,
    OpenRecord,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.status import NtStatus, SmbError

LEASE: Final = SMB2_OPLOCK_LEVEL_LEASE

_LEASE_END: Final = OPEN_LEASE_OFFSET + LEASE_ID_SIZE
_ALONE: Final = FILE_HEADER.size + OPEN_SIZE  # bytes of an F record with one open


def _places(value: bytes, lease: bytes, start: int) -> Iterator[int]:
    """Yield where the opens of a lease stand in `value`, whose records begin at `start`."""
    at = value.find(lease, start)
    while at >= 0:
        place = at - OPEN_LEASE_OFFSET
        if not (place - start) % OPEN_SIZE and value[place + OPEN_OPLOCK_OFFSET] == LEASE:
            yield place
        at = value.find(lease, at + 1)


def has_lease(file: bytes | None, lease: bytes) -> bool:
    """Tell whether an open of an F record has the lease of `ClientGuid + LeaseKey`."""
    return file is not None and next(_places(file, lease, FILE_HEADER.size), -1) >= 0


def _read(value: bytes, place: int) -> LeaseState:
    """Return the lease of the open at `place`."""
    state, break_to, required, epoch, version = LEASE_STATE.unpack_from(
        value, place + OPEN_LEASE_STATE_OFFSET
    )
    breaking = value[place + OPEN_OPLOCK_OFFSET + 1] == OPLOCK_BREAKING
    return LeaseState(state, version, epoch, breaking, break_to, required)


def _written(value: bytes, places: Iterable[int], lease: LeaseState) -> bytes:
    """Return `value` with the lease of the opens at `places` set."""
    changed = bytearray(value)
    for place in places:
        changed[place + OPEN_OPLOCK_OFFSET + 1] = OPLOCK_BREAKING if lease.breaking else OPLOCK_HELD
        LEASE_STATE.pack_into(
            changed,
            place + OPEN_LEASE_STATE_OFFSET,
            lease.state,
            lease.break_to,
            lease.required,
            lease.epoch,
            lease.version,
        )
    return bytes(changed)


class LmdbLeases:
    """Which lease is on which file."""

    def __init__(self, environment: LmdbEnvironment, locks: LmdbLocks) -> None:
        """Keep the G records of an environment; who waits for a break stands with the locks."""
        self.environment = environment
        self._locks = locks

    def join(self, txn: Transaction, key: bytes, record: OpenRecord, others: bytes) -> bytes:
        """Give an open its lease; return the packed other opens of the file as they are then.

        SmbError(INVALID_PARAMETER) when the lease is of another file.
        """
        lease = record.client_guid + record.lease_key
        if txn.put(b"G" + lease, key, overwrite=False):
            return others
        if txn.get(b"G" + lease) != key:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        first = next(_places(others, lease, 0), None)
        state = LeaseState.of(record)
        if first is None or _read(others, first) == state:
            return others
        return _written(others, _places(others, lease, 0), state)

    def leave(self, txn: Transaction, value: bytes, place: int) -> None:
        """Forget the lease of the open at `place` of an F record if it is the last of it."""
        lease = value[place + OPEN_LEASE_OFFSET : place + _LEASE_END]
        of_it = () if len(value) == _ALONE else _places(value, lease, FILE_HEADER.size)
        if all(other == place for other in of_it):
            txn.delete(b"G" + lease)

    @staticmethod
    def end_break(value: bytes, place: int) -> bytes:
        """Return an F record in which the lease of an open has given up what it was asked for."""
        at = place + OPEN_LEASE_OFFSET
        places = _places(value, value[at : at + LEASE_ID_SIZE], FILE_HEADER.size)
        lease = _read(value, place)
        ended = lease._replace(state=lease.required, breaking=False, break_to=0, required=0)
        return _written(value, places, ended)

    def lease_file(self, client_guid: bytes, lease_key: bytes) -> bytes | None:
        """Return the key of the file that a lease is on: see `Store.lease_file`."""
        with self.environment.begin() as txn:
            return txn.get(b"G" + client_guid + lease_key)

    @writes
    def change_lease(
        self, client_guid: bytes, lease_key: bytes, change: Callable[[LeaseState], LeaseState]
    ) -> LeaseChange | None:
        """Change a lease: see `Store.change_lease`."""
        lease = client_guid + lease_key
        with self.environment.write() as txn:
            key = txn.get(b"G" + lease)
            if key is None:
                return None
            value = txn.get(b"F" + key, b"")
            places = list(_places(value, lease, FILE_HEADER.size))
            if not places:
                return None
            before = _read(value, places[0])
            after = change(before)
            if after == before:
                return LeaseChange(key, before, after)
            txn.put(b"F" + key, _written(value, places, after))
            # Who waits for a break waits for its end, or for its next step.
            begins = after.breaking and after.state == before.state
            waiters = () if begins else self._locks.release(txn, key, NO_OPEN)
        return LeaseChange(key, before, after, waiters)
