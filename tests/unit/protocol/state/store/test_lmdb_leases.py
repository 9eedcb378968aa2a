"""Leases in the store: one file each, one state for all opens, gone with the last of them."""

from collections.abc import Callable
from typing import Any

import pytest

from usmbd.protocol.state.store.lmdb_environment import FILE_HEADER, with_prefix
from usmbd.protocol.state.store.lmdb_leases import LmdbLeases
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import OPEN_SIZE, LeaseState, OpenRecord, file_key
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.status import NtStatus, SmbError

FILE, ANOTHER, STREAM = file_key(1, 100), file_key(1, 101), file_key(1, 100, "stream")
GUID, KEY = b"g" * 16, b"k" * 16
STATE = LeaseState(7, 2, 0x1234)


def leased(
    store: LmdbStore,
    key: bytes = FILE,
    *,
    guid: bytes = GUID,
    lease_key: bytes = KEY,
    state: LeaseState = STATE,
) -> int:
    """Add an open with a lease; return its open_id."""
    record = OpenRecord(
        open_id=store.new_open_id(),
        granted_access=1,
        share_access=7,
        oplock_level=SMB2_OPLOCK_LEVEL_LEASE,
        client_guid=guid,
        lease_key=lease_key,
    )
    state.put(record)
    store.add_open(key, record)
    return record.open_id


def states(store: LmdbStore, key: bytes = FILE) -> list[LeaseState]:
    return [LeaseState.of(record) for record in store.opens(key)]


def break_it(lease: LeaseState) -> LeaseState:
    return lease._replace(breaking=True, break_to=3, required=1, epoch=lease.epoch + 1)


def end_it(lease: LeaseState) -> LeaseState:
    return lease._replace(state=1, breaking=False, break_to=0, required=0)


def tables(store: LmdbStore) -> int:
    """Return how many leases the table holds."""
    with store._environment.begin() as txn:
        return sum(1 for _ in with_prefix(txn, b"G"))


def test_a_lease_is_of_one_file(store: LmdbStore) -> None:
    leased(store)
    for key in (ANOTHER, STREAM):
        with pytest.raises(SmbError) as error:
            leased(store, key)
        assert error.value.status is NtStatus.INVALID_PARAMETER
        assert store.opens(key) == []
    leased(store, ANOTHER, guid=KEY)
    leased(store, STREAM, lease_key=GUID)
    assert store.lease_file(GUID, KEY) == FILE
    assert store.lease_file(KEY, KEY) == ANOTHER
    assert store.lease_file(KEY, GUID) is None


def test_all_its_opens_say_the_same(store: LmdbStore) -> None:
    leased(store)
    leased(store, guid=KEY, state=LeaseState(1, 1, 0))
    leased(store, state=LeaseState(3, 2, 0x1235))
    raised = LeaseState(3, 2, 0x1235)
    assert states(store) == [raised, LeaseState(1, 1, 0), raised]
    change = store.change_lease(GUID, KEY, break_it)
    assert change is not None
    assert (change.key, change.before) == (FILE, LeaseState(3, 2, 0x1235))
    assert change.after == LeaseState(3, 2, 0x1236, True, 3, 1)
    assert states(store) == [change.after, LeaseState(1, 1, 0), change.after]


def test_who_waits_is_woken_by_the_end_of_a_break_not_by_its_beginning(store: LmdbStore) -> None:
    leased(store)
    store.add_waiter(FILE)
    change = store.change_lease(GUID, KEY, break_it)
    assert change is not None
    assert change.waiters == ()
    change = store.change_lease(GUID, KEY, end_it)
    assert change is not None
    assert change.waiters == (store.worker,)


def test_what_is_refused_changes_nothing(store: LmdbStore) -> None:
    def refuse(lease: LeaseState) -> LeaseState:
        raise SmbError(NtStatus.UNSUCCESSFUL)

    leased(store)
    with pytest.raises(SmbError):
        store.change_lease(GUID, KEY, refuse)
    assert states(store) == [STATE]
    same = store.change_lease(GUID, KEY, lambda lease: lease)
    assert same is not None
    assert same.before == same.after == STATE
    assert store.change_lease(KEY, GUID, break_it) is None


@pytest.mark.parametrize("leave", ["close", "death"])
def test_it_ends_with_its_last_open(
    store: LmdbStore, leave: str, add: Callable[[bytes], int]
) -> None:
    opens = [leased(store), leased(store)]
    add(FILE)
    store.remove_open(FILE, opens[0])
    assert tables(store) == 1
    if leave == "close":
        store.remove_open(FILE, opens[1])
        assert len(store.opens(FILE)) == 1
    else:
        store.drop_worker(store.worker)
    assert tables(store) == 0
    leased(store, ANOTHER)
    assert store.sweep([store.worker], store.worker).found == 0


def test_what_belongs_to_nobody_is_found(store: LmdbStore) -> None:
    leased(store)
    with store._environment.write() as txn:
        txn.put(b"G" + KEY + GUID, FILE)
        txn.put(b"G" + KEY + KEY, ANOTHER)
    assert store.sweep([store.worker], store.worker).found == 2
    assert tables(store) == 1
    assert store.lease_file(GUID, KEY) == FILE


class Searched(bytes):
    """A record that counts how often it is searched."""

    finds = 0

    def find(self, *of: Any) -> int:
        """Search."""
        self.finds += 1
        return super().find(*of)


def test_to_leave_a_lease_of_thousands_takes_no_more_than_another_one(store: LmdbStore) -> None:
    """Whoever closes one looks for another of it, not for all."""
    for _ in range(20):
        leased(store)
    with store._environment.begin() as txn:
        value = Searched(txn.get(b"F" + FILE))
    leases = LmdbLeases(store._environment, store._locks)
    with store._environment.write() as txn:
        leases.leave(txn, value, FILE_HEADER.size + 7 * OPEN_SIZE)
    assert value.finds == 1
    assert store.lease_file(GUID, KEY) == FILE
