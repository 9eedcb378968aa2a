"""The workers' event loop: one `epoll_wait` a turn, and no other system call.

asyncio's loops read the clock in each turn, uvloop twice: where that is a system call (user-mode
Linux, virtual machines without a steady TSC), as often as all else that a request needs. Here the
timers' time comes from a timerfd, so that a turn without a timer asks for none. The methods are
those of asyncio's loops, with the same meaning, but for enders: one of them will do in its place
where nobody has such.
"""

import ctypes
import heapq
import logging
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any, Final, Protocol

log = logging.getLogger("usmbd.conn")

MAXIMUM_EVENTS: Final = 256
"""Descriptors that one turn takes up; more wait for the next."""

TIMERS_SWEPT: Final = 1024
"""Timers among which those are looked for that were cancelled, and again with twice as many as are
left: most are cancelled, of requests that wait half a minute at most."""

TIMERS_SLICE: Final = 0.002
"""Seconds of a turn for all that is due, before others have their turn."""

TFD_NONBLOCK: Final = os.O_NONBLOCK
TFD_CLOEXEC: Final = os.O_CLOEXEC
TFD_TIMER_ABSTIME: Final = 1

_libc = ctypes.CDLL(None, use_errno=True)
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_CUT: Final = select.EPOLLHUP | select.EPOLLERR
_Times = ctypes.c_longlong * 4  # struct itimerspec: interval and value, seconds and nanoseconds
_Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Cancellable(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Do not call."""


class EventLoop(Protocol):
    """What is needed of an event loop; all but one of it on the loop's own thread."""

    turn_number: int
    """Counts the turns: of each, first the descriptors that have become ready, then the calls."""

    def time(self) -> float:
        """Return the loop's time, in seconds."""

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> object:
        """Call `callback(*args)` after the descriptors, of this turn or the next."""

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> object:
        """Do the same from any thread; RuntimeError when the loop is closed."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Cancellable:
        """Call `callback(*args)` in `delay` seconds."""

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> object:
        """Call `callback(*args)` whenever `fd` is readable, in place of what was called before."""

    def remove_reader(self, fd: int) -> object:
        """Do not look any more whether `fd` is readable."""

    def add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> object:
        """Call `callback(*args)` whenever `fd` is writable, in place of what was called before."""

    def remove_writer(self, fd: int) -> object:
        """Do not look any more whether `fd` is writable."""

    def add_ender(self, fd: int, callback: Callable[..., Any], *args: Any) -> object:
        """Call `callback(*args)` when `fd` is cut off on both sides while no reader is there."""

    def remove_ender(self, fd: int) -> object:
        """Do not look any more whether `fd` is cut off."""

    def stop(self) -> None:
        """End `run_forever` after this turn."""


class Timer:
    """One call that is due at `when`."""

    __slots__ = ("_args", "_callback", "when")

    def __init__(self, when: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Call `callback(*args)`."""
        self.when = when
        self._callback: Callable[..., Any] | None = callback
        self._args = args

    def cancel(self) -> None:
        """Do not call, and hold on to nothing."""
        self._callback, self._args = None, ()

    @property
    def cancelled(self) -> bool:
        """Whether there is nothing to call."""
        return self._callback is None

    def take(self) -> _Call | None:
        """Return the call, once; None when there is none any more."""
        call = None if self._callback is None else (self._callback, self._args)
        self.cancel()
        return call


class _Watch:
    """What is called for one descriptor."""

    __slots__ = ("ender", "reader", "writer")

    def __init__(self) -> None:
        self.reader: _Call | None = None
        self.writer: _Call | None = None
        self.ender: _Call | None = None

    @property
    def events(self) -> int:
        """What epoll is to look for; it always looks for errors and the end of both sides.

        Below 0: nothing.
        """
        events = (_IN if self.reader else 0) | (_OUT if self.writer else 0)
        return events if events or self.ender else -1


class EpollLoop:
    """An event loop on epoll, timerfd and eventfd."""

    def __init__(self) -> None:
        """Open what it needs; OSError."""
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._watched: dict[int, _Watch] = {}
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._sweep_at = TIMERS_SWEPT
        self._numbers = count()  # timers of one moment go in the order of their making
        self._now = 0.0  # this turn's time; 0.0: nobody has asked yet
        self.turn_number = 0
        self._stopping = False
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._woken = False
        self._add_edge_reader(self._wake, self._woken_up)
        self._alarm = _timerfd()
        self._alarm_at = 0.0  # 0.0: it is not set
        self._add_edge_reader(self._alarm, self._alarmed)
        self._signals: dict[int, _Call] = {}
        self._dispositions: dict[int, Any] = {}  # what signal.signal returned
        self._signal_pipe: tuple[int, int] | None = None

    # -- life ----------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Take turns until `stop` is called."""
        self._stopping = False
        poll, watched, ready, timers = self._epoll.poll, self._watched, self._ready, self._timers
        while not self._stopping:
            if timers and timers[0][0] != self._alarm_at:
                self._set_alarm(timers[0][0])
            self._now = 0.0
            self.turn_number += 1
            for fd, events in poll(0 if ready else None, MAXIMUM_EVENTS):
                # Looked up now: what was called before in this turn may have removed it.
                watch = watched.get(fd)
                if watch is None:
                    continue
                # An error or the peer's end wakes both.
                if events & ~_OUT and watch.reader is not None:
                    self._call(watch.reader)
                # Not for data that came while there still was a reader.
                elif events & _CUT and watch.ender is not None:
                    self._call(watch.ender)
                if events & ~_IN and watch.writer is not None:
                    self._call(watch.writer)
            for _ in range(len(ready)):
                self._call(ready.popleft())

    def stop(self) -> None:
        """End `run_forever` after this turn."""
        self._stopping = True

    def close(self) -> None:
        """Give the descriptors back; twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self._signal_pipe is not None:
            signal.set_wakeup_fd(-1)
            for number, before in self._dispositions.items():
                # One that was ignored keeps a handler that does nothing. Python tells of a signal
                # that comes in the moment of the change to SIG_IGN as of an error: see `_nothing`.
                if before is not signal.SIG_IGN:
                    signal.signal(number, before or signal.SIG_DFL)  # None: not Python's
            for fd in self._signal_pipe:
                os.close(fd)
        self._epoll.close()
        os.close(self._wake)
        os.close(self._alarm)
        self._watched.clear()
        self._ready.clear()
        self._timers.clear()

    def _call(self, call: _Call) -> None:
        """Call; what goes wrong is logged, and the loop goes on."""
        callback, args = call
        try:
            callback(*args)
        except Exception:
            log.exception("a callback failed: %r", callback)

    # -- descriptors ---------------------------------------------------------------------

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call `callback(*args)` whenever `fd` is readable, in place of what was called before."""
        watch = self._watched.get(fd) or _Watch()
        before, watch.reader = watch.events, (callback, args)
        self._look(fd, watch, before)

    def add_writer(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call `callback(*args)` whenever `fd` is writable, in place of what was called before."""
        watch = self._watched.get(fd) or _Watch()
        before, watch.writer = watch.events, (callback, args)
        self._look(fd, watch, before)

    def remove_reader(self, fd: int) -> bool:
        """Do not look any more whether `fd` is readable; tell whether that was looked for."""
        watch = self._watched.get(fd)
        if watch is None or watch.reader is None:
            return False
        before, watch.reader = watch.events, None
        self._look(fd, watch, before)
        return True

    def remove_writer(self, fd: int) -> bool:
        """Do not look any more whether `fd` is writable; tell whether that was looked for."""
        watch = self._watched.get(fd)
        if watch is None or watch.writer is None:
            return False
        before, watch.writer = watch.events, None
        self._look(fd, watch, before)
        return True

    def add_ender(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call `callback(*args)` when `fd` is cut off on both sides while no reader is there."""
        watch = self._watched.get(fd) or _Watch()
        before, watch.ender = watch.events, (callback, args)
        if before < 0:
            self._look(fd, watch, before)

    def remove_ender(self, fd: int) -> bool:
        """Do not look any more whether `fd` is cut off; tell whether that was looked for."""
        watch = self._watched.get(fd)
        if watch is None or watch.ender is None:
            return False
        before, watch.ender = watch.events, None
        if watch.events < 0:
            self._look(fd, watch, before)
        return True

    def _add_edge_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback()` each time that `fd` becomes readable: nobody has to read from it.

        Edge-triggered, as epoll(7) has it: an eventfd's each write is an edge, a timer's each end.
        """
        self.add_reader(fd, callback)
        self._epoll.modify(fd, _IN | select.EPOLLET)

    def _look(self, fd: int, watch: _Watch, before: int) -> None:
        """Have epoll look for what is wanted of `fd` now; OSError for what cannot be watched."""
        events = watch.events
        if events < 0:
            del self._watched[fd]
            with suppress(OSError):  # closed already, by which the kernel has forgotten it
                self._epoll.unregister(fd)
            return
        try:
            if before >= 0:
                self._epoll.modify(fd, events)
            else:
                self._epoll.register(fd, events)
        except FileNotFoundError:
            # Closed without a word to us, and the number is another file's now.
            self._epoll.register(fd, events)
        self._watched[fd] = watch

    # -- calls ---------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call `callback(*args)` in the loop's next turn."""
        self._ready.append((callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> None:
        """Do the same from any thread; RuntimeError when the loop is closed."""
        if self._closed:
            raise RuntimeError("the event loop is closed")
        self._ready.append((callback, args))
        if not self._woken:
            self._woken = True
            os.eventfd_write(self._wake, 1)

    def _woken_up(self) -> None:
        """Go on: threads have left calls, which this turn makes."""
        # What comes from here on wakes again; what came before is in the queue already.
        self._woken = False

    # -- time ----------------------------------------------------------------------------

    def time(self) -> float:
        """Return the time, in seconds: within one turn always when it was first asked for."""
        if not self._now:
            self._now = time.monotonic()
        return self._now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call `callback(*args)` in `delay` seconds."""
        timer = Timer(self.time() + delay, callback, args)
        timers = self._timers
        heapq.heappush(timers, (timer.when, next(self._numbers), timer))
        if len(timers) > self._sweep_at:
            timers[:] = [entry for entry in timers if not entry[2].cancelled]
            heapq.heapify(timers)
            self._sweep_at = max(TIMERS_SWEPT, 2 * len(timers))
        return timer

    def _set_alarm(self, when: float) -> None:
        """Be woken at `when`."""
        self._alarm_at = when
        _set_timerfd(self._alarm, max(int(when * 1e9), 1))

    def _alarmed(self) -> None:
        """Call what is due, for a while: what is left is due in the next turn.

        Thousands of requests that began to wait together have waited long enough together.
        """
        timers = self._timers
        now = self._now = time.monotonic()
        self._alarm_at = 0.0  # it has gone off
        made = next(self._numbers)  # those that are made now have another turn
        while timers and timers[0][0] <= now and timers[0][1] < made:
            call = heapq.heappop(timers)[2].take()
            if call is None:
                continue
            self._call(call)
            if timers and timers[0][0] <= now and time.monotonic() - now >= TIMERS_SLICE:
                break

    # -- signals -------------------------------------------------------------------------

    def add_signal_handler(self, number: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call `callback(*args)` on the loop for each signal `number`; on the main thread only."""
        if self._signal_pipe is None:
            reading, writing = self._signal_pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
            self.add_reader(reading, self._signalled, reading)
        self._signals[number] = callback, args
        self._dispositions.setdefault(number, signal.signal(number, _nothing))
        signal.siginterrupt(number, False)

    def _signalled(self, pipe: int) -> None:
        """Call the handlers of the signals that came."""
        for number in os.read(pipe, 4096):
            call = self._signals.get(number)
            if call is not None:
                self._call(call)


def _nothing(*_: object) -> None:
    """Handle a signal in Python's sense: its number is in the pipe already.

    The interpreter calls it some time after the signal came, and finds what is installed by then.
    Where that is SIG_IGN or SIG_DFL, it has nothing to call, and complains to sys.unraisablehook.
    """


def _timerfd() -> int:
    """Return a timer of CLOCK_MONOTONIC that is a descriptor (Python has them from 3.13 on)."""
    fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if fd < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return fd


def _set_timerfd(fd: int, when: int) -> None:
    """Have a timer go off at `when`, nanoseconds of its clock; 0: never."""
    timer = _Times(0, 0, *divmod(when, 1_000_000_000))
    if _libc.timerfd_settime(fd, TFD_TIMER_ABSTIME, ctypes.byref(timer), None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
