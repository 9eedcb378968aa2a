"""`python -m usmbd.protocol.door --control-fd N`: started by the supervisor."""

import argparse
import socket
import sys

from usmbd.protocol.door.process import run

PARSER = argparse.ArgumentParser(prog="usmbd door")
"""Made before children are forked: each would write to memory that they have in common."""
PARSER.add_argument("--control-fd", type=int, required=True)


def main(arguments: list[str]) -> None:
    """Stand at the door until the supervisor ends."""
    run(socket.socket(fileno=PARSER.parse_args(arguments).control_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
