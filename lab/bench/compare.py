"""usmbd and Samba's smbd in turn on this machine: one row a measurement, with the ratios.

`make bench` or `python lab/bench/compare.py [--quick] [--out FILE]`, as root: smbd changes its
user, and Samba's client dials port 445 and no other, so that either server gets that port of
127.0.0.1 while it is measured. A row's figure is the median of the runs; CPU is the server's,
all its processes, user and system.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))

from smbtest.processes import cpu_seconds
from smbtest.samba_tools import client_configuration, smbclient
from smbtest.samples import MIB, fill
from smbtest.server import ALICE, HOST, Options, Server
from smbtest.smbd import Smbd
from smbtest.usmbd import Usmbd

PORT = 445
CLIENT = Path(__file__).with_name("samba_client.py")
PROTECTIONS = ("off", "sign", "encrypt")
# As smbd is run for speed: nothing is stored beside the files' data, fsync is left to the client.
PLAIN_SHARE = {
    "read only": "no",
    "create mask": "0777",
    "directory mask": "0777",
    "store dos attributes": "no",
}


class Row(NamedTuple):
    """One measurement."""

    rate: float
    """MB/s or operations a second."""
    cpu: float
    """The server's CPU microseconds a megabyte or an operation."""


def timed(server: Server, amount: float, work: Callable[[], object]) -> Row:
    """Run the work, which moves `amount` megabytes or does as many operations."""
    before, start = cpu_seconds(server.pid), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    time.sleep(0.2)  # what the server does after its last answer is part of the cost
    return Row(amount / seconds, (cpu_seconds(server.pid) - before) / amount * 1e6)


def sequential(server: Server, source: Path, megabytes: int) -> dict[str, Row]:
    """Put and get one big file by smbclient, at each protection."""
    rows = {}
    for protection in PROTECTIONS:
        for name, command in (("write", f"put {source} big"), ("read", "get big /dev/null")):
            rows[f"{name} {protection}, MB/s"] = timed(
                server,
                megabytes * MIB / 1e6,
                lambda command=command, protection=protection: smbclient(
                    server, [command], share="bench", dialect="SMB3_11", protection=protection
                ),
            )
        os.unlink(server.folder / "bench/big")
    return rows


def operations(server: Server, files: int) -> dict[str, Row]:
    """Run samba_client.py, which times its own steps and asks the server's CPU time by pid."""
    command = ["/usr/bin/python3", CLIENT, HOST, "bench", ALICE.name, ALICE.password]
    command += [client_configuration(server), str(server.pid), str(files)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return {name: Row(*row) for name, row in json.loads(run.stdout).items()}


def echoes(server: Server, seconds: int) -> dict[str, Row]:
    """Run smbtorture's echo benchmark, one connection, one request at a time."""
    command = ["smbtorture", "-s", "/dev/null", f"//{HOST}/bench", "-p", str(server.port)]
    command += ["-U", f"{ALICE.name}%{ALICE.password}", "--basedir=/tmp", "--num-progs=1"]
    command += [f"--timelimit={seconds}", "--option=torture:qdepth=1"]
    command += ["--option=torture:progress=no", "smb2.bench.echo"]
    before = cpu_seconds(server.pid)
    run = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # where the figure is
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    used = cpu_seconds(server.pid) - before
    try:
        rate = float(run.stdout.split("num/s=")[1].split(",")[0])
    except (IndexError, ValueError):
        print(f"echo: smbtorture gave no figure:\n{run.stdout[-400:]}", file=sys.stderr)
        return {}
    return {"echo, op/s": Row(rate, used / (rate * seconds) * 1e6)}


def measure(kind: type[Server], source: Path, megabytes: int, files: int) -> dict[str, Row]:
    """Start one server on port 445, take every row once, stop it."""
    server = kind(Options())
    server.port = PORT
    folder = server.folder / "bench"
    folder.mkdir()
    folder.chmod(0o777)
    server.shares["bench"] = PLAIN_SHARE | {"path": str(folder)}
    try:
        server.start()
        rows = sequential(server, source, megabytes)
        rows |= operations(server, files)
        rows |= echoes(server, 3)
        server.stop()
        return rows
    finally:
        server.kill()
        server.remove()


def main() -> None:
    """Measure both servers, alternating, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1024, help="of the big file, in MiB")
    parser.add_argument("--files", type=int, default=2000, help="for create, stat, list, unlink")
    parser.add_argument("--quick", action="store_true", help="one run, smaller: to see it work")
    parser.add_argument("--out", type=Path, help="write all rows there as JSON")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.megabytes, options.files = 1, 128, 300
    if os.geteuid() != 0:
        sys.exit("compare.py needs root: smbd changes its user, and port 445 is used")
    taken: dict[str, list[dict[str, Row]]] = {"usmbd": [], "smbd": []}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        fill(source, options.megabytes * MIB)
        for _ in range(options.runs):
            for kind in (Smbd, Usmbd):
                taken[kind.kind].append(measure(kind, source, options.megabytes, options.files))
    print(f"{'':24}{'usmbd':>12}{'smbd':>12}{'ratio':>8}   {'CPU us':>9}{'smbd':>9}{'ratio':>8}")
    for name in taken["usmbd"][0]:
        mine, other = (
            Row(*map(statistics.median, zip(*(rows[name] for rows in taken[kind]), strict=True)))
            for kind in ("usmbd", "smbd")
        )
        print(
            f"{name:24}{mine.rate:12.0f}{other.rate:12.0f}{mine.rate / other.rate:8.2f}"
            f"   {mine.cpu:9.1f}{other.cpu:9.1f}{mine.cpu / max(other.cpu, 1e-9):8.2f}"
        )
    if options.out:
        options.out.write_text(json.dumps(taken, indent=1))


if __name__ == "__main__":
    main()
