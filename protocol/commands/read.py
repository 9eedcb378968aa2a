"""SMB2 READ ([MS-SMB2] 3.3.5.12)."""

from functools import partial

from usmbd.protocol.commands.pipe_questions import file_security
from usmbd.protocol.commands.rdma_data import deliver, find_read_buffers
from usmbd.protocol.commands.request import Answer, CompressedReply, Handling, Reply, Request
from usmbd.protocol.compression.transform import (
    LEAST_DATA,
    Compression,
    Payloads,
    compress,
    whole,
)
from usmbd.protocol.effects import Effect, OnDescriptor, Sliced, Slow
from usmbd.protocol.state.open import Open, OpenData
from usmbd.protocol.state.pipe import Pipe
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.vfs.node import OFFSET_MAX
from usmbd.protocol.wire.access import FILE_EXECUTE, FILE_READ_DATA
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.channel import SMB2_CHANNEL_NONE
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300
from usmbd.protocol.wire.negotiate_contexts import COMPRESSION_LZ4
from usmbd.protocol.wire.read import (
    SMB2_READFLAG_REQUEST_COMPRESSED,
    ReadRequest,
    pack_read_response,
)
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.base import FileSpan, RemoteBuffer

COPIED_SIZE = 64 * 1024
"""Bytes up to which data is read and copied into the socket. Above, the transport takes it from the
file itself, which is two system calls more: the file's size is asked, and the header goes before.
Copied / by sendfile: 64 KiB 6.2 / 4.7 us, but 229 / 308 under user-mode Linux; 1 MiB 193 / 49."""

COMPRESSED_ON_LOOP = 256 * 1024
"""Bytes up to which LZ4 compresses on the loop, 0.6 ms. More goes to a thread: the library gives up
the interpreter's lock. Our own formats go in slices."""


def read(request: Request) -> Answer | Handling:
    """Read from a file, a stream or a pipe."""
    body = parse_body(ReadRequest, request.message)
    open_, connection = request.open, request.connection
    length = body.length
    rdma, buffers = connection.rdma, None
    if body.channel != SMB2_CHANNEL_NONE and connection.dialect >= SMB2_DIALECT_300:
        buffers = find_read_buffers(request, body)
    elif length > connection.max_inline_read:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, length)
    if open_.pipe is not None:
        return _read_pipe(request, open_.pipe, length, buffers)
    data = open_.file_data()
    open_.require(FILE_READ_DATA | FILE_EXECUTE)
    if body.offset > OFFSET_MAX or body.offset + length > OFFSET_MAX:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    store = connection.server.store
    if not store.check_io(open_.key, open_.persistent_id, body.offset, length, False):
        raise SmbError(NtStatus.FILE_LOCK_CONFLICT)
    local = open_.local_locks
    if local is not None and not local.admit(body.offset, length, False):
        raise SmbError(NtStatus.FILE_LOCK_CONFLICT)
    if body.flags & SMB2_READFLAG_REQUEST_COMPRESSED and buffers is None:
        compression = connection.compression
        if compression is not None and length >= LEAST_DATA and request.chain is None:
            return _read_compressed(request, body, data, compression)
    if length > COPIED_SIZE and request.plain and rdma is None and open_.stream is None:
        speed = request.tree.speed
        if not speed.measured and speed.fast():
            if not speed.noted:
                connection.server.pulse.note(speed)
            return _send_file(open_, body, length)
    buffer = connection.transport.buffer(length)
    if not data.nowait or request.tree.speed.may_hang:
        return _read_slowly(request, body, data, buffer, buffers)
    try:
        count = data.read_nowait_into([buffer], body.offset)
    except BlockingIOError:
        return _read_slowly(request, body, data, buffer, buffers)
    if 0 < count < length and body.offset + count < open_.node.size():
        # The page cache held the beginning alone. A short answer would mean the end of the file.
        return _read_slowly(request, body, data, buffer, buffers)
    open_.position = body.offset + count
    return _answer(request, body, buffer, count, buffers)


def _answer(
    request: Request,
    body: ReadRequest,
    buffer: memoryview,
    count: int,
    buffers: list[RemoteBuffer] | None,
) -> Answer:
    """Answer with what was read; less than MinimumCount or nothing is the end of the file."""
    if count < body.minimum_count or (not count and body.length):
        raise SmbError(NtStatus.END_OF_FILE)
    if buffers is not None:
        return deliver(request, buffers, buffer[:count])
    if not count:
        # An empty buffer still has one byte on the wire ([MS-SMB2] 2.2.20).
        return [pack_read_response(0), b"\0"]
    return [pack_read_response(count), buffer[:count]]


def _read_slowly(
    request: Request,
    body: ReadRequest,
    data: OpenData,
    buffer: memoryview,
    buffers: list[RemoteBuffer] | None,
) -> Handling:
    """Read what is not in the page cache."""
    open_ = request.open
    count = yield from OnDescriptor(data.read_into, [buffer], body.offset)
    open_.position = body.offset + count
    return _answer(request, body, buffer, count, buffers)


def _read_compressed(
    request: Request, body: ReadRequest, data: OpenData, compression: Compression
) -> Handling:
    """Read, and compress what was read where it pays: the client asks for it ([MS-SMB2] 2.2.19)."""
    buffer = request.connection.transport.buffer(body.length)
    answer = yield from _read_slowly(request, body, data, buffer, None)
    count = request.open.position - body.offset
    steps: Effect[Payloads | None] = Sliced(compress, buffer[:count], compression)
    if count > COMPRESSED_ON_LOOP and compression.best == COMPRESSION_LZ4:
        steps = Slow(whole, compress(buffer[:count], compression), bulk=True)
    payloads = yield from steps
    if payloads is None or not isinstance(answer, list):
        return answer
    return CompressedReply(answer, payloads)


def _send_file(open_: Open, body: ReadRequest, length: int) -> Answer:
    """Have the transport send the data from the page cache; no byte passes through here."""
    node = open_.node
    count = min(length, node.size() - body.offset)
    if count <= 0 or count < body.minimum_count:
        raise SmbError(NtStatus.END_OF_FILE)
    return [pack_read_response(count), FileSpan(node.fd, body.offset, count)]


def _read_pipe(
    request: Request, pipe: Pipe, length: int, buffers: list[RemoteBuffer] | None
) -> Handling:
    """Read from a named pipe; waits while it is empty."""
    data, status = yield from pipe.read(length, partial(file_security, request))
    if buffers is not None:
        return Reply(deliver(request, buffers, memoryview(bytearray(data))), status)
    return Reply([pack_read_response(len(data)), data], status)
