"""A worker that is killed between any two instructions of the store's own code leaves nothing.

Each step is a process that does one operation and kills itself after so many of the interpreter's
instructions in the store; then the supervisor does what it does after a death.
"""

import json
import mmap
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from zlib import crc32

import lmdb
import pytest

from usmbd.protocol.state.store import hints as hints_module
from usmbd.protocol.state.store.base import SUPERVISOR, Doomed
from usmbd.protocol.state.store.hints import HINT_MASK
from usmbd.protocol.state.store.lmdb_environment import with_prefix
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_DISCONNECTED,
    OPEN_PERSISTENT,
    DurableRecord,
    LockRange,
    LockSequence,
    OpenRecord,
    SessionRecord,
    file_key,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH

KEY, STREAM, ALONE = file_key(1, 4711), file_key(1, 4711, "stream"), file_key(1, 4712)
HELD = file_key(1, 4713)
"""What the bystander, worker 2, has open and locked."""
OWN, OTHER = LockRange(0, 100, True), LockRange(1000, 10, True)
STORE = str(Path(hints_module.__file__).parent)

STRIDE = int(os.environ.get("USMBD_KILL_STRIDE", "101"))
"""Instructions from one kill to the next; `make kills` takes each (1)."""

DENSE = 30
"""The last instructions, around the commit, are all taken."""

Operation = Callable[[LmdbStore, int], Any]


def record(store: LmdbStore, **fields: int) -> OpenRecord:
    return OpenRecord(
        open_id=store.new_open_id(), **{"granted_access": 3, "share_access": 7} | fields
    )


def unlock_all(store: LmdbStore, open_id: int) -> None:
    store.unlock(KEY, open_id, [OWN])


def add_with_oplock(store: LmdbStore, _: int) -> None:
    store.add_open(KEY, record(store, oplock_level=1), "")


def wait(store: LmdbStore) -> None:
    own = record(store)
    store.add_open(HELD, own, "")
    assert store.lock(HELD, own.open_id, [OTHER], wait=True) is not None


def add_doomed(store: LmdbStore, _: int) -> None:
    doomed = record(store, flags=OPEN_DELETE_ON_CLOSE)
    store.add_open(STREAM, doomed, "/nowhere/file")
    store.remove_open(STREAM, doomed.open_id)
    store.deleted(STREAM)


def set_delete_pending(store: LmdbStore, _: int) -> None:
    own = record(store)
    store.add_open(ALONE, own, "")
    store.set_delete_pending(ALONE, own.open_id, True, "/nowhere/file")
    store.remove_open(ALONE, own.open_id)
    store.deleted(ALONE)


def close_with_oplock(store: LmdbStore, open_id: int) -> None:
    store.set_oplock(KEY, open_id, 1, 0)
    store.set_oplock(KEY, open_id, 0, 0)
    store.remove_open(KEY, open_id)


def lease(store: LmdbStore, _: int) -> None:
    leased = [record(store, oplock_level=0xFF) for _ in range(2)]
    for one in leased:
        one.client_guid, one.lease_key = b"g" * 16, b"k" * 16
        store.add_open(KEY, one, "")
    store.change_lease(b"g" * 16, b"k" * 16, lambda lease: lease._replace(state=7, breaking=True))
    for one in leased:
        store.remove_open(KEY, one.open_id)


def session_ends(store: LmdbStore, _: int) -> None:
    store.put_session(SessionRecord(2 << 16, 1, "alice"))
    store.session_ends(2 << 16)
    store.remove_session(2 << 16)


def resilient(store: LmdbStore, open_id: int) -> None:
    """Lock by sequence with an open that lasts, leave it to its client, and end it."""
    durable = DurableRecord(KEY, "share", "/nowhere", b"file", 3, (0, 0), 1)
    store.make_resilient(KEY, open_id, durable, 1000, b"o" * 16)
    store.lock(KEY, open_id, [LockRange(200, 10)], sequence=LockSequence(1, 2))
    store.disconnect_open(open_id, durable, 1)
    store.end_disconnected(KEY, open_id)


def rename(store: LmdbStore, _: int) -> None:
    """Give two durable opens another path, one of which was to be persistent."""
    opens = []
    for flags in (0, OPEN_PERSISTENT):
        own = record(store, oplock_level=SMB2_OPLOCK_LEVEL_BATCH, flags=flags)
        own.create_guid = bytes([flags] * 16)
        durable = DurableRecord(ALONE, "share", "/nowhere", b"file", 3, (0, 0), 1)
        store.add_open(ALONE, own, "", durable=durable)
        opens.append(own.open_id)
    store.end_persistence(ALONE, opens[1])
    store.move_durable(ALONE, b"another")
    for open_id in opens:
        store.remove_open(ALONE, open_id)


OPERATIONS: dict[str, Operation] = {
    "open": add_with_oplock,
    "lease": lease,
    "close": lambda store, open_id: store.remove_open(KEY, open_id),
    "close with an oplock": close_with_oplock,
    "lock": lambda store, open_id: store.lock(KEY, open_id, [LockRange(200, 10)]),
    "wait": lambda store, open_id: wait(store),
    "unlock": unlock_all,
    "delete": add_doomed,
    "delete pending": set_delete_pending,
    "session's end": session_ends,
    "resilient": resilient,
    "rename": rename,
    "session": lambda store, _: store.put_session(SessionRecord(1 << 16, 1, "alice")),
}
"""What worker 1 does that has KEY open and a lock on it."""


def count_instructions(then: Callable[[int], object]) -> None:
    """Call `then` with the number of each instruction of the store's modules, from 0."""
    number = -1
    ours: dict[CodeType, bool] = {}

    def local(frame: FrameType, event: str, _: object) -> Any:
        nonlocal number
        if event == "opcode":
            number += 1
            then(number)
        return local

    def trace(frame: FrameType, _event: str, _: object) -> Any:
        code = frame.f_code
        if code not in ours:
            ours[code] = code.co_filename.startswith(STORE)
        if not ours[code]:
            return None
        frame.f_trace_opcodes = True
        return local

    sys.settrace(trace)


def work(directory: Path, operation: Operation, then: Callable[[int], object]) -> int:
    """Do the operation as worker 1 in a process of its own; return how that ended."""
    child = os.fork()
    if not child:
        try:
            store = LmdbStore.attach(directory, 1)
            own = record(store)
            store.add_open(KEY, own, "")
            assert store.lock(KEY, own.open_id, [OWN]) is None
            count_instructions(then)
            operation(store, own.open_id)
            sys.settrace(None)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def serve() -> None:
    """Answer each line `[directory, operation, at]` by how it ended, killed at that instruction.

    Without one (None) the answer is how many instructions of the store it takes.
    """
    counter = mmap.mmap(-1, mmap.PAGESIZE)

    def note(number: int) -> None:
        counter[:4] = number.to_bytes(4, "little")

    def die(number: int) -> None:
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    for line in sys.stdin:
        directory, name, last = json.loads(line)
        status = work(Path(directory), OPERATIONS[name], note if last is None else die)
        counted = int.from_bytes(counter[:4], "little") + 1
        print(counted if last is None and not status else status, flush=True)


Work = Callable[[Path, str, int | None], int]


@pytest.fixture(scope="module")
def do() -> Iterator[Work]:
    """Run this file: a thousand forks of pytest, with all tests in memory, take twice as long."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def ask(directory: Path, name: str, at: int | None) -> int:
        print(json.dumps([str(directory), name, at]), file=stdin, flush=True)
        return int(stdout.readline())

    yield ask
    stdin.close()
    assert process.wait() == 0
    stdout.close()


@pytest.mark.processes("protocol/state/store/")
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_any_instruction_leaves_nothing(directory: Path, do: Work, name: str) -> None:
    two = LmdbStore.attach(directory, 2)
    bystander = record(two)
    two.add_open(HELD, bystander, "")
    assert two.lock(HELD, bystander.open_id, [OTHER]) is None
    two.close()
    total = do(directory, name, None)
    assert total > DENSE
    clean_up(directory, bystander.open_id)
    for at in sorted({*range(0, total, STRIDE), *range(max(total - DENSE, 0), total)}):
        assert do(directory, name, at) == -signal.SIGKILL, f"of {total}: {at}"
        clean_up(directory, bystander.open_id)


def clean_up(directory: Path, bystander: int) -> None:
    """Do what the supervisor does after a death, and look at what is left."""
    supervisor = LmdbStore.attach(directory, SUPERVISOR)
    # No process may take a locked file for one without locks, not even until the clearing up.
    with supervisor._environment.begin() as txn:
        locked = [crc32(key[1:]) & HINT_MASK for key, _ in with_prefix(txn, b"L")]
    assert all(supervisor._environment.lock_hints.counts[slot] for slot in locked)
    waiters = supervisor.drop_worker(1)
    assert all(worker != 1 for worker, _ in waiters)
    supervisor._deaths._worker = 1  # as its successor
    for doomed in supervisor.left_to_delete():
        supervisor.deleted(doomed.key)
    for key in (KEY, ALONE):
        for open_ in supervisor.opens(
            key
        ):  # what survives its worker is whole, and ends as a whole
            kept = supervisor.find_durable(open_.open_id)
            assert kept is not None
            assert kept.record.flags & OPEN_DISCONNECTED
            supervisor.end_disconnected(key, open_.open_id)
            supervisor.remove_session(0)  # the next transaction lowers the hints
    assert supervisor.sweep({2}, 1).found == 0
    assert [held.open_id for held in supervisor.opens(HELD)] == [bystander]
    assert not supervisor.check_io(HELD, 0, 1000, 1, write=True)
    for key in (KEY, ALONE, STREAM):
        assert supervisor.opens(key) == []
        assert not supervisor.is_delete_pending(key)
    assert supervisor.sessions() == []
    assert sum(supervisor._environment.lock_hints.counts) == 1
    assert not any(supervisor._environment.oplock_hints.counts)
    supervisor.close()


def act_as(store: LmdbStore, worker: int) -> None:
    """Be another worker: a process attaches to a store once."""
    store._opens._worker = store._locks._worker = store._deaths._worker = worker


def test_a_waiter_that_dies_waits_no_more(store: LmdbStore) -> None:
    for worker in (1, 2):
        act_as(store, worker)
        store.add_waiter(KEY)
    store.drop_worker(1)
    other = record(store)
    store.add_open(KEY, other, "")
    assert store.remove_open(KEY, other.open_id).waiters == (2,)
    store.add_waiter(KEY)
    store.drop_worker(2)
    assert not any(store._environment.lock_hints.counts)


def test_what_belongs_to_nobody_is_found_and_removed(store: LmdbStore) -> None:
    """Records that only a fault could leave: of workers that are gone, and of no open at all."""
    kept = record(store)
    store.add_open(KEY, kept, "")
    assert store.lock(KEY, kept.open_id, [LockRange(5, 5)]) is None
    store.lock(KEY, 12345, [LockRange(50, 5)])  # of no open
    store.lock(file_key(1, 2), 12345, [LockRange(50, 5)])
    store.add_waiter(file_key(1, 2))
    act_as(store, 9)
    store.add_open(file_key(1, 1), record(store), "")
    store.put_session(SessionRecord(9 << 16, 9, "bob"))
    with store._environment.write() as txn:
        txn.put(b"D" + file_key(1, 3), bytes(16) + b":/nowhere")
        txn.put(b"F" + file_key(1, 4), bytes(24))
        txn.put(b"F" + file_key(1, 5), bytes(16) + (5).to_bytes(4, "little") + bytes(4))
        txn.put(b"D" + file_key(1, 5), bytes(16) + b":/pending")
    act_as(store, SUPERVISOR)
    found, waiters = store.sweep({1}, 2)
    assert found == 1 + 5
    assert waiters == [(1, file_key(1, 2))]
    act_as(store, 2)
    assert store.left_to_delete() == [Doomed(file_key(1, 5), "/pending")]
    store.deleted(file_key(1, 5))
    assert store.sweep({1}, 2).found == 0
    assert store._orphans.find() == []
    with store._environment.begin() as txn:
        assert [key for key, _ in with_prefix(txn, b"F")] == [b"F" + KEY]
        assert [key for key, _ in with_prefix(txn, b"D")] == []
    assert sum(store._environment.lock_hints.counts) == 1
    assert store.check_io(KEY, 0, 50, 5, write=True)
    assert not store.check_io(KEY, 0, 5, 5, write=True)


def test_the_store_s_pages_are_taken_at_the_start(directory: Path) -> None:
    for name in ("data.mdb", "lock.mdb", "hints", "oplocks"):
        facts = (directory / name).stat()
        assert facts.st_blocks * 512 >= facts.st_size, name


def test_a_transaction_that_fails_lowers_no_hint(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = record(store)
    store.add_open(KEY, own, "")
    store.lock(KEY, own.open_id, [OWN])
    locks = store._locks
    commit = locks._put_side

    def fails(*args: Any) -> None:
        commit(*args)
        raise lmdb.Error("the transaction is undone")

    monkeypatch.setattr(locks, "_put_side", fails)
    with pytest.raises(lmdb.Error, match="undone"):
        store.unlock(KEY, own.open_id, [OWN])
    monkeypatch.undo()
    store.remove_session(0)
    assert not store.check_io(KEY, 0, 0, 1, write=True)


if __name__ == "__main__":
    serve()
