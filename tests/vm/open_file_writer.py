#!/usr/bin/python3 -IS
"""A program keeps one file open and writes, while its server dies and its cable is out.

Each record has its number, is written at its place, synced, and read back together with one of the
earlier ones. What fails is tried again with the same open file: it is never opened anew. For each
record that is on the server the number is printed; when a line comes on stdin it ends.

writer.py FILE SECONDS    SECONDS without a record are a failure
"""

import os
import random
import select
import sys
import time

SIZE = 4096 + 512  # records lie across pages


def content(number: int) -> bytes:
    """Return a record: all of it says which."""
    return (b"%08d" % number) * (SIZE // 8)


def attempt(fd: int, number: int) -> OSError | None:
    """Write a record, and read it and an earlier one; return the error."""
    try:
        assert os.pwrite(fd, content(number), number * SIZE) == SIZE
        os.fsync(fd)
        for which in (number, random.randrange(number + 1)):
            found = os.pread(fd, SIZE, which * SIZE)
            assert found == content(which), f"record {which} is {found[:16]!r} ({len(found)} bytes)"
    except OSError as error:
        return error
    return None


def main() -> None:
    """Write until told to end."""
    path, seconds = sys.argv[1], float(sys.argv[2])
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    errors: dict[str, int] = {}
    number = 0
    while not select.select([0], [], [], 0)[0]:
        deadline = time.monotonic() + seconds
        while (error := attempt(fd, number)) is not None:
            errors[error.strerror or ""] = errors.get(error.strerror or "", 0) + 1
            if time.monotonic() > deadline:
                sys.exit(f"record {number}, after {seconds:.0f} s: {error}; before: {errors}")
            time.sleep(0.2)
        print(number, flush=True)
        number += 1
    os.close(fd)
    print(f"{number} records, {errors}", file=sys.stderr)


if __name__ == "__main__":
    main()
