"""What the store promises of files that are deleted, and of those that a dead worker was to."""

from store_promises import DELETE, KEY, OTHER, Stores, opened, record, refuses

from usmbd.protocol.state.store.base import Doomed
from usmbd.protocol.state.store.records import OPEN_DELETE_ON_CLOSE
from usmbd.protocol.wire.status import NtStatus


def test_a_dead_worker_s_deletions_are_handed_on(stores: Stores) -> None:
    """Those it had promised, and one that it had begun: to its successor, and to that one's."""
    doomed = record(stores.one, DELETE, flags=OPEN_DELETE_ON_CLOSE)
    stores.one.add_open(KEY, doomed, "/share/file", user=(7, 8, 9))
    begun = record(stores.one, DELETE, flags=OPEN_DELETE_ON_CLOSE)
    stores.one.add_open(OTHER, begun, "/share/a:b", user=(0, 0))
    stores.two.add_waiter(KEY)
    assert stores.one.remove_open(OTHER, begun.open_id).delete_now
    expected = {
        Doomed(KEY, "/share/file", user=(7, 8, 9)),
        Doomed(OTHER, "/share/a:b", user=(0, 0)),
    }
    for _ in range(2):
        assert stores.supervisor.drop_worker(1) == []
        assert stores.supervisor.sweep({2}, 1).found == 0
        assert stores.two.left_to_delete() == []
        assert stores.two.is_being_deleted(KEY)
        assert set(stores.engine.worker(1).left_to_delete()) == expected
    refuses(NtStatus.DELETE_PENDING, opened, stores.two)
    assert stores.one.deleted(KEY) == (2,)
    assert stores.one.deleted(OTHER) == ()
    assert not stores.two.is_being_deleted(KEY)
    assert opened(stores.two)


def test_all_names_that_a_dead_worker_was_to_delete_are_handed_on(stores: Stores) -> None:
    """Each for who asked for it."""
    first, second = opened(stores.one, DELETE), opened(stores.one, DELETE)
    for open_id, name, user in ((first, "/share/a", (1, 1)), (second, "/share/b", (2, 2))):
        stores.one.set_delete_pending(KEY, open_id, True, name, user, one_name=True)
    stores.supervisor.drop_worker(1)
    (left,) = stores.engine.worker(1).left_to_delete()
    found = {(one.path, one.user) for one in (left, *left.others)}
    assert found == {("/share/a", (1, 1)), ("/share/b", (2, 2))}


def test_who_has_another_of_a_file_s_names_open_while_one_goes_deletes_nothing(
    stores: Stores,
) -> None:
    """His would be the last close: the file has had two names, and may have one by now."""
    first = opened(stores.one, DELETE)
    stores.one.set_delete_pending(KEY, first, True, "/share/a", one_name=True)
    assert stores.one.remove_open(KEY, first).delete_now
    other = record(stores.two)
    stores.two.add_open(KEY, other, "/share/b")
    assert not stores.two.remove_open(KEY, other.open_id).deletes
    assert stores.two.is_being_deleted(KEY)
    stores.one.deleted(KEY)
    assert stores.two.is_delete_pending(KEY) is stores.two.is_being_deleted(KEY) is False


def test_who_waits_for_a_deletion_is_woken_by_its_end(stores: Stores) -> None:
    """Whether he did so before the last close or after."""
    own = opened(stores.one, DELETE)
    stores.one.set_delete_pending(KEY, own, True)
    stores.two.add_waiter(KEY)
    assert not stores.two.is_being_deleted(KEY)
    assert stores.one.remove_open(KEY, own).waiters == ()
    stores.engine.worker(3).add_waiter(KEY)
    assert stores.one.deleted(KEY) == (2, 3)
    assert stores.one.deleted(KEY) == ()
