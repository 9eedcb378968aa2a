"""Work of one request that is done in slices, on the loop or on threads, and where it stands."""

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final, Protocol

from usmbd.protocol.commands.request import Request
from usmbd.protocol.dispatch.calls import on_loop, on_thread
from usmbd.protocol.effects import Sliced
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.server import Server
from usmbd.protocol.wire.status import NtStatus, SmbError

THREAD_SLICE: Final = 0.005
"""Seconds after which work on a thread makes room for others of its share. As long as a slice of
the loop's: the way to the loop and back to a thread costs a hundredth of it."""

SLICE_THREADS: Final = 4
"""Threads of a share for such work, which computes much: each takes the interpreter's lock from
the loop. With 64 listings beside it an ECHO takes up to 250 ms with 16 threads, 40 with 4, 20 with
2; but a file system that is slow to answer serves more than 2 at a time."""


class Resuming(Protocol):
    """What goes on with a request when its work is done: the dispatcher."""

    connection: Connection
    server: Server

    def resumed(self, request: Request, value: object, error: BaseException | None) -> None:
        """Go on with a suspended request."""


class Slices:
    """The steps of a `Sliced` call, whose end is to be taken when there are none any more.

    Each slice goes where calls of the volume go just then. The open stays in use until the last, as
    it is while a thread uses it.
    """

    __slots__ = (
        "_begun",
        "_dispatcher",
        "_effect",
        "_error",
        "_holds",
        "_request",
        "_steps",
        "_value",
    )

    def __init__(self, dispatcher: Resuming, request: Request, effect: Sliced[object]) -> None:
        """Begin with the first call of `go_on`."""
        self._dispatcher = dispatcher
        self._request = request
        self._effect = effect
        self._steps: Iterator[None] | None = None
        self._holds = False  # counted in the `in_use` of the request's open
        self._begun = False  # or it waits for a turn with time for that
        self._value: object = None
        self._error: BaseException | None = None

    def go_on(self) -> bool:
        """Take a slice; False when more come later, after which the request is resumed."""
        dispatcher, request = self._dispatcher, self._request
        server, tree, open_ = dispatcher.server, request.tree, request.open
        slow = server.pinned or (tree is not None and not tree.speed.fast())
        begins, self._begun = not self._begun, True
        waits = begins and not slow and server.turns.full()
        if not slow and not waits and on_loop(server, tree, self._run, (server.turns.over,)):
            return True
        if open_ is not None and not self._holds:
            open_.in_use += 1
            self._holds = True
        if slow:
            lane = Slices, tree.speed if tree is not None else None
            on_thread(server, tree, self._run_on_thread, (), self._after, lane, SLICE_THREADS)
        else:
            server.turns.later(dispatcher.connection.transport, self._after)
        return False

    def take(self) -> tuple[object, BaseException | None]:
        """Return what the call returned or raised; it is not kept.

        An error refers to the frames that it came through, and so to the message and to this.
        """
        error, self._error = self._error, None
        return self._value, error

    def _run_on_thread(self) -> bool:
        """Take a slice as whoever the thread is; True after the last step."""
        end = perf_counter() + THREAD_SLICE
        return self._run(lambda: perf_counter() >= end)

    def _run(self, over: Callable[[], bool]) -> bool:
        """Take steps, one at least, until `over()`; True after the last."""
        try:
            if self._steps is None:
                self._steps = iter(self._effect.function(*self._effect.args))
            while True:
                next(self._steps)
                if over():
                    return False
        except StopIteration as stop:
            self._value = stop.value
        except Exception as error:
            self._error = error
        self._steps = None
        return True

    def _after(self, ended: object = False, error: BaseException | None = None) -> None:
        """Go on after a slice on a thread, or after others had their turn."""
        open_ = self._request.open
        if open_ is not None and open_.tree.closed:
            error = SmbError(NtStatus.FILE_CLOSED)
        elif not ended and error is None:
            try:
                if not self.go_on():
                    return
            except Exception as failure:  # the thread cannot become the user
                error = failure
        value, own = self.take()
        if error is None:
            error = own
        else:
            value = None
        del own
        try:
            self._dispatcher.resumed(self._request, value, error)
        finally:
            if open_ is not None and self._holds:
                open_.release()
