"""Memory of ended WRITEs: given back by a connection that becomes idle, too."""

from collections.abc import Callable

from usmbd.transport.loop import Cancellable, EventLoop
from usmbd.transport.smbdirect.posted_work import PostedWork
from usmbd.transport.smbdirect.provider import DeviceError

TIDY_SECONDS = 0.1
"""How long memory is kept of which the device has not told yet that it needs it no more."""


class Tidying:
    """One timer at most, also of a connection that is never idle."""

    __slots__ = ("_loop", "_lose", "_timer", "_work")

    def __init__(self, work: PostedWork, loop: EventLoop, lose: Callable[[str], None]) -> None:
        """Begin without a timer; `lose(reason)` ends the connection."""
        self._work = work
        self._loop = loop
        self._lose = lose
        self._timer: Cancellable | None = None

    def look(self) -> None:
        """Ask for a completion after a while, if much memory waits for one."""
        if self._timer is None and self._work.untidy:
            self._timer = self._loop.call_later(TIDY_SECONDS, self._tidy)

    def cancel(self) -> None:
        """Ask for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tidy(self) -> None:
        self._timer = None
        try:
            self._work.tidy()
        except DeviceError as error:
            self._lose(str(error))
