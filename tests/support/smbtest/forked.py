"""usmbd imported once for a process of pytest, and forked for each server that it starts.

    Forked -- command, log, a socket --> this program -- fork --> the server
           <-- its pid; its status when it has ended

Of the 0.41 s of CPU that a start and an end take, 0.28 are imports, and a run starts 180 servers.
From then on it is the command itself (lab/guest/warm.py does the same in a guest).
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Protocol

REPOSITORY = Path(__file__).resolve().parents[3]
MESSAGE = 1 << 16


class Process(Protocol):
    """What is asked of a server's main process: a `Popen` is one."""

    @property
    def pid(self) -> int:
        """Its number."""

    def poll(self) -> int | None:
        """Return its status if it has ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send a signal unless it has ended."""


@cache
def _orders() -> socket.socket:
    """Start the program that forks; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return ours


class Forked:
    """A server that was forked."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Start it; its log is appended to."""
        self._status: int | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = json.dumps([str(log), os.getcwd(), *command]).encode()
        with theirs:
            socket.send_fds(_orders(), [order], [theirs.fileno()])
        self.pid = int(self._socket.recv(MESSAGE))

    def poll(self) -> int | None:
        """Return its status if it has ended."""
        if self._status is None and select.select([self._socket], [], [], 0)[0]:
            self.wait()
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired."""
        if self._status is None:
            self._socket.settimeout(timeout)
            try:
                self._status = int(self._socket.recv(MESSAGE))
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._socket.close()
        return self._status

    def send_signal(self, sig: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)


def main() -> None:
    """Fork servers until nobody is there any more who could ask for one."""
    sys.path[0] = str(REPOSITORY / "lab/guest")  # in place of this folder, which has a usmbd.py
    import warm

    warm.import_all()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # servers set what they need
    orders = socket.socket(fileno=int(sys.argv[1]))
    servers: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([orders.fileno(), *servers], [], [])
        for descriptor in ready:
            if descriptor != orders.fileno():
                pid, report = servers.pop(descriptor)
                os.close(descriptor)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with report:
                    _tell(report, status)
                continue
            data, descriptors, _, _ = socket.recv_fds(orders, MESSAGE, 1)
            if not data:
                return
            report = socket.socket(fileno=descriptors[0])
            pid = os.fork()
            if not pid:
                for held in (orders, report, *(report for _, report in servers.values())):
                    held.close()
                for each in servers:
                    os.close(each)
                log, folder, program, *options = json.loads(data)
                os.chdir(folder)
                warm.serve(log, [sys.executable, program], options)
            _tell(report, pid)
            servers[os.pidfd_open(pid)] = pid, report


def _tell(report: socket.socket, number: int) -> None:
    """Tell whoever asked, if it is still there."""
    with suppress(BrokenPipeError):
        report.send(str(number).encode())


if __name__ == "__main__":
    main()
