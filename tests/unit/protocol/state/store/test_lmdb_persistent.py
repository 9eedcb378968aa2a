"""Files of persistent opens that are full or damaged: a server starts and serves without them."""

import os
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from msgspec.structs import replace
from store_engines import LmdbEngine
from store_promises import GUID, durable_record, leased

from usmbd.protocol.state.store import lmdb_persistent
from usmbd.protocol.state.store.records import OPEN_PERSISTENT
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.fixture
def engine(tmp_path: Path) -> LmdbEngine:
    return LmdbEngine(tmp_path)


def keep(engine: LmdbEngine, key: bytes, *, synced: bool = True) -> None:
    """Have a persistent open of a file kept."""
    worker = engine.worker(1)
    for store in (engine.supervisor(), worker):
        store.prepare_persistent()
    new = leased(worker)
    new.create_guid, new.durable_open_timeout, new.flags = GUID, 1000, OPEN_PERSISTENT
    new.lease_key = key[:16].ljust(16, b"k")
    new.create_guid = key[:16].ljust(16, b"g")
    worker.add_open(key, new, durable=replace(durable_record(synced=synced), key=key))
    worker.persist(key)


def disk(engine: LmdbEngine) -> lmdb.Environment:
    """Return what outlives the machine."""
    return engine._store._persistent._kept[1].env


def full(*_: object) -> None:
    """Stand for a disk without room."""
    raise lmdb.DiskError("no space left")


@pytest.mark.parametrize("record", [b"", b"x", b"\xc1", b"\x92\x90\x91\x01"])
def test_a_record_that_nobody_can_read_costs_no_other(engine: LmdbEngine, record: bytes) -> None:
    keep(engine, b"one")
    keep(engine, b"two")
    with disk(engine).begin(write=True) as txn:
        txn.put(b"Kone", record)
    assert engine.start_again(2) == 1
    assert len(engine.supervisor().opens(b"two")) == 1
    with disk(engine).begin() as txn:
        assert txn.get(b"Kone") is None, "it is not read at each start"


def test_a_database_that_nobody_can_read_is_set_aside(
    engine: LmdbEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keep(engine, b"one")
    engine.close()
    for file in tmp_path.rglob("disk/data.mdb"):
        file.write_bytes(b"no database at all".ljust(8192, b"-"))
    engine._attach()
    assert engine.supervisor().restore(2, engine._locate) == 0
    assert "persistent opens are lost" in caplog.text
    assert [path.read_bytes()[:2] for path in tmp_path.rglob("disk.damaged/data.mdb")] == [b"no"]
    keep(engine, b"two")
    assert engine.start_again(2) == 1


@pytest.mark.parametrize("left", [2, 4])
def test_a_database_that_was_cut_short_is_set_aside(
    engine: LmdbEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    """What is behind the file's end is SIGBUS to who reads it: another process looks first."""
    for number in range(16):
        keep(engine, b"%d" % number)
    keep(engine, b"in memory", synced=False)
    engine.close()
    for file in tmp_path.rglob("disk/data.mdb"):
        assert file.stat().st_size > 6 * 4096
        os.truncate(file, left * 4096)
    engine._attach()
    assert engine.supervisor().restore(2, engine._locate) == 1, "what lies elsewhere is whole"
    assert "SIGBUS" in caplog.text
    keep(engine, b"two")
    assert engine.start_again(2) == 2


def test_opens_for_which_there_is_no_room_are_left_out(
    engine: LmdbEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for key in (b"one", b"two", b"three"):
        keep(engine, key)
    restore: Callable[..., int] = lmdb_persistent._restore

    def narrow(txn: object, key: bytes, *more: object) -> int:
        if key == b"three":
            raise lmdb.MapFullError("no room")
        return restore(txn, key, *more)

    monkeypatch.setattr(lmdb_persistent, "_restore", narrow)
    assert engine.start_again(2) == 2
    assert "no room for persistent opens" in caplog.text


def test_a_full_disk_at_the_start_is_an_error_and_nothing_is_called_kept(
    engine: LmdbEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(engine, b"one")
    engine.close()
    engine._attach()
    with monkeypatch.context() as patch:
        patch.setattr(lmdb_persistent, "with_prefix", full)
        with pytest.raises(OSError, match="no space left"):
            engine.supervisor().restore(2, engine._locate)
    assert not list(engine._path.rglob("*.damaged"))
    with disk_of_another_start(engine) as txn:
        txn.put(lmdb_persistent._IDENTITY, b"an earlier start's")
    with pytest.raises(SmbError) as caught:
        keep(engine, b"two")
    assert caught.value.status is NtStatus.INSUFFICIENT_RESOURCES


def disk_of_another_start(engine: LmdbEngine) -> lmdb.Transaction:
    """Return a change of what outlives the machine."""
    engine.supervisor().prepare_persistent()
    return disk(engine).begin(write=True)


def test_a_dead_worker_is_cleared_away_though_the_disk_is_full(
    engine: LmdbEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(engine, b"one")
    monkeypatch.setattr(lmdb_persistent, "_replace", full)
    engine.supervisor().drop_worker(1)
    assert "stays on the disk" in caplog.text
