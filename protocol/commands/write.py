"""SMB2 WRITE ([MS-SMB2] 3.3.5.13)."""

from usmbd.protocol.commands.breaks import let_go
from usmbd.protocol.commands.data_change import archive, changing, flushing
from usmbd.protocol.commands.rdma_data import fetch, find_write_buffers
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.state.caching.needed import Break
from usmbd.protocol.state.notify.change import MODIFIED_STREAM, of_stream
from usmbd.protocol.state.open import Open, OpenData
from usmbd.protocol.state.pipe import Pipe
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.vfs.node import OFFSET_MAX
from usmbd.protocol.wire.access import FILE_APPEND_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.channel import SMB2_CHANNEL_NONE
from usmbd.protocol.wire.create import FILE_WRITE_THROUGH
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.wire.write import (
    SMB2_WRITEFLAG_WRITE_THROUGH,
    WriteRequest,
    pack_write_response,
    write_data,
)

WRITE_TO_END = 0xFFFFFFFFFFFFFFFF
"""The end of the file, wherever that is ([MS-FSA] 2.1.5.4): for who may do nothing but append."""

NEAR = 1 << 40
"""The end of a write beyond which the file system is asked whether a file may end there."""


def write(request: Request) -> Answer | Handling:
    """Write to a file, a stream or a pipe."""
    body = parse_body(WriteRequest, request.message)
    open_, connection = request.open, request.connection
    if body.channel != SMB2_CHANNEL_NONE and connection.dialect >= SMB2_DIALECT_300:
        return _write_remote(request, body)
    data = write_data(request.message, body)
    if body.length > connection.max_write_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, body.length)
    if open_.pipe is not None:
        return _write_pipe(open_.pipe, data)
    return _write_file(request, body, _check(open_), data)


def _write_remote(request: Request, body: WriteRequest) -> Handling:
    """Fetch the data by RDMA, then write it as any other."""
    open_ = request.open
    buffers = find_write_buffers(request, body)
    pipe = open_.pipe
    target = _check(open_) if pipe is None else None  # before memory is read for nothing
    data = yield from fetch(request, buffers, body.remaining_bytes)
    if open_.closed:  # meanwhile
        raise SmbError(NtStatus.FILE_CLOSED)
    if pipe is not None:
        return (yield from _write_pipe(pipe, data))
    assert target is not None
    writing = _write_file(request, body, target, data)
    del data  # which `writing` lets go when it waits
    return (yield from writing)


def _write_file(
    request: Request, body: WriteRequest, target: OpenData, data: memoryview
) -> Handling:
    """Write to a file that `_check` allows ([MS-SMB2] 3.3.5.13).

    An open that may only append leaves what is there, and may say WRITE_TO_END. Of others Windows
    and Samba refuse that offset as any beyond OFFSET_MAX.
    """
    open_ = request.open
    offset = body.offset
    if not open_.granted_access & FILE_WRITE_DATA:
        end = (yield from Blocking(target.stat)).size
        if offset == WRITE_TO_END:
            offset = end
        elif offset < end:
            raise SmbError(NtStatus.ACCESS_DENIED)
    if offset + len(data) > NEAR:
        yield from _far(open_, offset, len(data))
    server = request.connection.server
    if not server.store.check_io(open_.key, open_.persistent_id, offset, len(data), True):
        raise SmbError(NtStatus.FILE_LOCK_CONFLICT)
    local = open_.local_locks
    if local is not None and not local.admit(offset, len(data), True):
        raise SmbError(NtStatus.FILE_LOCK_CONFLICT)
    open_.modified = True
    cached: list[Break] = []
    if data:
        try:
            yield changing(open_, target.write, data, offset)
        finally:
            cached = server.caching.changes.changed(open_)
        if not open_.archived:
            yield from archive(open_)
        if open_.stream is not None:
            change = of_stream(MODIFIED_STREAM, open_.stream.name)
            yield from tell(open_, change)
    # Not what is unbuffered: like Samba and ksmbd we take that for a hint about caches, as Linux
    # means it by O_DIRECT, and who wants the data on the disk says so.
    if (
        body.flags & SMB2_WRITEFLAG_WRITE_THROUGH
        or open_.mode & FILE_WRITE_THROUGH
        or (open_.durable is not None and open_.durable.writes_through)
    ):
        yield flushing(open_)
    length = len(data)
    del data  # nobody needs it for others' answers, and little may wait
    if cached:
        yield from let_go(server, open_, cached)
    return pack_write_response(length)


def _far(open_: Open, offset: int, length: int) -> Waiting[None]:
    """Refuse a write to where there can be no data ([MS-FSA] 2.1.5.4)."""
    if offset + length > OFFSET_MAX:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if length and open_.stream is None:
        yield Blocking(open_.node.check_end, offset + length)


def _check(open_: Open) -> OpenData:
    """Return what is written to; refuse what has no data, or may not be written by this open."""
    target = open_.file_data()
    open_.require(FILE_WRITE_DATA | FILE_APPEND_DATA)
    return target


def _write_pipe(pipe: Pipe, data: memoryview) -> Handling:
    """Write to a named pipe."""
    yield from pipe.write(data)
    return pack_write_response(len(data))
