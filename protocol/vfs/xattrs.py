"""Extended attributes of an open file, below what SMB makes of them, and which are reserved.

The right to them is decided when the file is opened (READ_EA, WRITE_EA, or the data rights of a
stream), maybe in another thread and before a change of mode, so what POSIX refuses now is
done with the rights of the process.
"""

import errno
import os
from collections.abc import Container
from typing import TYPE_CHECKING, Final

from usmbd.protocol.vfs import dos_attributes, kernel
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.identity import retry_as_process

if TYPE_CHECKING:
    from usmbd.protocol.vfs.node import Node

#: Where all that SMB stores lives, but the NT ACL; Linux has it on files and directories only.
PREFIX: Final = "user."
#: A named stream NAME is the attribute `user.DosStream.NAME:$DATA` (see streams.py).
STREAM_PREFIX: Final = "user.DosStream."
STREAM_SUFFIX: Final = ":$DATA"

# What Samba, ksmbd and this server keep for themselves under `user.`: neither shown as EAs nor
# to be written as such.
_RESERVED: Final = frozenset(
    fold(name)
    for name in (
        dos_attributes.XATTR_NAME,
        "user.DosAttrib",
        "user.NTACL",
        "user.SAMBA_PAI",
        "user.SmbReparse",
        "user.org.netatalk.Metadata",
        "user.org.netatalk.ResourceFork",
    )
)
_FOLDED_STREAM_PREFIX: Final = fold(STREAM_PREFIX)


class _Every:
    """What may all be there."""

    def __contains__(self, _: object) -> bool:
        return True


#: Attributes of a file whose names are not known: each is asked for.
ANY: Final[Container[str]] = _Every()


def present(node: "Node") -> Container[str]:
    """Tell which attributes a file has now, whatever their prefix; perhaps some that it has not.

    One call in place of one for each that is not there.
    """
    if not node.volume.lists_attributes(node):
        return ANY
    found = kernel.list_xattrs(node.fd, is_path=not (node.readable or node.writable))
    return ANY if found is None else found.decode("utf-8", "surrogateescape").split("\0")


def is_reserved(attribute: str) -> bool:
    """Whether the attribute belongs to a server, as its own or as a stream, and is no EA."""
    folded = fold(attribute)
    return folded in _RESERVED or folded.startswith(_FOLDED_STREAM_PREFIX)


def names(node: "Node") -> list[str]:
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


def get(node: "Node", name: str) -> bytes:
    """Read an attribute; OSError ENODATA when it does not exist."""
    return retry_as_process(lambda: os.getxattr(node.xattr_target(), name))


def put(node: "Node", name: str, value: bytes, flags: int = 0) -> None:
    """Write an attribute; `flags` 0, os.XATTR_CREATE or os.XATTR_REPLACE; OSError."""
    node.volume.check_writable()
    retry_as_process(lambda: os.setxattr(node.xattr_target(), name, value, flags))
    node.forget_change_time()


def remove(node: "Node", name: str) -> None:
    """Remove an attribute; OSError ENODATA when it does not exist."""
    node.volume.check_writable()
    retry_as_process(lambda: os.removexattr(node.xattr_target(), name))
    node.forget_change_time()


def clear_eas_and_streams(node: "Node", *, eas: bool = True) -> None:
    """Remove all named streams and, with `eas`, all EAs: what replacing a file does.

    ([MS-FSA] 2.1.5.1.2: a superseded file loses both, an overwritten one its streams.)
    """
    for attribute in names(node):
        is_stream = attribute.startswith(STREAM_PREFIX)
        if is_stream or (eas and not is_reserved(attribute)):
            try:
                remove(node, attribute)
            except OSError as error:
                if error.errno != errno.ENODATA:
                    raise
