"""From a path to a descriptor: always beneath the share's root, the exact name before others.

One openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS) does the whole path, so that no check of
strings can be raced; only what it does not find is looked for component by component. Whatever
way led to a file, `veto files` is asked about where it is: a link, an 8.3 name or another
spelling shows no file that its own name hides.
"""

import errno
import os
import stat
import sys
import weakref
from collections.abc import Callable
from typing import Final, Self

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.directory_names import directory_names
from usmbd.protocol.vfs.errors import status_of_errno
from usmbd.protocol.vfs.names import check_encodable
from usmbd.protocol.vfs.pace import long_call
from usmbd.protocol.vfs.short_names import is_made, short_name
from usmbd.protocol.vfs.spelling import to_disk, to_wire
from usmbd.protocol.wire.status import NtStatus, SmbError

_BENEATH: Final = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS
_ENCODING: Final = sys.getfilesystemencoding()
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR)
#: Components of a path that are spelled otherwise, 0.2 ms each; more are for a thread.
STEPS_AT_ONCE: Final = 24
#: Times that a name is looked up that others make and remove meanwhile.
_TRIES: Final = 8


def encode(path: str) -> bytes:
    """Return the bytes of `path` for the kernel; SmbError(OBJECT_NAME_INVALID)."""
    try:
        # os.fsencode does the same in 0.3 us more.
        return path.encode(_ENCODING, "surrogateescape") or b"."
    except UnicodeEncodeError:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID) from None


def exists_at(directory: int, name: str) -> bool:
    """Whether the directory has an entry of exactly that name, be it a link to nowhere."""
    try:
        kernel.statx_at(directory, encode(name))
    except OSError:
        return False
    return True


class Parent:
    """The directory of a name, open as O_PATH, for what is to be made in it."""

    __slots__ = ("_statx", "fd", "path")

    def __init__(self, fd: int, path: str, statx: kernel.StatxTuple | None = None) -> None:
        """Take over `fd`, which is `path` on disk, and what statx(2) said of it a moment ago."""
        self.fd = fd
        self.path = path
        self._statx = statx

    @property
    def statx(self) -> kernel.StatxTuple:
        """Tell what it is, or was a moment ago; OSError."""
        if self._statx is None:
            self._statx = kernel.statx_fd(self.fd)
        return self._statx

    def close(self) -> None:
        """Give the descriptor back; twice is harmless."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def pass_on(self) -> "Parent":
        """Return another that has the descriptor from now on."""
        fd, self.fd = self.fd, -1
        return Parent(fd, self.path, self._statx)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Keep = Callable[[Parent], None]
"""Takes the directory where a look-up has found no such name."""


class Resolver:
    """Opens paths beneath one directory by the rules of one share."""

    def __init__(
        self,
        root: str,
        *,
        follow_symlinks: bool,
        case_sensitive: bool,
        cross_mounts: bool,
        made_names: bool,
        veto: Callable[[str], bool] | None = None,
    ) -> None:
        """Open the root, a mount point itself or not; `cross_mounts` is about those beneath.

        With `made_names` a file also goes by what stands for its name, the wire's spelling
        or 8.3.
        """
        self.root: Final = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Trees and nodes keep a volume that the server has forgotten: the last one closes it.
        self._closed: Final = weakref.finalize(self, os.close, self.root)
        self.root_path: Final = os.path.realpath(root)
        self.case_sensitive = case_sensitive
        self.follow_symlinks = follow_symlinks
        self.made_names = made_names
        self._veto = veto
        beneath = _BENEATH | (0 if cross_mounts else kernel.RESOLVE_NO_XDEV)
        self.resolve: Final = beneath | (0 if follow_symlinks else kernel.RESOLVE_NO_SYMLINKS)
        self._node = kernel.How(os.O_PATH, self.resolve)
        self._link = kernel.How(os.O_PATH | os.O_NOFOLLOW, self.resolve)
        self._directory = kernel.How(os.O_PATH | os.O_DIRECTORY, self.resolve)
        self._real = kernel.How(os.O_PATH, beneath | kernel.RESOLVE_NO_SYMLINKS)

    def close(self) -> None:
        """Give the root's descriptor back; otherwise that happens with the last reference."""
        self._closed()

    def open(self, path: str, *, link: bool = False, keep: Keep | None = None) -> tuple[int, str]:
        """Open `path` as O_PATH: (descriptor, the path as it is on disk); SmbError.

        With `link`, a symbolic link at the end is opened itself. Where the last name alone is
        missing, `keep` gets its directory.
        """
        how = self._link if link else self._node
        fd = how.open(self.root, encode(path))
        found = path
        if fd < 0:
            if -fd in _MISSING or self._may_be_linked(-fd):
                fd, found = self._open_variant(path, how, -fd, keep, link=link)
            else:
                raise SmbError(_refusal(-fd))
        if self._veto is not None:
            # Where a link leads has other names than the path that a client gave.
            self._check_opened(fd, found, path, None if link else NtStatus.OBJECT_NAME_NOT_FOUND)
        return fd, found

    def first_link(self, path: str) -> tuple[int, str, int] | None:
        """Open the first symbolic link on the way to `path`, not at its end; SmbError.

        Returns the descriptor, the link's path on disk, and how many names follow it. For paths
        that the kernel has refused: each name costs an open.
        """
        names = path.split("/")
        if len(names) > STEPS_AT_ONCE:
            long_call()
        for count in range(1, len(names)):
            fd, found = self.open("/".join(names[:count]), link=True)
            if stat.S_ISLNK(kernel.statx_fd(fd)[5]):
                return fd, found, len(names) - count
            os.close(fd)
        return None

    def _open_variant(
        self, path: str, how: kernel.How, number: int, keep: Keep | None, *, link: bool
    ) -> tuple[int, str]:
        """Open what `path` means when the kernel finds nothing of exactly that path: `number`.

        The directory may be spelled otherwise, or the last name, or an absolute link may be on
        the way. Others may make and remove the name meanwhile; what is there and still is not
        found is a link to nowhere.
        """
        above = self.parent(path)
        directory, _, name = path.rpartition("/")
        exact = number == errno.ENOENT and above.path == directory  # it is the last that is missing
        missing = exact and (link or not self.follow_symlinks)  # and it is no link to nowhere
        with above:
            found = self.variant(above.fd, name, above if exact else None, missing=missing)
            for _ in range(_TRIES):
                if found is None:
                    break
                path = join(above.path, found)
                start, rest = (above.fd, found) if link else (self.root, path)
                fd = how.open(start, encode(rest))
                if fd >= 0:
                    return fd, path
                if -fd not in _MISSING:
                    return self._open_linked(path, -fd), path
                if _is_link(above.fd, found):
                    raise SmbError(NtStatus.ACCESS_DENIED)
                found = self.variant(above.fd, name)
            if found is None and keep is not None:
                keep(above.pass_on())
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)

    def open_parent(self, path: str) -> tuple[int, str, str]:
        """Open the directory that holds `path`: (descriptor, its path on disk, the last name).

        SmbError OBJECT_PATH_NOT_FOUND when there is none, ACCESS_DENIED for the root itself.
        """
        if not path:
            raise SmbError(NtStatus.ACCESS_DENIED)
        directory, _, name = path.rpartition("/")
        return *self.open_directory(directory), name

    def parent(self, path: str) -> Parent:
        """Open the directory that holds `path`, as `open_parent`; SmbError."""
        return Parent(*self.open_parent(path)[:2])

    def open_directory(self, path: str) -> tuple[int, str]:
        """Open the directory `path` as O_PATH: (descriptor, path on disk); SmbError."""
        fd = self._directory.open(self.root, encode(path))
        found = path
        if fd == -errno.ENOENT or (fd < 0 and self._may_be_linked(-fd)):
            fd, found = self._open_steps(path)
        elif fd < 0:
            raise SmbError(_refusal(-fd, NtStatus.OBJECT_PATH_NOT_FOUND))
        if self._veto is not None:
            self._check_opened(fd, found, path, NtStatus.OBJECT_PATH_NOT_FOUND)
        return fd, found

    def _open_steps(self, path: str) -> tuple[int, str]:
        """Open a directory component by component, each as it is spelled on disk."""
        names = path.split("/")
        if len(names) > STEPS_AT_ONCE:
            long_call()
        fd, resolved = os.dup(self.root), ""
        for name in names:
            try:
                step, resolved = self._step(fd, resolved, name)
            finally:
                os.close(fd)
            fd = step
        return fd, resolved

    def _step(self, directory: int, path: str, name: str) -> tuple[int, str]:
        """Open the directory that `name` means within `directory`, whose path is `path`."""
        inner = join(path, name)
        # From where the walk is: from the root each step would cost all before it again. Only a
        # link that leads out of this directory needs that.
        fd = self._directory.open(directory, encode(name))
        if fd == -errno.EXDEV:
            fd = self._directory.open(self.root, encode(inner))
        if fd == -errno.ENOENT or (fd < 0 and self._may_be_linked(-fd)):
            found = self.variant(directory, name)
            if found is not None and found != name:
                inner = join(path, found)
                fd = self._directory.open(directory, encode(found))
                if fd == -errno.EXDEV:
                    fd = self._directory.open(self.root, encode(inner))
        if fd < 0:
            fd = self._open_linked(inner, -fd, NtStatus.OBJECT_PATH_NOT_FOUND)
        return fd, inner

    def variant(
        self, directory: int, name: str, above: Parent | None = None, *, missing: bool = False
    ) -> str | None:
        """Return the name in `directory` that a client means by `name`, or None.

        The exact name comes first, then the one that is spelled so on the wire and stored like
        that, then others by case, then the one that has this 8.3 name; what is vetoed is nobody's
        meaning. OSError. `above`, the same directory: the kernel has found nothing by the exact
        name a moment ago; `missing`: not even a link to nowhere.
        """
        found = self._variant(directory, name, above, missing=missing)
        return None if found is not None and self.is_vetoed(found) else found

    def _variant(
        self, directory: int, name: str, above: Parent | None, *, missing: bool
    ) -> str | None:
        """Return the name that is meant, vetoed or not."""
        known, lacks = directory_names(), False
        if above is not None and not self.case_sensitive:
            check_encodable(name)
            lacks = known.lacks(directory, name, above.statx)
        if not (missing or lacks) and exists_at(directory, name):
            return name
        stored = to_wire(name) if self.made_names else name
        if stored != name and exists_at(directory, stored):
            return stored
        check_encodable(name)
        found = None
        if not self.case_sensitive:
            found = None if lacks else known.find(directory, name)
            if found is None and stored != name:
                found = known.find(directory, stored)
        if found is None and self.made_names and is_made(name):
            found = known.find_short(directory, name)
        return found

    def others_in(self, directory: str) -> Callable[[str], bool]:
        """Return a function that tells whether the directory, a path on disk, has an entry."""
        return lambda name: exists_at(self.root, join(directory, name))

    def short_name(self, directory: int, name: str) -> str:
        """Return the 8.3 name by which the entry `name` is found, its own if that is 8.3; OSError.

        "" when there is none: another entry is found by it, or the share makes none.
        """
        short = short_name(name) or name
        return short if self.variant(directory, short) == name else ""

    def know_short_names(self, directory: int) -> None:
        """Work out the 8.3 names in a directory, where it may be listed; see pace.py."""
        if self.made_names and not self.case_sensitive:
            directory_names().find(directory, "")
        if self.made_names:
            directory_names().find_short(directory, "")

    def check_veto(self, path: str) -> None:
        """Refuse a path with a vetoed component; SmbError OBJECT_NAME_NOT_FOUND if it is the last.

        Else OBJECT_PATH_NOT_FOUND, as of a folder that is not there.
        """
        if self._veto is None or not path:
            return
        *folders, name = path.split("/")
        if any(map(self.is_vetoed, folders)):
            raise SmbError(NtStatus.OBJECT_PATH_NOT_FOUND)
        if self.is_vetoed(name):
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)

    def is_vetoed(self, name: str) -> bool:
        """Whether a name on disk is not to be seen, for itself or for what it is taken for."""
        veto = self._veto
        return veto is not None and (veto(name) or (not name.isascii() and veto(to_disk(name))))

    def _check_opened(self, fd: int, found: str, asked: str, hidden: NtStatus | None) -> None:
        """Close and refuse what is vetoed where it is, whatever name led there.

        SmbError `hidden`, or without it what `check_veto` says.
        """
        try:
            if found != asked:
                self.check_veto(found)
            if self.follow_symlinks:
                # From where the root is now: somebody may have renamed it.
                root = os.readlink(kernel.fd_path(self.root))
                place = below(root, os.readlink(kernel.fd_path(fd)))
                if place is not None and place != found:
                    self.check_veto(place)
        except BaseException as error:
            os.close(fd)
            if hidden is not None and isinstance(error, SmbError):
                raise SmbError(hidden) from error
            raise

    def _open_linked(
        self, path: str, number: int, missing: NtStatus = NtStatus.OBJECT_NAME_NOT_FOUND
    ) -> int:
        """Open what openat2 refused with `number`, if it is an absolute link into the share.

        RESOLVE_BENEATH refuses every absolute link; Samba follows those that lead back into the
        share. The link is read by name, which may race, but what comes out is opened beneath
        the root without links.
        """
        if self._may_be_linked(number):
            target = os.path.realpath(os.path.join(self.root_path, path))
            below = self.below(target)
            if below is not None:
                fd = self._real.open(self.root, encode(below))
                if fd >= 0:
                    return fd
        raise SmbError(_refusal(number, missing))

    def _may_be_linked(self, number: int) -> bool:
        """Whether openat2 may have refused an absolute link that leads back into the share."""
        return number == errno.EXDEV and self.follow_symlinks

    def below(self, target: str) -> str | None:
        """Return the absolute real path `target` relative to the root, None if outside."""
        return below(self.root_path, target)


def below(root: str, target: str) -> str | None:
    """Return the path `target` relative to `root`, both absolute and real; None if outside."""
    if target == root:
        return ""
    prefix = root.rstrip("/") + "/"
    return target[len(prefix) :] if target.startswith(prefix) else None


def join(directory: str, name: str) -> str:
    """Put a name behind a directory's path, which is "" for the root."""
    return f"{directory}/{name}" if directory else name


def _refusal(number: int, missing: NtStatus = NtStatus.OBJECT_NAME_NOT_FOUND) -> NtStatus:
    """Map why openat2 refused a path; EXDEV: it leads out of the share or over a mount point."""
    if number in _MISSING:
        return missing
    return NtStatus.ACCESS_DENIED if number == errno.EXDEV else status_of_errno(number)


def _is_link(directory: int, name: str) -> bool:
    """Whether the entry `name` is a symbolic link."""
    try:
        return stat.S_ISLNK(kernel.statx_at(directory, encode(name))[5])
    except OSError:
        return False
