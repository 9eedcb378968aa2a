"""What each operation of the store promises, whatever engine is behind it: README.md has the list.

Three stores stand for three processes: two workers and the supervisor. What one of them has
returned from is so for all of them. `test_promises_survival` has what outlives connections,
workers and the server.
"""

import re
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from store_promises import (
    CLIENT,
    DELETE,
    GUID,
    KEY,
    LEASE,
    OTHER,
    READ,
    RH,
    RWH,
    STREAM,
    WRITE,
    Stores,
    durable,
    leased,
    opened,
    record,
    refuses,
)

from usmbd.protocol.state.store.base import (
    MAX_LOCKS_PER_FILE,
    SharingViolation,
    Store,
)
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPLOCK_BREAKING,
    OPLOCK_HELD,
    LeaseState,
    LockRange,
    LockSequence,
    OpenRecord,
    base_key,
    file_key,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.status import NtStatus, SmbError

# -- opens -------------------------------------------------------------------------------------


def test_an_open_is_seen_by_all(stores: Stores) -> None:
    """With the worker that entered it, and in the order of their coming."""
    first, second = opened(stores.one), opened(stores.two)
    for store in (stores.one, stores.two, stores.supervisor):
        assert [(o.open_id, o.worker) for o in store.opens(KEY)] == [(first, 1), (second, 2)]
        assert store.count_opens(KEY) == 2
        assert store.look(KEY).all == store.opens(KEY)
        assert store.opens(OTHER) == store.look(OTHER).all == []


def test_no_open_gets_an_id_twice(stores: Stores) -> None:
    """Nor after a worker was started again, nor 0."""
    ids = {store.new_open_id() for store in (stores.one, stores.two) for _ in range(100)}
    again = stores.engine.worker(1)
    ids |= {again.new_open_id() for _ in range(100)}
    assert len(ids) == 300
    assert 0 not in ids


@pytest.mark.parametrize(
    ("access", "share", "wanted", "wanted_share"),
    [(WRITE, 7, READ, 1), (READ, 1, WRITE, 7), (READ, 0, READ, 7), (DELETE, 7, READ, 3)],
)
def test_sharing_holds_between_workers(
    stores: Stores, access: int, share: int, wanted: int, wanted_share: int
) -> None:
    """And what is refused leaves nothing; a close makes room."""
    first = opened(stores.one, access, share)
    with pytest.raises(SharingViolation) as error:
        opened(stores.two, wanted, wanted_share)
    assert error.value.key == KEY
    assert [other.open_id for other in error.value.others.all] == [first]
    assert stores.two.count_opens(KEY) == 1
    assert stores.one.remove_open(KEY, first).last
    assert opened(stores.two, wanted, wanted_share)


def test_an_update_changes_what_sharing_is_checked_against(stores: Stores) -> None:
    own = record(stores.one, WRITE, 1)
    stores.one.add_open(KEY, own)
    refuses(NtStatus.SHARING_VIOLATION, opened, stores.two, WRITE, 7)
    own.granted_access, own.share_access = READ, 7
    stores.one.update_open(KEY, own)
    assert opened(stores.two, WRITE, 1)
    own.open_id += 1
    refuses(NtStatus.FILE_CLOSED, stores.one.update_open, KEY, own)


def test_who_caches_is_asked_for_once_in_the_transaction(stores: Stores) -> None:
    """`admit` sees the others, may set what the open gets, and may refuse it."""
    first = opened(stores.one, oplock_level=SMB2_OPLOCK_LEVEL_BATCH)
    seen: list[tuple[list[int], int | None]] = []

    def admit(new: OpenRecord, others: Others, locked: int | None) -> None:
        seen.append(([other.open_id for other in others.all], locked))
        new.oplock_level = 1

    new = record(stores.two)
    stores.two.add_open(KEY, new, admit=admit)
    assert seen == [([first], None)]
    assert [one.oplock_level for one in stores.one.opens(KEY)] == [SMB2_OPLOCK_LEVEL_BATCH, 1]

    def refuse(new: OpenRecord, others: Others, locked: int | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stores.two.add_open(KEY, record(stores.two), admit=refuse)
    assert stores.one.count_opens(KEY) == 2
    stores.one.lock(KEY, first, [LockRange(9, 1), LockRange(7, 1)])
    stores.two.add_open(KEY, record(stores.two), admit=admit)
    assert seen[-1][1] == 7


def test_one_of_two_at_once_gets_what_only_one_can_have(stores: Stores) -> None:
    """Two workers open a file for themselves, many times at once."""
    won: list[int] = []

    def rush(store: Store, key: bytes) -> None:
        with suppress(SharingViolation):
            won.append(opened(store, WRITE, 0, key))

    for number in range(20):
        key = file_key(2, number)
        threads = [Thread(target=rush, args=(s, key)) for s in (stores.one, stores.two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stores.one.count_opens(key) == 1
    assert len(won) == 20


def test_unknown_opens_are_closed(stores: Stores) -> None:
    result = stores.one.remove_open(KEY, 12345)
    assert (result.last, result.deletes, result.waiters) == (False, False, ())
    assert stores.one.set_oplock(KEY, 12345, 1, OPLOCK_HELD) == ()


# -- deletion ----------------------------------------------------------------------------------


def test_delete_on_close_is_done_by_the_last_close(stores: Stores) -> None:
    """Others keep the file till then, and nobody opens it; afterwards it is free."""
    doomed = record(stores.one, DELETE, flags=OPEN_DELETE_ON_CLOSE)
    stores.one.add_open(KEY, doomed, "/share/file")
    other = opened(stores.two)
    assert not stores.two.is_delete_pending(KEY)
    assert not stores.one.remove_open(KEY, doomed.open_id).deletes
    assert stores.two.is_delete_pending(KEY)
    refuses(NtStatus.DELETE_PENDING, opened, stores.one)
    assert stores.two.remove_open(KEY, other).delete_now
    refuses(NtStatus.DELETE_PENDING, opened, stores.one)
    stores.two.deleted(KEY)
    assert opened(stores.one)


def test_delete_pending_is_set_and_taken_back(stores: Stores) -> None:
    own = opened(stores.one, DELETE)
    stores.one.set_delete_pending(KEY, own, True, "/share/file")
    assert stores.two.is_delete_pending(KEY)
    assert stores.two.is_delete_pending(STREAM)
    stores.one.set_delete_pending(KEY, own, False)
    assert opened(stores.two)
    refuses(NtStatus.FILE_CLOSED, stores.one.set_delete_pending, KEY, own + 999, True)


def test_names_are_pending_one_by_one(stores: Stores) -> None:
    own, other = opened(stores.one, DELETE), opened(stores.two, DELETE)
    for open_id, path in ((own, "/share/a"), (other, "/share/b"), (own, "/share/a")):
        stores.one.set_delete_pending(KEY, open_id, True, path, one_name=True)
    assert stores.two.pending_names(KEY, "/share/b") == (2, True)
    assert stores.two.pending_names(STREAM, "/share/c") == (2, False)
    for path in ("", "/share/a", "/share/b"):
        by_it = record(stores.two)
        refuses(NtStatus.DELETE_PENDING, stores.two.add_open, KEY, by_it, path)
    stores.two.add_open(KEY, record(stores.two), "/share/c")
    stores.one.set_delete_pending(KEY, own, False, "/share/a")
    assert stores.one.pending_names(KEY, "/share/a") == (1, False)
    assert stores.one.is_delete_pending(KEY)
    stores.one.set_delete_pending(KEY, other, False, "/share/b")
    assert stores.one.pending_names(KEY, "/share/b") == (0, False)
    stores.one.set_delete_pending(KEY, own, True, "/share/a", one_name=True)
    assert stores.one.pending_names(KEY, "/share/b") == (1, False)


def test_a_file_waits_for_its_streams(stores: Stores) -> None:
    """A stream that does not share deletion forbids it; one that does, puts it off."""
    stream = opened(stores.two, READ, 3, STREAM)
    assert [one.open_id for one in stores.one.stream_opens(KEY)] == [stream]
    refuses(NtStatus.SHARING_VIOLATION, opened, stores.one, DELETE)
    stores.two.remove_open(STREAM, stream)
    stream = opened(stores.two, READ, 7, STREAM)
    own = opened(stores.one, DELETE)
    stores.one.set_delete_pending(KEY, own, True)
    assert not stores.one.remove_open(KEY, own).deletes
    refuses(NtStatus.DELETE_PENDING, opened, stores.one, key=STREAM)
    assert stores.two.remove_open(STREAM, stream).delete_base
    stores.two.deleted(base_key(STREAM))
    assert opened(stores.one)


# -- caching -----------------------------------------------------------------------------------


def test_oplocks_are_counted_and_never_too_few(stores: Stores) -> None:
    first = opened(stores.one, oplock_level=SMB2_OPLOCK_LEVEL_BATCH)
    assert stores.two.oplock_count(KEY) >= 1
    stores.two.add_waiter(KEY)
    assert stores.one.set_oplock(KEY, first, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_BREAKING) == ()
    (seen,) = stores.two.opens(KEY)
    assert (seen.oplock_level, seen.oplock_state) == (SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_BREAKING)
    assert stores.one.set_oplock(KEY, first, 0, OPLOCK_HELD) == (2,)
    assert stores.two.opens(KEY)[0].oplock_level == 0


def test_a_lease_is_one_for_all_its_opens(stores: Stores) -> None:
    """Of one file, and changed at once; unknown ones are not."""
    for store in (stores.one, stores.two):
        store.add_open(KEY, leased(store))
    assert stores.supervisor.lease_file(CLIENT, LEASE) == KEY
    refuses(NtStatus.INVALID_PARAMETER, stores.one.add_open, OTHER, leased(stores.one))
    assert stores.two.count_opens(OTHER) == 0

    def lower(lease: LeaseState) -> LeaseState:
        return lease._replace(state=RH, epoch=lease.epoch + 1)

    changed = stores.two.change_lease(CLIENT, LEASE, lower)
    assert changed is not None
    assert (changed.key, changed.before.state, changed.after.state) == (KEY, RWH, RH)
    assert {(o.lease_state, o.lease_epoch) for o in stores.one.opens(KEY)} == {(RH, 2)}
    assert stores.one.change_lease(CLIENT, GUID, lower) is None

    def refuse(lease: LeaseState) -> LeaseState:
        raise SmbError(NtStatus.UNSUCCESSFUL)

    refuses(NtStatus.UNSUCCESSFUL, stores.one.change_lease, CLIENT, LEASE, refuse)
    for one in stores.one.opens(KEY):
        stores.one.remove_open(KEY, one.open_id)
    assert stores.two.lease_file(CLIENT, LEASE) is None
    stores.two.add_open(OTHER, leased(stores.two))


def test_who_waits_for_a_break_is_woken_by_its_end(stores: Stores) -> None:
    stores.one.add_open(KEY, leased(stores.one))
    stores.two.add_waiter(KEY)
    begun = stores.one.change_lease(CLIENT, LEASE, lambda s: s._replace(breaking=True))
    assert begun is not None
    assert begun.waiters == ()
    ended = stores.one.change_lease(CLIENT, LEASE, lambda s: s._replace(state=RH, breaking=False))
    assert ended is not None
    assert ended.waiters == (2,)


# -- locks -------------------------------------------------------------------------------------


def test_locks_hold_between_workers(stores: Stores) -> None:
    """All of an array or none; reads and writes are checked; a close frees them."""
    one, two = opened(stores.one), opened(stores.two)
    assert stores.one.lock(KEY, one, [LockRange(0, 10, True), LockRange(20, 10)]) is None
    assert stores.two.count_locks(KEY) == 2
    conflict = stores.two.lock(KEY, two, [LockRange(50, 1, True), LockRange(5, 1)])
    assert conflict is not None
    assert (conflict.range_index, conflict.lock.open_id) == (1, one)
    assert stores.two.count_locks(KEY) == 2
    assert not stores.two.check_io(KEY, two, 9, 1, write=False)
    assert stores.two.check_io(KEY, two, 20, 1, write=False)
    assert not stores.two.check_io(KEY, two, 20, 1, write=True)
    assert stores.two.check_io(KEY, two, 9, 0, write=True)
    assert stores.one.check_io(KEY, one, 0, 10, write=True)
    stores.one.remove_open(KEY, one)
    assert stores.two.check_io(KEY, two, 0, 100, write=True)
    assert stores.two.count_locks(KEY) == 0


def test_unlocks_stop_at_the_first_that_fails(stores: Stores) -> None:
    one = opened(stores.one)
    stores.one.lock(KEY, one, [LockRange(0, 1), LockRange(1, 1)])
    ranges = [LockRange(0, 1), LockRange(5, 5), LockRange(1, 1)]
    assert stores.one.unlock(KEY, one, ranges).unlocked == 1
    assert stores.two.count_locks(KEY) == 1


def test_no_wake_up_is_lost(stores: Stores) -> None:
    """Who was refused and waits is told by the unlock, by a close, once."""
    one, two = opened(stores.one), opened(stores.two)
    stores.one.lock(KEY, one, [LockRange(0, 1, True)])
    assert stores.two.lock(KEY, two, [LockRange(0, 1, True)], wait=True) is not None
    assert stores.one.unlock(KEY, one, [LockRange(0, 1)]).waiters == (2,)
    assert stores.two.lock(KEY, two, [LockRange(0, 1, True)], wait=True) is None
    assert stores.one.lock(KEY, one, [LockRange(0, 1, True)], wait=True) is not None
    assert stores.two.remove_open(KEY, two).waiters == (1,)
    stores.two.add_waiter(KEY)
    stores.two.add_waiter(KEY)
    assert stores.one.remove_open(KEY, one).waiters == (2,)


def test_a_file_has_so_many_locks(stores: Stores) -> None:
    one = opened(stores.one)
    many = [LockRange(2 * number, 1) for number in range(MAX_LOCKS_PER_FILE + 1)]
    refuses(NtStatus.INSUFFICIENT_RESOURCES, stores.one.lock, KEY, one, many)
    assert stores.two.count_locks(KEY) == 0


RENAMED = STREAM[:-1] + b"x"


def test_a_stream_is_moved_with_all_that_its_open_has(stores: Stores) -> None:
    own = leased(stores.one)
    own.share_access = 0
    stores.one.add_open(STREAM, own)
    stores.one.lock(STREAM, own.open_id, [LockRange(0, 1, True)])
    assert stores.one.move_stream(STREAM, RENAMED, own.open_id)
    two = stores.two
    assert not two.count_opens(STREAM)
    assert not two.count_locks(STREAM)
    assert [each.open_id for each in two.opens(RENAMED)] == [own.open_id]
    assert two.lease_file(CLIENT, LEASE) == RENAMED
    assert not two.check_io(RENAMED, 0, 0, 1, False)
    assert two.oplock_count(RENAMED) == 1
    with pytest.raises(SharingViolation):
        opened(two, key=RENAMED)
    opened(two, key=STREAM)
    stores.one.remove_open(RENAMED, own.open_id)
    assert not two.count_opens(RENAMED)
    assert not two.count_locks(RENAMED)
    opened(stores.one, key=OTHER)  # counts are lowered by the next change
    assert not two.oplock_count(STREAM)
    assert not two.oplock_count(RENAMED)


def test_what_others_have_or_wait_for_is_not_moved(stores: Stores) -> None:
    one = stores.one
    own = record(one, oplock_level=SMB2_OPLOCK_LEVEL_BATCH)
    one.add_open(STREAM, own)
    one.set_oplock(STREAM, own.open_id, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_BREAKING)
    assert not one.move_stream(STREAM, RENAMED, own.open_id)
    one.set_oplock(STREAM, own.open_id, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_HELD)
    there = opened(stores.two, key=RENAMED)
    assert not one.move_stream(STREAM, RENAMED, own.open_id)
    stores.two.remove_open(RENAMED, there)
    stores.two.add_waiter(STREAM)
    assert not one.move_stream(STREAM, RENAMED, own.open_id)
    beside = opened(stores.two, key=STREAM)
    assert stores.two.remove_open(STREAM, beside).waiters == (2,)
    assert not one.move_stream(STREAM, RENAMED, beside)
    assert one.move_stream(STREAM, RENAMED, own.open_id)
    one.set_delete_pending(RENAMED, own.open_id, True)
    assert not one.move_stream(RENAMED, STREAM, own.open_id)


def test_lock_sequences_are_kept_with_the_locks(stores: Stores) -> None:
    """When all of the request was done, and no longer than the open."""
    own = durable(stores.one)
    lock = [LockRange(0, 1, True)]
    assert stores.one.lock(KEY, own, lock, sequence=LockSequence(1, 7)) is None
    other = opened(stores.two)
    stores.two.lock(KEY, other, [LockRange(9, 1, True)])
    taken = [LockRange(9, 1)]
    assert stores.one.lock(KEY, own, taken, sequence=LockSequence(2, 7)) is not None
    assert stores.one.unlock(KEY, own, taken, LockSequence(3, 7)).unlocked == 0
    assert stores.one.unlock(KEY, own, lock, LockSequence(64, 0)).unlocked == 1
    assert stores.two.lock_sequences(own) == {1: 7, 64: 0}
    stores.one.remove_open(KEY, own)
    assert stores.two.lock_sequences(own) == {}


def test_only_who_caches_is_a_holder(stores: Stores) -> None:
    """Whatever oplock or lease it has had, and also while that is being broken."""
    opened(stores.one)
    batch = opened(stores.two, oplock_level=SMB2_OPLOCK_LEVEL_BATCH)
    stores.one.add_open(KEY, leased(stores.one, RWH))
    found = stores.two.holders(KEY)
    levels = [one.oplock_level for one in found]
    assert levels == [SMB2_OPLOCK_LEVEL_BATCH, SMB2_OPLOCK_LEVEL_LEASE]
    assert found == [one for one in stores.one.opens(KEY) if one.oplock_level]
    stores.two.set_oplock(KEY, batch, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_BREAKING)
    assert [one.oplock_state for one in stores.one.holders(KEY)] == [OPLOCK_BREAKING, OPLOCK_HELD]
    stores.two.set_oplock(KEY, batch, 0, OPLOCK_HELD)
    stores.two.change_lease(CLIENT, LEASE, lambda state: state._replace(state=0))
    assert stores.one.oplock_count(KEY) == 1
    assert stores.one.holders(KEY) == stores.one.holders(OTHER) == []


def test_each_operation_has_its_promise_and_each_promise_its_test() -> None:
    """README.md names them all."""
    root = Path(__file__).parents[5]
    text = (root / "protocol/state/store/README.md").read_text()
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    named = {word.strip(" `") for row in rows for word in row[0].split(",")}
    assert named == {name for name in vars(Store) if not name.startswith("_")}
    promised = {word.strip(" `") for row in rows for word in row[2].split(",")}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_promises*.py"))
    own = "each_operation_has_its_promise_and_each_promise_its_test"
    assert promised == set(re.findall(r"def test_(\w+)\(", tests)) - {own}
