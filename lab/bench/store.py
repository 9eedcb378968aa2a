"""Time the state store: `python lab/bench/store.py [FILES]`, microseconds, best of nine runs.

FILES other files are open meanwhile (default 1000). The directory is on /dev/shm, as /run is
tmpfs in production.
"""

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from timeit import repeat

from usmbd.protocol.state.store.bus import Bus, WakeFile
from usmbd.protocol.state.store.lmdb_store import LmdbStore
from usmbd.protocol.state.store.records import LockRange, OpenRecord, file_key

KEY = file_key(1, 2)
RANGE = [LockRange(0, 10, True)]
RUNS, CALLS = 9, 5000


def measure(what: str, function: Callable[[], object], calls: int = CALLS) -> None:
    """Print the best time of one call."""
    best = min(repeat(function, number=calls, repeat=RUNS)) / calls
    print(f"{what:48s} {best * 1e6:8.2f}")


def an_open(store: LmdbStore, granted_access: int = 3) -> OpenRecord:
    """Return the record of a new open that shares everything."""
    return OpenRecord(open_id=store.new_open_id(), granted_access=granted_access, share_access=7)


def cycle(store: LmdbStore, key: bytes, granted_access: int = 3) -> Callable[[], object]:
    """Return a function that adds and removes an open."""
    record = an_open(store, granted_access)

    def run() -> None:
        store.add_open(key, record)
        store.remove_open(key, record.open_id)

    return run


def lock_cycle(store: LmdbStore, open_id: int) -> Callable[[], object]:
    """Return a function that takes and releases a lock."""

    def run() -> None:
        store.lock(KEY, open_id, RANGE)
        store.unlock(KEY, open_id, RANGE)

    return run


def contend(directory: Path, worker: int, until: float) -> None:
    """Add and remove opens of an own file until a time, as one of several workers."""
    store = LmdbStore.attach(directory, worker)
    run = cycle(store, file_key(3, worker))
    done, busy = 0, time.process_time()
    while time.monotonic() < until:
        run()
        done += 1
    busy = time.process_time() - busy
    print(f"  worker {worker}: {done} cycles in 1 s, {busy / done * 1e6:.2f} us of CPU each")


def main(files: int) -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        directory = Path(folder, "store")
        LmdbStore.create(directory)
        print("two workers at once, add_open + remove_open:", flush=True)
        until = time.monotonic() + 1
        fork = multiprocessing.get_context("fork")  # before this process attaches
        workers = [fork.Process(target=contend, args=(directory, n, until)) for n in (1, 2)]
        for process in workers:
            process.start()
        for process in workers:
            process.join()

        store = LmdbStore.attach(directory, 3)
        for inode in range(files):
            store.add_open(file_key(7, inode), an_open(store))
        measure("add_open + remove_open", cycle(store, KEY))
        measure("  with DELETE access", cycle(store, KEY, 0x10003))
        measure("  of a stream", cycle(store, file_key(1, 2, "stream")))
        mine = an_open(store)
        store.add_open(KEY, mine)
        measure("check_io, no locks", lambda: store.check_io(KEY, mine.open_id, 0, 4096, True))
        measure("lock + unlock", lock_cycle(store, mine.open_id))
        store.lock(KEY, mine.open_id, [LockRange(100, 1, True)])
        measure("check_io, 1 lock", lambda: store.check_io(KEY, mine.open_id, 0, 4096, True))
        store.lock(KEY, mine.open_id, [LockRange(200 + n, 1, True) for n in range(99)])
        measure("check_io, 100 locks", lambda: store.check_io(KEY, mine.open_id, 0, 10, True))
        measure("lock + unlock, 100 others", lock_cycle(store, mine.open_id))
        for others in (10, 1000):
            while len(store.opens(KEY)) < others:
                store.add_open(KEY, an_open(store))
            measure(f"add_open + remove_open, {others} others", cycle(store, KEY), 300)
        opens = files + len(store.opens(KEY))
        start = time.perf_counter()
        store.drop_worker(3)
        print(f"drop_worker with {opens} opens: {(time.perf_counter() - start) * 1e3:.1f} ms")
        store.close()

        bus = Bus(folder, 1)
        wake = WakeFile(KEY)

        def send() -> None:
            bus.send(1, wake)
            bus.receive()

        measure("bus: send + receive", send)
        bus.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
