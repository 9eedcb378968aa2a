"""The times that one open leaves as they are ([MS-FSA] 2.1.5.15.2, UserSet...Time).

Once a client has set a file's write time by an open, or stopped its updates with -1, what that open
writes does not change the time any more. The kernel knows no such thing: the time is put back after
each change, 3 us more for the opens that asked for it. The access time it leaves by itself.
"""

import fcntl
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.node import Node

_Result = TypeVar("_Result")


class KeptWriteTime:
    """Changes a file by one open without its write time; any thread may call it."""

    __slots__ = ("_lock", "_node", "_running", "_time")

    def __init__(self, node: Node) -> None:
        """Keep the time that the file has now; OSError."""
        self._node = node
        self._time = _write_time(node)
        self._running = 0
        self._lock = threading.Lock()

    def during(self, call: Callable[..., _Result], *args: object) -> _Result:
        """Make a call that changes the file's data, then put its write time back; OSError.

        What others wrote before stays seen: the time is asked for again unless a call of this
        open is under way, which would be taken for one of theirs.
        """
        with self._lock:
            if not self._running:
                self._time = _write_time(self._node)
            self._running += 1
        try:
            return call(*args)
        finally:
            with self._lock:
                self._running -= 1
                # Who may write data may not set times in POSIX, unless the file is his own.
                retry_as_process(lambda: kernel.set_times(self._node.fd, None, self._time))


def keep_access_time(node: Node, keep: bool) -> None:
    """Let reading by a node leave the access time as it is, or change it again; OSError.

    O_NOATIME is the owner's; here it is whoever's that may write attributes.
    """
    if not node.readable:
        return

    def change() -> None:
        flags = fcntl.fcntl(node.fd, fcntl.F_GETFL) & ~os.O_NOATIME
        fcntl.fcntl(node.fd, fcntl.F_SETFL, flags | (os.O_NOATIME if keep else 0))

    retry_as_process(change)


def _write_time(node: Node) -> int:
    """Return a file's write time in nanoseconds since 1970; OSError."""
    statx = kernel.statx_fd(node.fd)
    return statx[15] * 1_000_000_000 + statx[16]
