#!/usr/bin/python3 -IS
"""Random reads, writes, cuts and mappings of one file always show what was written.

What the file has to contain is kept in memory beside it. The first mount works; now and then the
whole file is synced and read by the second one. It makes OPERATIONS of them, always the same, so
the number of the first wrong one repeats it.

Holes and copies are left to contents.py: Linux 7.3 sets the file's end to that of a hole while it
writes what lies behind, and so cuts that off (SET_INFO after the WRITE; on ksmbd and usmbd alike).

The guest's kernel writes nothing by itself meanwhile. Without a lease, Linux 7.3 believes the size
in the answer to a QUERY_INFO that was on its way beside a WRITE, also when the WRITE's answer came
first: where the old end was, it takes zeros for what is on the server (_zero_point), and writes
them back. One process by itself never has both on their way; the writer-back, each half second, did
so once in some 100,000 operations (seen by a kernel that told of each change of the two).
"""

import mmap
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
OPERATIONS = int(os.environ.get("OPERATIONS", "500"))
SECONDS = float(os.environ.get("SECONDS_OF_WORK", "0"))  # so long, however many operations that is
LARGEST = 300_000  # bytes of the file: more than a request of 64 KiB, few enough to compare often
LONGEST = 70_000  # bytes of one operation
WRITER_BACK = Path("/proc/sys/vm/dirty_writeback_centisecs")  # its pause; 0: it does not work


class File:
    """The file on the first mount, and what it has to contain."""

    def __init__(self) -> None:
        """Make it, empty."""
        self.random = random.Random(20)
        self.content = bytearray()
        self.fd = os.open(f"{MOUNT}/file", os.O_RDWR | os.O_CREAT, 0o644)
        self.memory = mmap.mmap(-1, 1 << 20)  # O_DIRECT asks for whole pages
        self.pool = self.random.randbytes(2 * LONGEST)

    def data(self, length: int) -> bytes:
        """Return bytes that differ from those of other operations."""
        at = self.random.randrange(LONGEST)
        return self.pool[at : at + length]

    def part(self) -> tuple[int, int]:
        """Return a place and a length within the file; the length may be 0."""
        at = self.random.randint(0, len(self.content))
        return at, min(self.random.randint(0, LONGEST), len(self.content) - at)

    def equal(self, found: bytes, expected: bytes, what: str) -> None:
        """Fail, and say where, unless both are the same."""
        if found != expected:
            pairs = enumerate(zip(found, expected, strict=False))
            at = next((n for n, (a, b) in pairs if a != b), min(len(found), len(expected)))
            pairs = enumerate(zip(found[at:], expected[at:], strict=False))
            again = next((at + n for n, (a, b) in pairs if a == b), min(len(found), len(expected)))
            sizes = f"{len(found)} bytes of {len(expected)}"
            shown = f"{found[at : at + 16].hex()} and not {expected[at : at + 16].hex()}"
            own = os.pread(self.fd, 16, at).hex()
            raise AssertionError(
                f"{what}: {sizes}, other ones from {at} to {again}: {shown}; the first mount: {own}"
            )

    def write(self) -> None:
        """Write at a place within the largest size, maybe beyond the end."""
        at = self.random.randrange(LARGEST)
        data = self.data(self.random.randint(1, min(LONGEST, LARGEST - at)))
        assert os.pwrite(self.fd, data, at) == len(data)
        self.content.extend(bytes(max(0, at + len(data) - len(self.content))))
        self.content[at : at + len(data)] = data

    def read(self) -> None:
        """Read a part."""
        at, length = self.part()
        self.equal(os.pread(self.fd, length, at), self.content[at : at + length], f"read at {at}")

    def truncate(self) -> None:
        """Give the file another length."""
        length = self.random.randrange(LARGEST)
        os.ftruncate(self.fd, length)
        self.content = self.content[:length] + bytes(max(0, length - len(self.content)))

    def map(self) -> None:
        """Change a few bytes by a shared mapping."""
        at, length = self.part()
        if not length:
            return
        data = self.data(min(length, 100))
        with mmap.mmap(self.fd, len(self.content)) as memory:
            memory[at : at + len(data)] = data
            memory.flush()
        self.content[at : at + len(data)] = data

    def read_by_other(self) -> int:
        """Read all of it by the other mount, past its cache; return the length."""
        fd = os.open(f"{MOUNT2}/file", os.O_RDONLY | os.O_DIRECT)
        at = 0
        while count := os.preadv(fd, [memoryview(self.memory)[at:]], at):
            at += count
        os.close(fd)
        return at

    def compare(self) -> None:
        """Sync it, and compare it with what the other mount reads.

        It reads past its cache: Linux 7.3 has zeros there for what another client wrote beyond the
        end that it knew. The length is an attribute, which a mount may remember for a second; the
        bytes have to be right at once.
        """
        os.fsync(self.fd)
        deadline = time.monotonic() + 60
        while True:
            at = self.read_by_other()
            both = min(at, len(self.content))
            self.equal(self.memory[:both], bytes(self.content[:both]), "the other mount")
            if at == len(self.content):
                return
            assert time.monotonic() < deadline, (
                f"the other mount has {at} of {len(self.content)} bytes"
            )
            time.sleep(0.05)


@contextmanager
def nothing_written_back() -> Iterator[None]:
    """Have the kernel write only what it is told to."""
    pause = WRITER_BACK.read_text()
    WRITER_BACK.write_text("0")
    try:
        yield
    finally:
        WRITER_BACK.write_text(pause)


def main() -> None:
    """Work as much as is wanted, then compare once more."""
    with nothing_written_back():
        work()


def work() -> None:
    """Work, and exit with what was wrong."""
    file = File()
    often = [file.write] * 6 + [file.read] * 6 + [file.truncate] * 2 + [file.map] * 2
    operations = [*often, file.compare]
    deadline = time.monotonic() + SECONDS
    number = 0
    operation = file.write
    try:
        while time.monotonic() < deadline if SECONDS else number < OPERATIONS:
            operation = file.random.choice(operations)
            operation()
            number += 1
        operation = file.compare
        operation()
    except (AssertionError, OSError) as error:
        sys.exit(f"operation {number}, {operation.__name__}: {error}")
    print(f"{number} operations", file=sys.stderr)


if __name__ == "__main__":
    main()
