"""Threads for calls that may block: as many as there is work, none when there is none."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from usmbd.protocol.vfs.identity import Identity, become
from usmbd.transport.loop import EventLoop

MAXIMUM_THREADS = 64
"""Threads of one worker: a disk or a remote file system seldom serves more calls at once, and
each costs a stack; further calls wait in the queue."""

IDLE_SECONDS = 10.0
"""A thread without work for so long ends."""

Resume = Callable[..., None]
Job = tuple[Callable[..., Any], tuple[Any, ...], Identity | None, Resume]


class ThreadPool:
    """Runs calls on threads and brings their results back to the event loop."""

    def __init__(self, loop: EventLoop) -> None:
        """Begin without threads."""
        self._loop = loop
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0  # calls queued or running

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        identity: Identity | None,
        resume: Resume,
    ) -> None:
        """Call `function(*args)` as `identity`; `resume(value)` or `(None, error)` follows."""
        with self._lock:
            self._busy += 1
            grow = self._busy > self._threads < MAXIMUM_THREADS
            if grow:
                self._threads += 1
        self._jobs.put((function, args, identity, resume))
        if grow:
            threading.Thread(target=self._run, name="usmbd-io", daemon=True).start()

    def _run(self) -> None:
        """Take calls until there are none for a while."""
        while True:
            try:
                function, args, identity, resume = self._jobs.get(timeout=IDLE_SECONDS)
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
            with self._lock:
                self._busy -= 1
            try:
                self._loop.call_soon_threadsafe(resume, value, error)
            except RuntimeError:
                return  # the worker is ending and its loop closed
            # An idle thread holds on to nothing; and an error refers to this frame.
            del function, args, identity, resume, value, error
