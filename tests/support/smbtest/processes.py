"""Processes and sockets as /proc shows them: who serves which connection, who is whose child."""

import errno
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ESTABLISHED = 1


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until the condition holds; AssertionError with `what` when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """List all living descendants of a process, zombies left out."""
    parents: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # hundreds: pathlib takes twice as long
        with suppress(OSError), open(f"/proc/{name}/stat", "rb", buffering=0) as stat:
            # "pid (comm) state ppid ...": comm may hold spaces and brackets
            state, ppid, *_ = stat.read().rpartition(b")")[2].split(maxsplit=2)
            if state != b"Z":
                parents.setdefault(int(ppid), []).append(int(name))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def with_argument(text: str) -> list[int]:
    """List the processes that have the text in an argument of their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and text.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, its living descendants and its reaped children."""
    ticks = 0
    for each in [pid, *children(pid)]:
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Say whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def command_line(pid: int) -> str:
    """Return the command line, its arguments joined by blanks; empty when the process is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def open_descriptors(pid: int) -> int:
    """Count the descriptors that the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def own_memory(pid: int) -> int:
    """Return the bytes that a process has for itself (RssAnon); OSError when it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(errno.ESRCH, f"process {pid} has ended")


def _socket_inode(local_port: int, remote_port: int) -> int | None:
    """Return the inode of a connection's socket, of the end on `local_port`."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
            if ports == [local_port, remote_port] and int(fields[3], 16) == ESTABLISHED:
                return int(fields[9])
    return None


def holder(pids: list[int], local_port: int, remote_port: int) -> int | None:
    """Return the one process of `pids` that holds the server's end; None: none or many.

    While a connection is handed over, two processes hold it for a moment.
    """
    inode = _socket_inode(local_port, remote_port)
    wanted = re.compile(rf"socket:\[{inode}\]")
    found = []
    for pid in pids:
        with suppress(OSError):
            for fd in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    if wanted.fullmatch(os.readlink(fd.path)):
                        found.append(pid)
                        break
    return found[0] if len(found) == 1 else None
