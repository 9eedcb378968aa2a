"""Small tables in memory that all processes share, as files beside the store."""

import mmap
import os
from pathlib import Path


def create(path: Path, size: int) -> None:
    """Make a table, zeroed and with its memory taken: a later write cannot fail."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def attach(path: Path, size: int) -> mmap.mmap:
    """Map a table that `create` has made."""
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)
