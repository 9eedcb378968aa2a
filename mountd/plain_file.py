"""Files that an administrator names; who reads a pipe or a device would wait for ever."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

_NULL: Final = os.makedev(1, 3)
"""/dev/null, which `include` and lists are set to where nothing is meant."""


def read_file(path: Path, limit: int) -> bytes:
    """Return what is in a file, of more than `limit` bytes the first ones; OSError."""
    _check(os.stat(path))  # a device is not even opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        _check(os.fstat(descriptor))
        return stream.read(limit)


def check_file(path: str) -> None:
    """Look whether others can read a file without waiting; OSError, also where there is none."""
    _check(os.stat(path))


def _check(found: os.stat_result) -> None:
    """Refuse what is no file; OSError."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not (
        stat.S_ISREG(found.st_mode) or (stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL)
    ):
        raise OSError(errno.EINVAL, "it is no file, but a pipe, a socket or a device")
