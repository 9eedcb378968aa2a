"""What is mounted and unmounted while the worker runs, as /proc/self/mountinfo tells it.

A disk that comes over a share's folder, or over one below it, is another folder of that name:
trees, watches and listings that clients keep are of the one beneath, and inotify says nothing.
"""

import logging
import os
import select
from typing import Final

from usmbd.mountd.confine.mountinfo import MOUNTS, Mount, mounts
from usmbd.protocol.state.server import Server
from usmbd.transport.loop import EventLoop

log = logging.getLogger("usmbd.vfs")

PAUSE_SECONDS: Final = 1.0
"""Between two looks: machines with containers mount all the time, and have thousands of mounts."""


class Mounts:
    """Follows what is mounted."""

    def __init__(self, server: Server, loop: EventLoop) -> None:
        """Begin with what is mounted now."""
        self._server = server
        self._loop = loop
        self._known: frozenset[Mount] = frozenset()
        self._busy = False  # looking, or in the pause afterwards
        self._again = False
        # The table is always readable; that it has changed is POLLPRI, for which the loop has no
        # word. So it looks at another epoll, which looks at the table.
        self._table = self._epoll = None
        try:
            self._table = os.open(MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
            self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
            self._epoll.register(self._table, select.EPOLLPRI)
            self._known = frozenset(mounts())
            loop.add_reader(self._epoll.fileno(), self._changed)
        except OSError as error:
            log.warning("what is mounted later is not noticed: %s", error)

    def close(self) -> None:
        """Follow nothing any more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
        if self._table is not None:
            os.close(self._table)
        self._table = self._epoll = None

    def _changed(self) -> None:
        """Look at once, or when the pause is over."""
        if self._epoll is not None:
            self._epoll.poll(0)
        self._again = True
        self._look()

    def _look(self) -> None:
        """Read the table on a thread: it may be long."""
        if self._again and not self._busy:
            self._again, self._busy = False, True
            self._server.threads.submit(_read, (), None, self._seen)

    def _pause_over(self) -> None:
        """Look again, if there was something."""
        self._busy = False
        self._look()

    def _seen(self, found: object, error: BaseException | None) -> None:
        """Tell what has come and gone."""
        self._loop.call_later(PAUSE_SECONDS, self._pause_over)
        if not isinstance(found, frozenset):
            log.warning("what is mounted cannot be read: %s", error)
            return
        changed: frozenset[Mount] = self._known ^ found
        self._known = found
        if not changed:
            return
        server = self._server
        points = server.volumes.mounted(changed)
        server.roots.check()
        if points:
            log.debug("mounted or unmounted: %s", ", ".join(points))
            server.notifier.mounted(points)


def _read() -> frozenset[Mount]:
    """Read what is mounted; OSError."""
    return frozenset(mounts())
