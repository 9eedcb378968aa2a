"""FSCTL_DUPLICATE_EXTENTS_TO_FILE and _EX: files that share blocks ([MS-FSA] 2.1.5.10.4, .5).

As on ReFS and with Samba, locks are not asked, and what lies behind the end of the target is left
out. What the request itself must be is in [MS-SMB2] 3.3.5.15.17 and .18.
"""

from usmbd.protocol.commands.breaks import let_go
from usmbd.protocol.commands.data_change import archive, moving
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.state.open import Open
from usmbd.protocol.vfs import extents
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_EXECUTE, FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.status import NtStatus, SmbError


def duplicate_extents(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_DUPLICATE_EXTENTS_TO_FILE: let a range of the target share the source's blocks."""
    return _duplicate(request, body, fsctl.DuplicateExtents.parse(data))


def duplicate_extents_ex(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_DUPLICATE_EXTENTS_TO_FILE_EX: the same; always atomic for the source."""
    asked = fsctl.DuplicateExtentsEx.parse(data)
    if asked.structure_size != fsctl.DuplicateExtentsEx.STRUCTURE_SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if asked.flags & ~fsctl.DUPLICATE_EXTENTS_DATA_EX_SOURCE_ATOMIC:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return _duplicate(request, body, asked)


def _duplicate(
    request: Request,
    body: IoctlRequest,
    asked: fsctl.DuplicateExtents | fsctl.DuplicateExtentsEx,
) -> Handling:
    """Share the blocks on a thread; the source stays in use meanwhile."""
    server, target = request.connection.server, _file(request.open, FILE_WRITE_DATA)
    found = request.session.open_table.get(asked.volatile)
    if found is None or found.persistent_id != asked.persistent:
        raise SmbError(NtStatus.INVALID_HANDLE)
    source = _file(found, FILE_READ_DATA | FILE_EXECUTE)
    target.modified = True
    source.in_use += 1
    try:
        yield moving(
            target,
            extents.duplicate,
            source.node,
            asked.source_file_offset,
            target.node,
            asked.target_file_offset,
            asked.byte_count,
        )
    finally:
        cached = server.caching.changes.changed(target)
        source.release()
    if not target.archived:
        yield from archive(target)
    if cached:
        yield from let_go(server, target, cached)
    return list(build_ioctl_response(body))


def _file(open_: Open | None, access: int) -> Open:
    """Return the open of a file's own data that has one of these rights."""
    if open_ is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    if open_.pipe is not None or open_.stream is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    open_.file_data()
    open_.require(access)
    return open_
