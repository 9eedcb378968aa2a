"""How a tree gets its watches: one directory after the other, in slices.

A directory is watched before it is read, so what comes into it meanwhile is found in one of the two
ways. Watched is what the user may list and enter: of the names in other directories he is told
nothing. smbd and Windows tell them (Samba's `honor change notify privilege` does not), but no
listing of his would show them.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import time_ns
from typing import Final

from usmbd.protocol.state.notify.change import Change, name_filter
from usmbd.protocol.state.notify.directories import Attached, Directories, Directory
from usmbd.protocol.state.notify.sight import may_list
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.new_descriptor import LOOK_SECONDS, MAKING_SECONDS, is_held_closed
from usmbd.protocol.vfs.resolve import encode, join
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.wire.change_notify import FILE_ACTION_ADDED

AT_ONCE: Final = 64
"""Directories for which a walk takes places at a time, and those of its first slice: a watch that
needs no more is there before the client's next request is looked at."""

_ENTRIES_AT_ONCE: Final = 256  # of a directory, between two steps
_CHILD: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK
_TICK_NS: Final = 20_000_000  # a file's time is the kernel's last tick, before the clock's

# What is gone, or was never the user's to see, is passed over.
_PASSED_OVER: Final = (FileNotFoundError, NotADirectoryError, PermissionError)


class Walk:
    """Watches a directory for `watch`, and with SMB2_WATCH_TREE what is below it.

    It begins with the watched directory itself, or with the entry `name` of the directory `parent`.
    With `tells` what lies in it is new: `found` collects it. `missed` says that something came
    during a long walk that nobody has told.
    """

    def __init__(
        self,
        directories: Directories,
        watch: Watch,
        parent: Directory | None = None,
        name: str = "",
        *,
        tells: bool = False,
    ) -> None:
        """Begin with nothing; whoever takes slices acts as the user of the watch. OSError."""
        self.watch = watch
        self.done = False
        self.missed = False
        self.waits = False
        """It goes on when a folder has its descriptor, which others are about to store."""
        self._looks = int(MAKING_SECONDS / LOOK_SECONDS)
        self.places = 0
        """How many directories may be watched before more places are taken."""
        self.found: list[tuple[Directory, Change]] = []
        self._directories = directories
        self._tells = tells
        self._moved = parent is not None and not tells
        self._began: int | None = None  # from when on others change what is not watched yet
        self._seen: set[int] = set()
        self._todo: deque[Directory] = deque()
        resolve = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
        if not watch.node.volume.options.cross_mounts:
            resolve |= kernel.RESOLVE_NO_XDEV
        self._how = kernel.How(_READ, resolve)
        self._top = os.dup(watch.node.fd)  # the open may end while a thread walks
        self._steps = self._walk(parent, name)

    def slice(self, over: Callable[[], bool]) -> None:
        """Go on until `over()`, the end, or there are no places; OSError."""
        while not (self.done or self.watch.ended):
            self.waits = False
            if next(self._steps, self) is self:
                self.done = True
            elif self.waits:
                return
            elif self.places < 1 or over():
                if self._began is None:
                    self._began = time_ns() - _TICK_NS
                return
        self.done = True

    def close(self) -> None:
        """Give the descriptors back."""
        self._steps.close()
        top, self._top = self._top, -1
        if top >= 0:
            os.close(top)

    def _walk(self, parent: Directory | None, name: str) -> Steps[None]:
        """Watch what it begins with, then all that is below."""
        if parent is None:
            self.watch.directory = (yield from self._attach(self._top, None, "")).directory
            self._todo.append(self.watch.directory)
        else:
            with suppress(*_PASSED_OVER):
                fd = self._open(parent)
                try:
                    yield from self._enter(fd, parent, name)
                finally:
                    os.close(fd)
        while self.watch.watch_tree and self._todo:
            directory = self._todo.popleft()
            with suppress(*_PASSED_OVER):
                yield from self._read(directory)
            yield

    def _attach(self, fd: int, parent: Directory | None, name: str) -> Steps[Attached]:
        """Watch an open directory, when there is a place for it."""
        while self.places < 1:
            yield
        attached = self._directories.attach(fd, self.watch, parent, name)
        self.places -= attached.new
        return attached

    def _open(self, directory: Directory) -> int:
        """Open a watched directory where it is now; OSError, also when it is another."""
        path = directory.below(self.watch.directory)
        if path is None:
            raise FileNotFoundError
        fd = self._how.open(self._top, encode(path))
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        if self._directories.key_of(fd) != directory.key:
            os.close(fd)
            raise FileNotFoundError
        return fd

    def _enter(self, fd: int, parent: Directory, name: str) -> Steps[None]:
        """Watch the directory `name` in the open directory `fd`, if the user may see into it."""
        child = os.open(name, _CHILD, dir_fd=fd)
        try:
            while self._looks and self.watch.tree.share.acl_xattr and is_held_closed(child):
                self._looks -= 1
                self.waits = True
                yield
            if self._may_list(fd, child, parent, name):
                attached = yield from self._attach(child, parent, name)
                if attached.directory.number not in self._seen:
                    self._seen.add(attached.directory.number)
                    self._todo.append(attached.directory)
                self._look_for_changes(child)
        finally:
            os.close(child)

    def _look_for_changes(self, fd: int) -> None:
        """Note whether something came into a directory before it was watched, told by nobody.

        What has moved here as a whole says by its own change time when that was.
        """
        if not self._tells:
            stat = os.stat(fd)
            if self._began is None and self._moved:
                self._began = stat.st_ctime_ns
            if self._began is not None:
                self.missed |= stat.st_mtime_ns >= self._began

    def _may_list(self, fd: int, child: int, parent: Directory, name: str) -> bool:
        """Whether the user may list a directory and enter it, on this share."""
        if not self._is_inside(fd, child):
            return False
        path = join(parent.below(self.watch.directory) or "", name)
        return may_list(self.watch, fd, child, path)

    def _is_inside(self, fd: int, child: int) -> bool:
        """Whether a directory belongs to the share: not what is mounted there, if it may not be."""
        if self.watch.node.volume.options.cross_mounts:
            return True
        return kernel.directory_identity(fd)[::2] == kernel.directory_identity(child)[::2]

    def _read(self, directory: Directory) -> Steps[None]:
        """Watch the directories in a directory; note what else is there where all is new."""
        is_vetoed = self.watch.node.volume.resolver.is_vetoed
        fd = self._open(directory)
        try:
            for count, (name, is_directory) in enumerate(_entries(fd), 1):
                if self._tells:
                    self._note(directory, name, is_directory=is_directory)
                if is_directory and not is_vetoed(name):
                    with suppress(*_PASSED_OVER):
                        yield from self._enter(fd, directory, name)
                if is_directory or not count % _ENTRIES_AT_ONCE:
                    yield
        finally:
            os.close(fd)

    def _note(self, directory: Directory, name: str, *, is_directory: bool) -> None:
        """Have the watch told of an entry, whose own event may still come."""
        with self._directories.lock:
            if directory.fresh is None:
                directory.fresh = set()
            directory.fresh.add(name)
        matches = name_filter(is_directory=is_directory)
        self.found.append((directory, Change(FILE_ACTION_ADDED, matches, name)))


def _entries(fd: int) -> Iterator[tuple[str, bool]]:
    """Yield (name, whether it is a directory) of an open directory; OSError."""
    with os.scandir(fd) as entries:
        for entry in entries:
            yield entry.name, entry.is_dir(follow_symlinks=False)
