"""The directory entry of an open file: where it is, rename, hard link, removal.

The kernel acts on names, SMB on open files; the name under which a file was opened may
meanwhile belong to another. So the directory is opened, the name's inode compared with the
one that is held, and if they differ the kernel is asked where the file is now. What is left
between that look and the act is a few microseconds, which no system call closes.
"""

import errno
import os
import secrets
import stat
from dataclasses import dataclass
from typing import Final

from usmbd.protocol.vfs import apple_double, kernel
from usmbd.protocol.vfs.base import NameRights, VolumeBase
from usmbd.protocol.vfs.emptiness import is_empty, remove_vetoed
from usmbd.protocol.vfs.errors import status_of_errno
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.resolve import encode, join
from usmbd.protocol.wire.status import NtStatus, SmbError

_DELETED: Final = " (deleted)"


def _identity(statx: kernel.StatxTuple) -> tuple[int, int, int]:
    """Return (device major, device minor, inode)."""
    return statx[17], statx[18], statx[6]


def current_path(node: Node) -> str:
    """Ask the kernel for the path that the file has now.

    SmbError(FILE_DELETED) when it has none, OBJECT_NAME_NOT_FOUND when that is outside
    the share.
    """
    target = os.readlink(kernel.fd_path(node.fd))
    if target.endswith(_DELETED) and not os.path.lexists(target):
        raise SmbError(NtStatus.FILE_DELETED)
    path = node.volume.resolver.below(target)
    if path is None:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return path


def locate(node: Node) -> tuple[int, str]:
    """Find the file's directory entry: (O_PATH descriptor of the directory, name).

    Updates `path`. SmbError FILE_DELETED when there is no such entry any more.
    """
    for path in (node.path, None):
        if path is None:
            path = current_path(node)
        try:
            directory, _, name = node.volume.resolver.open_parent(path)
        except SmbError:
            if not path:
                raise
            continue
        if _is_at(node, directory, name):
            node.path = path
            return directory, name
        os.close(directory)
    raise SmbError(NtStatus.FILE_DELETED)


def _is_at(node: Node, directory: int, name: str) -> bool:
    """Whether the entry `name` is this file, or a symbolic link by which it was reached."""
    try:
        statx = kernel.statx_at(directory, encode(name))
        if _identity(statx) == node.inode:
            return True
        if stat.S_ISLNK(statx[5]):
            followed = os.stat(name, dir_fd=directory)
            major, minor, inode = node.inode
            return (followed.st_dev, followed.st_ino) == (os.makedev(major, minor), inode)
    except OSError:
        pass
    return False


def short_name(node: Node) -> str:
    """Return the file's 8.3 name, its own if that is 8.3, "" if none; SmbError, OSError."""
    if not node.path:
        return ""
    directory, name = locate(node)
    try:
        return node.volume.resolver.short_name(directory, name)
    finally:
        os.close(directory)


def parent(node: Node) -> Node:
    """Open the directory where the file is now; SmbError(FILE_DELETED), OSError."""
    directory, name = locate(node)
    path = node.path[: -len(name)].rstrip("/")
    return Node(node.volume, directory, path, False, False)


def rename(node: Node, new_path: str, replace: bool, rights: NameRights | None = None) -> None:
    """Give the file the name `new_path` ([MS-FSA] 2.1.5.15.11); OSError, SmbError.

    The directory of `new_path` is found in any case, the last name is taken as it is
    written. OBJECT_NAME_COLLISION when it exists and `replace` is not set, or is a file that a
    directory would replace; ACCESS_DENIED when what would be replaced is a directory, or when
    `rights` refuse it, which are asked beside the kernel.
    """
    node.volume.check_writable()
    node.volume.check_veto(new_path)
    source_dir, source = locate(node)
    try:
        target_dir, directory, target = node.volume.resolver.open_parent(new_path)
        try:
            place = _Place(node.volume, target_dir, directory, rights)
            replaced = _rename(node, source_dir, source, place, target, replace=replace)
            if node.is_regular:
                apple_double.follow_rename(
                    node.volume, (source_dir, source), (target_dir, target), replaced
                )
        finally:
            os.close(target_dir)
    finally:
        os.close(source_dir)
    node.path = join(directory, target)
    node.forget_change_time()


@dataclass(frozen=True, slots=True)
class _Place:
    """The directory where a name is added or replaced, and who is asked about that."""

    volume: VolumeBase
    fd: int
    path: str
    rights: NameRights | None

    def check_add(self, *, is_directory: bool) -> None:
        """Ask for a new entry of the directory; SmbError(ACCESS_DENIED)."""
        if self.rights is not None and self.rights.asks_names:
            statx = kernel.statx_fd(self.fd)
            directory = Node(self.volume, self.fd, self.path, False, False, lent=statx)
            self.rights.check_add(directory, is_directory=is_directory)

    def check_replace(self, name: str) -> None:
        """Ask for what stands there already; SmbError(ACCESS_DENIED)."""
        if self.rights is not None and self.rights.asks_names:
            path = join(self.path, name)
            with Node.at(self.volume, self.fd, encode(name), path) as target:
                self.rights.check_replace(target)


def _rename(
    node: Node, source_dir: int, source: str, place: _Place, target: str, *, replace: bool
) -> str | None:
    """Rename one directory entry to another, whatever stands there now: the name that has gone."""
    target_dir = place.fd
    same_directory = _identity(kernel.statx_fd(source_dir)) == _identity(
        kernel.statx_fd(target_dir)
    )
    if same_directory and source == target:
        return None
    if same_directory and fold(source) == fold(target):
        # Only the case changes. On a case-sensitive disk the other name may be taken.
        found = target if _name_exists(target_dir, target) else None
    else:
        found = node.volume.resolver.variant(target_dir, target)
        if same_directory and found == source:
            found = None  # the new name is another spelling of the old, or its 8.3 name
    place.check_add(is_directory=node.is_directory)
    if found is None:
        _rename_at(source_dir, source, target_dir, target, kernel.RENAME_NOREPLACE)
        return None
    if not replace:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    statx = kernel.statx_at(target_dir, encode(found))
    if node.volume.options.posix:
        place.check_replace(found)
        _rename_at(source_dir, source, target_dir, found, 0)  # by rename(2)'s own rules
        return found
    if stat.S_ISDIR(statx[5]):
        raise SmbError(NtStatus.ACCESS_DENIED)
    place.check_replace(found)
    if _identity(statx) == node.inode:
        # Two names of one inode: rename(2) would succeed and leave both.
        os.unlink(source, dir_fd=source_dir)
    elif node.is_directory:
        # [MS-FSA] 2.1.5.15.11 would replace the file; rename(2) cannot.
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    else:
        _rename_at(source_dir, source, target_dir, found, 0)
    if found != target:
        _rename_at(target_dir, found, target_dir, target, kernel.RENAME_NOREPLACE)
    return found


def link(node: Node, new_path: str, replace: bool, rights: NameRights | None = None) -> None:
    """Make `new_path` another name of this file ([MS-FSA] 2.1.5.15.6); OSError, SmbError.

    `rights` are asked beside the kernel.
    """
    node.volume.check_writable()
    node.volume.check_veto(new_path)
    if node.is_directory:
        raise SmbError(NtStatus.FILE_IS_A_DIRECTORY)
    if rights is not None:
        rights.check_link(node)
    directory, path, name = node.volume.resolver.open_parent(new_path)
    try:
        place = _Place(node.volume, directory, path, rights)
        found = node.volume.resolver.variant(directory, name)
        place.check_add(is_directory=False)
        if found is None:
            _link_at(node, directory, name)
            return
        if not replace:
            raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
        statx = kernel.statx_at(directory, encode(found))
        if stat.S_ISDIR(statx[5]):
            raise SmbError(NtStatus.ACCESS_DENIED)
        place.check_replace(found)
        if _identity(statx) != node.inode:
            # link(2) never replaces: a link under a name of our own takes the place.
            temporary = f".usmbd-link-{secrets.token_hex(8)}"
            _link_at(node, directory, temporary)
            try:
                _rename_at(directory, temporary, directory, found, 0)
            except BaseException:
                os.unlink(temporary, dir_fd=directory)
                raise
            apple_double.remove(node.volume, directory, found)
        if found != name:
            _rename_at(directory, found, directory, name, kernel.RENAME_NOREPLACE)
    finally:
        os.close(directory)


def _link_at(node: Node, directory: int, name: str) -> None:
    """Link the held inode, whatever its names are now, into a directory."""
    os.link(kernel.fd_path(node.fd), name, dst_dir_fd=directory, follow_symlinks=True)
    node.forget_change_time()


def unlink(node: Node, path: str | None = None) -> None:
    """Remove the file's name, or the directory if it is empty; OSError, SmbError.

    With `path` that name or none. SmbError DIRECTORY_NOT_EMPTY, FILE_DELETED (it has no such name
    any more), ACCESS_DENIED.
    """
    node.volume.check_writable()
    if path is not None:
        node.path = path
    directory, name = locate(node)
    try:
        if path is not None and node.path != path:
            raise SmbError(NtStatus.FILE_DELETED)
        if node.is_directory:
            if stat.S_ISLNK(kernel.statx_at(directory, encode(name))[5]):
                os.unlink(name, dir_fd=directory)
            else:
                _rmdir(node, directory, name)
        else:
            fork_beside = node.is_regular and node.volume.options.forks_in_files
            remove_file(directory, name, fork_beside=fork_beside)
            if node.last_stat.nlink > 1:
                node.forget_change_time()
    except OSError as error:
        if error.errno == errno.EEXIST:  # what some file systems say for ENOTEMPTY
            raise SmbError(NtStatus.DIRECTORY_NOT_EMPTY) from error
        raise SmbError(status_of_errno(error.errno)) from error
    finally:
        os.close(directory)


def remove_file(directory: int, name: str, *, fork_beside: bool) -> None:
    """Remove a file's entry of an open directory, and after it what has its fork; OSError."""
    os.unlink(name, dir_fd=directory)
    if fork_beside:
        apple_double.remove_beside(directory, name)


def _rmdir(node: Node, directory: int, name: str) -> None:
    """Remove a directory, with what is vetoed in it where that goes along; OSError."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        full = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if not (full and node.volume.options.deletes_vetoed and is_empty(node)):
            raise
        remove_vetoed(node)
        os.rmdir(name, dir_fd=directory)


def _rename_at(source_dir: int, source: str, target_dir: int, target: str, flags: int) -> None:
    """Rename by directory and name; a file system without RENAME_NOREPLACE is asked first."""
    arguments = source_dir, encode(source), target_dir, encode(target)
    try:
        kernel.rename(*arguments, flags)
    except OSError as error:
        if error.errno != errno.EINVAL or not flags:
            raise
        if _name_exists(target_dir, target):
            raise SmbError(NtStatus.OBJECT_NAME_COLLISION) from error
        kernel.rename(*arguments, 0)


def _name_exists(directory: int, name: str) -> bool:
    """Whether the directory has an entry of exactly that name."""
    try:
        kernel.statx_at(directory, encode(name))
    except FileNotFoundError:
        return False
    return True
