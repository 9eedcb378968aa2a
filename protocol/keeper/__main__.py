"""`python -m usmbd.protocol.keeper --socket-fd N`: started by the supervisor of a root's server."""

import argparse
import os
import signal
import socket
import sys
import threading

from usmbd.mountd.confine.kernel import set_death_signal
from usmbd.mountd.confine.process import confine
from usmbd.mountd.confine.profiles import KEEPER
from usmbd.protocol.vfs.keeper import THREADS, serve
from usmbd.protocol.vfs.ntacl import NTACL
from usmbd.protocol.vfs.quotas import QUOTAS

PARSER = argparse.ArgumentParser(prog="usmbd keeper")
"""Made before children are forked: each would write to memory that they have in common."""
PARSER.add_argument("--socket-fd", type=int, required=True)


def main(arguments: list[str]) -> None:
    """Serve until the supervisor and all workers have gone."""
    options = PARSER.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sock = socket.socket(fileno=options.socket_fd)
    confine(KEEPER)  # the workers' log says what the machine lacks
    set_death_signal(signal.SIGKILL)
    threads = [threading.Thread(target=serve, args=(sock, (NTACL, QUOTAS))) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
