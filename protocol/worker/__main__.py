"""`python -m usmbd.protocol.worker`: started by the supervisor, with its socket as a descriptor."""

import argparse
import socket
import sys

from usmbd.protocol.vfs import keeper
from usmbd.protocol.worker.worker import run

PARSER = argparse.ArgumentParser(prog="usmbd worker")
"""Made before children are forked: each would write to memory that they have in common."""
PARSER.add_argument("--control-fd", type=int, required=True)
PARSER.add_argument("--keeper-fd", type=int, help="where what takes CAP_SYS_ADMIN is done")


def main(arguments: list[str]) -> None:
    """Serve until the supervisor ends or says so."""
    options = PARSER.parse_args(arguments)
    if options.keeper_fd is not None:
        keeper.use(socket.socket(fileno=options.keeper_fd))
    run(socket.socket(fileno=options.control_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
