"""Threads for calls that may block: as many as there is work, none when there is none."""

import errno
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress

from usmbd.protocol.state.threads import Ended
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.transport.loop import EventLoop

log = logging.getLogger("usmbd.conn")

MAXIMUM_THREADS = 128
"""Threads of one worker: each costs a stack; further calls wait in the queue."""

LANE_THREADS = 16
"""Threads that the calls of one lane, a share, have at a time: a disk or a remote file system
seldom serves more at once, and seven shares that hang leave the others enough. Further calls wait
for those of their own share."""

IDLE_SECONDS = 10.0
"""A thread without work for so long ends."""

Job = tuple[Callable[..., object], tuple[object, ...], Identity | None, Ended, Hashable]


class _Lane:
    """The calls of one share: those on threads by number, those that wait by themselves."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[Job] = deque()


class ThreadPool:
    """Runs calls on threads and brings their results back to the event loop."""

    def __init__(self, loop: EventLoop) -> None:
        """Begin without threads."""
        self._loop = loop
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0  # calls queued or running, but for those that wait in their lane
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
        with self._lock:
            if lane is not None:
                there = self._lanes.get(lane)
                if there is None:
                    there = self._lanes[lane] = _Lane()
                if there.running >= (places or LANE_THREADS):
                    there.waiting.append(job)
                    return
                there.running += 1
            self._busy += 1
            grow = self._busy > self._threads < MAXIMUM_THREADS
            if grow:
                self._threads += 1
        self._jobs.put(job)
        if grow:
            self._start_thread()

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return self._threads

    @property
    def busiest(self) -> int:
        """How many of them one lane has, the one that has the most."""
        return max((lane.running for lane in self._lanes.values()), default=0)

    def _start_thread(self) -> None:
        """Start a thread; where the machine has no more of them, those that there are go on.

        Without any, the calls that wait fail: OSError(ENOBUFS).
        """
        try:
            threading.Thread(target=self._run, name="usmbd-io", daemon=True).start()
            return
        except RuntimeError as error:
            log.error("%s: the machine, or the service, has no more (pids.max, ulimit -u)", error)
        with self._lock:
            self._threads -= 1
            if self._threads:
                return
        with suppress(queue.Empty):
            while True:
                *_, resume, lane = self._jobs.get_nowait()
                self._leave(lane)
                self._loop.call_soon_threadsafe(resume, None, OSError(errno.ENOBUFS, "no thread"))

    def _run(self) -> None:
        """Take calls until there are none for a while."""
        while True:
            try:
                function, args, identity, ended, lane = self._jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._jobs.empty():
                        self._threads -= 1
                        return
                continue
            value, error = None, None
            try:
                become(identity)
                value = function(*args)
            except BaseException as failure:
                error = failure
            self._leave(lane)
            try:
                self._loop.call_soon_threadsafe(ended, value, error)
            except RuntimeError:
                return  # the worker is ending and its loop closed
            # An idle thread holds on to nothing; and an error refers to this frame.
            del function, args, identity, ended, lane, value, error

    def _leave(self, lane: Hashable) -> None:
        """Give the place of a call that is over to the next of its lane."""
        with self._lock:
            there = None if lane is None else self._lanes[lane]
            if there is not None:
                if there.waiting:
                    self._jobs.put(there.waiting.popleft())
                    return
                there.running -= 1
                if not there.running:
                    del self._lanes[lane]
            self._busy -= 1
