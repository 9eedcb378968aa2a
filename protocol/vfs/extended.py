"""Extended attributes of an open file, below what SMB makes of them, and who owns which.

The right to them is decided when the file is opened (READ_EA, WRITE_EA, or the data rights of a
stream), maybe in another thread and before a change of mode, so what POSIX refuses now is
done with the rights of the process.
"""

import errno
import os
from dataclasses import dataclass
from typing import Final

from usmbd.protocol.vfs import dos_attributes, kernel
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.placed import Placed

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
    )
)
_FOLDED_STREAM_PREFIX: Final = fold(STREAM_PREFIX)


def is_reserved(attribute: str) -> bool:
    """Whether the attribute belongs to a server, as its own or as a stream, and is no EA."""
    folded = fold(attribute)
    return folded in _RESERVED or folded.startswith(_FOLDED_STREAM_PREFIX)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A named stream: its name without colons and type, its size and allocation in bytes."""

    name: str
    size: int
    allocation: int


class Attributed(Placed):
    """An open inode with its extended attributes."""

    __slots__ = ("has_xattrs", "readable", "writable")

    has_xattrs: bool
    readable: bool
    writable: bool

    def xattr_target(self) -> int | str:
        """Return what os.getxattr and its like take: the data descriptor, or a path to O_PATH."""
        return self.fd if self.readable or self.writable else kernel.fd_path(self.fd)

    def xattr_names(self) -> list[str]:
        """List the attributes in `user.`, the prefix included; none where there can be none."""
        if not self.has_xattrs:
            return []
        try:
            found = os.listxattr(self.xattr_target())
        except OSError as error:
            if error.errno == errno.ENOTSUP:
                return []
            raise
        return [name for name in found if name.startswith(PREFIX)]

    def get_xattr(self, name: str) -> bytes:
        """Read an attribute; OSError ENODATA when it does not exist."""
        return retry_as_process(lambda: os.getxattr(self.xattr_target(), name))

    def put_xattr(self, name: str, value: bytes, flags: int = 0) -> None:
        """Write an attribute; `flags` 0, os.XATTR_CREATE or os.XATTR_REPLACE; OSError."""
        self.volume.check_writable()
        retry_as_process(lambda: os.setxattr(self.xattr_target(), name, value, flags))

    def remove_xattr(self, name: str) -> None:
        """Remove an attribute; OSError ENODATA when it does not exist."""
        self.volume.check_writable()
        retry_as_process(lambda: os.removexattr(self.xattr_target(), name))

    def stream_names(self) -> list[str]:
        """List the names of the file's named streams; OSError."""
        if not self.volume.options.streams:
            return []
        return [
            attribute[len(STREAM_PREFIX) : -len(STREAM_SUFFIX)]
            for attribute in self.xattr_names()
            if attribute.startswith(STREAM_PREFIX) and attribute.endswith(STREAM_SUFFIX)
        ]

    def streams(self) -> list[StreamInfo]:
        """List the file's named streams with their sizes; OSError."""
        found = []
        for name in self.stream_names():
            try:
                value = self.get_xattr(f"{STREAM_PREFIX}{name}{STREAM_SUFFIX}")
            except OSError as error:
                if error.errno == errno.ENODATA:  # removed meanwhile
                    continue
                raise
            size = max(len(value) - 1, 0)
            found.append(StreamInfo(name, size, size))
        return found

    def clear_eas_and_streams(self, eas: bool = True) -> None:
        """Remove all named streams and, with `eas`, all EAs: what replacing a file does.

        ([MS-FSA] 2.1.5.1.2: a superseded file loses both, an overwritten one its streams.)
        """
        for attribute in self.xattr_names():
            is_stream = attribute.startswith(STREAM_PREFIX)
            if is_stream or (eas and not is_reserved(attribute)):
                try:
                    self.remove_xattr(attribute)
                except OSError as error:
                    if error.errno != errno.ENODATA:
                        raise
