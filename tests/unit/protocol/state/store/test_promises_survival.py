"""What the store promises of opens that outlive connections, workers and the server."""

from threading import Thread

import pytest
from msgspec.structs import replace
from store_promises import (
    CLIENT,
    DELETE,
    FAR,
    GUID,
    KEY,
    LEASE,
    OTHER,
    OWNER,
    RH,
    RWH,
    WRITE,
    Stores,
    durable,
    durable_record,
    flags_of,
    leased,
    opened,
    record,
    refuses,
)

from usmbd.protocol.state.store.base import Doomed, EndResult
from usmbd.protocol.state.store.records import (
    DIRECTORIES,
    OPEN_DELETE_ON_CLOSE,
    OPEN_DIRECTORY,
    OPEN_DISCONNECTED,
    OPEN_DURABLE,
    OPEN_PERSISTENT,
    OPEN_RESILIENT,
    OPLOCK_BREAKING,
    OPLOCK_HELD,
    LockRange,
    LockSequence,
    SessionRecord,
    file_key,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH
from usmbd.protocol.wire.status import NtStatus

# -- durable and resilient opens ---------------------------------------------------------------


def test_a_durable_open_is_found_by_its_ids(stores: Stores) -> None:
    """Connected or not, by any worker; and not once it is closed."""
    own = durable(stores.one)
    found = stores.two.find_durable(own)
    assert found is not None
    assert (found.record.durable_owner, found.durable) == (OWNER, durable_record())
    assert stores.two.find_create_guid(CLIENT, GUID) is None  # its worker knows it
    stores.two.move_durable(KEY, b"moved")
    moved = stores.one.find_durable(own)
    assert moved is not None
    assert moved.durable.path == b"moved"
    stores.one.remove_open(KEY, own)
    assert stores.two.find_durable(own) is stores.two.find_create_guid(CLIENT, GUID) is None


def test_a_durable_open_is_found_by_its_create_guid_while_its_client_is_away(
    stores: Stores,
) -> None:
    for leave in ("claimed", "closed"):
        own = durable(stores.one)
        assert stores.one.disconnect_open(own, durable_record(), 1) is not None
        found = stores.two.find_create_guid(CLIENT, GUID)
        assert found is not None
        assert found == stores.two.find_durable(own)
        assert stores.two.find_create_guid(OWNER, GUID) is None
        if leave == "claimed":
            assert stores.two.claim_open(own, 1, 1) is not None
            stores.two.remove_open(KEY, own)
        else:
            stores.two.end_disconnected(KEY, own)
        assert stores.two.find_create_guid(CLIENT, GUID) is None


def test_what_does_not_cache_its_handle_is_not_durable(stores: Stores) -> None:
    new = record(stores.one)
    stores.one.add_open(KEY, new, durable=durable_record())
    assert stores.one.find_durable(new.open_id) is None
    assert stores.one.disconnect_open(new.open_id, durable_record(), FAR) is None


def test_one_claimant_gets_a_disconnected_open(stores: Stores) -> None:
    """With its locks; its worker and session are the claimant's."""
    own = durable(stores.one)
    stores.one.lock(KEY, own, [LockRange(0, 1, True)])
    assert stores.two.claim_open(own, 5, 6) is None  # it is connected
    assert stores.one.disconnect_open(own, durable_record(position=9), FAR) == ()
    assert stores.one.disconnected()[0][1].open_id == own
    assert stores.two.disconnected() == []
    claimed = stores.two.claim_open(own, 5, 6)
    assert claimed is not None
    assert (claimed.worker, claimed.session_id, claimed.tree_id) == (2, 5, 6)
    assert stores.one.claim_open(own, 7, 8) is None
    assert not flags_of(stores.one, own) & OPEN_DISCONNECTED
    assert stores.one.count_locks(KEY) == 1
    assert stores.one.disconnected() == []


def test_a_disconnected_open_ends(stores: Stores) -> None:
    """By whoever is in its way, or by its time if that is still the one; waiters are told."""
    own = durable(stores.one)
    assert stores.one.end_disconnected(KEY, own) == EndResult()
    assert stores.one.count_opens(KEY) == 1
    stores.one.disconnect_open(own, durable_record(), FAR)
    stores.two.end_disconnected(KEY, own, FAR - 1)
    assert stores.one.count_opens(KEY) == 1
    stores.one.add_waiter(KEY)
    assert stores.two.end_disconnected(KEY, own, FAR) == EndResult((1,))
    assert stores.one.count_opens(KEY) == 0
    assert stores.one.find_durable(own) is None


def test_what_is_broken_or_deleted_is_not_kept(stores: Stores) -> None:
    own = durable(stores.one)
    stores.one.set_oplock(KEY, own, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_BREAKING)
    assert stores.one.disconnect_open(own, durable_record(), FAR) is None
    stores.one.set_oplock(KEY, own, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_HELD)
    other = opened(stores.two, DELETE)
    stores.two.set_delete_pending(KEY, other, True)
    assert stores.one.disconnect_open(own, durable_record(), FAR) is None


def test_a_disconnected_open_deletes_its_file_at_its_end(stores: Stores) -> None:
    """By the path that its client had it by last; until then nobody hears of it."""
    own = durable(stores.one, flags=OPEN_DELETE_ON_CLOSE)
    moved = replace(durable_record(), path=b"moved")
    assert stores.one.disconnect_open(own, moved, FAR) == ()
    assert not stores.two.is_delete_pending(KEY)
    kept = durable_record()
    doomed = Doomed(KEY, f"{kept.share_path}/moved", kept.birth)
    assert stores.two.end_disconnected(KEY, own) == EndResult((), doomed)
    refuses(NtStatus.DELETE_PENDING, opened, stores.one)
    stores.two.deleted(KEY)
    # Not as long as others have it open, who delete it then.
    own = durable(stores.one, flags=OPEN_DELETE_ON_CLOSE)
    stores.one.disconnect_open(own, durable_record(), FAR)
    other = opened(stores.two)
    assert stores.one.end_disconnected(KEY, own) == EndResult()
    assert stores.two.is_delete_pending(KEY)
    assert stores.two.remove_open(KEY, other).delete_now


@pytest.mark.parametrize("pending", [True, False])
def test_who_may_not_delete_any_more_is_asked_about_first(stores: Stores, pending: bool) -> None:
    """Nothing has ended then; and what nobody may delete is as if nobody had wanted to."""
    flags = OPEN_PERSISTENT if pending else OPEN_DELETE_ON_CLOSE
    own = durable(stores.one, flags=flags)
    if pending:
        stores.one.set_delete_pending(KEY, own, True, "/share/file")
    stores.one.disconnect_open(own, durable_record(), FAR)
    asks = stores.two.end_disconnected(KEY, own, deletes=None).asks
    assert asks is not None
    assert (asks.record.open_id, asks.durable) == (own, durable_record())
    assert stores.one.count_opens(KEY) == 1
    assert stores.two.end_disconnected(KEY, own, FAR, deletes=False) == EndResult()
    assert stores.one.count_opens(KEY) == 0
    other = opened(stores.one)
    assert not stores.one.remove_open(KEY, other).deletes


def test_who_deletes_nothing_is_not_asked_about(stores: Stores) -> None:
    own = durable(stores.one)
    stores.one.disconnect_open(own, durable_record(), FAR)
    assert stores.two.end_disconnected(KEY, own, deletes=None) == EndResult()
    assert stores.one.count_opens(KEY) == 0


def test_another_s_wish_to_delete_outlives_an_open_that_never_could(stores: Stores) -> None:
    own = durable(stores.one, flags=OPEN_PERSISTENT)
    stores.one.disconnect_open(own, durable_record(), FAR)
    other = opened(stores.two, DELETE)
    stores.two.set_delete_pending(KEY, other, True)
    assert stores.one.end_disconnected(KEY, own, deletes=False) == EndResult()
    assert stores.two.remove_open(KEY, other).delete_now


def test_a_lasting_open_outlives_the_deletion_of_its_file(stores: Stores) -> None:
    """Which others ask for, or it did itself; the last of them deletes the file."""
    first, second = (record(stores.one, flags=OPEN_PERSISTENT) for _ in range(2))
    for new in (first, second):
        stores.one.add_open(KEY, new, durable=durable_record())
    other = opened(stores.two, DELETE)
    stores.two.set_delete_pending(KEY, other, True)
    for new in (first, second):
        assert stores.one.disconnect_open(new.open_id, durable_record(), FAR) is not None
    assert not stores.two.remove_open(KEY, other).deletes
    assert stores.one.end_disconnected(KEY, first.open_id).doomed is None
    assert stores.two.claim_open(second.open_id, 5, 6) is not None
    assert stores.two.remove_open(KEY, second.open_id).delete_now


def test_disconnected_opens_do_not_keep_a_file_from_deletion(stores: Stores) -> None:
    own = durable(stores.one)
    stores.one.disconnect_open(own, durable_record(), FAR)
    doomed = record(stores.two, DELETE, flags=OPEN_DELETE_ON_CLOSE)
    stores.two.add_open(KEY, doomed)
    assert stores.two.remove_open(KEY, doomed.open_id).delete_now
    assert stores.one.find_durable(own) is None


def test_a_resilient_open_lasts(stores: Stores) -> None:
    """Whatever it caches and whoever wants that; it counts like one that caches."""
    own = opened(stores.one, share=0)
    stores.one.make_resilient(KEY, own, durable_record(), 5000, OWNER)
    assert stores.two.oplock_count(KEY) >= 1
    assert flags_of(stores.two, own) & OPEN_RESILIENT
    assert stores.one.disconnect_open(own, durable_record(), FAR) is not None
    refuses(NtStatus.SHARING_VIOLATION, opened, stores.two)
    claimed = stores.two.claim_open(own, 1, 1)
    assert claimed is not None
    assert (claimed.durable_open_timeout, claimed.durable_owner) == (5000, OWNER)
    refuses(NtStatus.FILE_CLOSED, stores.one.make_resilient, OTHER, own, durable_record(), 1, OWNER)


@pytest.mark.parametrize("by_lease", [False, True])
def test_a_lasting_open_gives_up_what_is_being_broken(stores: Stores, by_lease: bool) -> None:
    """As its client is gone that would have answered."""
    if by_lease:
        new = leased(stores.one)
    else:
        new = record(stores.one, oplock_level=SMB2_OPLOCK_LEVEL_BATCH)
    stores.one.add_open(KEY, new)
    stores.one.make_resilient(KEY, new.open_id, durable_record(), 5000, OWNER)
    stores.two.add_waiter(KEY)
    if by_lease:
        stores.one.change_lease(
            CLIENT, LEASE, lambda s: s._replace(breaking=True, break_to=RH, required=RH)
        )
    else:
        stores.one.set_oplock(KEY, new.open_id, SMB2_OPLOCK_LEVEL_BATCH, OPLOCK_BREAKING)
    assert stores.one.disconnect_open(new.open_id, durable_record(), FAR) == (2,)
    (seen,) = stores.two.opens(KEY)
    assert seen.oplock_state == OPLOCK_HELD
    assert (seen.lease_state == RH) if by_lease else not seen.oplock_level


# -- the end of a worker, and of all -----------------------------------------------------------


def test_a_dead_worker_leaves_what_is_durable(stores: Stores) -> None:
    """And nothing else: its waits, locks, opens, sessions and watches are gone."""
    kept, lost = durable(stores.one), opened(stores.one, key=OTHER)
    stores.one.lock(KEY, kept, [LockRange(0, 1, True)])
    stores.one.lock(OTHER, lost, [LockRange(0, 1, True)])
    stores.one.put_session(SessionRecord(1 << 16, 1, "alice"))
    stores.one.set_watching(True)
    waits = opened(stores.two, key=OTHER)
    assert stores.two.lock(OTHER, waits, [LockRange(0, 1, True)], wait=True) is not None
    stores.two.add_waiter(KEY)
    stores.one.add_waiter(file_key(3, 3))
    waiters = stores.supervisor.drop_worker(1)
    assert stores.engine.worker(1).left_to_delete() == []
    assert sorted(waiters) == sorted([(2, OTHER), (2, KEY)])
    assert flags_of(stores.two, kept) & OPEN_DISCONNECTED
    assert stores.two.count_locks(KEY) == 1
    assert [one.open_id for one in stores.two.opens(OTHER)] == [waits]
    assert stores.two.count_locks(OTHER) == 0
    assert stores.two.sessions() == []
    assert not stores.two.anybody_watches()
    assert stores.engine.worker(1).disconnected()[0][1].open_id == kept
    assert stores.supervisor.sweep({2}, 1).found == 0


def test_who_waited_for_a_worker_that_is_swept_is_named(stores: Stores) -> None:
    """The supervisor wakes them, as after a death that it saw."""
    kept = opened(stores.one)
    assert stores.one.lock(KEY, kept, [LockRange(0, 1, True)]) is None
    mine = opened(stores.two)
    assert stores.two.lock(KEY, mine, [LockRange(0, 1, True)], wait=True) is not None
    stores.two.add_waiter(KEY)
    found, waiters = stores.supervisor.sweep({2}, 1)
    assert found
    assert (2, KEY) in waiters


def test_there_is_nothing_to_sweep(stores: Stores) -> None:
    """While all live; what is a dead worker's that nobody dropped is found."""
    opened(stores.one)
    opened(stores.two, key=OTHER)
    assert stores.supervisor.sweep({1, 2}, 1).found == 0
    assert stores.supervisor.sweep({1}, 1).found
    assert stores.one.count_opens(KEY) == 1
    assert stores.one.count_opens(OTHER) == 0


def test_sessions_are_seen_by_all(stores: Stores) -> None:
    session = SessionRecord(7, 1, "alice", CLIENT, signing_key=b"key")
    stores.one.put_session(session)
    assert stores.two.get_session(7) == session
    assert stores.two.sessions() == [session]
    stores.one.session_ends(7)
    ending = stores.two.get_session(7)
    assert ending is not None
    assert ending != session
    stores.two.remove_session(7)
    stores.two.remove_session(7)
    stores.two.session_ends(7)
    assert stores.one.get_session(7) is None


def test_users_sessions_are_counted_together(stores: Stores) -> None:
    """Until a worker says another number, or is dropped."""
    stores.one.set_user_sessions(3)
    stores.two.set_user_sessions(2)
    assert stores.one.user_sessions() == stores.two.user_sessions() == 5
    stores.two.set_user_sessions(1)
    assert stores.one.user_sessions() == 4
    stores.supervisor.drop_worker(1)
    assert stores.two.user_sessions() == 1


def test_who_watches_is_known(stores: Stores) -> None:
    assert not stores.one.anybody_watches()
    stores.two.set_watching(True)
    assert stores.one.anybody_watches()
    assert stores.one.watching() == [2]
    stores.two.set_watching(False)
    assert not stores.one.anybody_watches()


def test_a_store_says_whose_it_is(stores: Stores) -> None:
    assert (stores.one.worker, stores.two.worker) == (1, 2)
    opened(stores.one)
    assert stores.two.room > stores.two.used() > 0


# -- persistent opens --------------------------------------------------------------------------


def kept(stores: Stores, *, synced: bool = True, path: bytes = b"file") -> int:
    """Have a persistent open with locks and a lock sequence outlive the store."""
    one = stores.engine.worker(1)
    for store in (stores.supervisor, one):
        store.prepare_persistent()
    new = leased(one)
    new.create_guid, new.durable_open_timeout, new.flags = GUID, 1000, OPEN_PERSISTENT
    new.share_access = 1
    made = replace(durable_record(synced=synced), path=path)
    one.add_open(KEY, new, durable=made)
    one.lock(KEY, new.open_id, [LockRange(0, 1, True)], sequence=LockSequence(5, 6))
    one.persist(KEY)
    return new.open_id


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize("booted", [False, True])
def test_a_persistent_open_outlives_the_store(stores: Stores, synced: bool, booted: bool) -> None:
    """With lease, locks and all it is found by; the machine, if it was told to."""
    own = kept(stores, synced=synced)
    bystander = opened(stores.two)
    restored = stores.engine.start_again(2, booted=booted)
    assert restored == (1 if synced or not booted else 0)
    store = stores.engine.worker(0)
    if not restored:
        assert store.opens(KEY) == []
        return
    (seen,) = store.opens(KEY)
    assert (seen.open_id, seen.worker < 2) == (own, True)
    assert seen.flags & OPEN_DISCONNECTED
    assert (seen.lease_key, seen.lease_state) == (LEASE, RWH)
    assert store.lease_file(CLIENT, LEASE) == KEY
    assert store.count_locks(KEY) == 1
    assert not store.check_io(KEY, 0, 0, 1, write=False)
    assert store.oplock_count(KEY) >= 1
    assert store.lock_sequences(own) == {5: 6}
    found = store.find_create_guid(CLIENT, GUID)
    assert found is not None
    assert found.record.open_id == own
    refuses(NtStatus.SHARING_VIOLATION, opened, store, WRITE)
    ids = {stores.engine.worker(number).new_open_id() for number in range(3)}
    assert not ids & {own, bystander}
    assert store.claim_open(own, 1, 1) is not None


def test_a_folder_that_is_persistent_no_more_is_not_counted(stores: Stores) -> None:
    one = stores.engine.worker(1)
    one.prepare_persistent()
    new = record(one, client_guid=CLIENT)
    new.create_guid, new.durable_open_timeout = GUID, 1000
    new.flags = OPEN_PERSISTENT | OPEN_DIRECTORY
    one.add_open(KEY, new, durable=durable_record(synced=True))
    assert one.oplock_count(DIRECTORIES)
    one.end_persistence(KEY, new.open_id)
    one.remove_open(KEY, new.open_id)
    opened(stores.two, key=OTHER)  # the count is lowered by the next write
    assert stores.two.oplock_count(DIRECTORIES) == 0


@pytest.mark.parametrize("caches", [True, False])
def test_an_open_is_persistent_no_more(stores: Stores, caches: bool) -> None:
    """It is durable as any other, and its end leaves nothing."""
    one = stores.engine.worker(1)
    one.prepare_persistent()
    new = leased(one) if caches else record(one, client_guid=CLIENT)
    new.create_guid, new.durable_open_timeout, new.flags = GUID, 1000, OPEN_PERSISTENT
    one.add_open(KEY, new, durable=durable_record(synced=True))
    assert one.end_persistence(KEY, new.open_id) is caches
    assert one.end_persistence(KEY, new.open_id + 1) is False
    assert flags_of(stores.two, new.open_id) == (OPEN_DURABLE if caches else 0)
    assert stores.two.find_create_guid(CLIENT, GUID) is None
    one.remove_open(KEY, new.open_id)
    assert stores.two.find_create_guid(CLIENT, GUID) is None
    opened(stores.two, key=OTHER)  # the count is lowered by the next write
    assert stores.two.oplock_count(KEY) == 0
    one.persist(KEY)
    assert stores.engine.start_again(2) == 0


def test_what_was_closed_and_written_does_not_come_back(stores: Stores) -> None:
    own = kept(stores)
    one = stores.engine.worker(1)
    one.prepare_persistent()
    one.unlock(KEY, own, [LockRange(0, 1)])
    one.persist(KEY)
    assert stores.engine.start_again(2) == 1
    store = stores.engine.worker(1)
    assert store.count_locks(KEY) == 0
    store.prepare_persistent()
    store.end_disconnected(KEY, own)
    store.persist(KEY)
    assert stores.engine.start_again(2) == 0


def test_a_file_that_is_gone_after_a_boot_is_forgotten(stores: Stores) -> None:
    kept(stores, path=b"gone")
    assert stores.engine.start_again(2, booted=True) == 0
    assert stores.engine.start_again(2) == 0


def test_what_a_dead_worker_had_not_written_is(stores: Stores) -> None:
    own = kept(stores)
    stores.one.remove_open(KEY, own)
    stores.supervisor.drop_worker(1)
    assert stores.engine.start_again(2) == 0


def test_many_persist_at_once(stores: Stores) -> None:
    """Each has what it waited for."""
    one = stores.engine.worker(1)
    one.prepare_persistent()
    keys = [file_key(4, number) for number in range(16)]

    def keep(key: bytes) -> None:
        new = record(one, flags=OPEN_PERSISTENT, durable_open_timeout=1000)
        one.add_open(key, new, durable=durable_record(key, synced=True))
        one.persist(key)

    threads = [Thread(target=keep, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores.engine.start_again(2) == len(keys)
