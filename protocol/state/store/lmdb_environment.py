"""The LMDB environment of the state store: how it is made, opened and written.

Writers are serialized by LMDB's robust mutex, which the kernel hands on when its holder is
killed; what the dead writer had not committed never happened.
"""

import errno
import functools
import os
import secrets
import shutil
import struct
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

import lmdb

from usmbd.protocol.state.store.hints import Hints, Late
from usmbd.protocol.state.store.lmdb_transaction import Begin, Transaction
from usmbd.protocol.state.store.records import (
    OPEN_HEAD,
    OPEN_LASTING,
    OPEN_OPLOCK_OFFSET,
    OPEN_SIZE,
    WORKER,
    counted_with,
)
from usmbd.protocol.state.store.session_counts import SessionCounts
from usmbd.protocol.state.store.watchers import Watchers
from usmbd.protocol.wire.status import NtStatus, SmbError

MAP_SIZE: Final = 128 << 20
# The environment cannot grow while others have it open, and all its pages are taken at the start:
# one that tmpfs cannot provide later would kill the process (SIGBUS), where a full map is an error
# that the client sees. A file with one open takes 430 bytes, of a durable one 850, so this holds
# 140,000 or more.
MAP_SIZE_MIN: Final = 4 << 20
# Below this (8,000 open files) the file system is no place for the store.
MAP_SHARE_OF_FREE: Final = 2
# The map takes at most half of what is free at the start.
MAP_SHARE_OF_MEMORY: Final = 32
# And at most this part of the machine's memory: what tmpfs holds is memory.
RESERVE: Final = 16
# This fraction of the map is only for closing and unlocking, which need pages as well: a copy of
# each page that they change. In a full map they would fail.
ROOM_CHECK: Final = 16
# The room is looked at once in so many growing calls; what the workers together add meanwhile is
# far below the reserve.
LARGEST_VALUE: Final = 64
# No record is larger than this fraction of the map, so that it can be rewritten from the reserve.
PATH_BYTES: Final = 100
# Of a path that are counted with its open. One of 4,096 takes three pages, twenty times of what
# an open does, and a rename makes one of any: longer ones are kept while there is much room.
MOVED_OPENS: Final = 256
# Opens whose path a rename changes, of 10 us each; of a long path a sixteenth.
MAX_READERS: Final = 4096
# A slot of 64 bytes for each thread that reads: 64 workers of 64 threads.

FILE_HEADER: Final = struct.Struct("<QQII")
"""The head of an F record: holders, deniers, flags, deleting worker."""

WORKER_SHIFT: Final = 48
GENERATION_SHIFT: Final = 40
# open_id: worker 16 bits, generation 8, counter 40: years of opens

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound="Table")


class Table(Protocol):
    """A part of the store: records of its own kind in the one environment."""

    environment: "LmdbEnvironment"


def writes(method: Callable[Concatenate[T, P], R]) -> Callable[Concatenate[T, P], R]:
    """End a call that writes: the hints follow the commit; a full map is the request's error."""

    @functools.wraps(method)
    def call(self: T, /, *args: P.args, **kwargs: P.kwargs) -> R:
        late = self.environment.late
        try:
            result = method(self, *args, **kwargs)
        except BaseException as error:
            late.undone()
            if isinstance(error, lmdb.MapFullError):
                self.environment.recount_hints()
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES) from None
            raise
        late.committed()
        return result

    return call


def with_prefix(txn: Transaction, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records whose keys begin with `prefix`; writing ends the iteration's validity."""
    cursor = txn.cursor()
    if cursor.set_range(prefix):
        for key, value in cursor:
            if not key.startswith(prefix):
                return
            yield key, value


class LmdbEnvironment:
    """One process's door to the store. It must not be used across a fork."""

    def __init__(self, path: str | os.PathLike[str], worker: int) -> None:
        """Open the environment that `create` made at `path`, as `worker` (at most 0xFFFF).

        lmdb.Error in a child that was forked while its parent was attached: a supervisor that
        forks attaches, drops a dead worker, closes, and then forks; one that executes may stay.
        """
        map_size = Path(path, "data.mdb").stat().st_size
        self.worker = worker
        self.largest_value = map_size // LARGEST_VALUE
        self._room = 0
        # tmpfs never writes back and the store need not survive a reboot: no sync of any kind.
        # With a writable map a transaction costs half as much. The size is the one `create` gave:
        # another one would truncate the file under the others.
        self._env = lmdb.open(
            str(path),
            map_size=map_size,
            create=False,
            sync=False,
            metasync=False,
            writemap=True,
            map_async=True,
            readahead=False,
            lock=True,
            max_readers=MAX_READERS,
            max_spare_txns=1,
        )
        self.begin: Begin = self._env.begin
        self.room = map_size - map_size // RESERVE
        self._pages_max = self.room // self._env.stat()["psize"]
        self.late = Late()
        self.lock_hints = Hints(Path(path, "hints"), self.late)
        self.oplock_hints = Hints(Path(path, "oplocks"), self.late)
        self.watchers = Watchers(Path(path, "watchers"))
        self.session_counts = SessionCounts(Path(path, "sessions"))
        self.begin_ids()

    def begin_ids(self) -> None:
        """Begin to number opens as no process of this worker has before.

        Nor has one of a server that ran before, whose clients may still name its opens: where in a
        generation it begins is chance.
        """
        with self.write() as txn:
            key = b"A" + WORKER.pack(self.worker)
            generation = (int.from_bytes(txn.get(key, b""), "little") + 1) & 0xFF
            txn.put(key, bytes([generation]))
        first = self.worker << WORKER_SHIFT | generation << GENERATION_SHIFT
        self._open_ids = count(first + 1 + secrets.randbits(GENERATION_SHIFT - 1))

    @staticmethod
    def create(path: str | os.PathLike[str], map_size: int = MAP_SIZE) -> None:
        """Make a fresh, empty store in the directory `path`, in place of any former one.

        OSError when the file system has no room for it. No process may be attached.
        """
        directory = Path(path)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)
        space = os.statvfs(directory)
        free = space.f_bavail * space.f_frsize
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        most = min(map_size, max(memory // MAP_SHARE_OF_MEMORY, MAP_SIZE_MIN))
        map_size = min(most, free // MAP_SHARE_OF_FREE) & ~0xFFFF
        if map_size < MAP_SIZE_MIN:
            raise OSError(
                errno.ENOSPC,
                f"no room for the state store: {free} bytes are free, it needs"
                f" {MAP_SIZE_MIN * MAP_SHARE_OF_FREE} and takes {most}",
            )
        Hints.create(directory / "hints")
        Hints.create(directory / "oplocks")
        Watchers.create(directory / "watchers")
        SessionCounts.create(directory / "sessions")
        lmdb.open(
            str(directory),
            map_size=map_size,
            sync=False,
            writemap=True,
            map_async=True,
            mode=0o700,
            max_readers=MAX_READERS,
        ).close()
        for name, size in (("data.mdb", map_size), ("lock.mdb", 0)):
            with (directory / name).open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size or os.fstat(file.fileno()).st_size)

    def close(self) -> None:
        """Detach; the records stay. A second call does nothing."""
        self._env.close()
        self.lock_hints.close()
        self.oplock_hints.close()
        self.watchers.close()
        self.session_counts.close()

    def drop_dead_readers(self) -> None:
        """Free the slots of readers that died: they keep old pages from being used again."""
        self._env.reader_check()

    def new_open_id(self) -> int:
        """Return worker, generation and a counter: no other open of any worker has had it."""
        return next(self._open_ids)

    def write(self) -> Transaction:
        """Begin a write transaction, after whoever writes now."""
        txn = self.begin(write=True)
        self.late.settle()
        return txn

    def size(self, key: bytes) -> int:
        """Return the bytes of a record, which is not copied; 0: there is none."""
        with self._env.begin(buffers=True) as txn:
            return len(txn.get(key, b""))

    def used(self) -> int:
        """Return the bytes of the pages that hold records."""
        stat = self._env.stat()
        pages = stat["leaf_pages"] + stat["branch_pages"] + stat["overflow_pages"]
        return int(pages * stat["psize"])

    def takes_path(self, path: bytes, beside: int = 0) -> bool:
        """Tell whether a path may be kept: a long one as long as half of the room is free.

        Also one that has so many bytes `beside` it.

        What it is kept for does without: an open is not durable, a name stays that a dead worker
        was to delete.
        """
        return len(path) + beside <= PATH_BYTES or self.used() < self.room // 2

    def takes_copies(self, path: bytes) -> int:
        """Tell how many opens of a file may have a new path."""
        if len(path) <= PATH_BYTES:
            return MOVED_OPENS
        return MOVED_OPENS // 16 if self.takes_path(path) else 0

    def require_room(self) -> None:
        """Refuse to grow into the reserve: SmbError(INSUFFICIENT_RESOURCES)."""
        self._room -= 1
        if self._room < 0:
            if self.used() > self.room:
                raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            self._room = ROOM_CHECK

    def recount_hints(self) -> None:
        """Make the hints right from the locks and oplocks that there are."""
        with self.write() as txn:
            self.lock_hints.recount([key[1:] for key, _ in with_prefix(txn, b"L")])
            holders: list[bytes] = []
            for key, value in with_prefix(txn, b"F"):
                for at in range(FILE_HEADER.size, len(value), OPEN_SIZE):
                    flags = OPEN_HEAD.unpack_from(value, at)[3]
                    if value[at + OPEN_OPLOCK_OFFSET] or flags & OPEN_LASTING:
                        holders += filter(None, (key[1:], counted_with(flags)))
            self.oplock_hints.recount(holders)
