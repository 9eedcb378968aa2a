"""Opens: sharing, delete on close, streams, limits."""

import random
from collections.abc import Iterable
from contextlib import suppress
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_promises import FAR, durable, durable_record, record

from usmbd.protocol.state.store import lmdb_deaths, lmdb_durable, lmdb_opens
from usmbd.protocol.state.store.base import Admit, RemoveOpenResult, SharingViolation
from usmbd.protocol.state.store.lmdb_dooms import NAMES_BYTES
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.others import Others
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_PERSISTENT,
    LockRange,
    OpenRecord,
    file_key,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from .conftest import Opener

READ, WRITE, DELETE, STAT = 0x1, 0x2, 0x10000, 0x100180
KEY = file_key(1, 100)
STREAM = file_key(1, 100, "stream")


def refused(
    add: "Opener", status: NtStatus, access: int = READ, share: int = 7, key: bytes = KEY
) -> SmbError:
    with pytest.raises(SmbError) as error:
        add(key, access, share)
    assert error.value.status == status
    return error.value


def test_sharing_is_checked_against_every_open(store: LmdbStore, add: "Opener") -> None:
    first = add(KEY, READ, 0x1)
    error = refused(add, NtStatus.SHARING_VIOLATION, WRITE, 0x7)
    assert isinstance(error, SharingViolation)
    assert [other.open_id for other in error.others.all] == [first]
    refused(add, NtStatus.SHARING_VIOLATION, READ, 0x6)
    second = add(KEY, READ, 0x3)
    stat = add(KEY, STAT, 0)
    assert [one.open_id for one in store.opens(KEY)] == [first, second, stat]
    assert not store.remove_open(KEY, first).last
    add(KEY, WRITE, 0x7)
    refused(add, NtStatus.SHARING_VIOLATION, READ, 0x1)


def test_removing_opens_leaves_nothing(store: LmdbStore, add: "Opener") -> None:
    ids = [add(KEY, access, 7) for access in (READ, WRITE, DELETE, STAT, READ | DELETE)]
    results = [store.remove_open(KEY, open_id) for open_id in (ids[i] for i in (2, 0, 4, 1, 3))]
    assert [result.last for result in results] == [False] * 4 + [True]
    assert store.opens(KEY) == []
    assert store.remove_open(KEY, ids[0]) == RemoveOpenResult(last=False)
    add(KEY, READ | WRITE | DELETE, 0)


def test_who_opens_another_name_while_one_is_deleted_keeps_his_open(
    store: LmdbStore, add: "Opener"
) -> None:
    dying = add(KEY, DELETE)
    store.set_delete_pending(KEY, dying, True, "/share/a", one_name=True)
    assert store.remove_open(KEY, dying).delete_now
    other = add(KEY, READ, 1, path="/share/b")
    store.deleted(KEY)
    assert [one.open_id for one in store.opens(KEY)] == [other]
    assert not store.is_delete_pending(KEY)
    refused(add, NtStatus.SHARING_VIOLATION, READ | WRITE)
    assert not store.remove_open(KEY, other).deletes
    assert store.opens(KEY) == []


def test_the_names_that_are_deleted_at_a_time_are_bounded(store: LmdbStore, add: "Opener") -> None:
    """Each one more writes all of them anew, while no other worker writes."""
    ids = [add(KEY, DELETE) for _ in range(NAMES_BYTES // 4000 + 1)]
    paths = [f"/share/{number:04000}" for number in range(len(ids))]
    *those, (last, too_many) = zip(ids, paths, strict=True)
    for open_id, path in those:
        store.set_delete_pending(KEY, open_id, True, path, one_name=True)
    with pytest.raises(SmbError) as error:
        store.set_delete_pending(KEY, last, True, too_many, one_name=True)
    assert error.value.status is NtStatus.INSUFFICIENT_RESOURCES
    assert store.pending_names(KEY, too_many) == (len(those), False)
    store.set_delete_pending(KEY, ids[0], False, paths[0])
    store.set_delete_pending(KEY, last, True, too_many, one_name=True)
    assert store.pending_names(KEY, too_many) == (len(those), True)


def test_whose_rights_have_ended_spares_his_own_name_alone(store: LmdbStore, add: "Opener") -> None:
    own, kept = record(store, DELETE, flags=OPEN_PERSISTENT), durable_record(KEY)
    store.add_open(KEY, own, durable=kept)
    other = add(KEY, DELETE)
    for open_id, path in ((own.open_id, "/share/file"), (other, "/share/other")):
        store.set_delete_pending(KEY, open_id, True, path, one_name=True)
    assert store.disconnect_open(own.open_id, kept, FAR) is not None
    store.end_disconnected(KEY, own.open_id, deletes=False)
    assert store.pending_names(KEY, "/share/file") == (1, False)
    assert store.pending_names(KEY, "/share/other") == (1, True)


def test_an_open_that_wants_to_cache_is_decided_beside_the_others(
    store: LmdbStore, add: "Opener"
) -> None:
    first = add(KEY)
    told = []

    def admit(record: OpenRecord, others: Others, locked: int | None) -> None:
        told.append(([(other.open_id, other.worker) for other in others.all], locked))
        record.oplock_level = 1

    def refuse(record: OpenRecord, others: Others, locked: int | None) -> None:
        raise SmbError(NtStatus.CANCELLED)

    def add_one(level: int, decide: Admit) -> int:
        record = OpenRecord(
            open_id=store.new_open_id(), granted_access=1, share_access=7, oplock_level=level
        )
        store.add_open(KEY, record, "", decide)
        return record.open_id

    add_one(0, refuse)  # nobody caches, nobody wants to: nobody is asked
    assert store.lock(KEY, first, [LockRange(0, 1)]) is None
    second = add_one(9, admit)
    assert [(len(others), locked) for others, locked in told] == [(2, 0)]
    assert told[0][0][0] == (first, 1)
    with pytest.raises(SmbError):
        add_one(0, refuse)  # somebody caches
    assert [(one.open_id, one.oplock_level) for one in store.opens(KEY)][2:] == [(second, 1)]


def test_an_update_changes_sharing(store: LmdbStore, add: "Opener") -> None:
    open_id = add(KEY, READ, 0)
    record = store.opens(KEY)[0]
    record.share_access = 0x7
    record.oplock_level = 0x08
    store.update_open(KEY, record)
    add(KEY, WRITE, 7)
    assert store.opens(KEY)[0] == record
    store.remove_open(KEY, open_id)
    with pytest.raises(SmbError) as error:
        store.update_open(KEY, record)
    assert error.value.status == NtStatus.FILE_CLOSED


def test_delete_on_close_takes_effect_when_that_open_closes(
    store: LmdbStore, add: "Opener"
) -> None:
    deleter = add(KEY, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    reader = add(KEY)
    assert not store.is_delete_pending(KEY)
    assert store.remove_open(KEY, deleter) == RemoveOpenResult(last=False)
    assert store.is_delete_pending(KEY)
    refused(add, NtStatus.DELETE_PENDING)
    refused(add, NtStatus.DELETE_PENDING, STAT)
    assert store.remove_open(KEY, reader) == RemoveOpenResult(last=True, delete_now=True)
    # Until the file is gone, nobody may open what is being deleted.
    refused(add, NtStatus.DELETE_PENDING)
    store.deleted(KEY)
    add(KEY)


def test_delete_pending_can_be_taken_back(store: LmdbStore, add: "Opener") -> None:
    open_id = add(KEY, DELETE)
    store.set_delete_pending(KEY, open_id, True, "/share/file")
    refused(add, NtStatus.DELETE_PENDING)
    store.set_delete_pending(KEY, open_id, False)
    other = add(KEY)
    store.remove_open(KEY, open_id)
    assert store.remove_open(KEY, other) == RemoveOpenResult(last=True)
    with pytest.raises(SmbError):
        store.set_delete_pending(KEY, open_id, True)
    store.deleted(KEY)  # nothing is being deleted: no effect
    add(KEY)
    store.deleted(KEY)
    assert len(store.opens(KEY)) == 1


def test_streams_share_for_themselves_but_not_deletion(store: LmdbStore, add: "Opener") -> None:
    add(KEY, READ, 0)
    stream = add(STREAM, READ | WRITE, 0x3)
    store.remove_open(KEY, store.opens(KEY)[0].open_id)
    error = refused(add, NtStatus.SHARING_VIOLATION, DELETE, 7)
    assert isinstance(error, SharingViolation)
    assert [other.open_id for other in error.others.all] == [stream]
    assert [other.open_id for other in store.stream_opens(KEY)] == [stream]
    add(file_key(1, 101), DELETE, 7)  # the next inode's key is not a stream of this one


def test_a_file_is_deleted_after_its_streams_are_closed(store: LmdbStore, add: "Opener") -> None:
    stream = add(STREAM, READ, 7)
    base = add(KEY, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    assert store.remove_open(KEY, base) == RemoveOpenResult(last=True)
    refused(add, NtStatus.DELETE_PENDING, key=KEY)
    refused(add, NtStatus.DELETE_PENDING, key=file_key(1, 100, "new"))
    assert store.is_delete_pending(STREAM)
    assert store.remove_open(STREAM, stream) == RemoveOpenResult(last=True, delete_base=True)
    store.deleted(KEY)
    assert store.remove_open(KEY, add(KEY)) == RemoveOpenResult(last=True)


def test_a_doomed_file_takes_its_doomed_stream_with_it(store: LmdbStore, add: "Opener") -> None:
    stream = add(STREAM, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    base = add(KEY, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    assert store.remove_open(KEY, base) == RemoveOpenResult(last=True)
    assert store.remove_open(STREAM, stream) == RemoveOpenResult(last=True, delete_base=True)
    store.deleted(KEY)
    add(STREAM)
    add(KEY)


def test_a_stream_is_deleted_alone(store: LmdbStore, add: "Opener") -> None:
    base = add(KEY)
    stream = add(STREAM, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    assert store.remove_open(STREAM, stream) == RemoveOpenResult(last=True, delete_now=True)
    assert not store.is_delete_pending(KEY)
    store.deleted(STREAM)
    assert store.remove_open(KEY, base) == RemoveOpenResult(last=True)


def test_open_ids_are_never_used_twice(directory: Path) -> None:
    ids = []
    for _ in range(3):
        store = LmdbStore.attach(directory, 7)
        ids += [store.new_open_id(), store.new_open_id()]
        store.close()
    assert len(set(ids)) == len(ids)
    assert all(open_id >> 48 == 7 for open_id in ids)


def fill(add: "Opener", keys: Iterable[bytes]) -> list[tuple[bytes, int]]:
    """Add opens until one is refused for want of room; return them."""
    opens = []
    with suppress(SmbError):
        for key in keys:
            opens.append((key, add(key)))
        return opens
    refused(add, NtStatus.INSUFFICIENT_RESOURCES, key=key)
    return opens


def test_a_full_store_refuses_opens_but_closes_them(store: LmdbStore, add: "Opener") -> None:
    opens = fill(add, (file_key(2, inode) for inode in count()))
    assert len(opens) > 20_000
    random.Random(1).shuffle(opens)
    for key, open_id in opens:
        assert store.remove_open(key, open_id).last
    assert len(fill(add, (file_key(2, inode) for inode in range(1000)))) == 1000


def test_a_file_has_so_many_opens_that_its_record_can_be_rewritten(
    store: LmdbStore, add: "Opener", monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = fill(add, repeat(KEY))
    assert len(opens) > 600
    for key, open_id in opens:
        store.remove_open(key, open_id)
    monkeypatch.setattr(lmdb_opens, "MAX_OPENS_PER_FILE", 3)
    assert len(fill(add, repeat(KEY))) == 3


def test_who_comes_back_to_a_file_has_others_records_written_once(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they have seen of it counts no more; a client may come back to a thousand of its."""
    ids = [durable(store) for _ in range(8)]
    for open_id in ids:
        assert store.disconnect_open(open_id, durable_record(seen=(1, 2)), FAR) is not None
    written: list[object] = []
    encode = lmdb_durable._encode
    monkeypatch.setattr(lmdb_durable, "_encode", lambda one: written.append(one) or encode(one))
    for open_id in ids:
        assert store.claim_open(open_id, 1, 1) is not None
        found = store.find_durable(ids[-1])
        assert found is not None
        assert found.durable.seen == ()
    assert len(written) == len(ids)


def test_a_dead_worker_s_opens_of_one_file_go_some_at_a_time(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rewrites the file's record: thousands together kept all writers waiting for seconds."""
    monkeypatch.setattr(lmdb_deaths, "DROP_BATCH", 4)
    others = file_key(7, 1), file_key(7, 2), file_key(7, 3)
    for key in (KEY,) * 10 + others:
        record = OpenRecord(open_id=store.new_open_id(), granted_access=1, share_access=7)
        store.add_open(key, record)
    removed: list[int] = []
    write, remove = store._deaths._write, store._opens.remove_in

    def begin() -> Any:
        removed.append(0)
        return write()

    def count(*of: Any) -> RemoveOpenResult:
        removed[-1] += 1
        return remove(*of)

    monkeypatch.setattr(store._deaths, "_write", begin)
    monkeypatch.setattr(store._opens, "remove_in", count)
    store.drop_worker(store.worker)
    assert sum(removed) == 13
    assert max(removed) <= 2 * 4 - 1
    assert not any(store.count_opens(key) for key in (KEY, *others))
