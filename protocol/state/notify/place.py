"""Where a file is whose change the engine tells: its directory, what is above that, its name."""

import os
from contextlib import suppress
from typing import NamedTuple

from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.vfs import directory_entry, kernel
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.resolve import encode
from usmbd.protocol.wire.status import SmbError


class Place(NamedTuple):
    """A directory entry: `ancestors` as in `DirectoryChange`, and the name on disk."""

    ancestors: tuple[tuple[bytes, str], ...]
    name: str


def place_of(node: Node, *, above: bool) -> Place | None:
    """Return where a file is now, with what is `above` its directory too; None if it is nowhere.

    The root of a share is nowhere: nobody who watches below it is told of it.
    """
    if not node.path:
        return None
    try:
        directory, name = directory_entry.locate(node)
    except (OSError, SmbError):
        return None
    try:
        ancestors = [(_key(kernel.statx_fd(directory)), "")]
        if above:
            ancestors = _ancestors(node, node.path[: -len(name)].rstrip("/"))
    except (OSError, SmbError):
        return None
    finally:
        os.close(directory)
    return Place(tuple(ancestors), name)


def place_of_entry(directory: int, path: str, name: str, *, above: bool) -> Place | None:
    """Return where an entry of an open directory is, of which only the path is known besides."""
    try:
        if not above:
            return Place(((_key(kernel.statx_fd(directory)), ""),), name)
        return Place(tuple(_outwards(directory, path)), name)
    except OSError:
        return None


def _ancestors(node: Node, path: str) -> list[tuple[bytes, str]]:
    """Return (key, name) of a directory of the share, and of all above it that can be asked.

    Those above the share's root are there for shares that lie around it.
    """
    root = node.volume.resolver.root
    found = []
    while path:
        path, _, name = path.rpartition("/")
        inner = f"{path}/{name}" if path else name
        found.append((_key(kernel.statx_at(root, encode(inner))), name))
    return found + _outwards(root, node.volume.resolver.root_path)


def _outwards(directory: int, path: str) -> list[tuple[bytes, str]]:
    """Return (key, name) of an open directory by its path, and of all above that can be asked."""
    found = []
    statx = kernel.statx_fd(directory)
    with suppress(OSError):
        while True:
            name = os.path.basename(path)
            found.append((_key(statx), name))
            if not name:
                break
            path = os.path.dirname(path)
            statx = kernel.statx_at(directory, encode(path))
    return found


def _key(statx: kernel.StatxTuple) -> bytes:
    """Return a file's key in the store."""
    return file_key(os.makedev(statx[17], statx[18]), statx[6])
