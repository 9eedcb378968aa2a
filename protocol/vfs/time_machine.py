"""How much of a share for Time Machine its backups take (Samba's `fruit:time machine max size`).

A backup is a folder NAME.sparsebundle: Info.plist tells the size of a band, and `bands` has a file
for each. What is counted is what macOS may fill, not what the file system has allocated.
"""

import os
import plistlib
from contextlib import suppress
from typing import Final
from xml.parsers.expat import ExpatError

from usmbd.protocol.vfs import kernel

PLIST_MAX: Final = 64 * 1024
"""Bytes of an Info.plist: macOS writes some hundred."""

UNIT: Final = 1024
"""Bytes in which the size is told."""

_SUFFIX: Final = ".sparsebundle"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def used(root: int) -> int:
    """Return the bytes of all backups in an open directory; OSError.

    A backup that is not whole yet, or that the user may not read, counts nothing, as with Samba.
    """
    total = 0
    directory = os.open(kernel.fd_path(root), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(directory):
            if name.endswith(_SUFFIX):
                with suppress(OSError):
                    total += _used(directory, name)
    finally:
        os.close(directory)
    return total


def _used(root: int, name: str) -> int:
    """Return the bytes of one backup; OSError."""
    bundle = os.open(name, _FOLDER, dir_fd=root)
    try:
        size = _band_size(bundle)
        bands = os.open("bands", _FOLDER, dir_fd=bundle)
        try:
            with os.scandir(bands) as entries:
                return size * sum(1 for _ in entries)
        finally:
            os.close(bands)
    finally:
        os.close(bundle)


def _band_size(bundle: int) -> int:
    """Return the size of a band as Info.plist says it, 0 where it says none; OSError."""
    with open(
        "Info.plist", "rb", opener=lambda path, _: os.open(path, _FILE, dir_fd=bundle)
    ) as file:
        data = file.read(PLIST_MAX + 1)
    if len(data) > PLIST_MAX:
        return 0
    try:
        said = plistlib.loads(data, fmt=plistlib.FMT_XML)
    except (ValueError, ExpatError, plistlib.InvalidFileException, AttributeError, IndexError):
        return 0
    size = said.get("band-size") if isinstance(said, dict) else None
    return size if isinstance(size, int) and size > 0 else 0
