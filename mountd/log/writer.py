"""The way out: a queue with a bound, and a thread that writes what is in it.

A reader of the log that stops (a pipe, a terminal, a file on a disk that hangs) stops the thread
alone. What the queue has no room for is counted, and told when it flows again.
"""

import errno
import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from usmbd.mountd.log import form
from usmbd.mountd.log.limit import RateLimit

QUEUE_BYTES = 1 << 20
"""Of lines that wait, some 8,000: what a busy minute says, and little memory for any process."""

CLOSE_SECONDS = 1.0
"""A process that ends waits so long for the rest of its log."""

RETRY_SECONDS = 0.5
"""Until a journald that is away (it is restarted with systemd) is tried again."""

JOURNAL_SOCKET = "/run/systemd/journal/socket"

Form = Callable[[logging.LogRecord, str], bytes]


class Sink(Protocol):
    """Where lines go; called by the thread alone, and may block."""

    def write(self, line: bytes) -> None:
        """Write what a form made."""


class Stream:
    """Standard error, whatever it is."""

    def __init__(self, descriptor: int = 2) -> None:
        """Write to a descriptor that others may share."""
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Write a line, or several (a traceback), each at once; for a reader that is gone none."""
        whole = len(line) <= form.LINE_BYTES
        for part in [line] if whole else line.splitlines(keepends=True):
            view = memoryview(part)
            while view:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:  # somebody else's O_NONBLOCK
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
                except OSError:
                    return


class Journal:
    """journald, by its own datagrams: priorities and fields, and no stream to block."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        """Send to the socket at `path`."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._connected = False

    def write(self, line: bytes) -> None:
        """Send an entry; wait for a journald that is busy or away."""
        while True:
            try:
                if not self._connected:
                    self._socket.connect(self._path)
                    self._connected = True
                self._socket.send(line)
                return
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return  # this system's buffers are smaller than any known
                self._connected = False
                time.sleep(RETRY_SECONDS)


def journal_reads(descriptor: int = 2) -> bool:
    """Whether a descriptor is journald's, as systemd says in JOURNAL_STREAM (systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        stat = os.fstat(descriptor)
        return (stat.st_dev, stat.st_ino) == (int(device), int(inode))
    except (OSError, ValueError):
        return False


class QueueHandler(logging.Handler):
    """Takes records from any thread, and never waits."""

    def __init__(self, sink: Sink, form: Form, process: str) -> None:
        """Write to `sink` in `form`, once started."""
        super().__init__()
        self.form = form
        self.process = process
        self.sink = sink
        self._limit = RateLimit(time.monotonic)
        self._lines: deque[tuple[Sink, bytes]] = deque()
        self._bytes = 0
        self._lost = 0
        self.lost = 0
        """Lines that found no room since the start."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to write; before that lines wait."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="usmbd-log", daemon=True)
            self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, unless there was too much like it."""
        try:
            with self._changed:
                self._tell_period()
                if self._limit.admits(record):
                    self._put(self.form(record, self.process))
                    self._changed.notify()
                elif self._limit.remaining is not None:
                    self._changed.notify()
        except Exception as error:
            # Standard error, where the library would say it, may be what nobody reads.
            place = f"{record.pathname}:{record.lineno}"
            self.put(f"a line of the log, from {place}, has no form: {error!r}\n".encode())

    def put(self, line: bytes) -> None:
        """Queue a line that is formed already."""
        with self._changed:
            self._put(line)
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Bytes of lines that are not written yet."""
        return self._bytes

    def close(self) -> None:
        """Write the rest, as far as that takes no longer than a moment.

        Also of a process that ends before it has started to write: what says why it ends.
        """
        super().close()
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._limit_ended()
            self._changed.notify()
        with suppress(RuntimeError):  # no thread can be started, or not any more
            self.start()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    # -- with the lock -------------------------------------------------------------------

    def _put(self, line: bytes) -> None:
        """Queue a line, or count it as lost; after a loss half of the queue must be free again."""
        room = QUEUE_BYTES // 2 if self._lost else QUEUE_BYTES
        if self._bytes + len(line) > room:
            self._lost += 1
            self.lost += 1
            return
        self._tell_loss()
        self._append(line)

    def _append(self, line: bytes) -> None:
        self._lines.append((self.sink, line))
        self._bytes += len(line)

    def _tell_loss(self) -> None:
        """Say how many lines were lost, where they would have been."""
        if self._lost:
            record = logging.makeLogRecord(
                {
                    "name": "usmbd.log",
                    "levelno": logging.WARNING,
                    "msg": "%d lines were lost: the log was not read fast enough",
                    "args": (self._lost,),
                }
            )
            self._lost = 0
            self._append(self.form(record, self.process))

    def _tell_period(self) -> None:
        """Say at a period's end what was left out."""
        if self._limit.over():
            self._limit_ended()

    def _limit_ended(self) -> None:
        for record in self._limit.end():
            self._put(self.form(record, self.process))

    # -- the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        """Write what comes."""
        while True:
            with self._changed:
                while not self._lines:
                    self._tell_loss()
                    if self._lines:
                        break
                    if self._closing:
                        return
                    self._changed.wait(self._limit.remaining)
                    self._tell_period()
                sink, line = self._lines.popleft()
                self._bytes -= len(line)
            with suppress(Exception):
                sink.write(line)
