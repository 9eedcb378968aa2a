"""Which SMB access POSIX permissions give: asked of the kernel, so that POSIX ACLs count.

The map is Samba's: r is reading of data and EAs, w writing of both and of attributes, x execute;
everyone who reaches a file may read its attributes and its security descriptor; its owner may
change them, and has full access when POSIX leaves him nothing to wish for. Whoever may write to a
directory may delete what is in it (the sticky bit restricts that to owners).
"""

import os
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.directory_entry import locate
from usmbd.protocol.vfs.identity import current_uid
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
    READ_CONTROL,
    SYNCHRONIZE,
    WRITE_DAC,
    WRITE_OWNER,
)

_ALWAYS: Final = FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
_READ: Final = FILE_READ_DATA | FILE_READ_EA
_WRITE: Final = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_EA | FILE_WRITE_ATTRIBUTES
_OWNER: Final = FILE_WRITE_ATTRIBUTES | WRITE_DAC | WRITE_OWNER
#: What changes a file or its directory, and so is not to be had on a read-only share.
CHANGES: Final = _WRITE | FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER

_STICKY = 0o1000


def own_rights(fd: int, owner: int, *, is_directory: bool, wanted: int = FILE_ALL_ACCESS) -> int:
    """Return the access that the file's own permissions give this thread's identity, but DELETE.

    Rights that are not `wanted` may be left out: each question to the kernel costs 1.6 us, and
    what clients ask for mostly takes none or one.
    """
    uid = current_uid()
    if uid == 0:
        # The kernel refuses root one thing, to execute what nobody may; SMB has no such case.
        return FILE_ALL_ACCESS & ~DELETE
    certain = _ALWAYS | (_OWNER if uid == owner else 0)
    missing = wanted & ~certain & ~DELETE
    if not missing:
        return certain
    if not missing & ~(_READ | _WRITE):
        mode = (os.R_OK if missing & _READ else 0) | (os.W_OK if missing & _WRITE else 0)
        if kernel.access(fd, mode):
            return certain | missing
    read = kernel.access(fd, os.R_OK)
    write = kernel.access(fd, os.W_OK)
    execute = kernel.access(fd, os.X_OK)
    granted = _ALWAYS | (_READ if read else 0) | (_WRITE if write else 0)
    if execute:
        granted |= FILE_EXECUTE
        if write and is_directory:
            granted |= FILE_DELETE_CHILD
    if uid == owner:
        granted |= _OWNER
        if read and write and not is_directory:
            # A data file is rarely marked executable, yet its owner's full access is what
            # Windows programs ask for; he could give himself the bit.
            granted |= FILE_EXECUTE | FILE_DELETE_CHILD
    return granted


def may_remove_from(directory: int, owner: int) -> bool:
    """Whether this thread's identity may remove a file of `owner` from the open directory."""
    uid = current_uid()
    if uid == 0:
        return True
    if not kernel.access(directory, os.W_OK | os.X_OK):
        return False
    statx = kernel.statx_fd(directory)
    mode, directory_owner = statx[5], statx[3]
    if statx[1] & kernel.STATX_ATTR_APPEND:  # chattr +a: names come, and none goes
        return False
    return not mode & _STICKY or uid in (owner, directory_owner)


def maximal_access(node: Node, wanted: int = FILE_ALL_ACCESS, owner: int | None = None) -> int:
    """Return every access right that this thread's identity has to the file.

    Rights that are not `wanted` may be left out, and who knows the file's `owner` says so:
    DELETE costs a look at the directory, 14 us, all the others together 7.
    """
    if owner is None:
        owner = kernel.statx_fd(node.fd)[3]
    granted = own_rights(node.fd, owner, is_directory=node.is_directory, wanted=wanted)
    if node.volume.options.read_only:
        return granted & ~CHANGES
    return granted | (DELETE if wanted & DELETE and may_delete(node, owner) else 0)


def may_delete(node: Node, owner: int) -> bool:
    """Whether this thread's identity may remove the file, which belongs to `owner`.

    SmbError(FILE_DELETED) when it has no name any more.
    """
    if not node.path or node.volume.options.read_only:
        return False
    directory, _ = locate(node)
    try:
        return may_remove_from(directory, owner)
    finally:
        os.close(directory)
