"""What macOS keeps with files, as Samba's vfs_fruit and netatalk keep it.

Finder's knowledge of a file is the stream AFP_AfpInfo of 60 bytes, which is there when 32 of them,
FinderInfo, are not all zero. It is kept as a stream, or in `user.org.netatalk.Metadata` in
AppleDouble's form. The resource fork, AFP_Resource, is a stream like others, or in a file of its
own (`apple_fork`).
"""

import errno
import struct
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from usmbd.protocol.vfs import apple_fork, streams, xattrs
from usmbd.protocol.vfs.apple_double import ENTRY, FINDER_ENTRY, HEADER, MAGIC, VERSION
from usmbd.protocol.vfs.apple_fork import AFP_RESOURCE, StreamFork
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import FinderInfo
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.vfs.streams import Stream, StreamInfo
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

AFP_INFO: Final = "AFP_AfpInfo"
_FOLDED, _FOLDED_RESOURCE = fold(AFP_INFO), fold(AFP_RESOURCE)

SIZE: Final = 60
"""Bytes of AFP_AfpInfo."""

_FINDER_INFO: Final = 16  # where FinderInfo begins in it
_FINDER_SIZE: Final = 32
_SIGNATURE: Final = b"AFP"
_HEAD: Final = struct.pack(">4sI4xI", b"AFP\0", 0x00000100, 0x80000000)
"""AFP_Signature, AFP_Version, and a backup time that says never."""

METADATA: Final = "user.org.netatalk.Metadata"
# What netatalk keeps there: the entry's number, offset and length; 402 bytes in all.
_ENTRIES: Final = (
    (FINDER_ENTRY, 122, 32),
    (4, 154, 0),  # a comment
    (8, 354, 16),  # dates
    (14, 370, 4),  # the AFP server's attributes
    (0x80444556, 374, 0),  # device, inode, time and id of netatalk's database
    (0x80494E4F, 382, 0),
    (0x8053594E, 390, 0),
    (0x8053567E, 398, 0),
)
_METADATA_SIZE: Final = 402
_DATES: Final = 354
_EPOCH: Final = 946_684_800
"""2000-01-01 in seconds since 1970: what AppleDouble's dates count from."""

_NEVER: Final = 0x80000000
_FILETIME_EPOCH: Final = 11_644_473_600  # 1970, in seconds since 1601


def keeps_finder_info(node: Node, name: str) -> bool:
    """Whether a stream's name is the one of Finder's knowledge, on a share for macOS."""
    return node.volume.options.finder_info is not None and fold(name) == _FOLDED


def _is_fork(node: Node, name: str) -> bool:
    """Whether a stream's name is the one of the resource fork, on a share for macOS."""
    return node.volume.options.finder_info is not None and fold(name) == _FOLDED_RESOURCE


def may_be_in_double(node: Node, name: str) -> bool:
    """Whether a stream of this name may be one that macOS has put into `._NAME`."""
    return keeps_finder_info(node, name) or _is_fork(node, name)


def open_stream(node: Node, name: str) -> Stream:
    """Open a stream by its name in any case; SmbError(OBJECT_NAME_NOT_FOUND), OSError."""
    if _is_fork(node, name):
        if node.volume.options.forks_in_files:
            return apple_fork.open_fork(node)
        return StreamFork(node, streams.open_stream(node, name).name)
    if not keeps_finder_info(node, name):
        return streams.open_stream(node, name)
    if load(node) is None:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return AfpInfo(node)


def create_stream(node: Node, name: str) -> Stream:
    """Create an empty stream; SmbError(OBJECT_NAME_COLLISION), OBJECT_NAME_INVALID; OSError."""
    if _is_fork(node, name):
        if node.volume.options.forks_in_files:
            return apple_fork.create_fork(node)
        return StreamFork(node, streams.create_stream(node, name).name)
    if not keeps_finder_info(node, name):
        return streams.create_stream(node, name)
    if not node.has_xattrs:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if load(node) is not None:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    return AfpInfo(node)


def list_streams(node: Node, *, hide_empty: bool) -> Steps[list[StreamInfo]]:
    """List the file's streams; macOS is shown none that is empty, nor a broken AFP_AfpInfo."""
    found = yield from streams.list_streams(node)
    if node.volume.options.finder_info is not None:
        in_file = node.volume.options.forks_in_files
        elsewhere = (_FOLDED, _FOLDED_RESOURCE) if in_file else (_FOLDED,)
        found = [stream for stream in found if fold(stream.name) not in elsewhere]
        if load(node) is not None:
            found.append(StreamInfo(AFP_INFO, SIZE, SIZE))
        if in_file and (size := apple_fork.size_of(node)):
            found.append(StreamInfo(AFP_RESOURCE, size, size))
    return [stream for stream in found if stream.size or not hide_empty]


def load(node: Node) -> bytes | None:
    """Return FinderInfo, None where nothing is known of the file; OSError."""
    try:
        if node.volume.options.finder_info is FinderInfo.NETATALK:
            value = xattrs.get(node, METADATA)
            at = _find(value)
            info = value[at : at + _FINDER_SIZE] if at else b""
        else:
            value = xattrs.get(node, _attribute(node))
            if len(value) != SIZE + 1 or not value.startswith(_SIGNATURE):
                return None
            info = value[_FINDER_INFO : _FINDER_INFO + _FINDER_SIZE]
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise
    return info if any(info) else None


def _attribute(node: Node) -> str:
    """Return the attribute of the stream AFP_AfpInfo, whatever case its name was made in."""
    for name in streams.stream_names(node):
        if fold(name) == _FOLDED:
            return streams.attribute_of(name)
    return streams.attribute_of(AFP_INFO)


def _find(value: bytes | bytearray) -> int:
    """Return where FinderInfo lies in AppleDouble; 0 where it does not."""
    if len(value) < HEADER.size:
        return 0
    magic, version, _, count = HEADER.unpack_from(value)
    if (magic, version) != (MAGIC, VERSION) or len(value) < HEADER.size + count * ENTRY.size:
        return 0
    for number in range(count):
        entry, offset, length = ENTRY.unpack_from(value, HEADER.size + number * ENTRY.size)
        if entry == FINDER_ENTRY and length == _FINDER_SIZE and offset + length <= len(value):
            return int(offset)
    return 0


def _store(node: Node, info: bytes) -> None:
    """Keep FinderInfo; OSError, SmbError."""
    xattrs.put(node, *_stored(node, info))


def new_finder_info(node: Node, info: bytes) -> tuple[str, bytes] | None:
    """Return the attribute that keeps FinderInfo; None where the file has some already; OSError."""
    if load(node) is not None:
        return None
    if node.volume.options.finder_info is FinderInfo.STREAM and any(
        fold(name) == _FOLDED for name in streams.stream_names(node)
    ):
        return None  # of a kind that nobody here understands
    return _stored(node, info)


def _stored(node: Node, info: bytes) -> tuple[str, bytes]:
    """Return the attribute that keeps FinderInfo, and its value; OSError."""
    if node.volume.options.finder_info is not FinderInfo.NETATALK:
        return _attribute(node), _packed(info) + b"\0"
    try:
        value = bytearray(xattrs.get(node, METADATA))
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        value = bytearray()
    at = _find(value)
    if not at:
        value, at = _new_metadata(), _ENTRIES[0][1]
    value[at : at + _FINDER_SIZE] = info
    return METADATA, bytes(value)


def _packed(info: bytes) -> bytes:
    """Return AFP_AfpInfo around FinderInfo."""
    return (_HEAD + info).ljust(SIZE, b"\0")


def _new_metadata() -> bytearray:
    """Return AppleDouble without FinderInfo, with the dates of now."""
    value = bytearray(HEADER.pack(MAGIC, VERSION, b"Netatalk        ", len(_ENTRIES)))
    for entry in _ENTRIES:
        value += ENTRY.pack(*entry)
    value += bytes(_METADATA_SIZE - len(value))
    now = int(time.time()) - _EPOCH & 0xFFFFFFFF
    struct.pack_into(">IIII", value, _DATES, now, now, _NEVER, now)
    return value


class AfpInfo(Stream):
    """The stream AFP_AfpInfo, open: 60 bytes from its first write to the last, as macOS has it.

    One that is created is kept when it is written. (Samba's suite vfs.fruit says what macOS does.)
    """

    __slots__ = ()

    def __init__(self, node: Node) -> None:
        super().__init__(node, AFP_INFO)

    def _data(self) -> bytes:
        """Return the 60 bytes; FinderInfo is zero where nothing is kept."""
        return _packed(load(self.node) or bytes(_FINDER_SIZE))

    def stat(self) -> FileStat:
        """Return the file's stat with the size of this stream."""
        return msgspec.structs.replace(super().stat(), size=SIZE, allocation=SIZE)

    def read_into(self, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        """Read from the beginning, whatever the offset, up to which there is something."""
        return 0 if offset > SIZE else super().read_into(buffers, 0)

    def write(self, buffer: bytes | bytearray | memoryview, offset: int) -> int:
        """Keep FinderInfo, or forget all where it is zero; SmbError(INVALID_PARAMETER)."""
        data = bytes(buffer[:SIZE])
        if data[:3] != _SIGNATURE or (offset and len(buffer) < SIZE):
            raise SmbError(NtStatus.INVALID_PARAMETER)
        if len(data) <= _FINDER_INFO:
            return len(buffer)
        data = data.ljust(SIZE, b"\0")
        if data[:8] != _HEAD[:8]:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        info = data[_FINDER_INFO : _FINDER_INFO + _FINDER_SIZE]
        if any(info):
            _store(self.node, info)
        else:
            self.delete()
        return len(buffer)

    def truncate(self, size: int) -> None:
        """Leave it as it is, as macOS does; SmbError(ALLOTTED_SPACE_EXCEEDED) above 60 bytes."""
        if size > SIZE:
            raise SmbError(NtStatus.ALLOTTED_SPACE_EXCEEDED)

    def allocate(self, allocation: int) -> None:
        """Leave it as it is."""

    def rename(self, new_name: str, replace: bool) -> None:
        """Refuse: what Finder knows has one name; SmbError(ACCESS_DENIED)."""
        raise SmbError(NtStatus.ACCESS_DENIED)

    def delete(self) -> None:
        """Forget what Finder knows."""
        node = self.node
        netatalk = node.volume.options.finder_info is FinderInfo.NETATALK
        try:
            xattrs.remove(node, METADATA if netatalk else _attribute(node))
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise


# -- listings ------------------------------------------------------------------------------


def listed(node: Node) -> tuple[int, bytes]:
    """Return the resource fork's size, and what listings tell of FinderInfo: 16 bytes."""
    info = load(node) or bytes(_FINDER_SIZE)
    born = node.last_stat.creation_time // 10_000_000 - _FILETIME_EPOCH - _EPOCH
    finder = struct.pack(
        ">8s2s2sI",
        bytes(8) if node.is_directory else info[:8],  # type and creator
        info[8:10],
        info[24:26],
        born & 0xFFFFFFFF if any(info) else _NEVER,
    )
    return _resource_size(node), finder


def _resource_size(node: Node) -> int:
    """Return the size of the resource fork."""
    if node.volume.options.forks_in_files:
        return apple_fork.size_of(node)
    try:
        return len(xattrs.get(node, streams.attribute_of(AFP_RESOURCE))) - 1
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return 0
        raise
