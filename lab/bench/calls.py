"""How many system calls the server makes for one request, of real clients on a real kernel.

    python lab/bench/calls.py build calls.so
    LD_PRELOAD=$PWD/calls.so CALLS=/tmp/calls usmbd -C ...     each of its processes counts
    python lab/bench/calls.py show /tmp/calls FILE [MIB]       FILE is on a mount of its share

`show` has fio read and write FILE past the client's cache (`--direct=1`), with 1, 4 and 16 requests
under way, and prints what the busiest process called for each of them. Calls are counted where
programs call the C library, not by ptrace: that makes each so slow that the server finds the next
request there already, never sleeps and posts everything in lists. Waits for locks (futex) are
made inside of the C library and are not seen.

    file    of the file: pread, pwrite, preadv2 and their like
    wait    epoll_wait and epoll_pwait: turns of the event loop
    post    write: a list of work for an RDMA device; a wake-up of the loop by a thread
    event   read: a completion channel's event
    arm     ioctl: asking a completion channel for the next
    clock   clock_gettime: a system call in user-mode Linux, and where the clock is not steady; and
            settings of the loop's timer
    socket  of TCP
    beside  all of them but those of the file and the clock
"""

import json
import mmap
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

KINDS = {
    "file": ("pread64", "pwrite64", "preadv64", "pwritev64", "preadv64v2", "pwritev64v2",
             "sendfile64"),
    "wait": ("epoll_wait", "epoll_pwait"),
    "post": ("write",),
    "event": ("read",),
    "arm": ("ioctl",),
    "clock": ("clock_gettime", "timerfd_settime"),
    "socket": ("recv", "recvmsg", "send", "sendmsg"),
}  # fmt: skip
"""Columns, and which functions of the C library they are."""

ROWS = (("read", "64k"), ("write", "64k"), ("randread", "4k"), ("randwrite", "4k"))
DEPTHS = (1, 4, 16)
REQUESTS = 2000

SLOTS = 64
"""Room in a process's file: a number of eight bytes for each function."""

_HEAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
static unsigned long before[%d], *counts = before;
__attribute__((constructor)) static void begin(void) {
    char name[4096];
    const char *path = getenv("CALLS");
    if (!path) return;
    snprintf(name, sizeof name, "%%s.%%d", path, getpid());
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, sizeof before)) return;
    void *memory = mmap(0, sizeof before, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) counts = memory;
    close(file);
}
"""

_FUNCTION = r"""
long counted_%(slot)d(long, long, long, long, long, long) __asm__("%(name)s");
long counted_%(slot)d(long a, long b, long c, long d, long e, long f) {
    static long (*real)(long, long, long, long, long, long);
    if (!real) real = (long (*)(long, long, long, long, long, long))dlsym(RTLD_NEXT, "%(name)s");
    __atomic_fetch_add(&counts[%(slot)d], 1, __ATOMIC_RELAXED);
    return real(a, b, c, d, e, f);
}
"""
"""Arguments and results are numbers and pointers, which the ABI passes in registers."""


def functions() -> list[tuple[str, str]]:
    """Return kind and name of each function, in the order of their slots."""
    return [(kind, name) for kind, names in KINDS.items() for name in names]


def build(library: Path) -> None:
    """Compile what counts, to be loaded before the C library."""
    source = _HEAD % SLOTS
    for slot, (_, name) in enumerate(functions()):
        source += _FUNCTION % {"name": name, "slot": slot}
    options = ["-shared", "-fPIC", "-O2", "-x", "c", "-"]
    subprocess.run(["cc", *options, "-o", library, "-ldl"], input=source, text=True, check=True)


def counted(prefix: Path) -> dict[Path, Counter[str]]:
    """Return by process what it has called."""
    found: dict[Path, Counter[str]] = {}
    for path in prefix.parent.glob(f"{prefix.name}.*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            numbers = struct.unpack_from(f"={SLOTS}Q", memory)
        counts = found[path] = Counter()
        for number, (kind, _) in zip(numbers, functions(), strict=False):
            counts[kind] += number
    return found


def transfer(file: Path, mib: int, pattern: str, size: str, depth: int) -> tuple[int, float]:
    """Have fio transfer; return how many requests it made and its MB/s."""
    command = ["fio", "--name=t", f"--filename={file}", f"--size={mib}m", f"--bs={size}",
               f"--rw={pattern}", "--direct=1", "--ioengine=psync", "--thread",
               f"--numjobs={depth}", f"--number_ios={REQUESTS // depth}", "--group_reporting",
               "--output-format=json"]  # fmt: skip
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (job,) = json.loads(report[report.index("{") :])["jobs"]
    way = job["write" if "write" in pattern else "read"]
    return way["total_ios"], way["bw_bytes"] / 1e6


def show(prefix: Path, file: Path, mib: int) -> None:
    """Print a row for each way, size and depth."""
    transfer(file, mib, "write", "1m", 1)
    titles = "".join(f"{kind:>8}" for kind in KINDS)
    print(f"{'calls a request':20}{'depth':>6}{titles}{'beside':>10}{'MB/s':>8}", flush=True)
    for pattern, size in ROWS:
        for depth in DEPTHS:
            before = counted(prefix)
            count, speed = transfer(file, mib, pattern, size, depth)
            changes = [now - before.get(path, Counter()) for path, now in counted(prefix).items()]
            calls = max(changes, key=lambda change: change.total())
            numbers = "".join(f"{calls[kind] / count:8.2f}" for kind in KINDS)
            rest = (calls.total() - calls["file"] - calls["clock"]) / count
            print(f"{pattern} {size:14}"[:20].ljust(20) + f"{depth:6}{numbers}{rest:10.2f}"
                  f"{speed:8.1f}", flush=True)  # fmt: skip


def main() -> None:
    """Build or show."""
    match sys.argv[1:]:
        case ["build", library]:
            build(Path(library))
        case ["show", prefix, file, *rest]:
            show(Path(prefix), Path(file), int(rest[0]) if rest else 32)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
