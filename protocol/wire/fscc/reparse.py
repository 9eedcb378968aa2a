"""REPARSE_DATA_BUFFER: links, special files, and what other programs set ([MS-FSCC] 2.1.2).

Links and special files come in three dialects: that of Windows (SYMLINK), of its NFS server (NFS)
and of its subsystem for Linux (LX_*, AF_UNIX), whose devices have their numbers in the EA $LXDEV.
"""

import stat
import struct
from typing import NamedTuple

from usmbd.protocol.wire.fscc.attributes import (
    IO_REPARSE_TAG_AF_UNIX,
    IO_REPARSE_TAG_LX_BLK,
    IO_REPARSE_TAG_LX_CHR,
    IO_REPARSE_TAG_LX_FIFO,
    IO_REPARSE_TAG_LX_SYMLINK,
    IO_REPARSE_TAG_MOUNT_POINT,
    IO_REPARSE_TAG_NFS,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.names import decode, encode
from usmbd.protocol.wire.status import NtStatus, SmbError

SYMLINK_FLAG_RELATIVE = 0x00000001

# InodeType of an NFS reparse point ([MS-FSCC] 2.1.2.6)
NFS_SPECFILE_LNK = 0x014B4E4C
NFS_SPECFILE_CHR = 0x524843
NFS_SPECFILE_BLK = 0x4B4C42
NFS_SPECFILE_FIFO = 0x4F464946
NFS_SPECFILE_SOCK = 0x4B434F53

MAXIMUM_REPARSE_DATA_BUFFER_SIZE = 16384
"""Bytes of a reparse point with its header ([MS-FSCC] 2.1.2)."""

LX_SYMLINK_VERSION = 2
"""What stands before the target in the link of a WSL, the only one known."""

_RESERVED_TAGS = (0, 1, 2)
_MICROSOFT = 0x80000000

_HEADER = struct.Struct("<IHH")
_GUID_SIZE = 16
_SYMLINK = struct.Struct("<HHHHI")
_MOUNT_POINT = struct.Struct("<HHHH")
_TYPE = struct.Struct("<Q")
_DEVICE = struct.Struct("<II")
_VERSION = struct.Struct("<I")

_NFS_KINDS = {NFS_SPECFILE_FIFO: stat.S_IFIFO, NFS_SPECFILE_SOCK: stat.S_IFSOCK}
_NFS_DEVICES = (NFS_SPECFILE_CHR, NFS_SPECFILE_BLK)
_WSL_KINDS = {IO_REPARSE_TAG_LX_FIFO: stat.S_IFIFO, IO_REPARSE_TAG_AF_UNIX: stat.S_IFSOCK}
_ALL_NFS_KINDS = _NFS_KINDS | {
    NFS_SPECFILE_LNK: stat.S_IFLNK,
    NFS_SPECFILE_CHR: stat.S_IFCHR,
    NFS_SPECFILE_BLK: stat.S_IFBLK,
}
_KINDS = _WSL_KINDS | {
    IO_REPARSE_TAG_SYMLINK: stat.S_IFLNK,
    IO_REPARSE_TAG_LX_SYMLINK: stat.S_IFLNK,
    IO_REPARSE_TAG_LX_CHR: stat.S_IFCHR,
    IO_REPARSE_TAG_LX_BLK: stat.S_IFBLK,
}


class Reparse(NamedTuple):
    """A reparse point as a client sends it: its tag, the GUID of a vendor's, its data."""

    tag: int
    guid: bytes
    data: memoryview


class Link(NamedTuple):
    """Where a link leads: with slashes, from the link's own directory if `relative`."""

    target: str
    relative: bool


def parse_reparse_point(buffer: memoryview) -> Reparse:
    """Take a REPARSE_DATA_BUFFER or REPARSE_GUID_DATA_BUFFER apart ([MS-FSCC] 2.1.2.2, 2.1.2.3).

    SmbError IO_REPARSE_DATA_INVALID for a size that is not told truly or too large, and
    IO_REPARSE_TAG_INVALID for a reserved tag ([MS-FSA] 2.1.5.10.38).
    """
    if not _HEADER.size <= len(buffer) <= MAXIMUM_REPARSE_DATA_BUFFER_SIZE:
        raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)
    tag, length, _ = _HEADER.unpack_from(buffer)
    if tag in _RESERVED_TAGS:
        raise SmbError(NtStatus.IO_REPARSE_TAG_INVALID)
    start = _HEADER.size if tag & _MICROSOFT else _HEADER.size + _GUID_SIZE
    if len(buffer) != start + length:
        raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)
    return Reparse(tag, bytes(buffer[_HEADER.size : start]), buffer[start:])


def tag_of(buffer: bytes) -> int:
    """Return the tag of a stored reparse point; 0 when it is none."""
    return int(_HEADER.unpack_from(buffer)[0]) if len(buffer) >= _HEADER.size else 0


def guid_of(buffer: bytes) -> bytes:
    """Return the GUID of a stored reparse point, b"" where its tag is Microsoft's."""
    return b"" if tag_of(buffer) & _MICROSOFT else buffer[_HEADER.size :][:_GUID_SIZE]


def kind_of(buffer: bytes) -> int:
    """Return S_IF* of what a stored reparse point is a link, device, FIFO or socket by; else 0."""
    tag = tag_of(buffer)
    if tag != IO_REPARSE_TAG_NFS:
        return _KINDS.get(tag, 0)
    data = buffer[_HEADER.size :]
    return _ALL_NFS_KINDS.get(_TYPE.unpack_from(data)[0], 0) if len(data) >= _TYPE.size else 0


def link_of(point: Reparse) -> Link | None:
    """Return where a reparse point leads, None if it is no link.

    SmbError(IO_REPARSE_DATA_INVALID) for one whose data are not in the form of its tag.
    """
    try:
        if point.tag == IO_REPARSE_TAG_SYMLINK:
            start, length, _, _, flags = _SYMLINK.unpack_from(point.data)
            text = _text(point.data[_SYMLINK.size :], start, length)
            return Link(text.replace("\\", "/"), bool(flags & SYMLINK_FLAG_RELATIVE))
        if point.tag == IO_REPARSE_TAG_MOUNT_POINT:
            start, length, _, _ = _MOUNT_POINT.unpack_from(point.data)
            return Link(_text(point.data[_MOUNT_POINT.size :], start, length), False)
        if point.tag == IO_REPARSE_TAG_LX_SYMLINK:
            if _VERSION.unpack_from(point.data) != (LX_SYMLINK_VERSION,):
                raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)
            return _posix_link(str(point.data[_VERSION.size :], "utf-8"))
        if point.tag == IO_REPARSE_TAG_NFS and _TYPE.unpack_from(point.data) == (NFS_SPECFILE_LNK,):
            return _posix_link(decode(point.data[_TYPE.size :]))
    except (struct.error, UnicodeDecodeError):
        raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID) from None
    return None


def _text(names: memoryview, start: int, length: int) -> str:
    """Return a name of a link's path buffer."""
    if not length or length % 2 or start + length > len(names):
        raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)
    return decode(names[start : start + length])


def _posix_link(target: str) -> Link:
    """Return a link whose target is as POSIX writes it."""
    if not target or "\0" in target:
        raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)
    return Link(target, not target.startswith("/"))


def special_file_of(point: Reparse) -> int:
    """Return S_IFIFO or S_IFSOCK if that is all there is to a reparse point, else 0.

    SmbError(IO_REPARSE_DATA_INVALID) for a special file whose data are not in the form of its tag.
    """
    size = len(point.data)
    if point.tag == IO_REPARSE_TAG_NFS:
        kind = _TYPE.unpack_from(point.data)[0] if size >= _TYPE.size else 0
        size -= _TYPE.size
        if kind in _NFS_KINDS and not size:
            return _NFS_KINDS[kind]
        if (kind in _NFS_DEVICES and size == _DEVICE.size) or kind == NFS_SPECFILE_LNK:
            return 0
    elif point.tag not in _WSL_KINDS:
        return 0
    elif not size:
        return _WSL_KINDS[point.tag]
    raise SmbError(NtStatus.IO_REPARSE_DATA_INVALID)


def build_reparse_point(tag: int, data: bytes = b"", guid: bytes = b"") -> bytes:
    """Return a REPARSE_DATA_BUFFER ([MS-FSCC] 2.1.2.2); the tags of WSL's files have no data."""
    return _HEADER.pack(tag, len(data), 0) + guid + data


def build_relative_symlink(target: str) -> bytes:
    """Return a Symbolic Link Reparse Data Buffer ([MS-FSCC] 2.1.2.4) of a relative target.

    SubstituteName and PrintName are the same bytes, once.
    """
    name = encode(target)
    fixed = _SYMLINK.pack(0, len(name), 0, len(name), SYMLINK_FLAG_RELATIVE)
    return build_reparse_point(IO_REPARSE_TAG_SYMLINK, fixed + name)
