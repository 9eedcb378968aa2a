"""Where symbolic links lead, as far as clients may know it."""

import os

from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.spelling import is_odd


def target_of(link: Node) -> str | None:
    """Return the target of a link as a client writes it; None where it is not to be told; OSError.

    A client looks for it on its own: so only what is relative, stays beneath the share's root by
    its text, is not vetoed, and needs no other spelling.
    """
    target = os.fsdecode(os.readlink(b"", dir_fd=link.fd))
    parts = target.split("/")
    depth = directory_entry.current_path(link).count("/")
    if not parts[0] or any(is_odd(part) for part in parts if part not in ("", ".", "..")):
        return None
    for part in parts:
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return None
    veto = link.volume.options.veto
    if veto is not None and any(veto(part) for part in parts):
        return None
    return "\\".join(parts)
