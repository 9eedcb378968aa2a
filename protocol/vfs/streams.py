"""Named streams, kept in extended attributes as Samba's streams_xattr and ksmbd keep them.

The stream `NAME` is the attribute `user.DosStream.NAME:$DATA`; its value is the data and one
more byte, NUL, so that an empty stream exists. Linux bounds a value by 64 KiB, many file systems by
one block (ext4: 4 KiB with the names): a longer stream is DISK_FULL. A write reads the whole
value and writes it back; two workers that write one stream at the same moment do not join.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from usmbd.protocol.vfs import xattrs
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.kernel import XATTR_SIZE_MAX
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.vfs.xattrs import STREAM_PREFIX, STREAM_SUFFIX
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

#: The most data that a stream can hold: an attribute's value without the NUL.
STREAM_MAX: Final = XATTR_SIZE_MAX - 1

_AT_ONCE: Final = 32  # streams of a step: 5 to 10 us each


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A named stream: its name without colons and type, its size and allocation in bytes."""

    name: str
    size: int
    allocation: int


def attribute_of(name: str) -> str:
    """Return the attribute that holds the stream `name`."""
    return f"{STREAM_PREFIX}{name}{STREAM_SUFFIX}"


def stream_names(node: Node) -> list[str]:
    """List the names of the file's named streams; OSError."""
    if not node.volume.options.streams:
        return []
    return [
        attribute[len(STREAM_PREFIX) : -len(STREAM_SUFFIX)]
        for attribute in xattrs.names(node)
        if attribute.startswith(STREAM_PREFIX) and attribute.endswith(STREAM_SUFFIX)
    ]


def list_streams(node: Node) -> Steps[list[StreamInfo]]:
    """List the file's named streams with their sizes; OSError."""
    found = []
    for count, name in enumerate(stream_names(node), 1):
        if not count % _AT_ONCE:
            yield
        try:
            value = xattrs.get(node, attribute_of(name))
        except OSError as error:
            if error.errno == errno.ENODATA:  # removed meanwhile
                continue
            raise
        size = max(len(value) - 1, 0)
        found.append(StreamInfo(name, size, size))
    return found


def open_stream(node: Node, name: str) -> "Stream":
    """Open a stream by its name; SmbError(OBJECT_NAME_NOT_FOUND), OSError."""
    found = _find(node, name)
    if found is None:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return Stream(node, found)


def create_stream(node: Node, name: str) -> "Stream":
    """Create an empty stream; SmbError(OBJECT_NAME_COLLISION), OBJECT_NAME_INVALID; OSError."""
    if not node.volume.options.streams or not node.has_xattrs:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if _find(node, name) is not None:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    _create(node, name, b"\0")
    return Stream(node, name)


def _create(node: Node, name: str, value: bytes) -> None:
    """Write a new attribute; what the kernel says of its name becomes SMB's word."""
    try:
        xattrs.put(node, attribute_of(name), value, os.XATTR_CREATE)
    except OSError as error:
        if error.errno == errno.ERANGE:  # the attribute's name is over 255 bytes
            raise SmbError(NtStatus.OBJECT_NAME_INVALID) from error
        if error.errno == errno.E2BIG:
            raise SmbError(NtStatus.DISK_FULL) from error
        raise


def _find(node: Node, name: str) -> str | None:
    """Return the stream's name as it is stored; None when there is none.

    Where case counts for files it does for streams, as with Samba.
    """
    names = stream_names(node)
    if name in names:
        return name
    if node.volume.options.case_sensitive:
        return None
    folded = fold(name)
    return next((found for found in names if fold(found) == folded), None)


class Stream:
    """An open named stream; reads and writes as a Node does, which it stands beside.

    Closing the node is its owner's affair. `fd` is -1: there is nothing to sendfile from.
    """

    __slots__ = ("fd", "name", "node")

    nowait = False
    is_directory = False

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.name = name
        self.fd = -1

    def close(self) -> None:
        """Let go of the node; the node itself stays open."""

    def _data(self) -> bytes:
        """Read the whole stream; SmbError(FILE_DELETED) when it is gone."""
        try:
            return xattrs.get(self.node, attribute_of(self.name))[:-1]
        except OSError as error:
            if error.errno == errno.ENODATA:
                raise SmbError(NtStatus.FILE_DELETED) from error
            raise

    def _store(self, data: bytes | bytearray) -> None:
        """Write the whole stream; SmbError DISK_FULL when it does not fit, FILE_DELETED."""
        try:
            xattrs.put(self.node, attribute_of(self.name), bytes(data) + b"\0", os.XATTR_REPLACE)
        except OSError as error:
            if error.errno == errno.ENODATA:
                raise SmbError(NtStatus.FILE_DELETED) from error
            if error.errno == errno.E2BIG:
                raise SmbError(NtStatus.DISK_FULL) from error
            raise

    def stat(self) -> FileStat:
        """Return the file's stat with the size of this stream ([MS-FSA] 2.1.1.5)."""
        size = len(self._data())
        stat = self.node.stat()
        attributes = stat.attributes & ~FILE_ATTRIBUTE_DIRECTORY or FILE_ATTRIBUTE_NORMAL
        return msgspec.structs.replace(stat, size=size, allocation=size, attributes=attributes)

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Read into the buffers: the number of bytes, 0 at the end."""
        data = memoryview(self._data())[offset:]
        done = 0
        for buffer in buffers:
            part = data[done : done + len(buffer)]
            memoryview(buffer)[: len(part)] = part
            done += len(part)
        return done

    def read_nowait_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Refuse, with BlockingIOError: extended attributes cannot be read without waiting."""
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def write(self, buffer: bytes | bytearray | memoryview, offset: int) -> int:
        """Write `buffer` at `offset`, zeros before it where nothing was: the number of bytes."""
        end = offset + len(buffer)
        if end > STREAM_MAX:
            raise SmbError(NtStatus.DISK_FULL)
        data = bytearray(self._data())
        if len(data) < end:
            data.extend(bytes(end - len(data)))
        data[offset:end] = buffer
        self._store(data)
        return len(buffer)

    def truncate(self, size: int) -> None:
        """Set the end of the stream."""
        if size > STREAM_MAX:
            raise SmbError(NtStatus.DISK_FULL)
        data = self._data()
        if size != len(data):
            self._store(data[:size].ljust(size, b"\0"))

    def allocate(self, allocation: int) -> None:
        """Cut a stream that is longer; room cannot be reserved."""
        if allocation < len(self._data()):
            self.truncate(allocation)

    def flush(self) -> None:
        """Wait until the file, with its attributes, is on the disk."""
        self.node.flush()

    def rename(self, new_name: str, replace: bool) -> None:
        """Give the stream another name; SmbError(OBJECT_NAME_COLLISION), OSError."""
        found = _find(self.node, new_name)
        value = self._data() + b"\0"
        if found is not None and found != self.name:
            if not replace:
                raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
            xattrs.remove(self.node, attribute_of(found))
        if new_name != self.name:
            _create(self.node, new_name, value)
            xattrs.remove(self.node, attribute_of(self.name))
            self.name = new_name

    def delete(self) -> None:
        """Remove the stream; SmbError(FILE_DELETED) when it is gone."""
        try:
            xattrs.remove(self.node, attribute_of(self.name))
        except OSError as error:
            if error.errno == errno.ENODATA:
                raise SmbError(NtStatus.FILE_DELETED) from error
            raise
