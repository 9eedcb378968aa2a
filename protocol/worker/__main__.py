"""`python -m usmbd.protocol.worker`: started by the supervisor, with its socket as a descriptor."""

import argparse
import socket

from usmbd.protocol.worker.worker import run


def main() -> None:
    """Serve until the supervisor ends or says so."""
    parser = argparse.ArgumentParser(prog="usmbd worker")
    parser.add_argument("--control-fd", type=int, required=True)
    options = parser.parse_args()
    run(socket.socket(fileno=options.control_fd))


main()
