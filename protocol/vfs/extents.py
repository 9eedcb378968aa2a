"""Parts of files: holes, zeros, copies within the server ([MS-FSCC] 2.3: the FSCTLs for data).

All of this may take long and belongs in a thread of the pool.
"""

import errno
import os
from collections.abc import Iterable
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.abilities import clone
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_SPARSE_FILE
from usmbd.protocol.wire.status import NtStatus, SmbError

LONGEST_COPY: Final = 1 << 20
"""Bytes that are copied at once: they are in memory where the file system does not copy."""

TRIM_UNIT: Final = 4096
"""Ranges that are trimmed are narrowed to multiples of this, as Windows does it."""

_PUNCH: Final = kernel.FALLOC_FL_PUNCH_HOLE | kernel.FALLOC_FL_KEEP_SIZE
_ZEROS: Final = bytes(1 << 20)
_PARTS_AT_ONCE: Final = 64  # parts of a step: 5 us each
_COPY_UNSUPPORTED: Final = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def allocated_ranges(
    node: Node, offset: int, length: int, limit: int
) -> Steps[list[tuple[int, int]]]:
    """List the parts of a file that hold data within a range, as (offset, length); OSError.

    At most `limit` parts (FSCTL_QUERY_ALLOCATED_RANGES, [MS-FSA] 2.1.5.10.22). A file that is not
    sparse, or lies where no holes are known, has one part.
    """
    stat = node.stat()
    end = min(offset + length, stat.size)
    if not stat.attributes & FILE_ATTRIBUTE_SPARSE_FILE:
        return [(offset, end - offset)] if offset < end and limit > 0 else []
    found: list[tuple[int, int]] = []
    while offset < end and len(found) < limit:
        try:
            start = os.lseek(node.fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            raise
        if start >= end:
            break
        offset = min(os.lseek(node.fd, start, os.SEEK_HOLE), end)
        if offset <= start:  # cut short by another meanwhile
            break
        found.append((start, offset - start))
        if not len(found) % _PARTS_AT_ONCE:
            yield
    return found


def zero(node: Node, offset: int, length: int) -> None:
    """Make a range read as zeros, giving the blocks of a sparse file back; OSError.

    Never makes the file longer (FSCTL_SET_ZERO_DATA, [MS-FSA] 2.1.5.10.39), nor takes blocks for
    holes, which may be larger than the disk.
    """
    node.volume.check_writable()
    size, blocks = kernel.statx_fd(node.fd)[7:9]
    end = min(offset + length, size)
    if offset >= end:
        return
    if node.is_sparse() or blocks * 512 >= size:
        _zero_part(node, offset, end)
        return
    while offset < end:
        hole, data = next_part(node.fd, offset, end - offset)
        if data:
            _zero_part(node, offset + hole, offset + hole + data)
        elif not hole:  # cut short by another meanwhile
            break
        offset += hole + data


def _zero_part(node: Node, offset: int, end: int) -> None:
    """Make what lies from `offset` to `end` zeros, by the call for it or by hand; OSError."""
    how = kernel.FALLOC_FL_PUNCH_HOLE if node.is_sparse() else kernel.FALLOC_FL_ZERO_RANGE
    flags = how | kernel.FALLOC_FL_KEEP_SIZE
    try:
        kernel.fallocate(node.fd, flags, offset, end - offset)
        return
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    while offset < end:
        offset += os.pwrite(node.fd, memoryview(_ZEROS)[: end - offset], offset)


def copy(source: Node, source_offset: int, target: Node, target_offset: int, length: int) -> int:
    """Copy a range within the server, holes as holes and by reference where that can be; OSError.

    At most LONGEST_COPY bytes, which may have to come through memory. Returns their number: fewer
    at the end of `source`, or where the target takes no more; OSError when it is none.
    """
    if length > LONGEST_COPY:
        raise ValueError(f"{length} bytes at once")
    target.volume.check_writable()
    if source.inode == target.inode and abs(source_offset - target_offset) < length:
        return _copy_by_hand(source.fd, source_offset, target.fd, target_offset, length)
    done = 0
    try:
        while done < length:
            hole, data = next_part(source.fd, source_offset + done, length - done)
            if hole:
                _make_hole(target, target_offset + done, hole)
                done += hole
            if data:
                step = _copy_data(
                    source.fd, source_offset + done, target.fd, target_offset + done, data
                )
                done += step
                if step < data:
                    break
            elif not hole:
                break
    except OSError:
        if not done:
            raise
    return done


def trim(node: Node, ranges: Iterable[tuple[int, int]]) -> None:
    """Give the blocks of ranges back that nobody needs any more, as (offset, length); OSError.

    Only whole blocks, and none is written. SmbError(INVALID_DEVICE_REQUEST) where none can be
    (FSCTL_FILE_LEVEL_TRIM, [MS-FSA] 2.1.5.10.6).
    """
    node.volume.check_writable()
    size = node.size()
    for offset, length in ranges:
        start = -(-offset // TRIM_UNIT) * TRIM_UNIT
        end = min(offset + length, size) // TRIM_UNIT * TRIM_UNIT
        if start < end:
            try:
                kernel.fallocate(node.fd, _PUNCH, start, end - start)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                raise SmbError(NtStatus.INVALID_DEVICE_REQUEST) from error


def duplicate(
    source: Node, source_offset: int, target: Node, target_offset: int, length: int
) -> None:
    """Let a range of `target` share the blocks of `source`, as far as it has a place there.

    SmbError and OSError as [MS-FSCC] 2.3.8 and [MS-FSA] 2.1.5.10.4 have them. Like ReFS it takes a
    source range up to the end of the last block, and leaves out what lies behind the target's end.
    """
    target.volume.check_writable()
    if not target.volume.abilities(target).clones:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    block = os.fstatvfs(target.fd).f_bsize
    size, room = source.size(), target.size() - target_offset
    if min(source_offset, target_offset, length, room) < 0:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if source_offset % block or target_offset % block:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if source_offset + length > -(-size // block) * block:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    length = min(length, size - source_offset, room)
    if source.inode == target.inode and abs(source_offset - target_offset) < length:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if source.is_sparse() and not target.is_sparse():
        raise SmbError(NtStatus.NOT_SUPPORTED)
    # A part of a block can be shared where both files end, and has to be copied elsewhere.
    ends = source_offset + length == size and length == room
    whole = length if ends else length // block * block
    if whole:  # to the kernel, 0 would be the rest of the file
        try:
            clone(source.fd, source_offset, whole, target.fd, target_offset)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise SmbError(NtStatus.INVALID_HANDLE) from error
    if length > whole:
        copy(source, source_offset + whole, target, target_offset + whole, length - whole)


def next_part(fd: int, offset: int, length: int) -> tuple[int, int]:
    """Return how much hole lies at `offset`, and how much data behind it: (0, 0) at the end."""
    end = min(offset + length, os.fstat(fd).st_size)
    if offset >= end:
        return 0, 0
    try:
        data = min(os.lseek(fd, offset, os.SEEK_DATA), end)
    except OSError as error:
        if error.errno != errno.ENXIO:
            return 0, end - offset  # no holes are known here
        return end - offset, 0
    if data == end:
        return end - offset, 0
    hole = min(os.lseek(fd, data, os.SEEK_HOLE), end)
    return data - offset, max(hole - data, 0)


def _make_hole(target: Node, offset: int, length: int) -> None:
    """Let a range read as zeros, and the file reach to its end; OSError.

    What is there already keeps its blocks in a file that is not sparse. The file never becomes
    shorter, whoever else writes to it: truncate(2) could do that.
    """
    fd, end = target.fd, offset + length
    size = os.fstat(fd).st_size
    if offset < size and next_part(fd, offset, length) != (min(end, size) - offset, 0):
        zero(target, offset, length)
    if end > size:
        try:
            # Takes a block at the end, and the end with it; the second call gives the block back.
            kernel.fallocate(fd, 0, end - 1, 1)
            start = max(offset, size)
            kernel.fallocate(fd, _PUNCH, start, end - start)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            os.pwrite(fd, b"\0", end - 1)


def _copy_data(
    source: int, source_offset: int, target: int, target_offset: int, length: int
) -> int:
    """Copy what is no hole; as `copy`."""
    done = 0
    while done < length:
        try:
            step = os.copy_file_range(
                source, target, length - done, source_offset + done, target_offset + done
            )
        except OSError as error:
            if error.errno in _COPY_UNSUPPORTED:  # other file systems
                return done + _copy_by_hand(
                    source, source_offset + done, target, target_offset + done, length - done
                )
            if done:
                break
            raise
        if not step:
            break
        done += step
    return done


def _copy_by_hand(
    source: int, source_offset: int, target: int, target_offset: int, length: int
) -> int:
    """Copy by reading all and then writing it: ranges of one file may overlap."""
    data = memoryview(os.pread(source, length, source_offset))
    done = 0
    try:
        while done < len(data):
            done += os.pwrite(target, data[done:], target_offset + done)
    except OSError:
        if not done:
            raise
    return done
