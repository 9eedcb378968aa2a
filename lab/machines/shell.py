"""A guest with soft-RoCE and usmbd, and a shell in it: `make lab-shell`.

It is a machine alone: server and client, joined by a pair of devices, so that all is at hand.
"""

import argparse
import fcntl
import itertools
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from guest import GRACE, Guest, LabError, make_directory, prepare_kernel, watchdog


def attend(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a guest on this terminal, until it ends or the terminal is gone; return its status.

    User-mode Linux ignores SIGHUP and would stay for ever behind a window that was closed.
    """
    guest = subprocess.Popen(command, env=environment, cwd="/")
    dog = watchdog(guest.pid)
    waits = select.poll()
    with suppress(KeyboardInterrupt):  # while it boots: later the guest has the terminal's keys
        ended = os.pidfd_open(guest.pid)
        waits.register(ended, select.POLLIN)
        waits.register(0, 0)  # its hanging up
        waits.poll()
    if guest.poll() is None:
        guest.terminate()
        with suppress(subprocess.TimeoutExpired):
            guest.wait(GRACE)
        guest.kill()
    with suppress(BrokenPipeError):
        dog.communicate(b"\n")
    return guest.wait()


def own_directory(parent: Path) -> tuple[Path, IO[str]]:
    """Return the first that no other shell has, and its lock."""
    for number in itertools.count(1):
        path = parent / ("shell" if number == 1 else f"shell-{number}")
        make_directory(path)
        lock = open(path / "lock", "w")  # noqa: SIM115 - the caller's
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return path, lock
        lock.close()
    raise AssertionError


def main() -> int:
    """Boot a guest on this terminal; it ends with the shell."""
    parser = argparse.ArgumentParser(prog="shell.py", description="a shell in a guest")
    parser.add_argument("--cpus", type=int, default=1, help="the guest's processors (1)")
    parser.add_argument("--memory", default="3G", help="the guest's memory (3G)")
    options = parser.parse_args()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("lab: a shell needs a terminal; for scripts: make lab-report", file=sys.stderr)
        return 2
    try:
        kernel = prepare_kernel()
        out, lock = own_directory(kernel.parent)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    with lock:
        guest = Guest(kernel, out, "lab", cpus=options.cpus, memory=options.memory, role="shell")
        guest.prepare()
        command = guest.command(console="fd:0,fd:1", line="null")
        environment = os.environ | {"TMPDIR": str(guest.memory_directory())}
        return attend([*command, "quiet"], environment)


if __name__ == "__main__":
    sys.exit(main())
