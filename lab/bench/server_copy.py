"""FSCTL_SRV_COPYCHUNK against `cp` of the same file on the server's own disk, in turn.

    python lab/bench/server_copy.py [MEGABYTES] [RUNS]

A copy ends when its data is on the disk (fsync) or, in the second row, when it is made. The client
asks for 16 MiB a request, the most there is, and has 1 or 4 requests under way; a row's figure is
the median, and how much that is of `cp`'s. The files lie where the tests' shares do.
"""

import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbtest import smb2
from smbtest.raw import Raw
from smbtest.samples import MIB, fill
from smbtest.usmbd import Usmbd

RESUME_KEY, COPYCHUNK = 0x00140078, 0x001440F2
CHUNKS = 16
"""Of 1 MiB each: the limits of a request."""


def copy_by_server(client: Raw, source: str, target: str, size: int, depth: int) -> None:
    """Copy by COPYCHUNK, with `depth` requests under way."""
    opened, made = client.open(source), client.open(target)
    answer = client.call(smb2.IOCTL, smb2.ioctl_body(opened, RESUME_KEY, size=32))
    key = answer.body[48:72]
    under_way = 0
    for start in range(0, size, CHUNKS * MIB):
        places = range(start, min(start + CHUNKS * MIB, size), MIB)
        chunks = b"".join(struct.pack("<QQII", at, at, MIB, 0) for at in places)
        data = key + struct.pack("<II", len(places), 0) + chunks
        client.post(smb2.IOCTL, smb2.ioctl_body(made, COPYCHUNK, data, 12))
        under_way += 1
        if under_way == depth:
            assert client.reply().status == smb2.SUCCESS
            under_way -= 1
    for _ in range(under_way):
        assert client.reply().status == smb2.SUCCESS
    for file in (opened, made):
        client.call(smb2.CLOSE, smb2.close_body(file))


def timed(copy: Callable[[], object], target: Path, sync: bool) -> float:
    """Return the MB/s of one copy."""
    target.unlink(missing_ok=True)
    os.sync()
    size = (target.parent / "source").stat().st_size
    began = time.perf_counter()
    copy()
    if sync:
        file = os.open(target, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
    return size / (time.perf_counter() - began) / 1e6


def main() -> None:
    """Print a row for each way to end."""
    size = (int(sys.argv[1]) if len(sys.argv) > 1 else 1024) * MIB
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with Usmbd().running() as server:
        source, target = server.data / "source", server.data / "target"
        fill(source, size)
        source.chmod(0o666)
        client = Raw(server, timeout=600).ready()
        client.call(smb2.ECHO, smb2.ECHO_BODY, credits=64)
        ways: dict[str, Callable[[], object]] = {
            "cp": lambda: subprocess.run(["cp", source, target], check=True),
            "1 request": lambda: copy_by_server(client, "source", "target", size, 1),
            "4 requests": lambda: copy_by_server(client, "source", "target", size, 4),
        }
        for sync in (True, False):
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(runs):
                for name, copy in ways.items():
                    rates[name].append(timed(copy, target, sync))
            middle = {name: statistics.median(found) for name, found in rates.items()}
            told = ", ".join(
                f"{name} {rate:.0f} MB/s ({rate / middle['cp']:.2f})"
                for name, rate in middle.items()
            )
            print(f"{'on the disk' if sync else 'made'}: {told}", flush=True)
        client.close()


if __name__ == "__main__":
    main()
