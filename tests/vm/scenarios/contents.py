#!/usr/bin/python3 -IS
"""What is written, appended, cut, copied, mapped and skipped reads back, here and by another mount.

Each case ends with the whole content by both mounts; the second one has never seen the file before.
"""

import ctypes
import errno
import mmap
import os
import sys

MOUNT = os.environ["MOUNT"]
MOUNT2 = os.environ["MOUNT2"]
PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
PATTERN = bytes(range(251)) * 80  # 20,080 bytes; no page is like another one


def opened(name: str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Return a descriptor of the file `name` on the first mount."""
    return os.open(f"{MOUNT}/{name}", flags, 0o644)


def expect(name: str, content: bytes) -> None:
    """Fail unless both mounts show exactly this content, and its length."""
    for mount in (MOUNT, MOUNT2):
        with open(f"{mount}/{name}", "rb", buffering=0) as file:
            found = file.readall()
        assert len(found) == len(content), f"{mount} has {len(found)} bytes, not {len(content)}"
        if found != content:
            at = next(at for at, byte in enumerate(content) if found[at] != byte)
            raise AssertionError(f"{mount} has {found[at]:#x} at {at}, not {content[at]:#x}")
        size = os.stat(f"{mount}/{name}").st_size
        assert size == len(content), f"{mount} says {size} bytes"


def overwrite() -> None:
    """Change bytes in place, across the border of two pages, and start anew with O_TRUNC."""
    fd = opened("overwrite")
    os.write(fd, PATTERN)
    os.pwrite(fd, b"#" * 100, 4_050)
    os.pwrite(fd, b"tail", len(PATTERN) - 2)
    os.close(fd)
    expect("overwrite", PATTERN[:4_050] + b"#" * 100 + PATTERN[4_150:-2] + b"tail")
    fd = opened("truncated")
    os.write(fd, PATTERN)
    os.close(fd)
    fd = opened("truncated", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"new")
    os.close(fd)
    expect("truncated", b"new")


def append() -> None:
    """Append in turn by two descriptors, which never write over each other."""
    first, second = (opened("append", os.O_WRONLY | os.O_CREAT | os.O_APPEND) for _ in range(2))
    for number in range(10):
        os.write(first, b"first %d\n" % number)
        os.write(second, b"second %d\n" % number)
    os.close(first)
    os.close(second)
    expect("append", b"".join(b"first %d\nsecond %d\n" % (n, n) for n in range(10)))


def truncate() -> None:
    """Cut a file: what it loses by a shorter length does not come back with a longer one."""
    fd = opened("truncate")
    os.write(fd, PATTERN)
    os.ftruncate(fd, 5_000)
    os.ftruncate(fd, 9_000)
    os.pwrite(fd, b"end", 12_000)
    os.close(fd)
    os.truncate(f"{MOUNT}/truncate", 12_002)
    expect("truncate", PATTERN[:5_000] + bytes(7_000) + b"en")


def holes() -> None:
    """Skip and punch holes: they read as zeros, and no data is taken for a hole."""
    fd = opened("holes")
    os.pwrite(fd, PATTERN, 100_000)
    size = 100_000 + len(PATTERN)
    assert os.lseek(fd, 0, os.SEEK_DATA) <= 100_000
    assert os.lseek(fd, 100_000, os.SEEK_HOLE) == size
    os.close(fd)
    expect("holes", bytes(100_000) + PATTERN)

    fd = opened("far")
    os.pwrite(fd, b"far", 5 << 30)
    os.close(fd)
    with open(f"{MOUNT2}/far", "rb", buffering=0) as file:
        assert file.seek(-3, os.SEEK_END) == 5 << 30
        assert file.read(3) == b"far"

    fd = opened("punched")
    os.write(fd, PATTERN)
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    begin, length = ctypes.c_int64(4_096), ctypes.c_int64(8_192)
    content = PATTERN[:4_096] + bytes(8_192) + PATTERN[12_288:]
    if fallocate(fd, PUNCH_HOLE, begin, length) != 0:
        assert ctypes.get_errno() == errno.EOPNOTSUPP, os.strerror(ctypes.get_errno())
        print("holes: they cannot be punched", file=sys.stderr)
        content = PATTERN
    os.close(fd)
    expect("punched", content)


def allocate() -> None:
    """Make a file longer with posix_fallocate, which keeps what is in it."""
    fd = opened("allocate")
    os.write(fd, b"data")
    os.posix_fallocate(fd, 0, 10_000)
    os.close(fd)
    expect("allocate", b"data" + bytes(9_996))


def copy() -> None:
    """Copy a part to another place with copy_file_range, which the server may do by itself."""
    fd = opened("source")
    os.write(fd, PATTERN)
    copied = opened("copy")
    os.write(copied, b"head")
    left, at = 15_000, 4
    while left:
        count = os.copy_file_range(fd, copied, left, offset_src=15_000 - left + 77, offset_dst=at)
        assert count > 0, f"nothing copied with {left} bytes left"
        left, at = left - count, at + count
    os.close(fd)
    os.close(copied)
    expect("copy", b"head" + PATTERN[77:15_077])


def mapped() -> None:
    """Write by a shared mapping; the bytes reach the file."""
    fd = opened("mapped")
    os.write(fd, PATTERN)
    with mmap.mmap(fd, len(PATTERN)) as memory:
        memory[4_090:4_100] = b"0123456789"
        memory.flush()
    os.close(fd)
    expect("mapped", PATTERN[:4_090] + b"0123456789" + PATTERN[4_100:])


def times() -> None:
    """Set modification times, which are kept to 100 ns, of a file just written and a directory."""
    fd = opened("times")
    os.write(fd, b"data")
    os.close(fd)  # the client may still hold it open: that closing must not change the time
    os.mkdir(f"{MOUNT}/times.d")
    for name, time_ns in (("times", 1_234_567_890_123_456_700), ("times.d", 4_102_444_800 * 10**9)):
        os.utime(f"{MOUNT}/{name}", ns=(time_ns, time_ns))
        for mount in (MOUNT, MOUNT2):
            found = os.stat(f"{mount}/{name}").st_mtime_ns
            assert found == time_ns, f"{mount}/{name} has {found}, not {time_ns}"
    expect("times", b"data")
    assert os.stat(f"{MOUNT2}/times").st_mtime_ns == 1_234_567_890_123_456_700, "reading changed it"


def main() -> None:
    """Run all cases; tell all that fail."""
    failed = False
    for run in (overwrite, append, truncate, holes, allocate, copy, mapped, times):
        try:
            run()
        except (AssertionError, OSError) as error:
            failed = True
            frame = error.__traceback__ and error.__traceback__.tb_next
            line = frame.tb_lineno if frame else 0
            print(f"{run.__name__}, line {line}: {error}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
