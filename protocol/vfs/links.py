"""Where symbolic links lead, as far as clients may know it, and may make them lead."""

import os

from usmbd.mountd.ipc.dfs import parse_link
from usmbd.protocol.vfs import directory_entry, stored_reparse
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.spelling import is_odd
from usmbd.protocol.wire.fscc.reparse import link_of, parse_reparse_point
from usmbd.protocol.wire.status import SmbError


def target_of(link: Node) -> str | None:
    """Return the target of a link as a client writes it; None where it is not to be told; OSError.

    With backslashes, but for clients of the POSIX extensions.

    A client looks for it on its own: so only what is relative, stays beneath the share's root by
    its text, is not vetoed, and needs no other spelling.
    """
    if not link.has_xattrs:
        target = os.fsdecode(os.readlink(b"", dir_fd=link.fd))
        if link.volume.options.msdfs and parse_link(target):
            return None  # of DFS: no client looks for it here
    else:
        try:
            stored = stored_reparse.read(link.xattr_target())
            found = link_of(parse_reparse_point(memoryview(stored or b"")))
        except SmbError:  # somebody has written it himself
            return None
        if found is None or not found.relative:
            return None
        target = found.target
    if not stays_within(link, target):
        return None
    return target if link.volume.options.posix else target.replace("/", "\\")


def stays_within(link: Node, target: str) -> bool:
    """Whether a target, with slashes, is one that clients are told of a link at this place."""
    parts = target.split("/")
    depth = directory_entry.current_path(link).count("/")
    if not parts[0] or any(is_odd(part) for part in parts if part not in ("", ".", "..")):
        return False
    for part in parts:
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return False
    veto = link.volume.options.veto
    return veto is None or not any(veto(part) for part in parts)
