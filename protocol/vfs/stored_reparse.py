"""`user.SmbReparse`: a reparse point as Samba keeps it since 4.22, the buffer that the client sent.

A file or directory that has one also has FILE_ATTRIBUTE_REPARSE_POINT in `user.DOSATTRIB`; only
then is it looked for.
"""

import os
from typing import Final

from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.kernel import fd_path
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_REPARSE_POINT,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.reparse import kind_of, tag_of

XATTR_NAME: Final = "user.SmbReparse"


def read(target: int | str | bytes) -> bytes | None:
    """Read the reparse point of a descriptor or a path, asking for no permission; None: no such."""
    try:
        if isinstance(target, bytes):
            return retry_as_process(lambda: os.getxattr(target, XATTR_NAME, follow_symlinks=False))
        return retry_as_process(lambda: os.getxattr(target, XATTR_NAME))
    except OSError:
        return None


def read_at(directory: int, name: bytes) -> bytes | None:
    """Read that of an entry of an open directory."""
    return read(os.fsencode(fd_path(directory)) + b"/" + name)


def describe(stat: FileStat, stored: bytes | None) -> None:
    """Add the tag to what is told of a file; one without a reparse point is none after all."""
    stat.reparse_tag = tag_of(stored or b"")
    stat.special = kind_of(stored or b"")
    if not stat.reparse_tag:
        stat.attributes &= ~FILE_ATTRIBUTE_REPARSE_POINT
        stat.attributes = stat.attributes or FILE_ATTRIBUTE_NORMAL
