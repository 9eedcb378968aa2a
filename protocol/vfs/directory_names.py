"""Which name on disk a client means that writes it in another case: a cache of directories.

A file that does not exist under its exact name may exist under another case, which only a scan
of the directory tells; without a cache, creating n files in one directory would take n scans.
A cached directory is watched by inotify, which reports every change by anyone on this machine
before the changing call returns: a look-up first applies what is queued and is then exact, at
3 us however large the directory is. Where others change the files unseen (NFS, CephFS,
Lustre, FUSE) or no watch is to be had, a scan counts as long as the directory's mtime stands.
"""

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.file_systems import LOCAL, magic
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
    Inotify,
)
from usmbd.protocol.vfs.pace import long_call
from usmbd.protocol.vfs.short_names import short_name

#: Directories held at most: each costs a watch, of which Linux gives a user 8192 or more.
DIRECTORIES_MAX: Final = 1024
#: Names held at most in all directories together.
NAMES_MAX: Final = 1_000_000
#: What they may take with their 8.3 names, 730,000 of 20 characters: users say how long they are.
#: The last directory stays, however large: each look-up would read it again.
BYTES_MAX: Final = 256 << 20
#: Names that are read on an event loop, 2 us each; a longer directory is for a thread.
NAMES_AT_ONCE: Final = 1000
#: A directory changed so short a time before its scan may change again within the same
#: time stamp (2 s on VFAT, 1 s on old NFS): that scan is not kept.
SETTLED_SECONDS: Final = 2.5

_WATCHED = IN_ONLYDIR | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
_READ_SIZE: Final = 16384

READS_AT_ONCE: Final = 1
"""Reads of inotify's queue before a look-up is made on a thread: 500 events, a few milliseconds."""

_PLACES: Final = 230  # in the tables, and of an 8.3 name

# Held while a thread computes with thousands of names: one at a time competes with the event loop
# for the interpreter's lock.
_long_work = threading.Lock()


def read_names(path: str) -> list[str]:
    """Read a directory: a long one on threads alone; OSError."""
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) == NAMES_AT_ONCE:
                long_call()
    return names


class _ShortNames:
    """The 8.3 names of a directory's entries, 10 us each; of several entries the first by order."""

    __slots__ = ("_names", "_twins")

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        self._twins: set[str] = set()
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Note that `name` exists."""
        short = short_name(name)
        if short:
            other = self._names.setdefault(short, name)
            if other != name:
                self._twins.add(short)
                self._names[short] = min(name, other)

    def remove(self, name: str) -> bool:
        """Note that `name` is gone; False when only all entries can tell which is the next."""
        short = short_name(name)
        if short in self._twins:
            return False
        if short:
            self._names.pop(short, None)
        return True

    def find(self, short: str) -> str | None:
        """Return the entry that has this 8.3 name."""
        return self._names.get(fold(short))


def _cost(name: str) -> int:
    """Return about how many bytes a name takes: itself, as it is compared, and its 8.3 name."""
    return 2 * sys.getsizeof(name) + _PLACES


class _Directory:
    """The names of one directory by their folded form.

    While the directory is being read, `pending` collects what inotify reports of it.
    """

    __slots__ = ("bytes", "names", "pending", "short_names", "stamp", "twins", "watch")

    def __init__(self, stamp: tuple[int, int]) -> None:
        self.watch = -1
        self.stamp = stamp
        self.names: dict[str, str] = {}
        self.bytes = 0
        self.twins: set[str] = set()
        self.short_names: _ShortNames | None = None
        self.pending: list[tuple[int, str]] | None = None

    def add(self, name: str) -> None:
        """Note that `name` exists."""
        key = fold(name)
        if key not in self.names:
            self.bytes += _cost(name)
        if self.names.setdefault(key, name) != name:
            self.twins.add(key)
        elif self.short_names is not None:
            self.short_names.add(name)

    def remove(self, name: str) -> bool:
        """Note that `name` is gone; False when only a new scan can tell what is left."""
        key = fold(name)
        if key in self.twins:
            return False
        if self.names.pop(key, None) is not None:
            self.bytes -= _cost(name)
            if self.short_names is not None and not self.short_names.remove(name):
                self.short_names = None
        return True

    def find(self, name: str) -> str | None:
        """Return the name that is `name` in any case."""
        return self.names.get(fold(name))

    def find_short(self, name: str, lock: threading.Lock) -> str | None:
        """Return the name that has the 8.3 name `name`: of several the first by order.

        The 8.3 names are worked out when they are first asked for; `lock` guards changes.
        """
        known = self.short_names
        if known is None:
            if len(self.names) > NAMES_AT_ONCE:
                long_call()
            with _long_work:
                known = self.short_names or self._work_out_short_names(lock)
        return known.find(name)

    def _work_out_short_names(self, lock: threading.Lock) -> _ShortNames:
        """Find the 8.3 names of all entries, and of those that come and go meanwhile."""
        while True:
            before = set(self.names.values())
            found = _ShortNames(before)
            with lock:
                now = set(self.names.values())
                if all(map(found.remove, before - now)):
                    for name in now - before:
                        found.add(name)
                    self.short_names = found
                    return found


_Key = tuple[int, int, int]


class DirectoryNames:
    """The cached directories of this process; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directories: OrderedDict[_Key, _Directory] = OrderedDict()
        self._by_watch: dict[int, _Key] = {}
        self._loading: dict[_Key, _Directory] = {}
        self._count = 0
        self._inotify: Inotify | None = None
        with suppress(OSError):
            self._inotify = Inotify()

    @property
    def watched(self) -> int:
        """How many directories are held."""
        return len(self._directories)

    @property
    def held(self) -> int:
        """How many names are held, in all of them."""
        return self._count

    @property
    def size(self) -> int:
        """How many bytes the names take."""
        return sum(each.bytes for each in self._directories.values())

    def find(self, directory: int, name: str) -> str | None:
        """Return the name on disk that equals `name` but for case, in the directory `directory`.

        None when there is none, or when the user may not list the directory; OSError.
        """
        held = self._names_of(directory)
        return held.find(name) if held is not None else None

    def lacks(self, directory: int, name: str, statx: kernel.StatxTuple) -> bool:
        """Whether the directory, of which statx(2) says `statx`, has no such name in any case.

        False when the user may not list it; OSError.
        """
        held = self._names_of(directory, statx)
        return held is not None and held.find(name) is None

    def find_short(self, directory: int, name: str) -> str | None:
        """Return the name on disk for which `name` is the 8.3 form; None and OSError as above."""
        held = self._names_of(directory)
        return held.find_short(name, self._lock) if held is not None else None

    def _names_of(
        self, directory: int, statx: kernel.StatxTuple | None = None
    ) -> _Directory | None:
        """Return the names of a directory as they are now; None when it may not be listed."""
        if statx is None:
            statx = kernel.statx_fd(directory)
        key = (statx[17], statx[18], statx[6])
        stamp = (statx[15], statx[16])
        while True:
            with self._lock:
                if not self._apply_events(READS_AT_ONCE):
                    held = self._directories.get(key)
                    if held is not None and (held.watch >= 0 or held.stamp == stamp):
                        self._directories.move_to_end(key)
                        return held
                    self._forget(key)
                    break
            long_call()
        try:
            return self._load(directory, key, stamp)
        except PermissionError:
            return None

    def _load(self, directory: int, key: _Key, stamp: tuple[int, int]) -> _Directory:
        """Read a directory, watching it from before its first name; without the lock.

        A slow file system delays only those who ask for its names. Whoever comes while
        another reads the same directory reads it too, for itself.
        """
        held = _Directory(stamp)
        inotify = self._inotify if magic(directory) in LOCAL else None
        path = kernel.fd_path(directory)
        with self._lock:
            mine = key not in self._loading
            if mine:
                self._loading[key] = held
                held.pending = []
                if inotify is not None:
                    with suppress(OSError):
                        held.watch = inotify.add(path, _WATCHED)
                        self._by_watch[held.watch] = key
        try:
            names = read_names(path)
            with _long_work if len(names) > NAMES_AT_ONCE else nullcontext():
                for name in names:
                    held.add(name)
        except BaseException:
            if mine:
                with self._lock:
                    self._unload(key)
            raise
        if mine:
            with self._lock:
                self._keep(key, held)
        return held

    def _unload(self, key: _Key) -> None:
        """Give up a directory that was being read."""
        self._unwatch(self._loading.pop(key))

    def _unwatch(self, held: _Directory) -> None:
        """End a directory's watch, if it has one."""
        if self._by_watch.pop(held.watch, None) is not None and self._inotify is not None:
            self._inotify.remove(held.watch)

    def _keep(self, key: _Key, held: _Directory) -> None:
        """Cache a directory that has been read, with what changed meanwhile."""
        self._apply_events()
        if held.pending is None:  # events were lost
            self._unload(key)
            return
        if held.watch < 0 and time.time() - held.stamp[0] <= SETTLED_SECONDS:
            self._unload(key)
            return
        del self._loading[key]
        self._directories[key] = held
        self._count += len(held.names)
        pending, held.pending = held.pending, None
        for mask, name in pending:
            if key in self._directories:
                self._apply(key, mask, name)
        size = self.size
        while len(self._directories) > 1 and (
            len(self._directories) > DIRECTORIES_MAX or self._count > NAMES_MAX or size > BYTES_MAX
        ):
            eldest = next(iter(self._directories))
            size -= self._directories[eldest].bytes
            self._forget(eldest)

    def _forget(self, key: _Key) -> None:
        """Drop a directory and its watch."""
        held = self._directories.pop(key, None)
        if held is not None:
            self._count -= len(held.names)
            self._unwatch(held)

    def _apply_events(self, most: int = sys.maxsize) -> bool:
        """Bring the cached directories up to date with what inotify has queued.

        By `most` reads of it: true where more may be left.
        """
        more = self._inotify is not None
        while more and self._by_watch:
            if not most:
                return True
            most -= 1
            assert self._inotify is not None
            events, more = self._inotify.read(_READ_SIZE)
            for watch, mask, _, name in events:
                if mask & IN_Q_OVERFLOW:
                    for key in list(self._directories):
                        self._forget(key)
                    for loading in self._loading.values():
                        loading.pending = None
                elif (known := self._by_watch.get(watch)) is not None:
                    self._apply(known, mask, name)
        return False

    def _apply(self, key: _Key, mask: int, name: str) -> None:
        """Apply one event to a cached directory, or keep it for one that is being read."""
        held = self._directories.get(key)
        if held is None:
            loading = self._loading.get(key)
            if loading is not None and loading.pending is not None:
                loading.pending.append((mask, name))
            return
        before = len(held.names)
        if mask & (IN_CREATE | IN_MOVED_TO):
            held.add(name)
        elif mask & (IN_DELETE | IN_MOVED_FROM):
            if not held.remove(name):
                self._forget(key)
                return
        elif mask & (IN_IGNORED | IN_UNMOUNT):
            self._forget(key)
            return
        self._count += len(held.names) - before


_names: DirectoryNames | None = None


def directory_names() -> DirectoryNames:
    """Return the cache of this process: one, as Linux gives a user 128 inotify descriptors."""
    global _names
    if _names is None:
        _names = DirectoryNames()
    return _names


def _forget_after_fork() -> None:
    """Let a forked process make its own: an inotify descriptor is shared by inheritance."""
    global _names
    _names = None


os.register_at_fork(after_in_child=_forget_after_fork)
