"""In a guest: usmbd imported once, and forked for what usmbd.sh has it do: warm.py DIRECTORY.

What a start imports takes a guest 1.0 of 2.6 s of CPU: 10,000 system calls and 9,000 page faults.
A run starts its server three times. Each fault is dear there, so that this program's memory is had
in large pieces, which are forked faster, too: 1.8 s in place of 2.2 for the first start, 0.9 in
place of 1.1 for the next. `list` takes 0.12 s in place of 0.38. An order comes on standard input,
by one write, with a tab after each word:

    start LOG OPTIONS...     be the server; its pid is then in DIRECTORY/pid
    list OUTPUT OPTIONS...   print what the server has; the exit status goes to DIRECTORY/answers
"""

import ctypes
import functools
import importlib
import os
import signal
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, Never

MCL_FUTURE = 2

LISTED = ("sessions", "connections", "opens")


def import_all() -> None:
    """Import what a server and its list need."""
    import usmbd.mountd.cli.control
    import usmbd.protocol.supervisor.command  # noqa: F401 - `main` does only when it is called
    from usmbd.protocol.supervisor import fork_server

    fork_server.import_all()


def read(_loader: object, path: str) -> bytes:
    """Read a module by four calls; Python's own files make nine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def import_at_once() -> None:
    """Do the same with fewer calls, 6,100 in place of 11,600, and 1,600 page faults of 9,300.

    Memory is there when it is mapped, and not page by page; a folder is looked at once, and not
    for each module.
    """
    finder: Any = importlib._bootstrap_external  # its public names have no such place
    look = finder._path_stat
    finder._path_stat = functools.cache(look)
    SourceFileLoader.get_data = read  # type: ignore[method-assign,assignment]
    libc = ctypes.CDLL(None)
    libc.mlockall(MCL_FUTURE)
    import_all()
    libc.munlockall()
    finder._path_stat = look


def write_to(path: str) -> None:
    """Have no input, and write what is printed to a file."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)


def serve(log: str, program: list[str], options: list[str]) -> Never:
    """Be the command `usmbd`, as if it had been executed as `program`."""
    from setproctitle import setproctitle

    from usmbd.protocol.supervisor import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    write_to(log)
    sys.argv = ["usmbd", *options]
    setproctitle(" ".join([*program, *options]))
    main()


def show(output: str, answers: Path, options: list[str]) -> Never:
    """Print the sessions, connections and opens of the server, and tell how that went."""
    from usmbd.mountd.cli.control import main

    status = 1
    try:
        write_to(output)
        status = max([main(["--json", "-l", kind, *options]) for kind in LISTED])
        sys.stdout.flush()
    finally:
        answers.write_text(f"{status}\n")
        os._exit(status)


def main() -> None:
    """Take orders until the guest ends."""
    directory = Path(sys.argv[1])
    program = [sys.executable, "-m", "usmbd.protocol.supervisor"]
    import_at_once()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a server ended
    while order := os.read(0, 4096).decode():
        kind, output, *options = order.split("\t")[:-1]
        child = os.fork()
        if not child:
            if kind == "list":
                show(output, directory / "answers", options)
            serve(output, program, options)
        if kind == "start":
            (directory / "pid.new").write_text(f"{child}\n")
            (directory / "pid.new").rename(directory / "pid")


if __name__ == "__main__":
    main()
