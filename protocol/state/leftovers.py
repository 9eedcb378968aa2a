"""Deleting what was to be deleted at the close of an open that has ended without its client.

Its worker has died, and its successor deletes, or the client has not come back in time.

The store knows the file by its inode and by the name under which it was opened. Meanwhile the name
may be another file's, or lead through a link to elsewhere, and this process is root: so only the
very file is deleted, by its user, and a file whose name has changed stays.
"""

import errno
import logging
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from usmbd.protocol.state.durable import seen
from usmbd.protocol.state.notify.change import DirectoryChange, at, gone
from usmbd.protocol.state.store.base import Doomed, Store
from usmbd.protocol.state.store.records import (
    BASE_KEY_SIZE,
    NO_ID,
    base_key,
    file_key,
)
from usmbd.protocol.vfs import directory_entry, kernel
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.vfs.kernel import fd_path
from usmbd.protocol.vfs.xattrs import STREAM_PREFIX, STREAM_SUFFIX

if TYPE_CHECKING:
    from usmbd.protocol.state.notify.notifier import Notifier

_HERE = -100
"""AT_FDCWD: paths are absolute."""

_WITHOUT_LINKS = kernel.How(os.O_PATH | os.O_DIRECTORY, kernel.RESOLVE_NO_SYMLINKS)

Going = Callable[[int, str, int], None]

log = logging.getLogger("usmbd.vfs")


def delete_told(
    doomed: Doomed, store: Store, notifier: "Notifier", told: list[DirectoryChange]
) -> tuple[int, ...]:
    """Delete, and add what the engine has to tell then, as after a CLOSE.

    The store is told while the file's number cannot be another file's yet. Returns whom to wake.
    """
    waiters: list[tuple[int, ...]] = []

    def gone_for_good() -> None:
        if not waiters:
            waiters.append(store.deleted(doomed.key))

    try:
        for each in (*doomed.others, doomed):
            changes: list[DirectoryChange] = []
            going = partial(_tell, changes, notifier, each)
            last = gone_for_good if each is doomed else _nothing
            if delete(each, going, last):
                told += changes
    finally:
        gone_for_good()
    return waiters[0]


def _tell(
    changes: list[DirectoryChange],
    notifier: "Notifier",
    doomed: Doomed,
    parent: int,
    name: str,
    mode: int,
) -> None:
    """Note what has to be told of a name that goes."""
    place = notifier.place_of_entry(parent, os.path.dirname(doomed.path), name)
    changes.extend(at(place, gone("", is_directory=stat.S_ISDIR(mode)), by=NO_ID))


def _nothing(*_: object) -> None:
    """Do nothing."""


def delete(doomed: Doomed, going: Going = _nothing, over: Callable[[], None] = _nothing) -> bool:
    """Delete the file, empty directory or stream; what stands in the way is logged.

    With its user's rights of now, as at a CLOSE: where nobody knows whose they are, it stays.
    Before a name goes, `going(parent, name, mode)`; `over()` when the file has gone, before its
    number is free. Returns whether something was deleted.
    """
    if not doomed.path or not doomed.user:
        return False
    directory, name = os.path.split(doomed.path)
    user = Identity(doomed.user[0], doomed.user[1], doomed.user[2:])
    try:
        parent = -1
        try:
            parent = _open(directory, user)
            # Of the root only a stream can be deleted, so "." is never removed.
            become(user)
            return _delete_at(parent, name or ".", doomed, going, over)
        finally:
            become(None)
            if parent >= 0:
                os.close(parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("could not be deleted: %s", error.strerror, extra={"path": doomed.path})
    return False


def _open(directory: str, user: Identity) -> int:
    """Open the directory of a name; OSError.

    The path had no links, but for those that a share follows: as the process none is followed, for
    whoever may rename a folder on the way could put one there, and as its user any.
    """
    fd = _WITHOUT_LINKS.open(_HERE, os.fsencode(directory))
    if fd == -errno.ELOOP:
        become(user)
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd), directory)
    return fd


def _delete_at(
    parent: int, name: str, doomed: Doomed, going: Going, over: Callable[[], None]
) -> bool:
    """Delete what is doomed if the directory's entry `name` is its file."""
    key = doomed.key
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        found = os.fstat(fd)
        if file_key(found.st_dev, found.st_ino) != base_key(key):
            return False
        if not _is_the_same(fd, doomed):
            return False  # another file has its number
        if len(key) > BASE_KEY_SIZE:
            _delete_stream(fd, key)
            return True
        going(parent, name, found.st_mode)
        if stat.S_ISDIR(found.st_mode):
            os.rmdir(name, dir_fd=parent)
        else:
            directory_entry.remove_file(parent, name, fork_beside=doomed.fork_beside)
        over()
        return True
    finally:
        os.close(fd)


def _is_the_same(fd: int, doomed: Doomed) -> bool:
    """Whether the file that is found by name and inode is the one that was to be deleted.

    Where files have no birth, only one that nobody has changed since: inodes are used again.
    """
    if doomed.birth is None:  # it was open just now
        return True
    statx = kernel.statx_fd(fd)
    if statx[11:13] != doomed.birth:
        return False
    return any(doomed.birth) or seen(statx) == doomed.seen


def _delete_stream(fd: int, key: bytes) -> None:
    """Delete the named stream of an open file whose key this is."""
    found = os.fstat(fd)
    for attribute in os.listxattr(fd_path(fd)):
        if attribute.startswith(STREAM_PREFIX) and attribute.endswith(STREAM_SUFFIX):
            stream = attribute[len(STREAM_PREFIX) : -len(STREAM_SUFFIX)]
            of_it = (file_key(found.st_dev, found.st_ino, stream, exact=e) for e in (True, False))
            if key in of_it:
                os.removexattr(fd_path(fd), attribute)
