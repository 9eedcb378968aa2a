"""File systems that a test mounts, where it may."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MNT_DETACH = 2
MS_BIND = 4096

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted(path: Path, *, again: Path | None = None) -> Iterator[None]:
    """Have an empty file system over a directory, or another directory `again`.

    The test is skipped where nothing can be mounted.
    """
    what, flags = (os.fsencode(again), MS_BIND) if again is not None else (b"none", 0)
    if _libc.mount(what, os.fsencode(path), b"tmpfs", flags, b"size=1m,mode=777"):
        pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(path), MNT_DETACH)
