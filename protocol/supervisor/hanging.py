"""What a process that does not answer is doing, as /proc tells it (proc(5))."""

import os
from pathlib import Path
from typing import Final

_STATES: Final = {
    "R": "it computes",
    "S": "it waits",
    "D": "it waits for a disk or a server",
    "T": "it is stopped by a signal",
    "t": "it is stopped by a debugger",
    "Z": "it has ended",
    "X": "it has ended",
}

# The calls for files, by their numbers: those that begin with a descriptor or with a directory's.
_ON_DESCRIPTOR: Final[dict[str, dict[int, str]]] = {
    "x86_64": {
        0: "read", 1: "write", 3: "close", 5: "fstat", 8: "lseek", 17: "pread64", 18: "pwrite64",
        19: "readv", 20: "writev", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 91: "fchmod",
        93: "fchown", 138: "fstatfs", 190: "fsetxattr", 193: "fgetxattr", 196: "flistxattr",
        199: "fremovexattr", 217: "getdents64", 257: "openat", 258: "mkdirat", 262: "newfstatat",
        263: "unlinkat", 264: "renameat", 265: "linkat", 267: "readlinkat", 269: "faccessat",
        280: "utimensat", 285: "fallocate", 295: "preadv", 296: "pwritev", 316: "renameat2",
        326: "copy_file_range", 327: "preadv2", 328: "pwritev2", 332: "statx", 437: "openat2",
        439: "faccessat2", 464: "getxattrat", 465: "listxattrat",
    },
    "aarch64": {
        7: "fsetxattr", 10: "fgetxattr", 13: "flistxattr", 16: "fremovexattr",
        34: "mkdirat", 35: "unlinkat", 37: "linkat", 38: "renameat", 44: "fstatfs", 46: "ftruncate",
        47: "fallocate", 48: "faccessat", 52: "fchmod", 55: "fchown", 56: "openat", 57: "close",
        61: "getdents64", 62: "lseek", 63: "read", 64: "write", 65: "readv", 66: "writev",
        67: "pread64", 68: "pwrite64", 69: "preadv", 70: "pwritev", 78: "readlinkat",
        79: "newfstatat", 80: "fstat", 82: "fsync", 83: "fdatasync", 88: "utimensat",
        276: "renameat2", 285: "copy_file_range", 286: "preadv2", 287: "pwritev2", 291: "statx",
        437: "openat2", 439: "faccessat2", 464: "getxattrat", 465: "listxattrat",
    },
}  # fmt: skip
_OTHERS: Final[dict[str, dict[int, str]]] = {
    "x86_64": {4: "stat", 40: "sendfile", 191: "getxattr", 188: "setxattr", 194: "listxattr",
               197: "removexattr", 202: "futex", 232: "epoll_wait", 281: "epoll_pwait"},
    "aarch64": {5: "setxattr", 8: "getxattr", 11: "listxattr", 14: "removexattr",
                22: "epoll_pwait", 71: "sendfile", 98: "futex"},
}  # fmt: skip


def what_hangs(pid: int) -> str:
    """Describe where the first thread of a process is, as far as /proc lets this one see it."""
    place = Path(f"/proc/{pid}")
    state = _STATES.get(_state(place), "it is gone")
    call = _call(place)
    where = _read(place / "wchan")
    details = [f"in {call}"] if call else []
    if where not in ("", "0"):
        details.append(f"at {where} in the kernel")
    return ", ".join([state, *details])


def ticks_computed(pid: int) -> int:
    """Return the processor time that a process has had, in clock ticks; 0 when it is gone.

    Where it grows, a process that takes long is slow, on a busy machine perhaps, and does not hang.
    """
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def _read(path: Path) -> str:
    """Return what a file of /proc says; nothing where it may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _state(place: Path) -> str:
    """Return the letter of the process' state, which follows its name."""
    return _read(place / "stat").rpartition(") ")[2][:1]


def _call(place: Path) -> str:
    """Name the system call of the first thread, with the file of its descriptor."""
    number, *arguments = _read(place / "syscall").split() or [""]
    if not number.lstrip("-").isdigit():  # nothing may be seen, or it is "running"
        return ""
    machine = os.uname().machine
    name = _OTHERS.get(machine, {}).get(int(number))
    if name is not None:
        return name
    name = _ON_DESCRIPTOR.get(machine, {}).get(int(number))
    if name is None:
        return f"system call {number}"
    if not arguments:
        return name
    try:
        file = os.readlink(place / "fd" / str(int(arguments[0], 16)))
    except (OSError, ValueError):
        return name
    return f"{name} on {file}"
