"""The directories that the kernel watches for a worker's clients, as a forest.

inotify knows inodes and no trees. So each watched directory has a place here: its name in the
watched directory above it, if there is one. What an event is called for a watch is read off upwards
to where the watch begins, and stays right when anything in between is renamed: the rename itself is
an event, which moves the place.

A directory that several watch has one place and one watch of the kernel, and counts for each.
"""

import os
import threading
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.inotify import Event, Inotify

READ_SIZE: Final = 16384
"""Bytes of events that are read at once: 500 or so, a few milliseconds of work."""

_AT_ONCE: Final = 64  # places that are given up in a step


class Directory:
    """One watched directory.

    `watches` are those that are told what happens in it; `fresh` the entries that they were told of
    by reading it, whose own events may still come. `leased` are the opens that have a lease on it.
    """

    __slots__ = ("_children", "fresh", "key", "leased", "name", "number", "parent", "watches")

    def __init__(self, number: int, key: bytes) -> None:
        """Begin without a place; `number` is the kernel's, `key` the store's."""
        self.number = number
        self.key = key
        self.name = ""
        self.parent: Directory | None = None
        self._children: dict[str, Directory] | None = None
        self.watches: tuple[Watch, ...] = ()
        self.fresh: set[str] | None = None
        self.leased: set[int] = set()

    @property
    def children(self) -> list["Directory"]:
        """The watched directories in it."""
        return list(self._children.values()) if self._children else []

    def child(self, name: str) -> "Directory | None":
        """Return the watched directory of this name in it."""
        return self._children.get(name) if self._children else None

    def find(self, path: str) -> "Directory | None":
        """Return a watched directory by its path below this one, "" for itself."""
        found: Directory | None = self
        for name in path.split("/") if path else ():
            found = found.child(name) if found is not None else None
        return found

    @property
    def trees(self) -> tuple[Watch, ...]:
        """The watches that go on below it."""
        return tuple(watch for watch in self.watches if watch.watch_tree)

    def move(self, parent: "Directory | None", name: str) -> None:
        """Put it into another directory, or nowhere."""
        before = self.parent
        if before is not None and before.child(self.name) is self:
            assert before._children is not None
            del before._children[self.name]
        self.parent, self.name = parent, name
        if parent is not None:
            if parent._children is None:
                parent._children = {}
            parent._children[name] = self

    def below(self, top: "Directory | None") -> str | None:
        """Return its path below `top`, "" for itself; None when it is not there (any more)."""
        names: list[str] = []
        directory: Directory | None = self
        while directory is not top:
            if directory is None:
                return None
            names.append(directory.name)
            directory = directory.parent
        return "/".join(reversed(names))


class Attached(NamedTuple):
    """A directory that a watch has now, and whether it is the first time."""

    directory: Directory
    new: bool


class Directories:
    """All watched directories of a worker; any thread may attach, the loop reads.

    `lock` is held while the forest changes.
    """

    def __init__(self) -> None:
        """Ask the kernel for a queue; OSError."""
        self._inotify = Inotify()
        self._by_number: dict[int, Directory] = {}
        self._by_key: dict[bytes, Directory] = {}
        self.lock = threading.RLock()

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are events."""
        return self._inotify.fileno()

    def __len__(self) -> int:
        """Count the directories that are watched."""
        return len(self._by_number)

    def close(self) -> None:
        """Watch nothing any more."""
        self._inotify.close()

    def find(self, number: int) -> Directory | None:
        """Return the directory that the kernel means by a number."""
        return self._by_number.get(number)

    def by_key(self, key: bytes) -> Directory | None:
        """Return a directory by its key in the store."""
        return self._by_key.get(key)

    @staticmethod
    def key_of(fd: int) -> bytes:
        """Return the store's key of an open directory; OSError."""
        statx = kernel.statx_fd(fd)
        return file_key(os.makedev(statx[17], statx[18]), statx[6])

    def attach(
        self, fd: int, watch: Watch, parent: Directory | None = None, name: str = ""
    ) -> Attached:
        """Watch the open directory `fd` for `watch`; OSError.

        `parent` and `name` say where it is, if it is in a watched directory. The place has been
        paid for.
        """
        with self.lock:
            directory = self._add(fd, self.key_of(fd), watch.mask)
            if parent is not None and (directory.parent, directory.name) != (parent, name):
                directory.move(parent, name)
            if watch.ended:
                self._end_unused(directory)
            if watch.ended or watch in directory.watches:
                return Attached(directory, new=False)
            directory.watches += (watch,)
            return Attached(directory, new=True)

    def give_up(self, directory: Directory, watches: Collection[Watch]) -> Iterator[None]:
        """End these watches of a directory and of all below it, in steps."""
        todo = [directory]
        count = 0
        while todo:
            directory = todo.pop()
            with self.lock:
                gone = [watch for watch in directory.watches if watch in watches]
                if not gone:
                    continue
                directory.watches = tuple(w for w in directory.watches if w not in watches)
                todo += directory.children
                self._end_unused(directory)
            for watch in gone:
                watch.directories.give_back(1)
            count += 1
            if not count % _AT_ONCE:
                yield

    def _add(self, fd: int, key: bytes, mask: int) -> Directory:
        """Have the kernel tell more of an open directory; OSError."""
        path = kernel.fd_path(fd)
        number = retry_as_process(lambda: self._inotify.add(path, mask))
        directory = self._by_number.get(number)
        if directory is None:
            directory = self._by_number[number] = self._by_key[key] = Directory(number, key)
        return directory

    def _end_unused(self, directory: Directory) -> None:
        """Watch a directory no more that nobody needs."""
        if not directory.watches and not directory.leased:
            self._inotify.remove(directory.number)
            self.forget(directory)

    def lease(self, fd: int, key: bytes, mask: int, open_id: int) -> Directory:
        """Follow the open directory `fd` for an open that is to have a lease on it; OSError."""
        with self.lock:
            directory = self._add(fd, key, mask)
            directory.leased.add(open_id)
            return directory

    def end_lease(self, directory: Directory, open_id: int) -> None:
        """Follow a directory no more for an open."""
        with self.lock:
            directory.leased.discard(open_id)
            if self._by_number.get(directory.number) is directory:
                self._end_unused(directory)

    def forget(self, directory: Directory) -> None:
        """Take a directory out that the kernel does not watch any more."""
        with self.lock:
            self._by_number.pop(directory.number, None)
            if self._by_key.get(directory.key) is directory:
                del self._by_key[directory.key]
            directory.move(None, "")

    def read(self) -> tuple[list[Event], bool]:
        """Return events, and whether there may be more."""
        with self.lock:
            return self._inotify.read(READ_SIZE)
