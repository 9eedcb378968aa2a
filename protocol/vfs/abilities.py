"""What a file system can do, found out by trying it once on a file that has no name."""

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import Final

from usmbd.protocol.vfs import dos_attributes, kernel
from usmbd.protocol.vfs.identity import as_process
from usmbd.protocol.vfs.inode_flags import try_compression

_FICLONERANGE: Final = 0x4020940D
_CLONE_RANGE: Final = struct.Struct("=qQQQ")
_NOT_KNOWN: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What differs from one file system to the next, and clients are told."""

    holes: bool = True
    """Blocks can be given back from within a file, and that it is sparse can be kept."""
    attributes: bool = True
    """What DOS knows of a file can be kept, with its reparse point."""
    clones: bool = False
    """Files can share blocks."""
    compresses: bool = False
    """What is written to a file is compressed where that is asked for."""


def find_abilities(root: int, store_dos_attributes: bool) -> Abilities | None:
    """Try what the file system of the open directory `root` can; None when that cannot be tried.

    Nothing is left, whatever ends the process: the file is O_TMPFILE. The process's rights are
    used, as the share's root may not be the user's to write to.
    """
    try:
        with as_process():
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=root)
            try:
                return _try(fd, store_dos_attributes)
            finally:
                os.close(fd)
    except OSError:  # read-only, full, or older than O_TMPFILE (NFS, FUSE)
        return None


def _try(fd: int, store_dos_attributes: bool) -> Abilities:
    """Try what can be done with an open file; OSError when the disk is full."""
    block = os.fstatvfs(fd).f_bsize
    os.pwrite(fd, bytes(block), 0)
    keeps = store_dos_attributes and _keeps_attributes(fd)
    return Abilities(
        holes=keeps and _gives_back(fd, block),
        attributes=keeps,
        clones=_shares(fd, block),
        compresses=try_compression(fd),
    )


def clone(source: int, source_offset: int, length: int, target: int, target_offset: int) -> None:
    """Let a file share blocks of a file (ioctl_ficlonerange(2)); OSError."""
    arguments = _CLONE_RANGE.pack(source, source_offset, length, target_offset)
    fcntl.ioctl(target, _FICLONERANGE, arguments)


def cannot(error: OSError) -> bool:
    """Whether a call failed because the file system does not know it."""
    return error.errno in _NOT_KNOWN


def _keeps_attributes(fd: int) -> bool:
    try:
        os.setxattr(fd, dos_attributes.XATTR_NAME, b"1")
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return False
    return True


def _gives_back(fd: int, block: int) -> bool:
    try:
        kernel.fallocate(fd, kernel.FALLOC_FL_PUNCH_HOLE | kernel.FALLOC_FL_KEEP_SIZE, 0, block)
    except OSError as error:
        if not cannot(error):
            raise
        return False
    return True


def _shares(fd: int, block: int) -> bool:
    try:
        clone(fd, 0, block, fd, block)
    except OSError as error:
        if not cannot(error) and error.errno != errno.EINVAL:
            raise
        return False
    return True
