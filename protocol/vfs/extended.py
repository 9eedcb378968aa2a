"""Extended attributes of an open file, below what SMB makes of them.

The right to them is decided when the file is opened (READ_EA, WRITE_EA, or the data rights of a
stream), maybe in another thread and before a change of mode, so what POSIX refuses now is
done with the rights of the process.
"""

import errno
import os

from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.node import Node

#: Where all that SMB stores lives, but the NT ACL; Linux has it on files and directories only.
PREFIX = "user."


def names(node: Node) -> list[str]:
    """List the attributes in `user.`, the prefix included; none where there can be none."""
    if not node.has_xattrs:
        return []
    try:
        found = os.listxattr(node.xattr_target())
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return []
        raise
    return [name for name in found if name.startswith(PREFIX)]


def get(node: Node, name: str) -> bytes:
    """Read an attribute; OSError ENODATA when it does not exist."""
    return retry_as_process(lambda: os.getxattr(node.xattr_target(), name))


def put(node: Node, name: str, value: bytes, flags: int = 0) -> None:
    """Write an attribute; `flags` 0, os.XATTR_CREATE or os.XATTR_REPLACE; OSError."""
    node.volume.check_writable()
    retry_as_process(lambda: os.setxattr(node.xattr_target(), name, value, flags))


def remove(node: Node, name: str) -> None:
    """Remove an attribute; OSError ENODATA when it does not exist."""
    node.volume.check_writable()
    retry_as_process(lambda: os.removexattr(node.xattr_target(), name))
