#!/usr/bin/python3 -IS
"""After the server was stopped and started again, a mount goes on: old data is there, new is taken.

The parent restarts the server when this prints the line `RESTART`, and then answers `DONE`; EVENT
may name another event.
A descriptor that was open meanwhile may be good again (the client opens the file anew) or give
errors for ever: stderr tells which. What was synced by it before has to be there either way.
"""

import os
import sys
import time
from collections.abc import Callable

MOUNTS = (os.environ["MOUNT"], os.environ["MOUNT2"])
SECONDS = 180  # the client tries to connect every few seconds


def write(path: str, content: bytes) -> None:
    """Write a file and have it synced."""
    with open(path, "wb", buffering=0) as file:
        file.write(content)
        os.fsync(file.fileno())


def read(path: str) -> bytes:
    """Return the content as a new open finds it."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


def succeeds(what: str, action: Callable[[], object]) -> object:
    """Return what the action returns; repeat it while it gives errors, at most SECONDS."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return action()
        except OSError as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"still after {SECONDS} s, {what}: {error}") from error
        time.sleep(0.2)


def use(descriptor: int) -> str:
    """Return what becomes of a write by a descriptor from before the restart."""
    outcome = "works"
    for call in (lambda: os.pwrite(descriptor, b"again", 100), lambda: os.fsync(descriptor)):
        try:
            call()
        except OSError as error:
            outcome = f"gives {error.strerror}"
    return outcome


def main() -> None:
    """Write, have the server restarted, and go on by both mounts."""
    for number, mount in enumerate(MOUNTS):
        write(f"{mount}/before {number}", b"%d" % number * 10_000)
    held = os.open(f"{MOUNTS[0]}/held", os.O_RDWR | os.O_CREAT)
    os.write(held, b"synced")
    os.fsync(held)

    print(os.environ.get("EVENT", "RESTART"), flush=True)
    answer = sys.stdin.readline().strip()
    assert answer == "DONE", f"the parent said {answer!r}"

    for mount in MOUNTS:
        for number in range(len(MOUNTS)):
            path = f"{mount}/before {number}"
            content = succeeds(f"reading {path}", lambda path=path: read(path))
            assert content == b"%d" % number * 10_000, f"{path} is another one"
    for number, mount in enumerate(MOUNTS):
        path = f"{mount}/after {number}"
        succeeds(f"writing {path}", lambda path=path: write(path, b"new"))
        assert read(path) == b"new", f"{path} is another one"

    print(f"the descriptor held open: {use(held)}", file=sys.stderr)
    try:
        os.close(held)
    except OSError as error:
        print(f"closing it: {error.strerror}", file=sys.stderr)
    assert read(f"{MOUNTS[0]}/held")[:6] == b"synced"

    names = ["after 0", "after 1", "before 0", "before 1", "held"]
    for mount in MOUNTS:
        deadline = time.monotonic() + SECONDS
        while (listed := sorted(os.listdir(mount))) != names:
            assert time.monotonic() < deadline, f"{mount} has {listed}"
            time.sleep(0.2)


if __name__ == "__main__":
    main()
