#!/usr/bin/python3 -IS
"""What can be compressed is sent compressed, and arrives as it was.

The bytes that both networks' devices count are compared with those of the files. What comes is only
told: Linux 7.3 takes compressed data and asks for none (the READs of a capture, ksmbd as well).
"""

import os
import random
import sys

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
ON_A_MOUNT = os.path.exists("/proc/fs/cifs/Stats")
LINE = b"2026-11-29 12:00:00 one line of a table, which has been filled with the same ...........\n"
MIB = 1 << 20


def by_wire() -> tuple[int, int]:
    """Return how many bytes all devices but the loopback have received and sent."""
    received = sent = 0
    with open("/proc/net/dev") as file:
        for line in file.readlines()[2:]:
            name, counts = line.split(":")
            if name.strip() != "lo":
                received += int(counts.split()[0])
                sent += int(counts.split()[8])
    return received, sent


def contents() -> dict[str, bytes]:
    """Return files of several kinds: 4 MiB each, and some that are no whole number of pages."""
    chance = random.Random(1)
    table = LINE * (4 * MIB // len(LINE))
    return {
        "table": table,
        "zeros": bytes(4 * MIB),
        "noise": chance.randbytes(4 * MIB),
        "mixed": bytes(MIB) + chance.randbytes(MIB) + table[:MIB] + b"\xff" * (MIB + 77),
        "odd": table[:123_457],
        "short": LINE,
    }


def main() -> None:
    """Write each, read it by the other mount, and count."""
    for name, data in contents().items():
        before = by_wire()
        with open(f"{MOUNT}/{name}", "wb", buffering=0) as file:
            for at in range(0, len(data), MIB):
                os.pwrite(file.fileno(), data[at : at + MIB], at)
            os.fsync(file.fileno())
        middle = by_wire()
        with open(f"{MOUNT2}/{name}", "rb") as file:
            assert file.read() == data, f"{name} has changed"
        after = by_wire()
        sent, came = middle[1] - before[1], after[0] - middle[0]
        print(f"{name}: {len(data)} bytes, {sent} sent, {came} came", file=sys.stderr, flush=True)
        if ON_A_MOUNT and name in ("table", "zeros"):
            assert sent < len(data) / 4, f"{name} was not sent compressed"


main()
