"""Byte-range locks in the store: arrays, waiters, hints."""

from typing import TYPE_CHECKING

import pytest

from usmbd.protocol.state.store import lmdb_locks
from usmbd.protocol.state.store.base import LockConflict, UnlockResult
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import LockRange, LockRecord, file_key
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from .conftest import Opener

KEY = file_key(1, 100)


def exclusive(offset: int, length: int = 10) -> LockRange:
    return LockRange(offset, length, True)


def test_an_array_is_taken_whole_or_not_at_all(store: LmdbStore, add: "Opener") -> None:
    mine, other = add(KEY), add(KEY)
    assert store.lock(KEY, other, [exclusive(20)]) is None
    refused = store.lock(KEY, mine, [exclusive(0), exclusive(10), exclusive(25)])
    assert refused == LockConflict(2, LockRecord(20, 10, other, 1))
    assert store.unlock(KEY, mine, [exclusive(0)]) == UnlockResult(0)
    # An array conflicts with itself as well.
    refused = store.lock(KEY, mine, [exclusive(0), exclusive(5)])
    assert refused == LockConflict(1, LockRecord(0, 10, mine, 1))
    assert store.check_io(KEY, other, 0, 10, write=True)


def test_unlocks_go_in_order_and_stay(store: LmdbStore, add: "Opener") -> None:
    mine = add(KEY)
    store.lock(KEY, mine, [exclusive(10)])
    assert store.unlock(KEY, mine, [exclusive(0), exclusive(10)]) == UnlockResult(0)
    store.lock(KEY, mine, [exclusive(0)])
    store.unlock(KEY, mine, [exclusive(10)])
    assert store.unlock(KEY, mine, [exclusive(0), exclusive(10)]) == UnlockResult(1)
    assert store.lock(KEY, mine, [exclusive(0)]) is None


def test_io_is_checked_while_there_are_locks(store: LmdbStore, add: "Opener") -> None:
    mine, other = add(KEY), add(KEY)
    assert store.check_io(KEY, other, 0, 10, write=True)
    store.lock(KEY, mine, [exclusive(0)])
    assert not store.check_io(KEY, other, 9, 1, write=False)
    assert store.check_io(KEY, other, 5, 0, write=False)  # smb2.lock.zerobyteread
    assert store.check_io(KEY, mine, 0, 10, write=True)
    assert store.check_io(file_key(1, 101), other, 0, 10, write=True)
    store.unlock(KEY, mine, [exclusive(0)])
    assert store.check_io(KEY, other, 9, 1, write=False)
    store.remove_session(0)  # any write: hints are lowered after the commit
    assert not any(store._environment.lock_hints.counts)


def test_a_close_removes_the_locks_of_that_open_only(store: LmdbStore, add: "Opener") -> None:
    mine, other = add(KEY), add(KEY)
    store.lock(KEY, mine, [LockRange(0, 8)])
    store.lock(KEY, other, [LockRange(0, 1)])
    store.remove_open(KEY, mine)
    assert store.lock(KEY, other, [exclusive(7, 1)]) is None
    store.remove_open(KEY, other)
    assert store.check_io(KEY, 1, 0, 10, write=True)
    store.remove_session(0)  # any write: hints are lowered after the commit
    assert not any(store._environment.lock_hints.counts)


def test_waiters_are_told_once(store: LmdbStore, add: "Opener") -> None:
    mine, other = add(KEY), add(KEY)
    store.lock(KEY, mine, [exclusive(0), exclusive(10)])
    assert store.lock(KEY, other, [exclusive(0)], wait=True) is not None
    assert store.lock(KEY, other, [exclusive(10)], wait=True) is not None
    assert store.unlock(KEY, mine, [exclusive(0)]) == UnlockResult(1, (1,))
    assert store.unlock(KEY, mine, [exclusive(10)]) == UnlockResult(1)
    store.add_waiter(KEY)
    store.add_waiter(KEY)
    assert store.remove_open(KEY, mine).waiters == (1,)
    assert store.remove_open(KEY, other).waiters == ()
    store.remove_session(0)  # any write: hints are lowered after the commit
    assert not any(store._environment.lock_hints.counts)


def test_too_many_locks_are_refused(
    store: LmdbStore, add: "Opener", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_locks, "MAX_LOCKS_PER_FILE", 3)
    mine = add(KEY)
    store.lock(KEY, mine, [exclusive(n, 1) for n in range(3)])
    with pytest.raises(SmbError) as error:
        store.lock(KEY, mine, [exclusive(9)])
    assert error.value.status == NtStatus.INSUFFICIENT_RESOURCES


def test_wrong_hints_are_counted_anew(store: LmdbStore, add: "Opener") -> None:
    mine = add(KEY)
    store.lock(KEY, mine, [exclusive(0)])
    right = bytes(store._environment.lock_hints.counts)
    store._environment.lock_hints.add(KEY)
    store._environment.lock_hints.add(file_key(9, 9))
    store.recount_hints()
    assert bytes(store._environment.lock_hints.counts) == right
