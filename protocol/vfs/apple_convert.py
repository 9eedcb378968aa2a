"""What macOS has put into files `._NAME` on shares without streams becomes streams of the file.

Behind FinderInfo, and two bytes, it puts attributes ("ATTR", xnu's bsd/vfs/vfs_xattr.c):

    magic, id, size of all, where the data begins, its size, 12 bytes, flags, number of attributes
    for each, at a multiple of 4: offset and size of the data, flags, length of the name, name, NUL

Each becomes a named stream, FinderInfo the stream AFP_AfpInfo; the fork stays in the file, without
the rest. So does vfs_fruit (`fruit:convert_adouble`), once for each file: then the file says that
it is netatalk's.
"""

import errno
import logging
import os
import secrets
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from usmbd.protocol.vfs import apple_double, directory_entry, streams
from usmbd.protocol.vfs.apple_double import Double, Layout
from usmbd.protocol.vfs.apple_fork import find
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import long_call
from usmbd.protocol.vfs.resolve import encode
from usmbd.protocol.vfs.spelling import to_wire
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.vfs")

HEAD_MAX: Final = 65536
"""Bytes before a fork that are read; what Samba reads as well."""

ATTRIBUTES_MAX: Final = 1024
"""Attributes of a file; as with Samba."""

_SHORT: Final = 32  # attributes that are few
_SHORT_FORK: Final = 1 << 20  # bytes of a fork that are soon copied
_STEP: Final = 1 << 20

_ATTR: Final = b"ATTR"
_HEADER: Final = struct.Struct(">4s4xIII12x2xH")
_ENTRY: Final = struct.Struct(">IIHB")

_BLANK_TEXT: Final = b"This resource fork intentionally left blank   "
_BLANK_HEAD: Final = struct.pack(">IIII", 0x100, 0x100, 0, 0x1E)
BLANK: Final = (
    (_BLANK_HEAD + _BLANK_TEXT).ljust(0x100, b"\0")
    + _BLANK_HEAD
    + struct.pack(">IIHH2s", 0, 0, 0x1C, 0x1E, b"\xff\xff")
)
"""The fork that macOS writes where there is none: an empty map, and a text that says so."""


def convert(node: Node, keep_finder_info: Callable[[Node, bytes], None]) -> None:
    """Do so, as the user; what cannot be done is left as it is, and told.

    `keep_finder_info` stores FinderInfo where the share has it.
    """
    if not node.volume.options.converts_doubles or node.volume.options.read_only:
        return
    try:
        double = find(node)
        if double is not None:
            _convert(node, double, keep_finder_info)
    except (OSError, SmbError) as error:
        log.info("._ file is left as it is: %s", error, extra={"path": node.path})


def _convert(node: Node, double: Double, keep_finder_info: Callable[[Node, bytes], None]) -> None:
    options = node.volume.options
    layout = double.layout()
    if layout is None or not double.writable:
        return
    attributes: list[tuple[str, bytes]] = []
    if layout.finder_size > apple_double.FINDER_SIZE:
        attributes = _attributes(os.pread(double.fd, HEAD_MAX, 0), layout)
    of_mac_os = layout.made_by == apple_double.MAC_OS
    blank = options.wipes_blank_forks and _is_blank(double, layout)
    fork_size = 0 if blank else layout.fork_size
    delete = options.deletes_empty_doubles and not fork_size
    if not (attributes or of_mac_os or blank or delete):
        return
    if len(attributes) > _SHORT or fork_size > _SHORT_FORK:
        long_call()
    for name, value in attributes:
        _keep_stream(node, name, value)
    if of_mac_os:
        info = os.pread(double.fd, apple_double.FINDER_SIZE, layout.finder_at)
        if any(info):
            keep_finder_info(node, info)
    directory, name = directory_entry.locate(node)
    try:
        if delete:
            os.unlink(encode(apple_double.PREFIX + name), dir_fd=directory)
        else:
            _write_anew(directory, name, double, layout.fork_at, fork_size)
    finally:
        os.close(directory)


def _attributes(head: bytes, layout: Layout) -> list[tuple[str, bytes]]:
    """Read the attributes behind FinderInfo; SmbError(FILE_CORRUPT_ERROR)."""
    at = layout.finder_at + apple_double.FINDER_SIZE + 2
    found = []
    try:
        magic, size, data_start, data_size, count = _HEADER.unpack_from(head, at)
        if magic != _ATTR or size > min(layout.fork_at, len(head)) or count > ATTRIBUTES_MAX:
            raise SmbError(NtStatus.FILE_CORRUPT_ERROR)
        if data_start < at + _HEADER.size or data_start + data_size > size:
            raise SmbError(NtStatus.FILE_CORRUPT_ERROR)
        at += _HEADER.size
        for _ in range(count):
            at = at + 3 & ~3
            offset, length, _, name_length = _ENTRY.unpack_from(head, at)
            name = head[at + _ENTRY.size : at + _ENTRY.size + name_length]
            at += _ENTRY.size + name_length
            if offset + length > size or at > data_start or not name.rstrip(b"\0"):
                raise SmbError(NtStatus.FILE_CORRUPT_ERROR)
            found.append((name.rstrip(b"\0").decode(), head[offset : offset + length]))
    except (struct.error, UnicodeDecodeError) as error:
        raise SmbError(NtStatus.FILE_CORRUPT_ERROR) from error
    return found


def _keep_stream(node: Node, name: str, value: bytes) -> None:
    """Write a named stream; its name as macOS says it by SMB."""
    name = to_wire(name)
    try:
        stream = streams.open_stream(node, name)
    except SmbError as error:
        if error.status is not NtStatus.OBJECT_NAME_NOT_FOUND:
            raise
        stream = streams.create_stream(node, name)
    stream.truncate(0)
    if value:
        stream.write(value, 0)


def _is_blank(double: Double, layout: Layout) -> bool:
    """Whether the fork says that it is left blank."""
    if layout.fork_size != len(BLANK):
        return False
    return os.pread(double.fd, len(BLANK), layout.fork_at) == BLANK


def _write_anew(directory: int, name: str, double: Double, fork_at: int, fork_size: int) -> None:
    """Put a file with the fork alone in the place of the one that is there; OSError."""
    temporary = f".usmbd-fork-{secrets.token_hex(8)}"
    before = os.fstat(double.fd)
    new = apple_double.create_beside(directory, temporary, before.st_mode)
    made = encode(apple_double.PREFIX + temporary)
    try:
        with suppress(PermissionError):  # it belongs to who has it converted
            os.fchown(new.fd, before.st_uid, before.st_gid)
        os.fchmod(new.fd, before.st_mode & 0o777)
        done = 0
        while done < fork_size:
            data = os.pread(double.fd, min(_STEP, fork_size - done), fork_at + done)
            if not data:
                raise OSError(errno.EIO, "the fork has become shorter")
            done += os.pwrite(new.fd, data, apple_double.SIZE + done)
        os.pwrite(new.fd, apple_double.packed(fork_size), 0)
        os.rename(
            made,
            encode(apple_double.PREFIX + name),
            src_dir_fd=directory,
            dst_dir_fd=directory,
        )
    except BaseException:
        os.unlink(made, dir_fd=directory)
        raise
