"""FSCTLs for holes: SET_SPARSE, SET_ZERO_DATA, QUERY_ALLOCATED_RANGES, FILE_LEVEL_TRIM.

A named stream, kept in an attribute, has no holes: all of it is allocated, zeros are written, and
what is trimmed stays. That it were sparse could not be kept.
"""

import struct

from usmbd.protocol.commands.breaks import let_go
from usmbd.protocol.commands.data_change import archive, changing, moving
from usmbd.protocol.commands.request import Handling, Reply, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, OnDescriptor, Sliced, Waiting
from usmbd.protocol.state.notify.change import modified
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.vfs import extents
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import (
    FILE_APPEND_DATA,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_ATTRIBUTES
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.status import NtStatus, SmbError

RANGES_AT_ONCE = 256
"""Ranges that a thread trims before others of its share have their turn: 2 us each in memory."""

_COUNT = struct.Struct("<I")

ZEROS_AT_ONCE = 1 << 30
"""Bytes that a thread makes zeros of before others have their turn: a second where they have to be
written, nothing where the file system makes a hole."""

LARGEST_ZEROS = 1 << 20
"""Bytes of zeros that are made on the loop: where no hole can be, they are written."""


def set_sparse(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_SET_SPARSE ([MS-FSA] 2.1.5.10.37): without a buffer it means TRUE."""
    open_ = _file(request, FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_ATTRIBUTES)
    yield Blocking(open_.node.set_sparse, not data or bool(data[0]))
    change = modified(FILE_NOTIFY_CHANGE_ATTRIBUTES)
    yield from tell(open_, change)
    return list(build_ioctl_response(body))


def set_zero_data(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_SET_ZERO_DATA ([MS-FSA] 2.1.5.10.39): a hole where the file system can have one."""
    open_ = _data(request, FILE_WRITE_DATA)
    zeros = fsctl.FileZeroData.parse(data)
    length = zeros.beyond_final_zero - zeros.file_offset
    if zeros.file_offset < 0 or length < 0:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    server = request.connection.server
    offset = zeros.file_offset
    if not open_.may_access(server.store, offset, length, write=True):
        raise SmbError(NtStatus.FILE_LOCK_CONFLICT)
    open_.modified = True
    try:
        changed = yield from _zero(open_, offset, zeros.beyond_final_zero)
    finally:
        cached = server.caching.changes.changed(open_)
    if changed and not open_.archived:
        yield from archive(open_)
    if cached:
        yield from let_go(server, open_, cached)
    return list(build_ioctl_response(body))


def _zero(open_: Open, offset: int, beyond: int) -> Waiting[bool]:
    """Make zeros of what there is of a range, in parts; return whether there was anything."""
    stream, node = open_.stream, open_.node
    if stream is not None:
        end = min(beyond, (yield from OnDescriptor(stream.stat)).size)
        if offset < end:
            yield changing(open_, stream.write, bytes(end - offset), offset)
        return offset < end
    end = min(beyond, (yield from OnDescriptor(node.size)))
    for start in range(offset, end, ZEROS_AT_ONCE):
        part = min(ZEROS_AT_ONCE, end - start)
        if beyond - offset > LARGEST_ZEROS:
            yield moving(open_, extents.zero, node, start, part)
        else:
            yield changing(open_, extents.zero, node, start, part)
    return offset < end


def query_allocated_ranges(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_QUERY_ALLOCATED_RANGES ([MS-FSA] 2.1.5.10.22); BUFFER_OVERFLOW with those that fit."""
    open_ = _data(request, FILE_READ_DATA)
    asked = fsctl.FileAllocatedRange.parse(data)
    offset, length = asked.file_offset, asked.length
    if offset < 0 or length < 0 or offset + length > 0x7FFFFFFFFFFFFFFF:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    room = body.max_output_response // fsctl.FileAllocatedRange.SIZE
    found: list[tuple[int, int]] = []
    if open_.stream is not None:
        end = min(offset + length, (yield from OnDescriptor(open_.stream.stat)).size)
        found = [(offset, end - offset)] if offset < end else []
    elif length:
        found = yield from Sliced(extents.allocated_ranges, open_.node, offset, length, room + 1)
    if found and not room:
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    output = b"".join(struct.pack("<QQ", *part) for part in found[:room])
    status = NtStatus.BUFFER_OVERFLOW if len(found) > room else NtStatus.SUCCESS
    return Reply(list(build_ioctl_response(body, output)), status)


def file_level_trim(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_FILE_LEVEL_TRIM ([MS-FSA] 2.1.5.10.6): blocks that hold nothing of use are given back.

    What stops it is told by the number of ranges that were done, or by its status if it is none.
    """
    open_ = _data(request, FILE_WRITE_DATA)
    ranges = fsctl.parse_trim(data)
    if 0 < body.max_output_response < _COUNT.size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    server, count = request.connection.server, len(ranges) // fsctl.TRIM_RANGE.size
    open_.modified = True
    done = 0
    try:
        while done < count:
            part = _next_ranges(server.store, open_, ranges, done)
            call = extents.trim if open_.stream is None else _keep
            yield moving(open_, call, open_.node, part)
            done += len(part)
    except (SmbError, OSError):
        if not done:
            raise
    finally:
        cached = server.caching.changes.changed(open_)
    if cached:
        yield from let_go(server, open_, cached)
    output = _COUNT.pack(done) if body.max_output_response else b""
    return list(build_ioctl_response(body, output))


def _keep(node: Node, ranges: list[tuple[int, int]]) -> None:
    """Give nothing back: the blocks of an attribute are not its own."""


def _next_ranges(store: Store, open_: Open, ranges: memoryview, done: int) -> list[tuple[int, int]]:
    """Return the ranges of a slice, as far as they can be; SmbError if the first cannot."""
    size = fsctl.TRIM_RANGE.size
    part: list[tuple[int, int]] = []
    asked = ranges[done * size : (done + RANGES_AT_ONCE) * size]
    for offset, length in fsctl.TRIM_RANGE.iter_unpack(asked):
        status = NtStatus.SUCCESS
        if offset + length > 0xFFFFFFFFFFFFFFFF:
            status = NtStatus.INTEGER_OVERFLOW
        elif not open_.may_access(store, offset, length, write=True):
            status = NtStatus.FILE_LOCK_CONFLICT
        if status is not NtStatus.SUCCESS:
            if part:
                break
            raise SmbError(status)
        part.append((offset, length))
    return part


def _data(request: Request, access: int) -> Open:
    """Return the open of a file's data, or a stream's, that has one of these rights."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    open_ = request.open
    if open_.pipe is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    if open_.stream is None and not open_.node.is_regular:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    open_.require(access)
    return open_


def _file(request: Request, access: int) -> Open:
    """Return the open of a file's own data, likewise."""
    if request.open is not None and request.open.stream is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    return _data(request, access)
