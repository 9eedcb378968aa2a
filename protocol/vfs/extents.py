"""Parts of files: holes, zeros, copies within the server ([MS-FSCC] 2.3: the FSCTLs for data).

All of this may take long and belongs in a thread of the pool.
"""

import errno
import os
from typing import Final

from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_SPARSE_FILE

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

    Never makes the file longer (FSCTL_SET_ZERO_DATA, [MS-FSA] 2.1.5.10.39).
    """
    node.volume.check_writable()
    end = min(offset + length, kernel.statx_fd(node.fd)[7])
    if offset >= end:
        return
    sparse = node.stat().attributes & FILE_ATTRIBUTE_SPARSE_FILE
    how = kernel.FALLOC_FL_PUNCH_HOLE if sparse else kernel.FALLOC_FL_ZERO_RANGE
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
    """Copy a range within the server, by reference where the file system can; OSError.

    Returns the number of bytes, fewer at the end of `source` (FSCTL_SRV_COPYCHUNK).
    """
    target.volume.check_writable()
    done = 0
    while done < length:
        try:
            step = os.copy_file_range(
                source.fd, target.fd, length - done, source_offset + done, target_offset + done
            )
        except OSError as error:
            # Other file systems, or ranges of one file that overlap.
            if error.errno not in _COPY_UNSUPPORTED:
                raise
            return done + _copy_by_hand(
                source.fd, source_offset + done, target.fd, target_offset + done, length - done
            )
        if not step:
            break
        done += step
    return done


def _copy_by_hand(
    source: int, source_offset: int, target: int, target_offset: int, length: int
) -> int:
    """Copy by reading and writing; overlapping ranges come out as if read first."""
    step = len(_ZEROS)
    starts = range(0, length, step)
    done = 0
    for start in reversed(starts) if target_offset > source_offset else starts:
        data = memoryview(os.pread(source, min(step, length - start), source_offset + start))
        at = target_offset + start
        while data:
            written = os.pwrite(target, data, at)
            data, at, done = data[written:], at + written, done + written
    return done
