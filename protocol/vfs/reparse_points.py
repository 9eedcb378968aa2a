"""Making a reparse point of a file, and a file of it again ([MS-FSA] 2.1.5.10.38, 2.1.5.10.3).

    a symbolic link that stays in the share, a FIFO, a socket   itself: local programs see it, too
    devices, tags of other programs, what has EAs or an ACL     `user.SmbReparse` of the file

A device is never made: it would be a door to this machine's hardware. The file system's own objects
take the place of the file by one rename, so that nobody ever sees the name without anything.
"""

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress

from usmbd.protocol.vfs import directory_entry, dos_attributes, kernel, stored_reparse, xattrs
from usmbd.protocol.vfs.emptiness import is_empty
from usmbd.protocol.vfs.links import stays_within
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.resolve import encode
from usmbd.protocol.wire.fscc.reparse import (
    Link,
    Reparse,
    guid_of,
    link_of,
    special_file_of,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

_NAMED = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def set_point(node: Node, point: Reparse, buffer: bytes, *, may_replace: bool) -> Node | None:
    """Make a reparse point of a file or directory, or change one: what took its place, or None.

    With `may_replace` nobody else has the file open. SmbError ACCESS_DENIED for a link that leaves
    the share, IO_REPARSE_DATA_INVALID, IO_REPARSE_TAG_MISMATCH, REPARSE_ATTRIBUTE_CONFLICT,
    DIRECTORY_NOT_EMPTY, INVALID_DEVICE_REQUEST where it cannot be kept; OSError.
    """
    node.volume.check_writable()
    link, special = link_of(point), special_file_of(point)
    if link is not None and not (link.relative and stays_within(node, link.target)):
        raise SmbError(NtStatus.ACCESS_DENIED)
    there = node.stat().reparse_tag
    if there and there != point.tag:
        raise SmbError(NtStatus.IO_REPARSE_TAG_MISMATCH)
    if there and node.has_xattrs:
        stored = stored_reparse.read(node.xattr_target())
        if stored is not None and guid_of(stored) != point.guid:
            raise SmbError(NtStatus.REPARSE_ATTRIBUTE_CONFLICT)
    if node.is_directory and not is_empty(node):
        raise SmbError(NtStatus.DIRECTORY_NOT_EMPTY)
    if may_replace and _is_bare(node):
        made = _make(node, link, special)
        if made is not None:
            return made
    if not node.has_xattrs:
        if there and link is None:
            return None  # it is what it is to become
        raise SmbError(NtStatus.SHARING_VIOLATION)
    _store(node, buffer)
    return None


def remove_point(node: Node, point: Reparse, *, may_replace: bool) -> Node | None:
    """Make an empty file of a reparse point, or a directory of one: what took its place, or None.

    `node` has its stat. SmbError IO_REPARSE_TAG_MISMATCH, REPARSE_ATTRIBUTE_CONFLICT,
    IO_REPARSE_DATA_INVALID if the client sends data; OSError.
    """
    node.volume.check_writable()
    there = node.last_stat.reparse_tag
    if point.data:
        raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)
    if there != point.tag:
        raise SmbError(NtStatus.IO_REPARSE_TAG_MISMATCH)
    if node.has_xattrs:
        stored = stored_reparse.read(node.xattr_target())
        if stored is not None and guid_of(stored) != point.guid:
            raise SmbError(NtStatus.REPARSE_ATTRIBUTE_CONFLICT)
        node.set_reparse_point(False)
        xattrs.remove(node, stored_reparse.XATTR_NAME)
        return None
    if not may_replace:
        raise SmbError(NtStatus.SHARING_VIOLATION)
    mode = node.volume.options.create_mask & 0o666 | node.volume.options.force_create_mode
    return _replace(node, lambda directory, name: _create(directory, name, mode))


def _store(node: Node, buffer: bytes) -> None:
    """Keep the reparse point with the file."""
    before = stored_reparse.read(node.xattr_target())
    xattrs.put(node, stored_reparse.XATTR_NAME, buffer)
    try:
        node.set_reparse_point(True)
    except BaseException:
        if before is None:
            with suppress(OSError):
                xattrs.remove(node, stored_reparse.XATTR_NAME)
        raise


def _is_bare(node: Node) -> bool:
    """Whether the file has nothing that a link or special file could not have."""
    if not node.path:
        return False
    if not node.has_xattrs:
        return True
    if node.is_regular and (node.size() or kernel.statx_fd(node.fd)[2] != 1):
        return False
    mine = {dos_attributes.XATTR_NAME, stored_reparse.XATTR_NAME}
    return mine.issuperset(xattrs.names(node))


def _make(node: Node, link: Link | None, special: int) -> Node | None:
    """Put a link or a special file in the place of a file; None where that cannot be."""
    if link is not None:
        target = os.fsencode(link.target)
        make: Callable[[int, bytes], object] = lambda directory, name: os.symlink(  # noqa: E731
            target, name, dir_fd=directory
        )
    elif special and node.is_regular:
        mode = special | stat.S_IMODE(kernel.statx_fd(node.fd)[5])
        make = lambda directory, name: os.mknod(name, mode, dir_fd=directory)  # noqa: E731
    else:
        return None
    try:
        return _replace(node, make)
    except OSError:  # no right to the directory, or a file system without the one or the other
        if not node.has_xattrs:
            raise
        return None


def _create(directory: int, name: bytes, mode: int) -> None:
    os.close(os.open(name, _NEW_FILE, mode, dir_fd=directory))


def _replace(node: Node, make: Callable[[int, bytes], object]) -> Node:
    """Give the file's name to what `make(directory, name)` makes, and remove the file; OSError."""
    directory, name = directory_entry.locate(node)
    try:
        here, temporary = encode(name), f".usmbd-reparse-{secrets.token_hex(8)}".encode()
        make(directory, temporary)
        try:
            new = Node(
                node.volume,
                os.open(temporary, _NAMED, dir_fd=directory),
                node.path,
                False,
                False,
            )
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
        try:
            kernel.rename(directory, temporary, directory, here, kernel.RENAME_EXCHANGE)
            if kernel.statx_at(directory, temporary)[6] != node.inode[2]:
                # Somebody has given the name to another file meanwhile.
                kernel.rename(directory, temporary, directory, here, kernel.RENAME_EXCHANGE)
                raise SmbError(NtStatus.FILE_DELETED)
        except BaseException:
            new.close()
            os.unlink(temporary, dir_fd=directory)
            raise
        if node.is_directory:
            os.rmdir(temporary, dir_fd=directory)
        else:
            os.unlink(temporary, dir_fd=directory)
        return new
    finally:
        os.close(directory)
