"""The resource fork of a file, AFP_Resource: a stream like others, or in a file `._NAME`."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from usmbd.protocol.vfs import apple_double, directory_entry
from usmbd.protocol.vfs.apple_double import Double, Layout
from usmbd.protocol.vfs.identity import as_process, retry_as_process
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

AFP_RESOURCE: Final = "AFP_Resource"


class StreamFork(Stream):
    """The stream, open: macOS makes it empty, and does not delete it by itself."""

    __slots__ = ()

    def delete(self) -> None:
        """Leave it as it is."""


class FileFork(Stream):
    """The fork in a file `._NAME`, open; as large as a file can be."""

    __slots__ = ("_double",)

    def __init__(self, node: Node, double: Double) -> None:
        super().__init__(node, AFP_RESOURCE)
        self._double = double

    def close(self) -> None:
        """Let go of the file."""
        self._double.close()

    def _current(self, *, makes: bool = False) -> tuple[Double, Layout]:
        """Return the file and where the fork is in it; SmbError(FILE_CORRUPT_ERROR).

        A conversion may have put another in its place, or deleted it as it was empty, between the
        moment when it was found and that when the store knew that it is open.
        """
        double = self._double
        layout = double.layout()
        if not os.fstat(double.fd).st_nlink:
            with suppress(OSError, SmbError):
                found = find(self.node)
                if found is None and makes and layout is not None and not layout.fork_size:
                    found = create_double(self.node)
                if found is not None:
                    self._double = double = found
                    layout = found.layout()
        if layout is None:
            raise SmbError(NtStatus.FILE_CORRUPT_ERROR)
        return double, layout

    def _changed(self) -> tuple[Double, Layout]:
        """Return the same of a fork that is to be changed; SmbError(ACCESS_DENIED)."""
        self.node.volume.check_writable()
        double, layout = self._current(makes=True)
        if not double.writable:
            raise SmbError(NtStatus.ACCESS_DENIED)
        return double, layout

    def stat(self) -> FileStat:
        """Return the file's stat with the size of the fork."""
        _, layout = self._current()
        size = layout.fork_size
        return msgspec.structs.replace(self.node.stat(), size=size, allocation=size)

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Read into the buffers: the number of bytes, 0 at the end."""
        double, layout = self._current()
        return double.read_into(layout, buffers, offset)

    def write(self, buffer: bytes | bytearray | memoryview, offset: int) -> int:
        """Write `buffer` at `offset`: the number of bytes; SmbError(DISK_FULL) beyond 4 GiB."""
        double, layout = self._changed()
        end = offset + len(buffer)
        if end > apple_double.FORK_MAX:
            raise SmbError(NtStatus.DISK_FULL)
        done = 0
        while done < len(buffer):
            part = memoryview(buffer)[done:]
            done += os.pwrite(double.fd, part, layout.fork_at + offset + done)
        if end > layout.fork_size:
            double.set_length(layout, end)
        return done

    def truncate(self, size: int) -> None:
        """Set the end of the fork; SmbError(DISK_FULL) beyond 4 GiB."""
        double, layout = self._changed()
        if size > apple_double.FORK_MAX:
            raise SmbError(NtStatus.DISK_FULL)
        os.ftruncate(double.fd, layout.fork_at + size)
        double.set_length(layout, size)

    def allocate(self, allocation: int) -> None:
        """Cut a fork that is longer; no room is reserved."""
        if allocation < self._current()[1].fork_size:
            self.truncate(allocation)

    def flush(self) -> None:
        """Wait until it is on the disk, and the file with its attributes."""
        double = self._double
        os.fsync(double.fd)
        self.node.flush()

    def rename(self, new_name: str, replace: bool) -> None:
        """Refuse: it is where it is by its name; SmbError(ACCESS_DENIED)."""
        raise SmbError(NtStatus.ACCESS_DENIED)

    def delete(self) -> None:
        """Remove it where it is empty; macOS does not delete one by itself."""
        if not self._current()[1].fork_size:
            directory, name = directory_entry.locate(self.node)
            try:
                apple_double.remove(self.node.volume, directory, name)
            finally:
                os.close(directory)


def find(node: Node) -> Double | None:
    """Open the file `._NAME` of a file; None where there is none, or it is no AppleDouble; OSError.

    Directories have none, nor have files of such names themselves.
    """
    if not node.is_regular or apple_double.is_double(node.name):
        return None
    try:
        directory, name = directory_entry.locate(node)
    except SmbError:  # it has no name any more
        return None
    try:
        return apple_double.open_beside(directory, name)
    finally:
        os.close(directory)


def open_fork(node: Node) -> FileFork:
    """Open the fork in its file; SmbError(OBJECT_NAME_NOT_FOUND), OSError."""
    double = find(node)
    if double is None or double.layout() is None:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return FileFork(node, double)


def create_fork(node: Node) -> FileFork:
    """Make an empty fork in a file of its own, with the rights of the file itself.

    SmbError OBJECT_NAME_COLLISION, OBJECT_NAME_INVALID for what has none; OSError.
    """
    return FileFork(node, create_double(node))


def create_double(node: Node) -> Double:
    """Make the file for an empty fork; as `create_fork`."""
    if not node.is_regular or apple_double.is_double(node.name):
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    node.volume.check_writable()
    directory, name = directory_entry.locate(node)
    try:
        mode = stat.S_IMODE(node.last_stat.mode)
        return apple_double.create_beside(directory, name, mode)
    except FileExistsError as error:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION) from error
    finally:
        os.close(directory)


def size_of(node: Node) -> int:
    """Return the size of the fork in its file; 0 where there is none, or not for this user."""
    try:
        double = find(node)
        layout = double.layout() if double is not None else None
    except OSError:
        return 0
    return layout.fork_size if layout is not None else 0


def follow_mode(node: Node) -> None:
    """Give the file with the fork the rights that the file has now; OSError.

    Another may have made it. Then rights are taken away, as the process; but none are given: he who
    may rename in the folder could have put any file of that other's there.
    """
    if not node.volume.options.forks_in_files:
        return
    double = retry_as_process(lambda: find(node))
    if double is None:
        return
    mode = stat.S_IMODE(node.stat().mode) & 0o666
    try:
        os.fchmod(double.fd, mode)
    except PermissionError:
        found = os.fstat(double.fd)
        if found.st_nlink == 1:  # no other name is somebody's, who would wonder
            with as_process():
                os.fchmod(double.fd, stat.S_IMODE(found.st_mode) & mode)


def empty(node: Node) -> None:
    """Remove the file with the fork of a file that is overwritten; OSError, SmbError."""
    if node.volume.options.forks_in_files and find(node) is not None:
        directory, name = directory_entry.locate(node)
        try:
            apple_double.remove(node.volume, directory, name)
        finally:
            os.close(directory)
