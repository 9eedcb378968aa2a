"""File systems that a test mounts, where it may."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    """Have an empty file system over a directory; skip the test where nothing can be mounted."""
    if _libc.mount(b"none", os.fsencode(path), b"tmpfs", 0, b"size=1m,mode=777"):
        pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(path), MNT_DETACH)
