"""Flags of inodes (ioctl_iflags(2), statx(2)): what is to be compressed, what cannot be deleted.

btrfs, F2FS and UBIFS compress what asks for it; a new file or directory takes that from its
directory, as on NTFS ([MS-FSA] 2.1.5.1.1). What is set is told by statx, so no call here asks for
it.
"""

import array
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.file_systems import COMPRESSING, magic
from usmbd.protocol.vfs.identity import as_process
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.vfs.node import Node

_GET_FLAGS: Final = 0x80086601  # FS_IOC_GETFLAGS
_SET_FLAGS: Final = 0x40086602  # FS_IOC_SETFLAGS
_COMPRESS: Final = 0x00000004  # FS_COMPR_FL
_FIXED: Final = kernel.STATX_ATTR_IMMUTABLE | kernel.STATX_ATTR_APPEND
_UNABLE: Final = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EACCES)


def try_compression(fd: int) -> bool:
    """Whether the file system of an open, empty file compresses when asked; OSError."""
    if magic(fd) not in COMPRESSING:
        return False
    try:
        _change(fd, True)
        return bool(_flags(fd) & _COMPRESS)  # which F2FS takes by its mount options
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        return False


def is_fixed(node: "Node", *, stream: bool = False) -> bool:
    """Whether the kernel does not let a file, or a stream of it, be deleted, as it was last.

    With `chattr +i` or `+a` both stay, and what something is mounted on.
    """
    return bool(node.inode_flags & (_FIXED if stream else _FIXED | kernel.STATX_ATTR_MOUNT_ROOT))


def set_compressed(node: "Node", compressed: bool) -> None:
    """Let what is written to a file, or made in a directory, be compressed, or no more.

    Asks for no permission: the right to write data is the client's leave ([MS-FSCC] 2.3.67),
    POSIX would want the owner. SmbError, OSError.
    """
    node.volume.check_writable()
    if not node.has_xattrs:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    with as_process(), _open(node) as fd:
        try:
            _change(fd, compressed)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            # btrfs does not compress what it writes in place (chattr +C).
            raise SmbError(NtStatus.INVALID_DEVICE_REQUEST) from error
    node.forget_change_time()


@contextmanager
def _open(node: "Node") -> Iterator[int]:
    """Lend a descriptor that takes an ioctl, which O_PATH does not."""
    if node.readable or node.writable:
        yield node.fd
        return
    fd = os.open(kernel.fd_path(node.fd), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _flags(fd: int) -> int:
    flags = array.array("I", [0])
    fcntl.ioctl(fd, _GET_FLAGS, flags)
    return flags[0]


def _change(fd: int, compressed: bool) -> None:
    found = _flags(fd)
    wanted = found | _COMPRESS if compressed else found & ~_COMPRESS
    if wanted != found:
        fcntl.ioctl(fd, _SET_FLAGS, array.array("I", [wanted]))
