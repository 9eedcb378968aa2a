"""Several processes on one store: respect, death, and what a dead writer leaves."""

import multiprocessing
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.state.store.base import SUPERVISOR, Doomed
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    LockRange,
    OpenRecord,
    SessionRecord,
    file_key,
)
from usmbd.protocol.wire.status import SmbError

KEY = file_key(1, 100)
DELETE = 0x10000


def serve(directory: Path, worker: int, pipe: Connection) -> None:
    """Call methods of a store by name, as the test asks."""
    store = LmdbStore.attach(directory, worker)
    while True:
        name, args = pipe.recv()
        try:
            pipe.send(getattr(store, name)(*args))
        except SmbError as error:
            pipe.send(error.status)


class Worker:
    """A worker process and the pipe to it."""

    def __init__(self, directory: Path, worker: int) -> None:
        """Start the process."""
        context = multiprocessing.get_context("fork")  # before this process attaches
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(directory, worker, theirs), daemon=True)
        self.process.start()

    def __call__(self, name: str, *args: Any) -> Any:
        """Call a method of the worker's store."""
        self.pipe.send((name, args))
        return self.pipe.recv()

    def open(self, key: bytes, access: int = 1, share: int = 7, flags: int = 0) -> Any:
        """Add an open; return its id, or the status that refused it."""
        open_id = self("new_open_id")
        record = OpenRecord(open_id=open_id, granted_access=access, share_access=share, flags=flags)
        result = self("add_open", key, record, "/share/doomed")
        return result if isinstance(result, int) else open_id

    def kill(self) -> None:
        """Kill the process as a crash would."""
        self.process.kill()
        self.process.join()


@pytest.fixture
def workers(directory: Path) -> Iterator[list[Worker]]:
    """Two worker processes, numbers 1 and 2."""
    workers = [Worker(directory, 1), Worker(directory, 2)]
    yield workers
    for worker in workers:
        worker.kill()


@pytest.mark.timeout(60)
def test_workers_respect_each_other_and_a_dead_one_leaves_nothing(
    directory: Path, workers: list[Worker]
) -> None:
    one, two = workers
    deleting, waiting = file_key(1, 101), file_key(1, 102)
    mine = one.open(KEY, share=3)
    theirs = two.open(KEY)
    assert two.open(KEY, DELETE) == 0xC0000043  # SHARING_VIOLATION
    assert [record.worker for record in two("opens", KEY)] == [1, 2]
    assert one("lock", KEY, mine, [LockRange(0, 10, True)]) is None
    assert not two("check_io", KEY, theirs, 5, 1, False)
    assert two("lock", KEY, theirs, [LockRange(5, 1, True)], True).lock.open_id == mine
    one.open(deleting, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    one.open(waiting, DELETE, 7, OPEN_DELETE_ON_CLOSE)
    kept = two.open(waiting)
    one("put_session", SessionRecord(session_id=11, worker=1, user="alice"))
    two("put_session", SessionRecord(session_id=12, worker=2, user="bob"))
    assert two("get_session", 11).user == "alice"

    one.kill()
    supervisor = LmdbStore.attach(directory, SUPERVISOR)
    assert supervisor.drop_worker(1) == [(2, KEY)]
    supervisor._deaths._worker = 1  # as its successor
    assert supervisor.left_to_delete() == [Doomed(deleting, "/share/doomed")]
    assert [record.worker for record in supervisor.opens(KEY)] == [2]
    assert [session.session_id for session in supervisor.sessions()] == [12]
    assert two("check_io", KEY, theirs, 5, 1, True)
    assert two("lock", KEY, theirs, [LockRange(5, 1, True)]) is None
    assert two.open(deleting) == 0xC0000056  # DELETE_PENDING
    supervisor.deleted(deleting)
    assert two.open(deleting) != 0xC0000056
    assert two("remove_open", waiting, kept).delete_now
    # A worker that dies while it deletes leaves the deletion to its successor.
    two.kill()
    supervisor.drop_worker(2)
    supervisor._deaths._worker = 2
    assert Doomed(waiting, "/share/doomed") in supervisor.left_to_delete()
    supervisor.close()


def test_a_writer_killed_within_a_transaction_leaves_the_store_usable(directory: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from usmbd.protocol.state.store.lmdb_store import LmdbStore
        from usmbd.protocol.state.store.records import LockRange, OpenRecord, file_key

        store = LmdbStore.attach(sys.argv[1], 1)
        key = file_key(1, 100)
        store.add_open(key, OpenRecord(open_id=5, granted_access=1, share_access=0))
        store.lock(key, 5, [LockRange(0, 10, True)])
        with store._environment.begin(write=True) as txn:
            store._opens.remove_in(txn, key, 5)
            for inode in range(1000):
                txn.put(b"F" + file_key(1, inode), bytes(216))
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    store = LmdbStore.attach(directory, 2)
    child = subprocess.run([sys.executable, "-c", script, str(directory)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert [record.open_id for record in store.opens(KEY)] == [5]
    mine = OpenRecord(open_id=store.new_open_id(), granted_access=1, share_access=7)
    with pytest.raises(SmbError):
        store.add_open(KEY, mine)
    store.recount_hints()  # the killed writer had already uncounted its lock
    assert not store.check_io(KEY, mine.open_id, 0, 1, write=False)
    store.drop_worker(1)
    store.add_open(KEY, mine)
    assert [record.open_id for record in store.opens(KEY)] == [mine.open_id]
    assert store.check_io(KEY, mine.open_id, 0, 1, write=False)
    store.close()


def test_a_fresh_store_is_empty_and_needs_room(directory: Path, store: LmdbStore) -> None:
    store.put_session(SessionRecord(session_id=1, worker=1, user="alice"))
    store.remove_session(1)
    store.remove_session(1)
    assert store.get_session(1) is None
    store.put_session(SessionRecord(session_id=2, worker=1, user="alice"))
    store.close()
    LmdbStore.create(directory, 4 << 20)
    fresh = LmdbStore.attach(directory, 1)
    assert fresh.sessions() == []
    fresh.close()
    with pytest.raises(OSError, match="no room"):
        LmdbStore.create(directory, 65536)
