"""Listing a directory with the stat of every entry: the hot loop of QUERY_DIRECTORY.

An entry costs one statx by the directory's descriptor and, where the share stores DOS
attributes, one getxattrat, where it has EAs one listxattrat; nothing is opened but the target of a
symbolic link. Where the share hides what the user may not read, a faccessat2 comes on top.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Final

from usmbd.protocol.vfs import dos_attributes, ea, kernel, stored_reparse
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.dfs_links import describe_link, read_link
from usmbd.protocol.vfs.identity import as_process
from usmbd.protocol.vfs.pace import LongCallError
from usmbd.protocol.vfs.resolve import encode, exists_at, join
from usmbd.protocol.vfs.spelling import is_odd, is_speakable, shown
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_REPARSE_POINT
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import SmbError

Entry = tuple[str, str | bytes, FileStat, int]
"""(name as the client says it, 8.3 name or "" or what `describes` says in its place, stat, number)

The number is that of the name, from 1 on, among those that match; where unreadable files are hidden
among those that are shown, or it would tell how many there are.
"""

Shows = Callable[[VolumeBase, int, str], bool]
"""Whether a listing shows an entry: its volume, a descriptor that it takes over, its path."""

Describes = Callable[[VolumeBase, int, str], bytes]
"""What a listing tells in the place of 8.3 names; takes what `Shows` takes."""

NAMES_AT_ONCE: Final = 16
"""Names that do not match between two pauses: the worst pattern takes 0.1 ms for one."""

_REFUSED = (-errno.EACCES, -errno.EPERM)
_WITH_XATTRS = (stat.S_IFDIR, stat.S_IFREG)
_ORDINARY = (*_WITH_XATTRS, stat.S_IFLNK)
# A directory that may be listed and not entered shows names without anything behind them.
_READ_DIRECTORY = os.R_OK | os.X_OK
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def scan(
    volume: VolumeBase,
    directory: int,
    path: str,
    matches: Callable[[str], bool] | None,
    shows: Shows | None = None,
    describes: Describes | None = None,
    skip: int = 0,
    matches_short: Callable[[str], bool] | None = None,
) -> Generator[Entry | None, None, None]:
    """Yield what a client may see in the open directory, behind the entry number `skip`; OSError.

    And None after NAMES_AT_ONCE that it does not: a pause, when others may have their turn.

    "." and ".." come first (the root is its own parent), the rest as the file system gives it.
    `matches` is asked before an entry costs anything, then `matches_short` with the name on disk.
    Names that SMB cannot say come as they are spelled on the wire; a symbolic link that is not
    followed, or leads nowhere or outside, comes as itself, so that it can be deleted. Not seen are
    vetoed names, special files with `hide_special_files`, and what goes meanwhile. With
    `hide_unreadable` neither is what the POSIX permissions do not let the identity read (enter,
    too, for directories), nor what `shows` says no to, which knows of stored NT ACLs. The directory
    is read on, and asked, by the identity of whoever takes the next entry.
    """
    smb_stat = volume.smb_stat
    resolver = volume.resolver
    vetoes = volume.options.veto is not None
    spells = volume.options.made_names
    says_all = volume.options.posix
    shortens = volume.options.lists_short_names
    stored = volume.options.store_dos_attributes
    hide = volume.options.hide_unreadable
    hides_special = volume.options.hide_special_files
    counts_eas = volume.options.ea_support and not says_all and describes is None
    dfs = volume.options.msdfs
    statx_at = kernel.statx_at
    getxattr_at = kernel.getxattr_at
    attribute = dos_attributes.XATTR_NAME_BYTES

    def stat_of(name: str, encoded: bytes, hide: bool) -> FileStat | None:
        try:
            sx = statx_at(directory, encoded)
        except OSError:
            return None
        kind = sx[5] & 0o170000
        if kind == stat.S_IFLNK:
            if dfs and read_link(directory, name):
                return describe_link(smb_stat(sx, None, name, directory))
            return _link_stat(volume, sx, join(path, name), name, shows)
        if hides_special and kind not in _ORDINARY:
            return None
        if hide and not _is_readable(directory, encoded, kind):
            return None
        if hide and shows is not None:
            try:
                fd = os.open(encoded, _ENTRY, dir_fd=directory)
            except OSError:
                return None
            if not shows(volume, fd, join(path, name)):
                return None
        dos: bytes | int = 0
        if stored and kind in _WITH_XATTRS:
            dos = getxattr_at(directory, encoded, attribute)
            if dos.__class__ is int and dos in _REFUSED:
                dos = _as_process(directory, encoded)
        found = smb_stat(sx, dos if isinstance(dos, bytes) else None, name, directory)
        if found.attributes & FILE_ATTRIBUTE_REPARSE_POINT and kind in _WITH_XATTRS:
            stored_reparse.describe(found, stored_reparse.read_at(directory, encoded))
        return found

    def described(encoded: bytes, path: str) -> bytes:
        assert describes is not None
        try:
            return describes(volume, os.open(encoded, _ENTRY, dir_fd=directory), path)
        except (OSError, SmbError):  # it has gone meanwhile
            return b""

    number = 0
    # Descriptors of its own give each scan a position of its own, and keep the scan on its
    # directory whatever becomes of the open that began it. By a path os.scandir makes three calls
    # less than by a descriptor, which it duplicates and rewinds.
    directory = os.dup(directory)
    try:
        with os.scandir(kernel.fd_path(directory)) as entries:
            for name in (".", ".."):
                if matches is None or matches(name):
                    number += 1
                    if number <= skip:
                        continue
                    entry = stat_of(name, b"." if name == "." or not path else b"..", False)
                    entry = entry or stat_of(name, b".", False)
                    if entry is not None:
                        yield (
                            name,
                            "" if describes is None else described(b".", path),
                            entry,
                            number,
                        )
            unseen = 0
            for item in entries:
                unseen += 1
                if unseen > NAMES_AT_ONCE:
                    unseen = 0
                    yield None
                name = said = item.name
                if is_odd(name):
                    if spells:
                        said = shown(name, lambda other: exists_at(directory, other))
                    elif not says_all and not is_speakable(name):
                        continue
                if matches is not None and not (
                    matches(said) or (matches_short is not None and matches_short(name))
                ):
                    continue
                if vetoes and resolver.is_vetoed(name):
                    continue
                if not hide:
                    number += 1
                    if number <= skip:  # it costs nothing
                        continue
                encoded = encode(name)
                entry = stat_of(name, encoded, hide)
                if entry is not None:
                    if hide:
                        number += 1
                        if number <= skip:
                            continue
                    unseen = 0
                    if counts_eas and (eas := ea.names_at(directory, encoded)):
                        entry.ea_size = yield from ea.size_at(directory, encoded, eas)
                    short: str | bytes = ""
                    if describes is not None:
                        short = described(encoded, join(path, name))
                    elif shortens:
                        short = _short_name(volume, directory, name)
                    yield said, short, entry, number
    finally:
        os.close(directory)


def _short_name(volume: VolumeBase, directory: int, name: str) -> str:
    """Return the 8.3 name for a listing, which tells none that is the name itself.

    None either while they have to be worked out anew, for changes since the listing began.
    """
    try:
        short = volume.resolver.short_name(directory, name)
    except LongCallError:
        return ""
    return short if short != name else ""


def _is_readable(directory: int, name: bytes, kind: int) -> bool:
    """Whether the thread's identity may read the entry, or with an empty name `directory`."""
    return kernel.access_at(directory, name, _READ_DIRECTORY if kind == stat.S_IFDIR else os.R_OK)


def _as_process(directory: int, name: bytes) -> bytes | int:
    """Read the DOS attributes of a file that the user may not read: they are still shown."""
    with as_process() as privileged:
        if not privileged:
            return -errno.EACCES
        return kernel.getxattr_at(directory, name, dos_attributes.XATTR_NAME_BYTES)


def _link_stat(
    volume: VolumeBase, link: kernel.StatxTuple, path: str, name: str, shows: Shows | None
) -> FileStat | None:
    """Return the stat of what a symbolic link leads to, else its own, None if it is hidden.

    A link that leads to what the user may not read is hidden as that is.
    """
    if not volume.options.follow_symlinks:
        return volume.smb_stat(link, None, name, -1)
    try:
        fd, _ = volume.resolver.open(path)
    except (SmbError, OSError):
        return volume.smb_stat(link, None, name, -1)
    try:
        sx = kernel.statx_fd(fd)
        if volume.options.hide_special_files and stat.S_IFMT(sx[5]) not in _ORDINARY:
            return None
        if volume.options.hide_unreadable:
            if not _is_readable(fd, b"", stat.S_IFMT(sx[5])):
                return None
            if shows is not None and not shows(volume, os.dup(fd), path):
                return None
        dos = None
        if volume.options.store_dos_attributes:
            with suppress(OSError):
                dos = os.getxattr(kernel.fd_path(fd), dos_attributes.XATTR_NAME)
        found = volume.smb_stat(sx, dos, name, fd)
        if found.attributes & FILE_ATTRIBUTE_REPARSE_POINT and dos is not None:
            stored_reparse.describe(found, stored_reparse.read(kernel.fd_path(fd)))
        return found
    except OSError:
        return None
    finally:
        os.close(fd)
