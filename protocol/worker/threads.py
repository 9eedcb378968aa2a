"""Threads for calls that may block: as many as there is work, none when there is none.

The loop's thread alone knows who does what. It writes a byte to a pipe for each call, and a thread
that has read one takes a call. Both leave the interpreter's lock meanwhile: who is woken by a lock
or a queue begins by waiting for that, and Python reads the clock for each lock that it takes.
"""

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from usmbd.protocol.state.threads import Ended
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.transport.loop import Cancellable, EventLoop

log = logging.getLogger("usmbd.conn")

MAXIMUM_THREADS = 128
"""Threads of one worker: each costs a stack; further calls wait in the queue."""

LANE_THREADS = 16
"""Threads that the calls of one lane, a share, have at a time: a disk or a remote file system
seldom serves more at once, and seven shares that hang leave the others enough. Further calls wait
for those of their own share."""

IDLE_SECONDS = 10.0
"""Threads that nobody needed for so long end."""

_Job = tuple[Callable[..., object], tuple[object, ...], Identity | None, Ended, Hashable]


class _Lane:
    """The calls of one share: those on threads by number, those that wait by themselves."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[_Job] = deque()


class _Pipe:
    """What threads wait at; given back when nobody has it any more."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing

    def __del__(self) -> None:
        os.close(self._reading)
        os.close(self._writing)

    def wake(self, number: int) -> None:
        """Have so many threads go on: no more than there are, so that there always is room."""
        os.write(self._writing, bytes(number))

    def wait(self) -> None:
        """Wait to be woken."""
        os.read(self._reading, 1)


class ThreadPool:
    """Runs calls on threads and brings their results back to the event loop.

    All but `_run` is called on the loop's thread.
    """

    def __init__(self, loop: EventLoop) -> None:
        """Begin without threads; OSError."""
        self._loop = loop
        self._pipe: Final = _Pipe(*os.pipe2(os.O_CLOEXEC))
        self._waiting: deque[_Job] = deque()  # for a thread
        self._jobs: deque[_Job | None] = deque()  # for threads to take; None: to end
        self._threads = 0
        self._idle: deque[None] = deque()  # one for each that waits to be woken: they put it there
        self._spare = 0  # of them, those that were not needed since `_look`
        self._timer: Cancellable | None = None  # of the next look
        self._lanes: dict[Hashable, _Lane] = {}

    def submit(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        identity: Identity | None,
        ended: Ended,
        lane: Hashable = None,
        places: int = 0,
    ) -> None:
        """Call `function(*args)` as `identity`; `ended(value, None)` or `(None, error)` follows.

        Calls of one `lane` have `places` threads at a time (0: LANE_THREADS); those without have
        all.
        """
        job = function, args, identity, ended, lane
        if lane is not None:
            there = self._lanes.get(lane)
            if there is None:
                there = self._lanes[lane] = _Lane()
            if there.running >= (places or LANE_THREADS):
                there.waiting.append(job)
                return
            there.running += 1
        self._waiting.append(job)
        self._hand_out()

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self._threads

    @property
    def busiest(self) -> int:
        """How many of them one lane has, the one that has the most."""
        return max((lane.running for lane in self._lanes.values()), default=0)

    def close(self) -> None:
        """Have all threads end when they have nothing to do."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end(self._threads)
        self._idle.clear()
        self._spare = 0

    def _hand_out(self) -> None:
        """Have threads make the calls that wait, those that are idle or new ones.

        Where the machine has no more of them, those that there are go on; without any, the calls
        fail: OSError(ENOBUFS).
        """
        while self._waiting:
            if self._idle:
                self._idle.pop()
            elif not self._grow():
                break
            self._spare = min(self._spare, len(self._idle))
            self._jobs.append(self._waiting.popleft())
            self._pipe.wake(1)
        while self._waiting and not self._threads:
            *_, ended, lane = self._waiting.popleft()
            error = OSError(errno.ENOBUFS, "no thread")
            self._loop.call_soon(self._over, lane, ended, None, error)

    def _grow(self) -> bool:
        """Start a thread, if there may be one more."""
        if self._threads >= MAXIMUM_THREADS:
            return False
        try:
            threading.Thread(target=self._run, name="usmbd-io", daemon=True).start()
        except RuntimeError as error:
            log.error("%s: the machine, or the service, has no more (pids.max, ulimit -u)", error)
            return False
        self._threads += 1
        if self._timer is None:
            self._timer = self._loop.call_later(IDLE_SECONDS, self._look)
        return True

    def _look(self) -> None:
        """Have threads end that nobody needed since the last look."""
        for _ in range(self._spare):
            self._idle.pop()
        self._end(self._spare)
        self._spare = len(self._idle)
        self._timer = None
        if self._threads:
            self._timer = self._loop.call_later(IDLE_SECONDS, self._look)

    def _end(self, number: int) -> None:
        """Have so many threads end."""
        if number:
            self._threads -= number
            self._jobs.extend([None] * number)
            self._pipe.wake(number)

    def _run(self) -> None:
        """Make calls until told to end."""
        while True:
            self._pipe.wait()
            job = self._jobs.popleft()
            if job is None:
                return
            function, args, identity, ended, lane = job
            value, error = None, None
            try:
                become(identity)
                value = function(*args)
            except BaseException as failure:
                error = failure
            self._idle.append(None)
            try:
                self._loop.call_soon_threadsafe(self._over, lane, ended, value, error)
            except RuntimeError:
                return  # the worker is ending and its loop closed
            # An idle thread holds on to nothing; and an error refers to this frame.
            del job, function, args, identity, ended, lane, value, error

    def _over(
        self, lane: Hashable, ended: Ended, value: object, error: BaseException | None
    ) -> None:
        """Give the place of a call that is over to the next of its lane, and tell of its end."""
        there = None if lane is None else self._lanes[lane]
        if there is not None:
            if there.waiting:
                self._waiting.append(there.waiting.popleft())
            else:
                there.running -= 1
                if not there.running:
                    del self._lanes[lane]
        self._hand_out()
        ended(value, error)
