#!/usr/bin/python3 -IS
"""Copies are made by the server, holes stay holes, and ranges are zeroed and given back.

`cp` and copy_file_range(2) must not read the data over the wire; a file of a gigabyte that is
almost all hole is copied without room for more than its data.
"""

import errno
import os
import re
import subprocess
import sys
import time

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
SERVER = os.environ["SERVER"]
MIB = 1 << 20
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = "-n", "-p", "-z"
ON_A_MOUNT = os.path.exists("/proc/fs/cifs/Stats")
KEEPS_HOLES = ON_A_MOUNT and SERVER == "usmbd"
PATTERN = bytes(range(256)) * 4096  # 1 MiB
SMALL = 256 << 10
PART = PATTERN[:SMALL]


def note(text: str) -> None:
    """Tell something beside the outcome."""
    print(text, file=sys.stderr, flush=True)


def read_by_wire() -> int:
    """Return how many bytes this client has read from the server, of all its mounts."""
    try:
        with open("/proc/fs/cifs/Stats") as file:
            return sum(int(count) for count in re.findall(r"Bytes read: (\d+)", file.read()))
    except FileNotFoundError:  # a local directory, where the scenario itself is tried
        return 0


def write(name: str, parts: dict[int, bytes], size: int = 0) -> None:
    """Make a file of parts, with holes between them."""
    with open(f"{MOUNT}/{name}", "wb", buffering=0) as file:
        for place, data in parts.items():
            os.pwrite(file.fileno(), data, place)
        if size:
            file.truncate(size)


def expect(name: str, parts: dict[int, bytes], size: int) -> None:
    """Fail unless the other mount has the parts, and zeros before and behind each."""
    with open(f"{MOUNT2}/{name}", "rb", buffering=0) as file:
        assert os.fstat(file.fileno()).st_size == size, name
        for place, data in parts.items():
            assert os.pread(file.fileno(), len(data), place) == data, f"{name} at {place}"
            for beside in (place - 4096, place + len(data)):
                if 0 <= beside <= size - 4096:
                    assert os.pread(file.fileno(), 4096, beside) == bytes(4096), (name, beside)


def blocks(name: str) -> int:
    """Return the bytes that a file takes on the server."""
    return os.stat(f"{MOUNT2}/{name}").st_blocks * 512


def whole_files() -> None:
    """`cp` copies 17 MiB and a bit, more than one request may, not by the wire."""
    # What a request copies ends at a whole MiB: data is around each of them, and holes between, for
    # to write 17 MiB was half of this scenario's work.
    size = 17 * MIB + 78
    parts = {}
    for number in range(18):
        begin, end = max(number * MIB - 32_768, 0), min(number * MIB + 32_768, size)
        parts[begin] = (bytes([number]) * 256 + PATTERN)[: end - begin]
    write("source", parts)
    before, began = read_by_wire(), time.monotonic()
    subprocess.run(
        ["cp", "--reflink=auto", "--sparse=never", f"{MOUNT}/source", f"{MOUNT}/copied"], check=True
    )
    came = read_by_wire() - before
    note(f"cp of 17 MiB: {time.monotonic() - began:.2f} s, {came} bytes came by the wire")
    assert came < MIB, f"{came} bytes came by the wire"
    expect("copied", parts, size)


def parts_of_files() -> None:
    """copy_file_range from and to any place, within a file too."""
    write("pieces", {0: PATTERN + PATTERN[::-1]})
    source = os.open(f"{MOUNT}/pieces", os.O_RDWR)
    target = os.open(f"{MOUNT}/put", os.O_RDWR | os.O_CREAT)
    os.pwrite(target, b"t" * 10_000, 0)
    for begin, at, length in ((100, 5_000, 3_000), (MIB - 5, 20_000, 10), (0, 50_000, MIB + 1)):
        done = 0
        while done < length:
            done += os.copy_file_range(source, target, length - done, begin + done, at + done)
    os.copy_file_range(source, source, 4096, 0, 3 * MIB)
    os.close(source)
    os.close(target)
    both = PATTERN + PATTERN[::-1]
    wanted = bytearray(b"t" * 10_000).ljust(50_000 + MIB + 1, b"\0")
    for begin, at, length in ((100, 5_000, 3_000), (MIB - 5, 20_000, 10), (0, 50_000, MIB + 1)):
        wanted[at : at + length] = both[begin : begin + length]
    with open(f"{MOUNT2}/put", "rb") as file:
        assert file.read() == wanted
    expect("pieces", {0: both, 3 * MIB: PATTERN[:4096]}, 3 * MIB + 4096)


def sparse_files() -> None:
    """Copy a gigabyte of hole in the room, and the time, of the data."""
    # ksmbd writes the holes, into the memory that its share is here; so does a local file system.
    size = (1024 if KEEPS_HOLES else 256) * MIB
    parts = {0: PART, size // 2: PART, size - SMALL: PART}
    write("sparse", parts, size)
    began = time.monotonic()
    # Left to itself cp reads what has holes, to make some itself.
    subprocess.run(["cp", "--sparse=never", f"{MOUNT}/sparse", f"{MOUNT}/again"], check=True)
    took = time.monotonic() - began
    expect("again", parts, size)
    taken = blocks("again")
    note(f"cp of {size >> 20} MiB with {3 * SMALL >> 10} KiB of data: {took:.1f} s, {taken} taken")
    if KEEPS_HOLES:
        assert taken <= blocks("sparse") + SMALL, f"{taken} bytes are taken"


def holes() -> None:
    """`fallocate -p` gives blocks back and SEEK_HOLE finds the hole; `-z` leaves zeros."""
    for name, how in (("punched", PUNCH_HOLE), ("zeroed", ZERO_RANGE)):
        write(name, {0: PART * 4})
        before = blocks(name)
        ranges = ["-o", str(SMALL), "-l", str(2 * SMALL)]
        done = subprocess.run(
            ["fallocate", how, *ranges, f"{MOUNT}/{name}"], capture_output=True, text=True
        )
        if done.returncode and "supported" in done.stderr:  # 2.1 has no holes
            note(f"fallocate {how}: {done.stderr.strip()}")
            continue
        assert not done.returncode, done.stderr
        expect(name, {0: PART, 3 * SMALL: PART}, 4 * SMALL)
        if how == PUNCH_HOLE:
            taken = blocks(name)
            note(f"{before - taken} bytes are given back")
            assert SERVER == "ksmbd" or taken <= before - 2 * SMALL + 65536, (before, taken)
            file = os.open(f"{MOUNT2}/{name}", os.O_RDONLY)
            try:
                assert os.lseek(file, 0, os.SEEK_HOLE) == SMALL
                assert os.lseek(file, SMALL, os.SEEK_DATA) == 3 * SMALL
            finally:
                os.close(file)
            told = subprocess.run(
                ["filefrag", "-v", f"{MOUNT2}/{name}"], capture_output=True, text=True
            )
            extents = re.findall(r"^ +\d+: +(\d+)\.\. +(\d+):", told.stdout, re.MULTILINE)
            note(f"filefrag: {extents or told.stderr.strip()}")
            assert told.returncode or len(extents) == 2, told.stdout


def clones() -> None:
    """`cp --reflink=always` succeeds where blocks can be shared, and is refused elsewhere."""
    write("cloned", {0: PATTERN})
    done = subprocess.run(
        ["cp", "--reflink=always", f"{MOUNT}/cloned", f"{MOUNT}/clone"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        refusals = [os.strerror(n) for n in (errno.EOPNOTSUPP, errno.EINVAL, errno.EIO)]
        assert any(text in done.stderr for text in refusals), done.stderr
        note(f"cp --reflink=always: {done.stderr.strip().rpartition(': ')[2]}")
    else:
        expect("clone", {0: PATTERN}, MIB)


for case in (whole_files, parts_of_files, sparse_files, holes, clones):
    try:
        case()
    except BaseException:
        print(f"failed: {case.__name__}", file=sys.stderr)
        raise
