"""Previous versions: directories with a time in their names, found as vfs_shadow_copy2 finds them.

    mount point / snapdir / name by `format` / the share's place beneath basedir

Each is served as a volume of its own that nobody can change, beneath whose root all paths stay;
links in it are seen and never followed. What leads to it is opened with the user's rights, and
without links where users might have made them: beneath the mount point, the share, the snapshot.
"""

import calendar
import logging
import os
import re
import time
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.vfs.options import SnapshotOptions
from usmbd.protocol.vfs.resolve import below, encode
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.snapshot_tokens import take_token, token
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.vfs")

_NO_LINKS: Final = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
_DIRECTORY: Final = kernel.How(os.O_PATH | os.O_DIRECTORY, _NO_LINKS)
_LIST: Final = kernel.How(os.O_RDONLY | os.O_DIRECTORY, _NO_LINKS)
_SECONDS: Final = "%lu"


def snapshot_times(volume: Volume) -> list[int]:
    """List the snapshots of a share's volume, in seconds since 1970, in the configured order.

    OSError where the user may not list them; none where there are none. May take long.
    """
    options = volume.options.snapshots
    if options is None:
        return []
    try:
        directory = _snapshot_directory(volume, options)
    except FileNotFoundError:
        return []
    try:
        listed = _opened(_LIST, directory, ".")
    finally:
        os.close(directory)
    try:
        found = {_time_of(name, options) for name in os.listdir(listed)}
    finally:
        os.close(listed)
    times = [seconds for seconds in found if seconds is not None]
    return sorted(times, reverse=options.sort == "desc")  # "none" asks for no order: any will do


def version_of(volume: Volume, path: str, seconds: int) -> tuple[Volume, str, int | None]:
    """Return where a previous version is: its volume, the path there, and the time.

    A token in the path goes, unless a folder below the share has that name: `snapdir` may be in the
    share, and who walks through it (`find` on a mount) means the folder. Then all is the present's.
    SmbError(OBJECT_NAME_NOT_FOUND).
    """
    inner, said = take_token(path)
    if said == seconds:
        folder = path[: path.index("@GMT-") + len(token(seconds))]
        if "/" in folder:
            with suppress(SmbError), volume.lookup(folder) as found:
                if found.is_directory:
                    return volume, path, None
    return open_snapshot(volume, seconds), inner, seconds


def open_snapshot(volume: Volume, seconds: int) -> Volume:
    """Open the share as it was at one of its snapshots' times; SmbError(OBJECT_NAME_NOT_FOUND)."""
    options = volume.options.snapshots
    try:
        if options is None:
            raise FileNotFoundError
        name = _name_of(seconds, options)
        inner = _place_in_snapshot(volume, options)
        directory = _snapshot_directory(volume, options)
        try:
            root = _opened(_DIRECTORY, directory, os.path.join(name, inner))
        finally:
            os.close(directory)
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, PermissionError):
            raise SmbError(NtStatus.ACCESS_DENIED) from error
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND) from error
    try:
        known = volume.snapshots.get(name)
        if known is not None and known.root_identity == kernel.directory_identity(root):
            return known
        salt = 0
        if options.fix_inodes:
            salt = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")
        found = volume.snapshots[name] = _snapshot(volume, root, salt)
        return found
    finally:
        os.close(root)


def _snapshot(volume: Volume, root: int, salt: int) -> Volume:
    """Return the volume of a snapshot's open directory; OSError."""
    rules = replace(
        volume.options, read_only=True, follow_symlinks=False, snapshots=None, inode_salt=salt
    )
    return Volume(kernel.fd_path(root), rules)


def renewed(volume: Volume, old: VolumeBase) -> Volume:
    """Return for opens of `old`, of the tree's before a reload, what they have by new options.

    That is `volume`, or its view by POSIX, or a snapshot. OSError; may block.
    """
    if old.options.posix:
        volume = volume.posix_view()
    if old.options.read_only:
        volume = _snapshot(volume, old.resolver.root, old.options.inode_salt)
    return volume


def _opened(how: kernel.How, directory: int, path: str) -> int:
    """Open a path beneath a directory; OSError."""
    fd = how.open(directory, encode(path))
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd), path)
    return fd


def _snapshot_directory(volume: Volume, options: SnapshotOptions) -> int:
    """Open where the snapshots are as O_PATH; OSError."""
    root = os.readlink(kernel.fd_path(volume.resolver.root))
    if os.path.isabs(options.directory):
        start = options.directory
        inside = below(root, os.path.normpath(options.directory))
        if inside is not None:  # where users could put a link
            return _opened(_DIRECTORY, volume.resolver.root, inside)
        return os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mount = os.open(_mount_point(root, options), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _opened(_DIRECTORY, mount, options.directory)
    finally:
        os.close(mount)


def _mount_point(root: str, options: SnapshotOptions) -> str:
    """Return the mount point of the share's file system; of btrfs the subvolume."""
    if options.mount_point:
        return options.mount_point
    while not os.path.ismount(root):
        root = os.path.dirname(root)
    return root


def _place_in_snapshot(volume: Volume, options: SnapshotOptions) -> str:
    """Return the share's path within a snapshot; FileNotFoundError where it is in none."""
    if options.share_path:
        return options.share_path
    root = os.readlink(kernel.fd_path(volume.resolver.root))
    base = os.path.realpath(options.base_directory or _mount_point(root, options))
    place = below(base, root)
    if place is None:
        log.warning("%s is not beneath %s: it is in no snapshot", root, base)
        raise FileNotFoundError
    return place


def _time_of(name: str, options: SnapshotOptions) -> int | None:
    """Return when a snapshot of this name was made; None for the name of something else."""
    if _SECONDS in options.format:
        pattern = re.escape(options.format).replace(re.escape(_SECONDS), r"(\d{1,12})", 1)
        found = re.fullmatch(pattern, name, re.ASCII)
        return int(found[1]) if found else None
    try:
        parsed = time.strptime(name, options.format)
        if options.local_time:
            seconds = int(time.mktime((*parsed[:8], -1)))
        else:
            seconds = calendar.timegm(parsed)
        return seconds if _name_of(seconds, options) == name else None
    except (ValueError, OverflowError):
        return None


def _name_of(seconds: int, options: SnapshotOptions) -> str:
    """Return the name that a snapshot of this time has; ValueError, OverflowError."""
    if _SECONDS in options.format:
        name = options.format.replace(_SECONDS, str(seconds), 1)
    else:
        local = time.localtime if options.local_time else time.gmtime
        name = time.strftime(options.format, local(seconds))
    if not name or "/" in name:
        raise ValueError(name)
    return name
