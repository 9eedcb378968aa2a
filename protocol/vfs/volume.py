"""One share's directory tree as a worker uses it: look-up, creation, size."""

import errno
import logging
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from usmbd.protocol.vfs import directory_entry, dos_attributes, kernel
from usmbd.protocol.vfs.base import NameRights, VolumeBase
from usmbd.protocol.vfs.errors import status_of_errno
from usmbd.protocol.vfs.file_systems import LOCAL, magic
from usmbd.protocol.vfs.identity import as_process, current_uid
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import NEW_DIRECTORY, NEW_FILE, InheritOwner, VolumeOptions
from usmbd.protocol.vfs.resolve import Keep, Parent, encode, join
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.vfs")

__all__ = ["FileSystemFacts", "Volume", "VolumeOptions"]

_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_NEW_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileSystemFacts:
    """The size of a file system ([MS-FSCC] 2.5): sizes in blocks of `block_size` bytes.

    `available` is what the asking user may still take, `free` what is free at all;
    `serial` is the 64-bit identity of the file system, the same after a restart.
    """

    block_size: int
    total: int
    free: int
    available: int
    files: int
    files_free: int
    name_max: int
    serial: int
    read_only: bool


class Volume(VolumeBase):
    """The tree below one share's root, by that share's options; any thread may use it."""

    def __init__(self, root: str, options: VolumeOptions | None = None) -> None:
        """Open the root directory with the rights of the process; OSError."""
        super().__init__(root, options)
        self.may_hang = False
        """A call may take forever: who opened the volume has found out, or was told."""
        self._hows: dict[tuple[int, int], kernel.How] = {}
        self.snapshots: WeakValueDictionary[str, Volume] = WeakValueDictionary()
        """Those that are in use, by the names of their directories."""
        self._posix_view: Volume | None = None

    def posix_view(self) -> "Volume":
        """Return the tree as clients of the POSIX extensions see it; may block.

        Case counts, a link is itself, names are as on disk, whoever made them and by what.
        """
        view = self._posix_view
        if view is None:
            rules = replace(
                self.options,
                posix=True,
                case_sensitive=True,
                follow_symlinks=False,
                made_names=False,
                lists_short_names=False,
            )
            view = self._posix_view = Volume(kernel.fd_path(self.resolver.root), rules)
        return view

    def forget_abilities(self) -> None:
        """Try anew what file systems can do: others may have their devices' numbers."""
        self._abilities.clear()
        self._lists.clear()
        if self._posix_view is not None:
            self._posix_view.forget_abilities()

    def lookup(
        self, path: str, *, open_reparse_point: bool = False, keep: Keep | None = None
    ) -> Node:
        """Open what `path` names, exactly or else in another case, without touching its data.

        The node has its stat in `last_stat`. With `open_reparse_point` a symbolic link at the
        end is the result itself. `keep` gets the directory where the last name alone is missing.
        SmbError OBJECT_NAME_NOT_FOUND, OBJECT_PATH_NOT_FOUND, OBJECT_NAME_INVALID, ACCESS_DENIED
        (also for a link that leads nowhere or outside); for a root that was removed
        OBJECT_PATH_NOT_FOUND, as from smbd.
        """
        if self.options.veto is not None:
            self.check_veto(path)
        fd, path = self.resolver.open(path, link=open_reparse_point, keep=keep)
        if not path and _is_removed(fd):
            os.close(fd)
            raise SmbError(NtStatus.OBJECT_PATH_NOT_FOUND)
        return Node(self, fd, path, False, False)

    def create_file(
        self,
        path: str,
        attributes: int = 0,
        *,
        read: bool = True,
        write: bool = True,
        mode: int | None = None,
        rights: NameRights | None = None,
        parent: Parent | None = None,
    ) -> Node:
        """Create a file that must not exist, open for data as asked, with DOS attributes.

        `mode` is POSIX's (for the POSIX extensions), else the share's masks decide. The
        data is open even where the mode would refuse it. `rights` are asked beside the kernel.
        `parent` is its directory, where a look-up has kept that, and is closed.
        SmbError OBJECT_NAME_COLLISION, OBJECT_PATH_NOT_FOUND, ACCESS_DENIED, ...
        """
        options = self.options
        inherits = mode is None and options.inherit_permissions
        owner = None
        if mode is None:
            mode = NEW_FILE & options.create_mask | options.force_create_mode
            if attributes & FILE_ATTRIBUTE_READONLY and not options.store_dos_attributes:
                mode &= ~0o222
        access = (os.O_RDWR if read else os.O_WRONLY) if write else os.O_RDONLY
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | access
        self._check_creation(path)
        fd = -errno.ENOENT
        is_owned = options.inherit_owner is not InheritOwner.NO
        is_asked = inherits or is_owned or (rights is not None and rights.asks_names)
        if parent is None and options.veto is None and not is_asked:
            fd = self._how(flags, mode).open(self.resolver.root, encode(path))
        if fd in (-errno.ENOENT, -errno.EXDEV):
            # Another spelling of the directory, an absolute link to it, or it is to be asked for.
            name = path.rpartition("/")[2]
            with parent or self.resolver.parent(path) as above:
                if inherits:
                    mode = above.statx[5] & NEW_FILE
                owner = above.statx[3] if is_owned else None
                mode = self._check_add(above, rights, mode, is_directory=False)
                fd = self._how(flags, mode).open(above.fd, encode(name))
            path = join(above.path, name)
        if fd < 0:
            log.debug("file %s, mode %04o: %s", path, mode, os.strerror(-fd))
            raise SmbError(_creation_status(-fd))
        log.debug("file %s, mode %04o: created", path, mode)
        node = Node(self, fd, path, read, write, is_new=True)
        return self._finish_creation(node, attributes, owner)

    def create_directory(
        self,
        path: str,
        attributes: int = 0,
        *,
        read: bool = False,
        mode: int | None = None,
        rights: NameRights | None = None,
        parent: Parent | None = None,
    ) -> Node:
        """Create a directory that must not exist, with DOS attributes; SmbError as above.

        With `read` it is open for listing, if its mode lets its maker do that.
        """
        options = self.options
        self._check_creation(path)
        name = path.rpartition("/")[2]
        with parent or self.resolver.parent(path) as above:
            owner = None if options.inherit_owner is InheritOwner.NO else above.statx[3]
            if mode is None and options.inherit_permissions:
                # smb.conf(5): set-gid with them, and never set-uid; the owner may always add to it.
                mode = above.statx[5] & 0o7777 & ~stat.S_ISUID | stat.S_IWUSR
            elif mode is None:
                mode = NEW_DIRECTORY & options.directory_mask | options.force_directory_mode
            made = self._check_add(above, rights, mode, is_directory=True)
            try:
                os.mkdir(encode(name), made & 0o7777, dir_fd=above.fd)
            except OSError as error:
                log.debug("directory %s, mode %04o: %s", path, mode, error.strerror)
                raise SmbError(_creation_status(error.errno)) from error
            try:
                fd, read = _open_new(above.fd, encode(name), read=read)
            except OSError as error:  # somebody removed it at once
                raise SmbError(NtStatus.FILE_DELETED) from error
        path = join(above.path, name)
        node = Node(self, fd, path, read, False, is_new=True)
        if node.last_stat.uid != current_uid() and magic(fd) in LOCAL:
            # And put another's in its place, which would get permissions and attributes.
            node.close()
            raise SmbError(NtStatus.FILE_DELETED)
        try:
            if _add_special_bits(fd, mode):
                node.stat()
        except OSError as error:  # the directory is there all the same, as on Samba
            log.warning(
                "a directory without mode %04o: %s", mode, error.strerror, extra={"path": path}
            )
        log.debug("directory %s, mode %04o: created", path, mode)
        return self._finish_creation(node, attributes | FILE_ATTRIBUTE_DIRECTORY, owner)

    def fs_info(self, node: Node | None = None) -> FileSystemFacts:
        """Ask for the size and identity of the file system of a node, or the root's; OSError."""
        statvfs = os.fstatvfs(self.resolver.root if node is None else node.fd)
        return FileSystemFacts(
            block_size=statvfs.f_frsize,
            total=statvfs.f_blocks,
            free=statvfs.f_bfree,
            available=statvfs.f_bavail,
            files=statvfs.f_files,
            files_free=statvfs.f_ffree,
            name_max=statvfs.f_namemax,
            serial=statvfs.f_fsid & 0xFFFFFFFFFFFFFFFF,
            read_only=bool(statvfs.f_flag & os.ST_RDONLY),
        )

    def _check_creation(self, path: str) -> None:
        """Refuse to create the root, a vetoed name, or anything on a read-only share."""
        if not path:
            raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
        self.check_writable()
        self.check_veto(path)

    def _how(self, flags: int, mode: int) -> kernel.How:
        """Return how a file is created with these flags of open(2) and this mode."""
        how = self._hows.get((flags, mode))
        if how is None:
            how = kernel.How(flags, self.resolver.resolve, mode & 0o7777)
            self._hows[flags, mode] = how
        return how

    def _check_add(
        self, above: Parent, rights: NameRights | None, mode: int, *, is_directory: bool
    ) -> int:
        """Ask the directory for the right to add; SmbError(ACCESS_DENIED).

        Returns the mode with which it is made, instead of `mode`, until it has its descriptor.
        """
        if rights is None or not rights.asks_names:
            return mode
        node = Node(self, above.fd, above.path, False, False, lent=above.statx)
        rights.check_add(node, is_directory=is_directory)
        return rights.making(node, mode)

    def _finish_creation(self, node: Node, attributes: int, owner: int | None) -> Node:
        """Give a new file its owner and its DOS attributes, and its node what it has now.

        Or remove it again.
        """
        try:
            if owner is not None:
                _give_away(node, owner)
            known = node.last_stat
            attributes &= dos_attributes.STORED | FILE_ATTRIBUTE_DIRECTORY
            attributes &= ~dos_attributes.BY_FSCTL
            if self.options.store_dos_attributes:
                node.write_dos_attributes(attributes, known.creation_time)
                known.attributes |= attributes
        except BaseException:
            with suppress(OSError, SmbError):  # a full disk has no room for attributes either
                directory_entry.unlink(node)
            node.close()
            raise
        return node


def _is_removed(directory: int) -> bool:
    """Whether an open directory has no name any more; some of FUSE's have no links either."""
    if kernel.statx_fd(directory)[2]:
        return False
    return os.readlink(kernel.fd_path(directory)).endswith(" (deleted)")


def _open_new(parent: int, name: bytes, *, read: bool) -> tuple[int, bool]:
    """Open a new directory, to `read` it if that may be: (descriptor, whether it is); OSError."""
    if read:
        with suppress(PermissionError):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            return os.open(name, flags, dir_fd=parent), True
    return os.open(name, _NEW_DIRECTORY, dir_fd=parent), False


def _add_special_bits(directory: int, mode: int) -> bool:
    """Set what mkdir(2) leaves out of `mode`, set-uid and set-gid: whether it did; OSError.

    What is there stays: set-gid from the parent, permissions from a default ACL. The kernel
    drops set-gid when the user is not in the directory's group.
    """
    wanted = mode & _SPECIAL_BITS
    if wanted:
        path = kernel.fd_path(directory)
        found = stat.S_IMODE(os.stat(path).st_mode)
        if wanted & ~found:
            os.chmod(path, found | wanted)
            return True
    return False


def _give_away(node: Node, owner: int) -> None:
    """Make a new file another's, who has its directory; where that cannot be it is its maker's.

    Whoever has the directory may have put what is somebody else's in the place of a new one.
    """
    try:
        if os.stat(kernel.fd_path(node.fd)).st_uid != current_uid():
            raise PermissionError(errno.EPERM, "it is not its maker's")
        with as_process():
            os.chown(kernel.fd_path(node.fd), owner, -1)
    except OSError as error:  # as with smbd: a server that is not root, NFS
        log.warning("not given to uid %d: %s", owner, error.strerror, extra={"path": node.path})


def _creation_status(number: int | None) -> NtStatus:
    """Map why something could not be created."""
    if number in (errno.ENOENT, errno.ENOTDIR):
        return NtStatus.OBJECT_PATH_NOT_FOUND
    if number == errno.EXDEV:
        return NtStatus.ACCESS_DENIED
    return status_of_errno(number)
