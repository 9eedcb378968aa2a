r"""Links of DFS, as Samba keeps them: symbolic links to `msdfs:server\share,other\share`.

Such a link is a junction: what lies behind is served elsewhere. It is looked for before any path of
a DFS root is opened, so that nobody ever opens the link itself.
"""

import os
import stat
from typing import Final

from usmbd.mountd.ipc.dfs import parse_link
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.resolve import encode
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    IO_REPARSE_TAG_DFS,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import SmbError

_STEP: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def read_link(directory: int, name: str) -> list[str]:
    """Return the targets of an entry of an open directory; none: it is no DFS link."""
    try:
        return parse_link(os.fsdecode(os.readlink(encode(name), dir_fd=directory)))
    except (OSError, SmbError):
        return []


def describe_link(found: FileStat) -> FileStat:
    """Show a link of DFS as clients know it: a folder that is elsewhere."""
    found.attributes |= FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT
    found.reparse_tag = IO_REPARSE_TAG_DFS
    return found


def find_link(volume: VolumeBase, path: str) -> tuple[int, list[str]] | None:
    """Return the DFS link on the way of a path: how many of its names lead there, and its targets.

    None: there is none. What is not there is not on the way either; names count in any case, as
    in all paths.
    """
    if not path:
        return None
    resolver = volume.resolver
    how = kernel.How(os.O_PATH | os.O_NOFOLLOW, resolver.resolve | kernel.RESOLVE_NO_SYMLINKS)
    fd = how.open(resolver.root, encode(path))
    if fd >= 0:  # without any link on the way but, perhaps, at its end
        try:
            if not stat.S_ISLNK(kernel.statx_fd(fd)[5]):
                return None
        finally:
            os.close(fd)
    return _walk(volume, path.split("/"))


def _walk(volume: VolumeBase, names: list[str]) -> tuple[int, list[str]] | None:
    """Look at each name on the way."""
    resolver = volume.resolver
    fd = os.dup(resolver.root)
    try:
        for index, name in enumerate(names, start=1):
            found = resolver.variant(fd, name)
            if found is None:
                return None
            targets = read_link(fd, found)
            if targets:
                return index, targets
            follow = 0 if resolver.follow_symlinks else kernel.RESOLVE_NO_SYMLINKS
            beneath = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS | follow
            step = kernel.How(_STEP, beneath).open(fd, encode(found))
            if step < 0:
                return None
            os.close(fd)
            fd = step
    except (OSError, SmbError):
        return None
    finally:
        os.close(fd)
    return None
