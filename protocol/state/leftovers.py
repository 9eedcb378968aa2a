"""Deleting what was to be deleted at the close of an open that has ended without its client.

Its worker has died, or the client has not come back in time.

The store knows the file by its inode and by the name under which it was opened. Meanwhile the name
may be another file's, or lead through a link to elsewhere, and this process is root: so only the
very file is deleted, and a file whose name has changed stays.
"""

import logging
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress

from usmbd.protocol.state.durable import seen
from usmbd.protocol.state.store.base import Doomed
from usmbd.protocol.state.store.records import BASE_KEY_SIZE, DEVICE_SIZE, base_key, file_key
from usmbd.protocol.vfs import directory_entry, kernel
from usmbd.protocol.vfs.kernel import fd_path
from usmbd.protocol.vfs.xattrs import STREAM_PREFIX, STREAM_SUFFIX

log = logging.getLogger("usmbd.vfs")


def delete_all(doomed: list[Doomed], deleted: Callable[[bytes], object]) -> None:
    """Delete on threads, one for each file system, and call `deleted(key)` there for each.

    One of them may hang, and this process has all others to look after. The threads end with it.
    """
    by_device: dict[bytes, list[Doomed]] = {}
    for each in doomed:
        by_device.setdefault(each.key[:DEVICE_SIZE], []).append(each)

    def run(together: list[Doomed]) -> None:
        for each in together:
            delete(each)
            with suppress(RuntimeError):  # the loop is closed
                deleted(each.key)

    for together in by_device.values():
        threading.Thread(target=run, args=(together,), name="usmbd-delete", daemon=True).start()


def delete(doomed: Doomed) -> None:
    """Delete the file, empty directory or stream; what stands in the way is logged."""
    if not doomed.path:
        return
    directory, name = os.path.split(doomed.path)
    try:
        parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Of the root only a stream can be deleted, so "." is never removed.
            _delete_at(parent, name or ".", doomed)
        finally:
            os.close(parent)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("could not be deleted: %s", error.strerror, extra={"path": doomed.path})


def _delete_at(parent: int, name: str, doomed: Doomed) -> None:
    """Delete what is doomed if the directory's entry `name` is its file."""
    key = doomed.key
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        found = os.fstat(fd)
        if file_key(found.st_dev, found.st_ino) != base_key(key):
            return
        if not _is_the_same(fd, doomed):
            return  # another file has its number
        if len(key) > BASE_KEY_SIZE:
            _delete_stream(fd, key)
        elif stat.S_ISDIR(found.st_mode):
            os.rmdir(name, dir_fd=parent)
        else:
            directory_entry.remove_file(parent, name, fork_beside=doomed.fork_beside)
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
            if file_key(found.st_dev, found.st_ino, stream) == key:
                os.removexattr(fd_path(fd), attribute)
