"""The RPC process, as mountd's child: started with a listening socket, watched, started again.

DCE/RPC is parsed there, by code that never had the password file open. It gets

* by `--listen-fd` the listening socket `rpc.sock`, which outlives it: a client that connects
  while a new process starts waits, and is not refused;
* by `--ask-fd` one end of a pair of sockets, by which it asks mountd about accounts (`Answers`);
* as standard input a pipe on which mountd tells it what of the configuration it may know, again
  after a reload; its end means that mountd is gone.

It gives up all rights by itself, after its imports: the interpreter may lie where only root can
read. `rpc_start` says who starts it.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from usmbd.mountd.ipc.codec import rpc_client
from usmbd.mountd.ipc.messages import RpcClose
from usmbd.mountd.ipc.probe import is_stopped, silence
from usmbd.mountd.rpc_answers import Answer, Answers
from usmbd.mountd.rpc_start import ForkServer, Started, execute

log = logging.getLogger("usmbd.conn")

MODULE = "usmbd.mountd.rpc_child"
# A process that dies at once is started at a growing distance; one that lived resets it.
FIRST_RESTART = 0.5
MAX_RESTART = 30.0
LIVED = 60.0
# A process that does not answer for so long is replaced: what a client's request costs it is
# milliseconds. Its first answer comes after its imports: minutes on an emulated machine.
ANSWER_SECONDS = 10.0
FIRST_ANSWER_SECONDS = 180.0
# SIGTERM is followed by SIGKILL after this many seconds.
GRACE = 3.0


class RpcProcess:
    """Keeps one RPC process running while the event loop runs."""

    def __init__(
        self,
        listener: socket.socket,
        begin: Callable[[], bytes],
        answer: Answer,
        fork_server: ForkServer | None = None,
    ) -> None:
        """Take the listening socket; `begin` returns the frames that a new process is told.

        `answer` answers what it asks; `fork_server` starts it, as long as there is one.
        """
        self._fork_server = fork_server
        self._listener = listener
        self._answer = answer
        self._answers: Answers | None = None
        self._begin = begin
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._process: Started | None = None
        self._started = 0.0
        self._delay = FIRST_RESTART
        self._timer: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None

    def command(self, *descriptors: int) -> list[str]:
        """Return the command line of the process, which gets these descriptors."""
        listening, asking = map(str, descriptors)
        options = ["--listen-fd", listening, "--ask-fd", asking]
        return [sys.executable, "-m", MODULE, *options]

    def start(self) -> None:
        """Start the process and watch it."""
        self._timer = None
        try:
            # All other descriptors are closed: the password file's, were one open, too.
            self._answers = Answers(self._answer, self._kill)
            given = self._listener.fileno(), self._answers.other.fileno()
            forked = self._fork_server.start(*given) if self._fork_server is not None else None
            self._process = forked or execute(self.command(*given), *given)
            self._answers.started()
        except OSError as error:
            log.error("the RPC process cannot be started: %s", error)
            if self._answers is not None:
                self._answers.close()
            self._schedule()
            return
        self._started = self._loop.time()
        self._loop.add_reader(self._process.pidfd, self._ended)
        self._probe = self._loop.create_task(self._end_when_silent())
        log.debug("the RPC process started, pid %d", self._process.pid)
        self.tell(self._begin())

    async def _end_when_silent(self) -> None:
        """Kill a process that does not answer: somebody has stopped it, or it computes for ever."""
        path, question = Path(self._listener.getsockname()), RpcClose(pipe=0)
        await silence(
            path,
            rpc_client(),
            question,
            ANSWER_SECONDS,
            first=FIRST_ANSWER_SECONDS,
            stopped=lambda: self._process is not None and is_stopped(self._process.pid),
        )
        if self._process is not None:
            log.error(
                "the RPC process does not answer and is ended", extra={"pid": self._process.pid}
            )
            self._process.send_signal(signal.SIGKILL)

    def _kill(self) -> None:
        """End a process that is not answered any more: the next one is."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    def _ended(self) -> None:
        """Start another process soon, at once when this one was ended to be replaced."""
        how = self._reap()
        if self._loop.time() - self._started > LIVED:
            self._delay = FIRST_RESTART
        log.error("the RPC process ended%s, again in %g s", how, self._delay)
        self._schedule()

    def _schedule(self) -> None:
        """Start the process after the delay, which doubles."""
        self._timer = self._loop.call_later(self._delay, self.start)
        self._delay = min(self._delay * 2, MAX_RESTART)

    def _reap(self) -> str:
        """Take leave of a process that has ended; return how."""
        assert self._process is not None
        self._loop.remove_reader(self._process.pidfd)
        self._loop.remove_writer(self._process.stdin)
        if self._probe is not None:
            self._probe.cancel()
        how = self._process.close()
        self._unsent.clear()
        self._process = None
        if self._answers is not None:
            self._answers.close()
        return how

    def tell(self, frames: bytes) -> None:
        """Write frames, as the process takes them: it may still be importing. None is nothing."""
        if self._process is not None:
            self._unsent += frames
            self._flush()

    def _flush(self) -> None:
        """Write what waits."""
        if self._process is None:
            return
        descriptor = self._process.stdin
        try:
            while self._unsent:
                del self._unsent[: os.write(descriptor, self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(descriptor, self._flush)
            return
        except OSError:  # it has ended, as will be seen
            self._unsent.clear()
        self._loop.remove_writer(descriptor)

    def stop(self) -> None:
        """End the process and wait for it, at most `GRACE` seconds."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        if not self._process.has_ended(GRACE):
            self._process.send_signal(signal.SIGKILL)
            self._process.has_ended(GRACE)
        self._reap()
