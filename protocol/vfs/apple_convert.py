"""What macOS has put into files `._NAME` on shares without streams becomes streams of the file.

Behind FinderInfo, and two bytes, it puts attributes ("ATTR", xnu's bsd/vfs/vfs_xattr.c):

    magic, id, size of all, where the data begins, its size, 12 bytes, flags, number of attributes
    for each, at a multiple of 4: offset and size of the data, flags, length of the name, name, NUL

Each becomes a named stream, FinderInfo the stream AFP_AfpInfo; the fork stays in the file, without
the rest. So does vfs_fruit (`fruit:convert_adouble`), once for each file: then the file says that
it is netatalk's. A stream that is there already stays: it was written since.
"""

import errno
import logging
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from usmbd.protocol.vfs import apple_double, directory_entry, rights, streams
from usmbd.protocol.vfs.apple_double import Double, Layout
from usmbd.protocol.vfs.apple_fork import find
from usmbd.protocol.vfs.extents import next_part
from usmbd.protocol.vfs.folding import fold
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

_SHARED: Final = "user.org.netatalk.Metadata"
"""The attribute that keeps other things beside FinderInfo, and is written over."""

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


def convert(
    node: Node,
    new_finder_info: Callable[[Node, bytes], tuple[str, bytes] | None],
    may: Callable[[], bool],
) -> None:
    """Do so, as the user; what cannot be done to the end is left as it was, and told.

    `new_finder_info` returns the attribute that is to keep FinderInfo, None where there is one.
    `may` tells whether the user may write the file, and nobody has its fork open.
    """
    if not node.volume.options.converts_doubles or node.volume.options.read_only:
        return
    try:
        double = find(node)
        if double is not None:
            _convert(node, double, new_finder_info, may)
    except (OSError, SmbError) as error:
        log.info("._ file is left as it is: %s", error, extra={"path": node.path})


def _convert(
    node: Node,
    double: Double,
    new_finder_info: Callable[[Node, bytes], tuple[str, bytes] | None],
    may: Callable[[], bool],
) -> None:
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
    if not (attributes or of_mac_os or blank or delete) or not may():
        return
    if len(attributes) > _SHORT or fork_size > _SHORT_FORK:
        long_call()
    new = _new_streams(node, attributes)
    if of_mac_os:
        info = os.pread(double.fd, apple_double.FINDER_SIZE, layout.finder_at)
        if any(info) and (kept := new_finder_info(node, info)) is not None:
            new.append(kept)
    directory, name = directory_entry.locate(node)
    try:
        _check_place(directory, double, fork_size + sum(len(value) for _, value in new))
        with _added(node, new):
            if delete:
                _check_again(may)
                os.unlink(encode(apple_double.PREFIX + name), dir_fd=directory)
            else:
                _write_anew(directory, name, double, layout.fork_at, fork_size, may)
    finally:
        os.close(directory)


def _check_again(may: Callable[[], bool]) -> None:
    """Look whether somebody has opened the fork meanwhile; SmbError(SHARING_VIOLATION)."""
    if not may():
        raise SmbError(NtStatus.SHARING_VIOLATION)


def _check_place(directory: int, double: Double, size: int) -> None:
    """Look whether the user may replace the file, and the disk has room; OSError, SmbError."""
    if not rights.may_remove_from(directory, os.fstat(double.fd).st_uid):
        raise SmbError(NtStatus.ACCESS_DENIED)
    room = os.fstatvfs(double.fd)
    if room.f_blocks and size > room.f_bavail * room.f_frsize:
        raise SmbError(NtStatus.DISK_FULL)


def _new_streams(node: Node, attributes: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return what keeps the streams that the file has not: they are newer than `._NAME`'s."""
    if attributes and not (node.volume.options.streams and node.has_xattrs):
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    there = {fold(name) for name in streams.stream_names(node)}
    found = []
    for name, value in attributes:
        name = to_wire(name)  # as macOS says it by SMB
        if (folded := fold(name)) not in there:
            there.add(folded)
            found.append((streams.attribute_of(name), value + b"\0"))
    return found


@contextmanager
def _added(node: Node, new: list[tuple[str, bytes]]) -> Iterator[None]:
    """Set attributes, by the kernel's leave alone; what fails then leaves none behind; OSError."""
    done: list[tuple[str, bytes, bytes | None]] = []
    target = node.xattr_target()
    try:
        for attribute, value in new:
            before = _value(target, attribute) if attribute == _SHARED else None
            flags = os.XATTR_CREATE if before is None else os.XATTR_REPLACE
            os.setxattr(target, attribute, value, flags)
            done.append((attribute, value, before))
        yield
    except BaseException:
        for attribute, value, before in done:
            with suppress(OSError):
                if _value(target, attribute) != value:
                    continue  # it has been written since
                if before is None:
                    os.removexattr(target, attribute)
                else:
                    os.setxattr(target, attribute, before, os.XATTR_REPLACE)
        raise
    finally:
        if done:
            node.forget_change_time()


def _value(target: int | str, attribute: str) -> bytes | None:
    """Return an attribute; None where there is none; OSError."""
    try:
        return os.getxattr(target, attribute)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


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
            if (
                offset + length > size
                or at > data_start
                or b"\0" in (name := name.rstrip(b"\0"))
                or not name
            ):
                raise SmbError(NtStatus.FILE_CORRUPT_ERROR)
            found.append((name.decode(), head[offset : offset + length]))
    except (struct.error, UnicodeDecodeError) as error:
        raise SmbError(NtStatus.FILE_CORRUPT_ERROR) from error
    return found


def _is_blank(double: Double, layout: Layout) -> bool:
    """Whether the fork says that it is left blank."""
    if layout.fork_size != len(BLANK):
        return False
    return os.pread(double.fd, len(BLANK), layout.fork_at) == BLANK


def _write_anew(
    directory: int,
    name: str,
    double: Double,
    fork_at: int,
    fork_size: int,
    may: Callable[[], bool],
) -> None:
    """Put a file with the fork alone in the place of the one that is there; OSError."""
    temporary = f".usmbd-fork-{secrets.token_hex(8)}"
    before = os.fstat(double.fd)
    new = apple_double.create_beside(directory, temporary, before.st_mode)
    made = encode(apple_double.PREFIX + temporary)
    try:
        with suppress(PermissionError):  # it belongs to who has it converted
            os.fchown(new.fd, before.st_uid, before.st_gid)
        os.fchmod(new.fd, before.st_mode & 0o777)
        done = end = 0
        while done < fork_size:
            if done == end:  # holes stay
                hole, data = next_part(double.fd, fork_at + done, fork_size - done)
                done += hole
                end = done + data
            part = os.pread(double.fd, min(_STEP, end - done), fork_at + done)
            if not part and done < fork_size:
                raise OSError(errno.EIO, "the fork has become shorter")
            done += os.pwrite(new.fd, part, apple_double.SIZE + done)
        os.ftruncate(new.fd, apple_double.SIZE + fork_size)
        os.pwrite(new.fd, apple_double.packed(fork_size), 0)
        _check_again(may)
        os.rename(
            made,
            encode(apple_double.PREFIX + name),
            src_dir_fd=directory,
            dst_dir_fd=directory,
        )
    except BaseException:
        os.unlink(made, dir_fd=directory)
        raise
