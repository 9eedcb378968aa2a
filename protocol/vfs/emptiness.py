"""Whether a directory is empty, and what is vetoed in one that goes (`delete veto files`)."""

import errno
import os
from collections.abc import Callable, Iterator
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import long_call

NAMES_AT_ONCE: Final = 256
"""Vetoed names that are passed over on the event loop: some 2 us each."""

ENTRIES: Final = 100_000
"""Entries that go with a directory at most, all levels together: 20 us each on ext4, while a
thread of the share serves nobody else."""

LEVELS: Final = 64
"""Directories in each other that a vetoed one holds at most, to go with its own: each takes a
descriptor meanwhile."""


_BELOW: Final = kernel.How(
    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
    kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_XDEV,
)
"""A directory in another, and not what is mounted there."""


def is_empty(node: Node) -> bool:
    """Whether the directory holds nothing, not even what clients do not see; OSError.

    But for what is vetoed, where that goes with it: not more than ENTRIES.
    """
    goes = node.volume.options.deletes_vetoed

    def look() -> bool:
        with os.scandir(kernel.fd_path(node.fd)) as entries:
            vetoed = node.volume.resolver.is_vetoed
            for count, entry in enumerate(entries):
                if not (goes and vetoed(entry.name)):
                    return False
                if count == NAMES_AT_ONCE:
                    long_call()
                if count == ENTRIES:
                    return False
            return True

    return retry_as_process(look)


def remove_vetoed(node: Node) -> None:
    """Remove what is vetoed in a directory, as the user, with all that is below it; OSError.

    As Samba does. What has come by another name since `is_empty` stays, and the directory with it;
    so does what is beyond ENTRIES, until it is asked for again.
    """
    long_call()
    fd = os.open(kernel.fd_path(node.fd), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _clear(fd, node.volume.resolver.is_vetoed, LEVELS, iter(range(ENTRIES)))
    finally:
        os.close(fd)


def _clear(fd: int, goes: Callable[[str], bool], levels: int, left: Iterator[int]) -> None:
    """Remove the entries whose names say so; a directory with all that it holds.

    OSError ENOTEMPTY beyond so many levels, or where none are `left` to be removed; EBUSY where
    something is mounted, be it of the same file system.
    """
    with os.scandir(fd) as entries:
        for entry in entries:
            if not goes(entry.name):
                continue
            if next(left, None) is None:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=fd)
                continue
            if not levels:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            below = _BELOW.open(fd, os.fsencode(entry.name))
            if below < 0:
                number = errno.EBUSY if below == -errno.EXDEV else -below
                raise OSError(number, os.strerror(number))
            try:
                _clear(below, _anything, levels - 1, left)
            finally:
                os.close(below)
            os.rmdir(entry.name, dir_fd=fd)


def _anything(_: str) -> bool:
    """Let all go that is below what is vetoed."""
    return True
