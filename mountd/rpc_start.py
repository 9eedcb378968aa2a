"""How an RPC process comes to be: by the server's fork server, or executed where there is none.

What it imports takes 0.15 s of CPU and 16 MB of memory; a process that is forked shares it with
the others. It is not forked from mountd: it must not have what mountd has read.
"""

import contextlib
import errno
import logging
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from usmbd.mountd.ipc import forking
from usmbd.mountd.ipc.forking import Fork

log = logging.getLogger("usmbd.conn")

FORK_SECONDS = 2.0
"""Until a fork server that does not answer is asked no more: it takes milliseconds, and a mountd
that waits longer is replaced itself."""


@dataclass(slots=True)
class Started:
    """A process, its end, the pipe to its standard input; `executed` where it is our own child."""

    pid: int
    pidfd: int
    stdin: int
    executed: subprocess.Popen[bytes] | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def has_ended(self, seconds: float) -> bool:
        """Wait for its end, so long at most."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> str:
        """Take leave of it, which has ended; return how, if it is told here."""
        os.close(self.pidfd)
        os.close(self.stdin)
        return "" if self.executed is None else f" ({self.executed.wait()})"


def execute(command: Sequence[str], listening: int, asking: int) -> Started:
    """Execute a process, with these descriptors alone; OSError when it cannot be."""
    with _pipe() as (theirs, ours):
        process = subprocess.Popen(command, stdin=theirs, pass_fds=(listening, asking))
        return Started(process.pid, os.pidfd_open(process.pid), ours, process)


class ForkServer:
    """The server's fork server, as long as it answers."""

    def __init__(self, descriptor: int) -> None:
        """Ask by this socket."""
        self._sock: socket.socket | None = socket.socket(fileno=descriptor)
        self._sock.settimeout(FORK_SECONDS)
        self._sock.set_inheritable(False)

    def start(self, listening: int, asking: int) -> Started | None:
        """Have a process forked, with these descriptors alone; None where nobody answers any more.

        OSError when it cannot be.
        """
        if self._sock is None:
            return None
        wanted = Fork(forking.RPC, [], ["--listen-fd", "--ask-fd"], [0])
        with _pipe() as (theirs, ours):
            try:
                socket.send_fds(self._sock, [forking.encode(wanted)], [listening, asking, theirs])
                data, received, _, _ = socket.recv_fds(self._sock, forking.MESSAGE_LIMIT, 1)
                answer = forking.decode_forked(data)
            except (OSError, msgspec.MsgspecError):
                # One that it forks later finds the end of its input, and ends.
                log.info("the fork server does not answer: the RPC process is executed")
                self.close()
                os.close(ours)
                return None
            if not received:
                raise OSError(answer.error or errno.EPROTO, os.strerror(answer.error))
            return Started(answer.pid, received[0], ours)

    def close(self) -> None:
        """Ask no more."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe, to be written without waiting; only that end outlives what goes well."""
    theirs, ours = os.pipe()
    try:
        os.set_blocking(ours, False)
        yield theirs, ours
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
