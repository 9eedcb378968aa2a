"""inotify(7): which names of a directory change, as the kernel tells it, through ctypes.

Not fanotify: without CAP_SYS_ADMIN, which workers do not have, it watches inodes too, one mark a
directory; what happens to one name it merges, so that nobody knows whether it was made or removed
last; and it says who made a change of its own process alone. Packages for inotify read the same
structure in 3 to 5 times the time, and want an asyncio loop or a thread.
"""

import ctypes
import os
import struct
from typing import Final, NamedTuple

IN_MODIFY: Final = 0x2
IN_ATTRIB: Final = 0x4
IN_CLOSE_WRITE: Final = 0x8
IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x01000000
IN_MASK_ADD: Final = 0x20000000
IN_ISDIR: Final = 0x40000000

_EVENT = struct.Struct("=iIII")
_EVENT_MAX: Final = _EVENT.size + 256  # NAME_MAX and its NUL

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """What happened to `name` in the directory of a watch; to the directory itself where it is "".

    Both halves of a rename have the same `cookie`.
    """

    watch: int
    mask: int
    cookie: int
    name: str


class Inotify:
    """One queue of events; Linux gives a user 128 (fs.inotify.max_user_instances)."""

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        """Make a queue that nobody waits for; OSError."""
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _failed()

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are events."""
        return self._fd

    def add(self, path: str, mask: int) -> int:
        """Watch what is at `path`, one watch an inode: its number; OSError.

        ENOSPC when the user has no more of them (fs.inotify.max_user_watches).
        """
        watch: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if watch < 0:
            raise _failed()
        return watch

    def remove(self, watch: int) -> None:
        """End a watch, which IN_IGNORED follows; one that is over already is no error."""
        _libc.inotify_rm_watch(self._fd, watch)

    def read(self, size: int) -> tuple[list[Event], bool]:
        """Return events that are queued, of `size` bytes at most, and whether there may be more."""
        try:
            data = os.read(self._fd, size)
        except BlockingIOError:
            return [], False
        events = []
        at = 0
        while at < len(data):
            watch, mask, cookie, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            name = os.fsdecode(data[at - length : at].rstrip(b"\0"))
            events.append(Event(watch, mask, cookie, name))
        return events, len(data) >= size - _EVENT_MAX

    def close(self) -> None:
        """End all watches."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _failed() -> OSError:
    """Make the OSError of the call that just failed in this thread."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
