"""Memory that goes back: to the kernel when clients have left, to others when one stalls on it."""

import ctypes
from collections.abc import Callable
from typing import Final

from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.memory import STALLED_SECONDS
from usmbd.protocol.state.server import Server
from usmbd.transport.buffer_pool import POOL

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's

TIDY_TICKS: Final = 5
"""Seconds between two looks at what is free. Buffers that were not used in between are let go: to
have them made again costs 0.1 ms a MiB."""


class Reclaim:
    """Looks once a second, by `tick`, at what connections and the allocator keep."""

    def __init__(self, server: Server, trim: Callable[[], None] | None = None) -> None:
        """Look after the connections of `server`; `trim` gives free memory to the kernel."""
        self._server = server
        self._trim = trim or _trim
        self._ticks = 0
        self._connections = 0
        self._progress: dict[Connection, tuple[object, int]] = {}  # and the tick when it was so

    def tick(self) -> None:
        """Close who stalls; give back what is free."""
        self._ticks += 1
        if self._server.memory.short:
            self._close_stalled()
        else:
            self._progress.clear()
        if self._ticks % TIDY_TICKS:
            return
        left = len(self._server.connections)
        freed = POOL.tidy()
        if freed or left < self._connections:
            self._trim()
        self._connections = left

    def _close_stalled(self) -> None:
        """Close connections that keep memory without progress, while others wait for it."""
        before, self._progress = self._progress, {}
        for connection in list(self._server.connections):
            progress = connection.transport.progress
            if progress is None:
                continue
            last, since = before.get(connection, (None, 0))
            if progress != last:
                since = self._ticks
            elif self._ticks - since >= STALLED_SECONDS:
                connection.transport.close("it keeps memory that others wait for")
                continue
            self._progress[connection] = progress, since


def _trim() -> None:
    """Have glibc give free pages to the kernel, wherever in the heap they are (malloc_trim(3)).

    Workers keep 256 MiB by themselves, which spares busy ones the page faults.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)
