"""The RPC process, as mountd's child: started with a listening socket, watched, started again.

DCE/RPC is parsed there, by code that never had the password file open. It gets

* by `--listen-fd` the listening socket `rpc.sock`, which outlives it: a client that connects
  while a new process starts waits, and is not refused;
* as standard input a pipe that mountd holds: its end means that mountd is gone.

When it starts as root it drops to the guest account by itself, after its imports: the
interpreter may lie where only root can read.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from usmbd.mountd.ipc.codec import rpc_client
from usmbd.mountd.ipc.messages import RpcClose
from usmbd.mountd.ipc.probe import silence

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


def readable_by_all(path: Path) -> bool:
    """Return whether a process without rights can read the file."""
    try:
        resolved = path.resolve()
        return bool(resolved.stat().st_mode & 0o004) and all(
            parent.stat().st_mode & 0o001 for parent in resolved.parents
        )
    except OSError:
        return False


class RpcProcess:
    """Keeps one RPC process running while the event loop runs."""

    def __init__(self, listener: socket.socket, config: Path) -> None:
        """Take the listening socket; `start` starts the process."""
        self._listener = listener
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._started = 0.0
        self._delay = FIRST_RESTART
        self._timer: asyncio.TimerHandle | None = None
        self._replacing = False
        self._probe: asyncio.Task[None] | None = None

    def command(self) -> list[str]:
        """Return the command line of the process."""
        arguments = ["--listen-fd", str(self._listener.fileno()), "--config", str(self._config)]
        return [sys.executable, "-m", MODULE, *arguments]

    def start(self) -> None:
        """Start the process and watch it."""
        self._timer = None
        try:
            # All other descriptors are closed: the password file's, were one open, too.
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.PIPE, pass_fds=(self._listener.fileno(),)
            )
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError as error:
            log.error("the RPC process cannot be started: %s", error)
            self._schedule()
            return
        self._started = self._loop.time()
        self._loop.add_reader(self._pidfd, self._ended)
        self._probe = self._loop.create_task(self._end_when_silent())
        log.debug("the RPC process started, pid %d", self._process.pid)

    async def _end_when_silent(self) -> None:
        """Kill a process that does not answer: somebody has stopped it, or it computes for ever."""
        path, question = Path(self._listener.getsockname()), RpcClose(pipe=0)
        await silence(path, rpc_client(), question, ANSWER_SECONDS, first=FIRST_ANSWER_SECONDS)
        if self._process is not None:
            log.error(
                "the RPC process does not answer and is ended", extra={"pid": self._process.pid}
            )
            self._process.kill()

    def _ended(self) -> None:
        """Start another process soon, at once when this one was ended to be replaced."""
        code = self._reap()
        if self._replacing:
            self._replacing = False
            self.start()
            return
        if self._loop.time() - self._started > LIVED:
            self._delay = FIRST_RESTART
        log.error("the RPC process ended (%d), again in %g s", code, self._delay)
        self._schedule()

    def _schedule(self) -> None:
        """Start the process after the delay, which doubles."""
        self._timer = self._loop.call_later(self._delay, self.start)
        self._delay = min(self._delay * 2, MAX_RESTART)

    def _reap(self) -> int:
        """Take leave of a process that has ended; return its exit code."""
        assert self._process is not None
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self._probe is not None:
            self._probe.cancel()
        code = self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None
        return code

    def reload(self) -> None:
        """Have the process read the configuration again; replace it when it may not."""
        if self._process is None:
            return
        if os.geteuid() == 0 and not readable_by_all(self._config):
            self._replacing = True
            self._process.terminate()
        else:
            self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End the process and wait for it, at most `GRACE` seconds."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()
