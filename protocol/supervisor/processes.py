"""The supervisor's processes: forked by the fork server, waited for here."""

import asyncio
import contextlib
import errno
import logging
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import IO, Final, NamedTuple

from usmbd.mountd.confine.kernel import become_subreaper
from usmbd.mountd.ipc import forking
from usmbd.mountd.ipc.forking import Fork, Forked
from usmbd.protocol.supervisor import fork_server

log = logging.getLogger("usmbd.conn")

FORK_SECONDS = 60.0
"""Until a fork server that does not answer is replaced. Its first answer comes after its imports,
which take a busy emulated machine some seconds."""

ATTEMPTS = 2
"""Fork servers that are asked for the same; the first one may have died."""

TOGETHER = 16
"""Children that are forked together at most: so many questions and answers wait in a socket."""

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Process:
    """A child process; the names are asyncio's."""

    def __init__(self, pid: int) -> None:
        """Take one that has just been forked."""
        self.pid = pid
        self.returncode: int | None = None
        """Its exit status, or less than zero: the signal that ended it."""
        self._ended = asyncio.Event()

    def ended(self, status: int) -> None:
        """Note what waitpid(2) says."""
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end; return how it ended."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal; ProcessLookupError when it has ended."""
        if self.returncode is not None:  # the pid may be another's by now
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class _Order(NamedTuple):
    """A child that somebody waits for."""

    wanted: Fork
    given: Sequence[int]
    process: "asyncio.Future[Process]"


class Processes:
    """Starts children by the fork server, and learns when they end.

    Made before the event loop, when this process has one thread.
    """

    def __init__(self) -> None:
        """Fork the fork server, which shares with its children what is imported here."""
        become_subreaper()
        fork_server.import_all()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._fork_server = os.fork()
        if self._fork_server == 0:
            self._sock.close()
            fork_server.serve(theirs)
        theirs.close()
        self._processes: dict[int, Process] = {}
        self._early: dict[int, int] = {}  # ended before it was known who it is, and how
        self._starting = asyncio.Lock()
        self._orders: list[_Order] = []

    def watch(self) -> None:
        """Begin to wait for children, on the event loop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._sock.setblocking(False)
        self._reap()

    def close(self) -> None:
        """End the fork server; the children have ended. On the event loop.

        Its end is a signal, which would meet a loop that is being closed.
        """
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
        self._sock.close()

    def _reap(self) -> None:
        """Take leave of the children that have ended, and of theirs that they left behind."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                process = self._processes.pop(pid, None)
                if process is not None:
                    process.ended(status)
                elif pid == self._fork_server:
                    self._fork_server = 0
                elif self._starting.locked():
                    self._early[pid] = status
                elif status:  # mountd, to which it was known, is not told
                    log.info("process %d ended (%d)", pid, os.waitstatus_to_exitcode(status))

    def run(self, kind: str, arguments: Sequence[str], output: IO[bytes], seconds: float) -> int:
        """Run a child to its end before there is an event loop; return its status.

        It is forked here, which saves the go-between: this process has no more yet than the fork
        server. It is killed, and TimeoutError raised, when it has not ended after some seconds.
        """
        pid = os.fork()
        if pid == 0:
            self._sock.close()
            fork_server.prepare()
            fork_server.become(Fork(kind, list(arguments), streams=[1]), [output.fileno()])
        pidfd = os.pidfd_open(pid)
        try:
            ended, _, _ = select.select([pidfd], [], [], seconds)
            if not ended:
                os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        finally:
            os.close(pidfd)
        if not ended:
            raise TimeoutError
        return status

    async def start(
        self,
        kind: str,
        arguments: Sequence[str] = (),
        *,
        options: Mapping[str, int] = NOTHING,
        streams: Sequence[int] = (),
    ) -> Process:
        """Start a child of a kind (fork_server.MODULES); OSError when there is no room for it.

        `options` have a descriptor each; `streams` become its standard output and error. What is
        asked for at the same time is forked together. A start that is cancelled leaves no child.
        """
        wanted = Fork(kind, list(arguments), list(options), list(range(1, 1 + len(streams))))
        process = asyncio.get_running_loop().create_future()
        self._orders.append(order := _Order(wanted, [*options.values(), *streams], process))
        starting = asyncio.ensure_future(self._start(order))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, TimeoutError):
                (await starting).kill()
            raise

    async def _start(self, order: _Order) -> Process:
        """Have a child forked, with what else is asked for now."""
        async with self._starting:
            if not order.process.done():
                orders = deque(self._orders[:TOGETHER])
                del self._orders[:TOGETHER]
                try:
                    await self._fork(orders)
                except OSError as error:
                    for each in orders:
                        each.process.set_exception(error)
        return order.process.result()

    async def _fork(self, orders: deque[_Order]) -> None:
        """Have children forked, by another fork server where it has died; OSError for who is left.

        TimeoutError where it does not answer.
        """
        loop = asyncio.get_running_loop()
        self._early.clear()
        for _ in range(ATTEMPTS):
            try:
                self._ask([(each.wanted, each.given) for each in orders])
                while orders:
                    receive = loop.sock_recv(self._sock, forking.MESSAGE_LIMIT)
                    data = await asyncio.wait_for(receive, FORK_SECONDS)
                    if not data:
                        break
                    self._know(orders.popleft(), data)
            except ConnectionError:
                pass
            except OSError:
                self._replace()  # it may have been told half of it
                raise
            if not orders:
                return
            self._replace()
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))

    def _know(self, order: _Order, data: bytes) -> None:
        """Know a child before its end is seen."""
        try:
            process = Process(_forked(data))
        except OSError as error:
            order.process.set_exception(error)
            return
        if process.pid in self._early:
            process.ended(self._early[process.pid])
        else:
            self._processes[process.pid] = process
        order.process.set_result(process)

    def _ask(self, questions: Sequence[tuple[Fork, Sequence[int]]]) -> None:
        """Ask the fork server for children, which are forked together."""
        left = len(questions)
        for wanted, descriptors in questions:
            left -= 1
            wanted.more = left > 0
            socket.send_fds(self._sock, [forking.encode(wanted)], descriptors)

    def _replace(self) -> None:
        """Execute a fork server: to fork, this process has too many threads and files by now."""
        if self._fork_server:  # not reaped yet
            os.kill(self._fork_server, signal.SIGKILL)
        self._sock.close()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        theirs.set_inheritable(True)
        program = f"import sys; from {fork_server.NAME} import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", program, str(theirs.fileno())]
        self._fork_server = os.posix_spawn(sys.executable, command, os.environ)
        theirs.close()
        log.error("the fork server has died, and another takes its place")


async def start_controlled(
    processes: Processes, kind: str, options: Mapping[str, int] = NOTHING
) -> tuple[Process, socket.socket]:
    """Start a child that is told what to do; return it and the supervisor's end of the pair."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            control = {"--control-fd": theirs.fileno()}
            return await processes.start(kind, options={**control, **options}), ours
    except BaseException:
        ours.close()
        raise


def _forked(data: bytes) -> int:
    """Return the pid in the fork server's answer, which is empty when it has died."""
    answer = forking.decode_forked(data) if data else Forked(error=errno.EPIPE)
    if answer.error:
        raise OSError(answer.error, os.strerror(answer.error))
    return answer.pid
