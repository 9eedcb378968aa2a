"""Change blocks of one file beside other machines, each under its lock, and look that none is lost.

    locked_blocks.py make FILE
    locked_blocks.py work FILE SEED SECONDS
    locked_blocks.py count FILE

A block says how often it was written, with a checksum. Whoever has the lock of some blocks reads
them, finds each whole and no older than at the last look, and writes it once more. At the end the
counts are printed: what all machines wrote has to add up to what the file says.
"""

import fcntl
import json
import os
import random
import struct
import sys
import time
import zlib

BLOCKS, SIZE, MOST = 64, 4096, 8
HEAD = struct.Struct("<QI")


def block(number: int, count: int) -> bytes:
    """Return what a block has when it was written so often."""
    body = (number * 7919 + count).to_bytes(8, "little") * ((SIZE - HEAD.size) // 8)
    body += bytes(SIZE - HEAD.size - len(body))
    return HEAD.pack(count, zlib.crc32(body)) + body


def make(name: str) -> None:
    """Make the file, whose blocks were never written."""
    with open(name, "wb") as file:
        file.write(b"".join(block(number, 0) for number in range(BLOCKS)))


def count(name: str) -> None:
    """Print how often each block says that it was written."""
    with open(name, "rb") as file:
        print(json.dumps([HEAD.unpack_from(file.read(SIZE))[0] for _ in range(BLOCKS)]))


def work(name: str, seed: str, seconds: str) -> None:
    """Change blocks for so long, and print how often each."""
    chance = random.Random(seed)
    written, seen = [0] * BLOCKS, [0] * BLOCKS
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        file = os.open(name, os.O_RDWR)
        for _ in range(chance.randrange(1, 8)):
            first = chance.randrange(BLOCKS)
            length = min(chance.randrange(1, MOST + 1), BLOCKS - first)
            fcntl.lockf(file, fcntl.LOCK_EX, length * SIZE, first * SIZE)
            data = os.pread(file, length * SIZE, first * SIZE)
            new = b""
            for number in range(first, first + length):
                found = data[(number - first) * SIZE :][:SIZE]
                times, _ = HEAD.unpack_from(found)
                assert found == block(number, times), f"block {number} is torn"
                assert times >= seen[number], f"block {number}: {times} after {seen[number]}"
                seen[number] = times + 1
                written[number] += 1
                new += block(number, times + 1)
            at = 0 if chance.random() < 0.7 else chance.randrange(len(new))  # in one or two parts
            os.pwrite(file, new[:at], first * SIZE)
            os.pwrite(file, new[at:], first * SIZE + at)
            # Linux writes dirty pages after it has given its cache back, when another may have the
            # lock, and close(2) fails then (EACCES).
            os.fsync(file)
            fcntl.lockf(file, fcntl.LOCK_UN, length * SIZE, first * SIZE)
        os.close(file)
    print(json.dumps(written))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    {"make": make, "count": count, "work": work}[what](*rest)
