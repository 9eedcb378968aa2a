"""Server-side copies: FSCTL_SRV_REQUEST_RESUME_KEY, _COPYCHUNK, _COPYCHUNK_WRITE ([MS-SMB2])."""

import dataclasses
import struct
from collections.abc import Sequence

from usmbd.protocol.commands.breaks import let_go
from usmbd.protocol.commands.data_change import archive, flushing, moving
from usmbd.protocol.commands.request import Answer, Handling, Reply, Request
from usmbd.protocol.effects import Slow, Waiting
from usmbd.protocol.state.open import Open, OpenData
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.vfs import apple, extents
from usmbd.protocol.vfs.errors import status_of
from usmbd.protocol.vfs.node import OFFSET_MAX, Node
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import (
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.create import FILE_WRITE_THROUGH
from usmbd.protocol.wire.fsctl_smb2 import (
    Copychunk,
    CopychunkCopy,
    CopychunkResponse,
    ResumeKeyResponse,
    parse_copychunks,
)
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.status import NtStatus, SmbError

MAX_CHUNKS = 256
"""ServerSideCopyMaxNumberofChunks ([MS-SMB2] 3.3.3); this and the next two are Windows' values."""

MAX_CHUNK_SIZE = extents.LONGEST_COPY
"""ServerSideCopyMaxChunkSize, 1 MiB."""

MAX_DATA_SIZE = 16 << 20
"""ServerSideCopyMaxDataSize: a client sends the next request for the next 16 MiB."""

SLICE = 4 << 20
"""Bytes that a thread copies before others of its share have their turn: 1 ms from memory, and the
way to the thread and back 0.04."""

TO_END = 0xFFFFFFFFFFFFFFFF
"""TargetOffset of a chunk that is appended ([MS-SMB2] 3.3.5.15.6)."""

_KEY = struct.Struct("<QQQ")
_LIMITS = CopychunkResponse(
    chunks_written=MAX_CHUNKS,
    chunk_bytes_written=MAX_CHUNK_SIZE,
    total_bytes_written=MAX_DATA_SIZE,
)


def request_resume_key(request: Request, body: IoctlRequest, data: memoryview) -> Answer:
    """FSCTL_SRV_REQUEST_RESUME_KEY: name the open for a copy ([MS-SMB2] 3.3.5.15.5)."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    if body.max_output_response < ResumeKeyResponse.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    open_ = request.open
    key = _KEY.pack(open_.persistent_id, open_.volatile_id, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY)
    return list(build_ioctl_response(body, ResumeKeyResponse(resume_key=key).pack()))


def copychunk(request: Request, body: IoctlRequest, data: memoryview) -> Answer | Handling:
    """FSCTL_SRV_COPYCHUNK and _WRITE, into the open that FileId names ([MS-SMB2] 3.3.5.15.6)."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    if len(data) < CopychunkCopy.SIZE:
        return _beyond_limits(body)
    copy = CopychunkCopy.parse(data)
    source, target = _source(request.session, copy.source_key), request.open
    if copy.chunk_count > MAX_CHUNKS or source.pipe is not None or target.pipe is not None:
        return _beyond_limits(body)
    if not copy.chunk_count and request.tree.copies_files:
        return _copy_file(request, body, source)
    try:
        chunks = parse_copychunks(data, copy)
    except SmbError:
        return _beyond_limits(body)
    if not all(_is_allowed(chunk) for chunk in chunks):
        return _beyond_limits(body)
    if sum(chunk.length for chunk in chunks) > MAX_DATA_SIZE:
        return _beyond_limits(body)
    if body.max_output_response < CopychunkResponse.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    _check_rights(body, source, target)
    return _copy(request, body, source, chunks)


def _check_rights(body: IoctlRequest, source: Open, target: Open) -> None:
    """Refuse a copy that one of the opens was not made for (3.3.5.15.6); SmbError."""
    source.file_data()
    target.file_data()
    source.require(FILE_READ_DATA | FILE_EXECUTE)  # what a READ wants
    target.require(FILE_WRITE_DATA | FILE_APPEND_DATA)
    if body.ctl_code == fsctl.FSCTL_SRV_COPYCHUNK:
        target.require(FILE_READ_DATA)


def _source(session: Session, key: bytes) -> Open:
    """Find the open that a key names: only those of the session are found."""
    persistent, volatile, kind = _KEY.unpack(key)
    open_ = session.open_table.get(volatile)
    if (
        open_ is None
        or open_.persistent_id != persistent
        or kind != fsctl.FSCTL_SRV_REQUEST_RESUME_KEY
    ):
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return open_


def _is_allowed(chunk: Copychunk) -> bool:
    """Whether a chunk has a size and a place in the target that can be."""
    if not 0 < chunk.length <= MAX_CHUNK_SIZE:
        return False
    return chunk.target_offset + chunk.length <= OFFSET_MAX or chunk.target_offset == TO_END


def _beyond_limits(body: IoctlRequest) -> Reply:
    """Refuse a request and tell what may be asked for ([MS-SMB2] 3.3.5.15.6.2)."""
    if body.max_output_response < CopychunkResponse.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return Reply(list(build_ioctl_response(body, _LIMITS.pack())), NtStatus.INVALID_PARAMETER)


class _Progress:
    """How far a copy is: whole chunks, bytes of the one that stopped it, and why it did."""

    __slots__ = ("chunks", "partial", "status", "total")

    def __init__(self) -> None:
        self.chunks = self.partial = self.total = 0
        self.status = NtStatus.SUCCESS

    def add(self, chunk: Copychunk, count: int) -> None:
        """Count what was copied of a chunk."""
        self.partial += count
        self.total += count
        if self.partial == chunk.length:
            self.partial = 0
            self.chunks += 1

    def answer(self, body: IoctlRequest) -> Answer:
        """Tell how far it came ([MS-SMB2] 3.3.5.15.6.1 for one that was stopped)."""
        output = CopychunkResponse(
            chunks_written=self.chunks,
            chunk_bytes_written=self.partial,
            total_bytes_written=self.total,
        ).pack()
        return Reply(build_ioctl_response(body, output), self.status)


def _copy(
    request: Request, body: IoctlRequest, source: Open, chunks: Sequence[Copychunk]
) -> Handling:
    """Copy in slices; the source stays in use until the last."""
    target, server = request.open, request.connection.server
    progress = _Progress()
    source.in_use += 1
    try:
        while progress.chunks < len(chunks) and progress.status is NtStatus.SUCCESS:
            yield from _copy_slice(server, source, target, chunks, progress)
        if target.mode & FILE_WRITE_THROUGH:
            yield flushing(target)
    finally:
        source.release()
    return progress.answer(body)


def _copy_file(request: Request, body: IoctlRequest, source: Open) -> Handling:
    """Copy a whole file with its streams, for macOS: what no chunks mean to Samba's vfs_fruit.

    The answer counts no chunks, and all bytes of the file itself.
    """
    target, server = request.open, request.connection.server
    if body.max_output_response < CopychunkResponse.SIZE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    _check_rights(body, source, target)
    progress = _Progress()
    source.in_use += 1
    try:
        size = yield from Slow(_end, source.file_data(), bulk=True)
        for offset in range(0, size, MAX_CHUNK_SIZE):
            length = min(MAX_CHUNK_SIZE, size - offset)
            chunks = [Copychunk(source_offset=offset, target_offset=offset, length=length)]
            progress.chunks = 0
            while not progress.chunks and progress.status is NtStatus.SUCCESS:
                yield from _copy_slice(server, source, target, chunks, progress)
        if progress.status is NtStatus.SUCCESS and source.stream is None is target.stream:
            yield Slow(_copy_streams, source.node, target.node, bulk=True)
        if target.mode & FILE_WRITE_THROUGH:
            yield flushing(target)
    finally:
        source.release()
    progress.chunks = 0
    return progress.answer(body)


def _copy_streams(source: Node, target: Node) -> None:
    """Copy the named streams, those of macOS among them; OSError, SmbError."""
    data = bytearray(MAX_CHUNK_SIZE)
    for info in finish(apple.list_streams(source, hide_empty=False)):
        from_ = apple.open_stream(source, info.name)
        try:
            to = apple.open_stream(target, info.name)
        except SmbError as error:
            if error.status is not NtStatus.OBJECT_NAME_NOT_FOUND:
                raise
            to = apple.create_stream(target, info.name)
        to.truncate(0)
        done = 0
        while count := from_.read_into([data], done):
            done += to.write(memoryview(data)[:count], done)
            if isinstance(from_, apple.AfpInfo):  # which reads the same from any offset
                break


def _copy_slice(
    server: Server, source: Open, target: Open, chunks: Sequence[Copychunk], progress: _Progress
) -> Waiting[None]:
    """Copy the next chunks that no lock forbids, as many as a slice has; note what stops it."""
    try:
        if source.tree.closed:
            raise SmbError(NtStatus.FILE_CLOSED)
        part = yield from _next_chunks(server, source, target, chunks[progress.chunks :])
        target.modified = True
        files = source.file_data(), target.file_data()
        try:
            yield moving(target, _copy_chunks, *files, part, progress)
        finally:
            cached = server.caching.changes.changed(target)
        if not target.archived:
            yield from archive(target)
        if cached:
            yield from let_go(server, target, cached)
    except SmbError as error:
        progress.status = error.status
    except OSError as error:
        progress.status = status_of(error)


def _next_chunks(
    server: Server, source: Open, target: Open, chunks: Sequence[Copychunk]
) -> Waiting[list[Copychunk]]:
    """Return the chunks of a slice, each where it goes; SmbError when the first cannot be copied.

    One that is appended is a slice of its own: its place is known when those before it are there.
    """
    part: list[Copychunk] = []
    size = 0
    for chunk in chunks:
        appended = chunk.target_offset == TO_END
        if appended or not target.granted_access & FILE_WRITE_DATA:
            if part:
                break
            end = yield from Slow(_end, target.file_data(), bulk=True)
            chunk = _appended(chunk, end)
        if not (
            source.may_access(server.store, chunk.source_offset, chunk.length, write=False)
            and target.may_access(server.store, chunk.target_offset, chunk.length, write=True)
        ):
            if part:
                break
            raise SmbError(NtStatus.FILE_LOCK_CONFLICT)
        part.append(chunk)
        size += chunk.length
        if size >= SLICE or appended:
            break
    return part


def _appended(chunk: Copychunk, end: int) -> Copychunk:
    """Put a chunk behind `end`, if it is to be there; SmbError(ACCESS_DENIED) if it is not."""
    if chunk.target_offset == TO_END:
        if end + chunk.length > OFFSET_MAX:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        return dataclasses.replace(chunk, target_offset=end)
    if chunk.target_offset < end:  # an open that may only append leaves what is there
        raise SmbError(NtStatus.ACCESS_DENIED)
    return chunk


def _copy_chunks(
    source: OpenData, target: OpenData, chunks: Sequence[Copychunk], progress: _Progress
) -> None:
    """Copy chunks on a thread; OSError, SmbError.

    What lies beyond the end of the source is Windows' INVALID_VIEW_SIZE, not END_OF_FILE.
    """
    for chunk in chunks:
        wanted = progress.chunks + 1
        while progress.chunks < wanted:
            if chunk.source_offset + chunk.length > _end(source):
                raise SmbError(NtStatus.INVALID_VIEW_SIZE)
            done = progress.partial
            from_, to, rest = (
                chunk.source_offset + done,
                chunk.target_offset + done,
                chunk.length - done,
            )
            if isinstance(source, Node) and isinstance(target, Node):
                count = extents.copy(source, from_, target, to, rest)
            else:
                buffer = bytearray(rest)
                count = target.write(memoryview(buffer)[: source.read_into([buffer], from_)], to)
            if not count:  # it has become shorter since, or says more than it has
                raise SmbError(NtStatus.END_OF_FILE)
            progress.add(chunk, count)


def _end(data: OpenData) -> int:
    """Return where a file or a stream ends; OSError, SmbError."""
    return data.size() if isinstance(data, Node) else data.stat().size
