"""`python -m usmbd.protocol.door --control-fd N`: started by the supervisor."""

import argparse
import socket
import sys

from usmbd.protocol.door.process import run


def main(arguments: list[str]) -> None:
    """Stand at the door until the supervisor ends."""
    parser = argparse.ArgumentParser(prog="usmbd door")
    parser.add_argument("--control-fd", type=int, required=True)
    run(socket.socket(fileno=parser.parse_args(arguments).control_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
