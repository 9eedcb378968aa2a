"""Long paths in the store: an open counts as one, and its path could be twenty times as large."""

import os
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from msgspec.structs import replace
from store_promises import CLIENT, durable_record, refuses

from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_DURABLE,
    OPEN_PERSISTENT,
    OpenRecord,
    file_key,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH
from usmbd.protocol.wire.status import NtStatus

if TYPE_CHECKING:
    from .conftest import Opener

LONG: Final = b"folder/" * 580
NUMBERS = count(1000)


def add_durable(
    store: LmdbStore, path: bytes, flags: int = 0, key: bytes | None = None
) -> tuple[bytes, OpenRecord]:
    """Open a file by a path; return its key and the record."""
    key = key or file_key(1, next(NUMBERS))
    record = OpenRecord(
        open_id=store.new_open_id(),
        granted_access=1,
        share_access=7,
        flags=flags,
        oplock_level=SMB2_OPLOCK_LEVEL_BATCH,
        client_guid=CLIENT,
        create_guid=os.urandom(16),
        durable_open_timeout=1000,
    )
    store.add_open(key, record, durable=replace(durable_record(key), path=path))
    return key, record


@pytest.fixture
def crowded(store: LmdbStore) -> LmdbStore:
    """Return a store of which long paths have taken what they may."""
    while add_durable(store, LONG)[1].flags & OPEN_DURABLE:
        assert store.used() < store.room
    return store


def test_they_leave_half_of_the_room(crowded: LmdbStore) -> None:
    """Others' opens are durable, and theirs are opens all the same."""
    assert crowded.used() < crowded.room * 0.55
    _, record = add_durable(crowded, LONG, OPEN_PERSISTENT)
    assert record.flags & (OPEN_DURABLE | OPEN_PERSISTENT) == 0
    assert crowded.find_durable(record.open_id) is None
    _, record = add_durable(crowded, b"short", OPEN_PERSISTENT)
    assert record.flags & OPEN_DURABLE


def test_what_is_to_be_deleted_by_them(store: LmdbStore, add: "Opener") -> None:
    """Its name is forgotten, not that it is to be deleted."""
    for number in range(3 * store.room // (4 * len(LONG))):
        add(file_key(1, number), flags=OPEN_DELETE_ON_CLOSE, path=LONG.decode())
    assert store.used() < store.room * 0.55
    key = file_key(2, 1)
    own = add(key)
    store.set_delete_pending(key, own, True, LONG.decode())
    assert store.is_delete_pending(key)
    result = store.remove_open(key, own)
    assert (result.delete_now, result.path) == (True, "")


def test_renames_to_them(store: LmdbStore) -> None:
    """Of many opens few get them, of many files few; the others keep what they have."""
    keys = []
    for _ in range(20):
        key, first = add_durable(store, b"short")
        opens = [first, *(add_durable(store, b"short", key=key)[1] for _ in range(99))]
        keys.append((key, opens))
    for key, _ in keys:
        store.move_durable(key, b"also short")
    for _, opens in keys:
        paths = [_path(store, one) for one in opens]
        assert paths == [b"also short"] * 100
    for key, _ in keys:
        store.move_durable(key, LONG)
    assert store.used() < store.room * 0.6
    paths = [_path(store, one) for _, opens in keys for one in opens]
    assert 0 < paths.count(LONG) < len(paths) / 4
    assert set(paths) == {LONG, b"also short"}


def _path(store: LmdbStore, record: OpenRecord) -> bytes:
    found = store.find_durable(record.open_id)
    assert found is not None
    return found.durable.path


def test_opens_that_would_wait(crowded: LmdbStore) -> None:
    """By a directory's rename they may have become long."""
    key, record = add_durable(crowded, b"short")
    kept = replace(durable_record(key), path=LONG)
    assert crowded.disconnect_open(record.open_id, kept, 1 << 62) is None
    refuses(
        NtStatus.INSUFFICIENT_RESOURCES,
        crowded.make_resilient,
        key,
        record.open_id,
        kept,
        1000,
        bytes(16),
    )
    assert crowded.disconnect_open(record.open_id, replace(kept, path=b"short"), 1 << 62) == ()
