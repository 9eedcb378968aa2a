"""Persistent opens where the disk that keeps them has no room: none is promised, none is lost."""

import os
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import lmdb
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import GUID, again, create, granted, v2
from smbengine.persistent import FLAG, LOCK, NONE, available, come_back, kept, persistent, restarted
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands.durable import V2_TIMEOUT
from usmbd.protocol.state import persistence
from usmbd.protocol.state.persistence import AT_ONCE, RETRY_SECONDS
from usmbd.protocol.state.store import lmdb_persistent
from usmbd.protocol.state.store.records import OPEN_LASTING
from usmbd.protocol.wire.create import FILE_OVERWRITE_IF, SMB2_OPLOCK_LEVEL_BATCH
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_UNLOCK
from usmbd.protocol.wire.status import NtStatus

Fill = Callable[..., None]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Run an engine whose share is available all the time."""
    engine = available(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Fill:
    """Take all room of the disk, or what a change of one file would need."""
    replace = lmdb_persistent._replace

    def fill(only: bytes = b"", *, full: bool = True) -> None:
        def refuse(txn: lmdb.Transaction, key: bytes, value: bytes | None) -> None:
            if full and only in (b"", key):
                raise lmdb.DiskError("no space left on device")
            replace(txn, key, value)

        monkeypatch.setattr(lmdb_persistent, "_replace", refuse)

    return fill


def later(engine: Engine) -> None:
    """Let the time pass after which what could not be written is tried again."""
    engine.clock.advance(RETRY_SECONDS)
    engine.settle()


def rename(client: Client, file: FileId, name: str) -> NtStatus:
    """Rename an open file."""
    return client.call(Command.SET_INFO, requests.rename(file, name)).status


@pytest.mark.parametrize("caches", [SMB2_OPLOCK_LEVEL_BATCH, NONE])
def test_an_open_is_durable_at_most(
    client: Client, engine: Engine, fill: Fill, caches: int
) -> None:
    """What its CREATE has done cannot be undone: it succeeds, and promises what is true."""
    (engine.files / "file").write_bytes(b"old")
    fill()
    reply = create(client, v2(flags=FLAG), oplock=caches, disposition=FILE_OVERWRITE_IF)
    found = granted(reply).get(SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2)
    assert found == (struct.pack("<II", V2_TIMEOUT, 0) if caches else None)
    key = client.open_of(reply.file_id).key
    assert [record.flags & OPEN_LASTING for record in engine.store.opens(key)] == [0]
    client.create("another", 0x80)  # the count is lowered by the next write
    assert engine.store.oplock_count(key) == bool(caches)
    client.disconnect()
    newer = Client(engine, client.guid).ready()
    back = create(newer, again(reply.file_id, GUID), oplock=caches)
    assert back.status is (NtStatus.SUCCESS if caches else NtStatus.OBJECT_NAME_NOT_FOUND)
    fill(full=False)
    later(engine)
    assert kept(engine) == [0, 0]
    assert engine.store.sweep([1], 1).found == 0


def test_a_lock_is_refused(client: Client, engine: Engine, fill: Fill) -> None:
    """It can be taken back, and is."""
    file = persistent(client)
    fill()
    locked = client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    assert locked.status is NtStatus.INSUFFICIENT_RESOURCES
    fill(full=False)
    assert client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK))).status is NtStatus.SUCCESS


def test_what_is_done_is_answered_and_written_later(
    client: Client, engine: Engine, fill: Fill
) -> None:
    """An unlock and a rename: an error would say that they are not."""
    file = persistent(client)
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    fill()
    unlocked = client.call(Command.LOCK, requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK)))
    assert unlocked.status is NtStatus.SUCCESS
    assert rename(client, file, "renamed") is NtStatus.SUCCESS
    later(engine)
    fill(full=False)
    later(engine)
    engine = restarted(engine)
    newer, reply = come_back(engine, client, file, name="renamed")
    assert reply.status is NtStatus.SUCCESS
    locked = newer.call(Command.LOCK, requests.lock(reply.file_id, (0, 10, LOCK)))
    assert locked.status is NtStatus.SUCCESS
    engine.close()


def test_a_file_that_cannot_be_written_costs_no_other(
    client: Client, engine: Engine, fill: Fill, caplog: pytest.LogCaptureFixture
) -> None:
    """All else that is due with it is written, and it later; the log says once that it is not."""
    keys = []
    for name in ("one", "two", "three"):
        file = persistent(client, name=name, guid=os.urandom(16))
        keys.append(client.open_of(file).key)
    for key in keys:
        (record,) = engine.store.opens(key)
        engine.store.remove_open(key, record.open_id)
    fill(next(iter(set(keys))))  # the first of them to be written
    for key in keys:
        engine.server.persistence.later(key)
    engine.settle()
    assert sum(kept(engine)) == 1
    later(engine)
    assert caplog.text.count("cannot be kept") == 1
    fill(full=False)
    later(engine)
    assert sum(kept(engine)) == 0


def test_many_that_end_together_are_written_together(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client's do whose time is over: the disk is waited for once, not for each."""
    many = 2 * AT_ONCE
    for number in range(many):
        persistent(client, name=f"{number}", guid=os.urandom(16))
    writes: list[int] = []
    put = lmdb_persistent.LmdbPersistent._put

    def count(self: lmdb_persistent.LmdbPersistent, keys: Collection[bytes]) -> None:
        writes.append(len(keys))
        put(self, keys)

    monkeypatch.setattr(lmdb_persistent.LmdbPersistent, "_put", count)
    client.disconnect()
    engine.clock.advance(V2_TIMEOUT)
    engine.settle()
    assert sum(kept(engine)) == 0
    assert sum(writes) >= many
    assert len(writes) <= 6


def test_what_waits_for_room_has_a_bound(
    client: Client, engine: Engine, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "MAX_RETRIES", 2)
    files = [persistent(client, name=f"{i}", guid=os.urandom(16)) for i in range(4)]
    fill()
    for file in files:
        assert client.close(file) is NtStatus.SUCCESS
    fill(full=False)
    later(engine)
    assert sum(kept(engine)) == 2
