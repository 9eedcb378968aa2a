"""From a path to a descriptor: always beneath the share's root, the exact name before others.

One openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS) does the whole path, so that no check of
strings can be raced; only what it does not find is looked for component by component.
"""

import errno
import os
import sys
import weakref
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.directory_names import directory_names
from usmbd.protocol.vfs.errors import status_of_errno
from usmbd.protocol.vfs.names import check_encodable
from usmbd.protocol.vfs.short_names import is_made
from usmbd.protocol.wire.status import NtStatus, SmbError

_BENEATH: Final = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS
_ENCODING: Final = sys.getfilesystemencoding()
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR)


def encode(path: str) -> bytes:
    """Return the bytes of `path` for the kernel; SmbError(OBJECT_NAME_INVALID)."""
    try:
        # os.fsencode does the same in 0.3 us more.
        return path.encode(_ENCODING, "surrogateescape") or b"."
    except UnicodeEncodeError:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID) from None


class Resolver:
    """Opens paths beneath one directory by the rules of one share."""

    def __init__(
        self,
        root: str,
        *,
        follow_symlinks: bool,
        case_sensitive: bool,
        cross_mounts: bool = True,
        short_names: bool = False,
    ) -> None:
        """Open the root, a mount point itself or not; `cross_mounts` is about those beneath."""
        self.root: Final = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Trees and nodes keep a volume that the server has forgotten: the last one closes it.
        self._closed: Final = weakref.finalize(self, os.close, self.root)
        self.root_path: Final = os.path.realpath(root)
        self.case_sensitive = case_sensitive
        self.follow_symlinks = follow_symlinks
        self.short_names = short_names
        beneath = _BENEATH | (0 if cross_mounts else kernel.RESOLVE_NO_XDEV)
        self.resolve: Final = beneath | (0 if follow_symlinks else kernel.RESOLVE_NO_SYMLINKS)
        self._node = kernel.How(os.O_PATH, self.resolve)
        self._link = kernel.How(os.O_PATH | os.O_NOFOLLOW, self.resolve)
        self._directory = kernel.How(os.O_PATH | os.O_DIRECTORY, self.resolve)
        self._real = kernel.How(os.O_PATH, beneath | kernel.RESOLVE_NO_SYMLINKS)

    def close(self) -> None:
        """Give the root's descriptor back; otherwise that happens with the last reference."""
        self._closed()

    def open(self, path: str, *, link: bool = False) -> tuple[int, str]:
        """Open `path` as O_PATH: (descriptor, the path as it is on disk); SmbError.

        With `link`, a symbolic link at the end is opened itself.
        """
        how = self._link if link else self._node
        fd = how.open(self.root, encode(path))
        if fd >= 0:
            return fd, path
        if -fd not in _MISSING:
            return self._open_linked(path, -fd), path
        parent, directory, name = self.open_parent(path)
        try:
            found = self._variant(parent, name)
        finally:
            os.close(parent)
        if found is None:
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
        if found == name:
            # It exists, yet it did not open: a symbolic link to nowhere.
            raise SmbError(NtStatus.ACCESS_DENIED)
        path = join(directory, found)
        fd = how.open(self.root, encode(path))
        if fd >= 0:
            return fd, path
        return self._open_linked(path, -fd), path

    def open_parent(self, path: str) -> tuple[int, str, str]:
        """Open the directory that holds `path`: (descriptor, its path on disk, the last name).

        SmbError OBJECT_PATH_NOT_FOUND when there is none, ACCESS_DENIED for the root itself.
        """
        if not path:
            raise SmbError(NtStatus.ACCESS_DENIED)
        directory, _, name = path.rpartition("/")
        return *self.open_directory(directory), name

    def open_directory(self, path: str) -> tuple[int, str]:
        """Open the directory `path` as O_PATH: (descriptor, path on disk); SmbError."""
        fd = self._directory.open(self.root, encode(path))
        if fd >= 0:
            return fd, path
        if -fd != errno.ENOENT or (self.case_sensitive and not self.short_names):
            return self._open_linked(path, -fd, NtStatus.OBJECT_PATH_NOT_FOUND), path
        fd, resolved = os.dup(self.root), ""
        for name in path.split("/"):
            try:
                step, resolved = self._step(fd, resolved, name)
            finally:
                os.close(fd)
            fd = step
        return fd, resolved

    def _step(self, directory: int, path: str, name: str) -> tuple[int, str]:
        """Open the directory `name`, in any case, within `directory`, whose path is `path`."""
        inner = join(path, name)
        fd = self._directory.open(self.root, encode(inner))
        if fd == -errno.ENOENT:
            found = self._variant(directory, name)
            if found is not None and found != name:
                inner = join(path, found)
                fd = self._directory.open(self.root, encode(inner))
        if fd < 0:
            fd = self._open_linked(inner, -fd, NtStatus.OBJECT_PATH_NOT_FOUND)
        return fd, inner

    def variant(self, directory: int, name: str) -> str | None:
        """Return the name in `directory` that a client means by `name`, or None.

        Exact names come first; on a case-sensitive share there are no others.
        """
        try:
            kernel.statx_at(directory, encode(name))
        except OSError:
            return self._variant(directory, name)
        return name

    def _variant(self, directory: int, name: str) -> str | None:
        """Look for `name` in another case, or for what it is the 8.3 name of."""
        short = self.short_names and is_made(name)
        if self.case_sensitive and not short:
            return None
        check_encodable(name)
        return directory_names().find(directory, name, short=short)

    def _open_linked(
        self, path: str, number: int, missing: NtStatus = NtStatus.OBJECT_NAME_NOT_FOUND
    ) -> int:
        """Open what openat2 refused with `number`, if it is an absolute link into the share.

        RESOLVE_BENEATH refuses every absolute link; Samba follows those that lead back into the
        share. The link is read by name, which may race, but what comes out is opened beneath
        the root without links.
        """
        if number == errno.EXDEV and self.follow_symlinks:
            target = os.path.realpath(os.path.join(self.root_path, path))
            below = self.below(target)
            if below is not None:
                fd = self._real.open(self.root, encode(below))
                if fd >= 0:
                    return fd
        if number in _MISSING:
            raise SmbError(missing)
        if number == errno.EXDEV:
            raise SmbError(NtStatus.ACCESS_DENIED)
        raise SmbError(status_of_errno(number))

    def below(self, target: str) -> str | None:
        """Return the absolute real path `target` relative to the root, None if outside."""
        if target == self.root_path:
            return ""
        prefix = self.root_path.rstrip("/") + "/"
        return target[len(prefix) :] if target.startswith(prefix) else None


def join(directory: str, name: str) -> str:
    """Put a name behind a directory's path, which is "" for the root."""
    return f"{directory}/{name}" if directory else name
