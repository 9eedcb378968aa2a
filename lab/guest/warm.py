"""In a guest: usmbd imported once, and forked for each start of the server: warm.py DIRECTORY.

What a start imports takes a guest 1.0 of 2.6 s of CPU: 10,000 system calls and 9,000 page faults.
A run starts its server three times. The file of the log and the options of the command, with a
tab after each, come on standard input, by one write; the pid is then in DIRECTORY/pid.
"""

import os
import signal
import sys
from pathlib import Path

from setproctitle import setproctitle

import usmbd.protocol.supervisor.command  # which `main` does only when it is called
from usmbd.protocol.supervisor import fork_server


def serve(log: str, options: list[str]) -> None:
    """Be the command `usmbd`, as if it had been executed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    sys.argv = ["usmbd", *options]
    setproctitle(" ".join([sys.executable, "-m", "usmbd.protocol.supervisor", *options]))
    usmbd.protocol.supervisor.main()


def main() -> None:
    """Take orders until the guest ends."""
    directory = Path(sys.argv[1])
    fork_server.import_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a server ended
    while order := os.read(0, 4096).decode():
        log, *options = order.split("\t")[:-1]
        server = os.fork()
        if not server:
            serve(log, options)
        (directory / "pid.new").write_text(f"{server}\n")
        (directory / "pid.new").rename(directory / "pid")


main()
