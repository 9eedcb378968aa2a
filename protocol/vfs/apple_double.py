"""Files `._NAME` beside a file, in AppleDouble's form, as macOS and vfs_fruit write them.

    header    magic, version, who made it, number of entries, for each its number, offset, length
    entry 9   FinderInfo, 32 bytes; more where macOS has put attributes behind it
    entry 2   the resource fork, the last in the file

With `fruit:resource = file` they hold the resource forks. They are opened beside the file as the
user who asks, never through a link.
"""

import logging
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.resolve import encode

log = logging.getLogger("usmbd.vfs")

PREFIX: Final = "._"
MAGIC: Final = 0x00051607
VERSION: Final = 0x00020000
NETATALK: Final = b"Netatalk        "
MAC_OS: Final = b"Mac OS X        "

FORK_ENTRY: Final = 2
FINDER_ENTRY: Final = 9
FINDER_SIZE: Final = 32
ENTRY: Final = struct.Struct(">III")
HEADER: Final = struct.Struct(">II16sH")
ENTRIES_MAX: Final = 16
"""Entries that are looked at: netatalk's have 13, the others 2."""

SIZE: Final = HEADER.size + 2 * ENTRY.size + FINDER_SIZE
"""Bytes before the fork in those that Samba and this server write."""

FORK_MAX: Final = 0xFFFFFFFF - SIZE
"""The longest fork: its length has 32 bits."""

_HEAD: Final = HEADER.size + ENTRIES_MAX * ENTRY.size
_LENGTH_AT: Final = 8  # of an entry
_LENGTH: Final = struct.Struct(">I")
_OPEN: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of such a file are."""

    made_by: bytes
    finder_at: int
    finder_size: int
    fork_at: int
    fork_size: int
    length_at: int
    """Where the fork's length is written."""


def parse(head: bytes, size: int) -> Layout | None:
    """Read the header of a file of `size` bytes; None where it is none, or misses a part.

    A fork that would reach beyond the end ends there.
    """
    if len(head) < HEADER.size:
        return None
    magic, version, made_by, count = HEADER.unpack_from(head)
    if (magic, version) != (MAGIC, VERSION) or len(head) < HEADER.size + count * ENTRY.size:
        return None
    places: dict[int, tuple[int, int, int]] = {}
    for number in range(count):
        at = HEADER.size + number * ENTRY.size
        entry, offset, length = ENTRY.unpack_from(head, at)
        if offset > size or (offset + length > size and entry != FORK_ENTRY):
            return None
        places[entry] = offset, min(length, size - offset), at + _LENGTH_AT
    if FINDER_ENTRY not in places or FORK_ENTRY not in places:
        return None
    finder_at, finder_size, _ = places[FINDER_ENTRY]
    if finder_size < FINDER_SIZE:
        return None
    return Layout(made_by, finder_at, finder_size, *places[FORK_ENTRY])


def packed(fork_size: int) -> bytes:
    """Return what comes before a fork: no FinderInfo, which is kept with the file itself."""
    entries = (FINDER_ENTRY, SIZE - FINDER_SIZE, FINDER_SIZE), (FORK_ENTRY, SIZE, fork_size)
    head = HEADER.pack(MAGIC, VERSION, NETATALK, len(entries))
    return (head + b"".join(ENTRY.pack(*entry) for entry in entries)).ljust(SIZE, b"\0")


def is_double(name: str) -> bool:
    """Whether a name is that of such a file, which has none of its own."""
    return name.startswith(PREFIX)


class Double:
    """One that is open, until nobody has it any more."""

    __slots__ = ("fd", "writable")

    def __init__(self, fd: int, writable: bool) -> None:
        """Take over the descriptor of a regular file."""
        self.fd = fd
        self.writable = writable

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def layout(self) -> Layout | None:
        """Look where its parts are now; None where it is no AppleDouble; OSError."""
        return parse(os.pread(self.fd, _HEAD, 0), os.fstat(self.fd).st_size)

    def set_length(self, layout: Layout, size: int) -> None:
        """Write down how long the fork is; OSError."""
        os.pwrite(self.fd, _LENGTH.pack(size), layout.length_at)

    def read_into(
        self, layout: Layout, buffers: Sequence[bytearray | memoryview], offset: int
    ) -> int:
        """Read of the fork into the buffers: the number of bytes; OSError."""
        left = layout.fork_size - offset
        parts = []
        for buffer in buffers:
            if left <= 0:
                break
            part = memoryview(buffer)[:left]
            parts.append(part)
            left -= len(part)
        return os.preadv(self.fd, parts, layout.fork_at + offset) if parts else 0


def open_beside(directory: int, name: str) -> Double | None:
    """Open that of the entry `name` of an open directory; None where there is none; OSError.

    To read alone where the user may not change it. What is no regular file is none.
    """
    path = encode(PREFIX + name)
    writable = True
    try:
        try:
            fd = os.open(path, os.O_RDWR | _OPEN, dir_fd=directory)
        except PermissionError:
            writable = False
            fd = os.open(path, os.O_RDONLY | _OPEN, dir_fd=directory)
    except FileNotFoundError:
        return None
    double = Double(fd, writable)
    return double if stat.S_ISREG(os.fstat(fd).st_mode) else None


def create_beside(directory: int, name: str, mode: int) -> Double:
    """Make an empty one; OSError, where none is left behind."""
    path = encode(PREFIX + name)
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | _OPEN, mode & 0o666, dir_fd=directory)
    double = Double(fd, True)
    try:
        os.pwrite(fd, packed(0), 0)
    except OSError:
        os.unlink(path, dir_fd=directory)
        raise
    return double


# -- what becomes of them when the file's name or mode changes ----------------------------------


def follow_rename(
    volume: VolumeBase, source: tuple[int, str], target: tuple[int, str], replaced: str | None
) -> None:
    """Rename that of a file that has been renamed; that of a file it has replaced goes.

    `source` and `target` are open directories and names. The file has its new name already.
    """
    if not volume.options.forks_in_files or is_double(source[1]):
        return
    if replaced is not None:
        remove(volume, target[0], replaced)
    old, new = encode(PREFIX + source[1]), encode(PREFIX + target[1])
    try:
        kernel.rename(source[0], old, target[0], new, 0)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s%s stays behind: %s", PREFIX, source[1], error.strerror)


def remove(volume: VolumeBase, directory: int, name: str) -> None:
    """Remove that of a file that has been removed, where the share has such."""
    if volume.options.forks_in_files:
        remove_beside(directory, name)


def remove_beside(directory: int, name: str) -> None:
    """Remove that of a file that has been removed; what stands in the way is logged."""
    if is_double(name):
        return
    try:
        os.unlink(encode(PREFIX + name), dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s%s stays behind: %s", PREFIX, name, error.strerror)
