"""SMB2 CREATE ([MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1): files, directories, streams, pipes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from usmbd.protocol.commands import security
from usmbd.protocol.commands.pipe import open_pipe
from usmbd.protocol.commands.request import Answer, Blocking, Handling, Request, Resume, Wait
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.oplocks import BreakNeededError, grantable, is_stat_open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.base import SharingViolation
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_DIRECTORY,
    OPLOCK_HELD,
    OpenRecord,
    file_key,
)
from usmbd.protocol.vfs import ea
from usmbd.protocol.vfs.names import parse_path
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import Stream, create_stream, open_stream
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
    SYNCHRONIZE,
    map_generic,
)
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN_BY_FILE_ID,
    FILE_OPEN_IF,
    FILE_OPEN_REPARSE_POINT,
    FILE_OPENED,
    FILE_OVERWRITE,
    FILE_OVERWRITE_IF,
    FILE_OVERWRITTEN,
    FILE_SHARE_ALL,
    FILE_SUPERSEDE,
    FILE_SUPERSEDED,
    IMPERSONATION_DELEGATE,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateRequest,
    build_create_response,
    create_contexts_buffer,
    create_name,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_ALLOCATION_SIZE,
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT,
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2,
    SMB2_CREATE_EA_BUFFER,
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST,
    SMB2_CREATE_QUERY_ON_DISK_ID,
    SMB2_CREATE_SD_BUFFER,
    SMB2_CREATE_TIMEWARP_TOKEN,
    build_contexts,
    maximal_access_response,
    on_disk_id_response,
    parse_contexts,
    parse_maximal_access,
    parse_u64,
)
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_SYSTEM,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.set_info import parse_full_ea
from usmbd.protocol.wire.status import NtStatus, SmbError

# What CREATE takes at all ([MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1); other bits are refused.
_VALID_OPTIONS = 0x00FFFFFF
_VALID_ACCESS = 0xF31F01FF
_VALID_ATTRIBUTES = 0x00007FB7 | 0x00000080 | 0x00020000 | 0x00048000

_READS = FILE_READ_DATA | FILE_EXECUTE
_WRITES = FILE_WRITE_DATA | FILE_APPEND_DATA
_TRUNCATES = (FILE_OVERWRITE, FILE_OVERWRITE_IF, FILE_SUPERSEDE)
_CREATES = (FILE_CREATE, FILE_OPEN_IF, FILE_OVERWRITE_IF, FILE_SUPERSEDE)
_LOOKUP_MISSING = (NtStatus.OBJECT_NAME_NOT_FOUND,)

_TRIES = 8
"""Times that look-up and creation are tried when others create and delete the name meanwhile."""


@dataclass(slots=True)
class Found:
    """What a create led to, before the store has admitted it."""

    node: Node
    stream: Stream | None
    action: int
    granted: int
    maximal: int

    @property
    def key(self) -> bytes:
        """The file's or stream's key in the store."""
        stat = self.node.last_stat
        return file_key(stat.dev, stat.ino, self.stream.name if self.stream is not None else "")


def create(request: Request) -> Answer | Handling:
    """Open or create what the name says."""
    body = parse_body(CreateRequest, request.message)
    name = create_name(request.message, body)
    contexts = parse_contexts(create_contexts_buffer(request.message, body))
    if body.impersonation_level > IMPERSONATION_DELEGATE:
        raise SmbError(NtStatus.BAD_IMPERSONATION_LEVEL)
    if len(request.session.open_table) >= request.connection.server.config.max_open_files:
        raise SmbError(NtStatus.TOO_MANY_OPENED_FILES)
    if request.tree.is_pipe:
        return open_pipe(request, body, name)
    _check(body)
    for unknown in (
        SMB2_CREATE_DURABLE_HANDLE_RECONNECT,
        SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2,
    ):
        if unknown in contexts:
            # Durable handles are not given, so there is none to come back to.
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    if SMB2_CREATE_TIMEWARP_TOKEN in contexts and parse_u64(contexts[SMB2_CREATE_TIMEWARP_TOKEN]):
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return _create(request, body, name, contexts)


def _check(body: CreateRequest) -> None:
    """Refuse what no file system would take ([MS-FSA] 2.1.5.1, phase 1)."""
    options, access = body.create_options, body.desired_access
    if body.create_disposition > FILE_OVERWRITE_IF or body.share_access & ~FILE_SHARE_ALL:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if options & ~_VALID_OPTIONS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if options & FILE_OPEN_BY_FILE_ID:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if options & FILE_DIRECTORY_FILE:
        if options & FILE_NON_DIRECTORY_FILE:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        if body.create_disposition in _TRUNCATES:
            raise SmbError(NtStatus.INVALID_PARAMETER)
    if access & ~_VALID_ACCESS or not access:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if body.file_attributes & ~_VALID_ATTRIBUTES:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if access & ACCESS_SYSTEM_SECURITY:
        raise SmbError(NtStatus.PRIVILEGE_NOT_HELD)


def _create(
    request: Request, body: CreateRequest, name: str, contexts: dict[bytes, memoryview]
) -> Handling:
    """Open or create a file, directory or stream."""
    tree, server = request.tree, request.connection.server
    path, stream_name = parse_path(name)
    if stream_name is not None and not tree.share.streams_xattr:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if stream_name is None and ":" in name:
        # `name::$DATA` is the data of a file, and no directory has such.
        if body.create_options & FILE_DIRECTORY_FILE:
            raise SmbError(NtStatus.NOT_A_DIRECTORY)
        body.create_options |= FILE_NON_DIRECTORY_FILE
    while True:
        found: Found = yield Blocking(_find_or_create, request, body, path, stream_name, contexts)
        node = found.node
        try:
            if tree.closed:  # while a thread looked the file up
                raise SmbError(NtStatus.NETWORK_NAME_DELETED)
            open_ = _admit(request, body, found, path)
            break
        except BreakNeededError as needed:
            key = found.key
            node.close()
            yield Wait(
                partial(_wait_for_break, server, key, needed),
                interim=True,
                in_compound=True,
            )
        except BaseException:
            try:
                if found.action == FILE_CREATED:
                    yield Blocking(_take_back, found)
            finally:
                node.close()
            raise
    request._open = open_
    try:
        yield Blocking(_prepare, open_, body, found, contexts)
        stat = node.last_stat
        if found.action != FILE_OPENED or found.stream is not None:
            stat = yield Blocking(open_.data.stat)
        answers = _answers(server, open_, stat, found, contexts)
    except BaseException:
        server.close_open(open_)
        raise
    return list(
        build_create_response(
            stat,
            open_.persistent_id,
            open_.volatile_id,
            create_action=found.action,
            oplock_level=open_.oplock_level,
            contexts=build_contexts(answers) if answers else b"",
        )
    )


def _find_or_create(
    request: Request,
    body: CreateRequest,
    path: str,
    stream_name: str | None,
    contexts: dict[bytes, memoryview],
) -> Found:
    """Look the file up, or create it: both again when somebody comes in between."""
    tree = request.tree
    volume = tree.volume
    assert volume is not None
    disposition = body.create_disposition
    for _ in range(_TRIES):
        try:
            node = volume.lookup(
                path, open_reparse_point=bool(body.create_options & FILE_OPEN_REPARSE_POINT)
            )
        except SmbError as error:
            if error.status not in _LOOKUP_MISSING or disposition not in _CREATES:
                raise
        else:
            try:
                return _existing(request, body, node, stream_name, contexts)
            except BaseException:
                node.close()
                raise
        if not tree.writable:
            raise SmbError(NtStatus.ACCESS_DENIED)
        try:
            return _new(request, body, volume, path, stream_name, contexts)
        except SmbError as error:
            if error.status is not NtStatus.OBJECT_NAME_COLLISION:
                raise
            if disposition == FILE_CREATE:
                raise
    raise SmbError(NtStatus.SHARING_VIOLATION)


def _existing(
    request: Request,
    body: CreateRequest,
    node: Node,
    stream_name: str | None,
    contexts: dict[bytes, memoryview],
) -> Found:
    """Check an existing file against the request ([MS-FSA] 2.1.5.1.2)."""
    options, disposition = body.create_options, body.create_disposition
    stat = node.last_stat
    if stream_name is None:
        if disposition == FILE_CREATE:
            raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
        if node.is_directory:
            if options & FILE_NON_DIRECTORY_FILE:
                raise SmbError(NtStatus.FILE_IS_A_DIRECTORY)
            if disposition in _TRUNCATES:
                raise SmbError(NtStatus.INVALID_PARAMETER if options & FILE_DIRECTORY_FILE
                               else NtStatus.OBJECT_NAME_COLLISION)  # fmt: skip
        elif options & FILE_DIRECTORY_FILE:
            raise SmbError(NtStatus.NOT_A_DIRECTORY)
    elif options & FILE_DIRECTORY_FILE:
        raise SmbError(NtStatus.NOT_A_DIRECTORY)
    read_only = stat.attributes & FILE_ATTRIBUTE_READONLY and not node.is_directory
    if disposition in _TRUNCATES and stream_name is None:
        _check_overwrite(body, stat)
    maximal = _maximal_access(request, body, node, contexts)
    granted = _grant(request, body, maximal)
    if read_only:
        if options & FILE_DELETE_ON_CLOSE:
            raise SmbError(NtStatus.CANNOT_DELETE)
        if granted & _WRITES:
            if body.desired_access & MAXIMUM_ALLOWED and not (
                map_generic(body.desired_access) & _WRITES
            ):
                granted &= ~_WRITES
            else:
                raise SmbError(NtStatus.ACCESS_DENIED)
    if options & FILE_DELETE_ON_CLOSE:
        if not granted & DELETE:
            raise SmbError(NtStatus.ACCESS_DENIED)
        if node.is_directory and stream_name is None and not node.is_empty():
            raise SmbError(NtStatus.DIRECTORY_NOT_EMPTY)
    stream, action = _stream(request, body, node, stream_name)
    if disposition in _TRUNCATES and action == FILE_OPENED:
        action = FILE_SUPERSEDED if disposition == FILE_SUPERSEDE else FILE_OVERWRITTEN
    return Found(node, stream, action, granted, maximal)


def _check_overwrite(body: CreateRequest, stat: FileStat) -> None:
    """Refuse to overwrite a hidden or system file but as such ([MS-FSA] 2.1.5.1.2)."""
    if stat.attributes & FILE_ATTRIBUTE_READONLY:
        raise SmbError(NtStatus.ACCESS_DENIED)
    for attribute in (FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_SYSTEM):
        if stat.attributes & attribute & ~body.file_attributes:
            raise SmbError(NtStatus.ACCESS_DENIED)


def _stream(
    request: Request, body: CreateRequest, node: Node, name: str | None
) -> tuple[Stream | None, int]:
    """Open or create a named stream of an existing file."""
    if name is None:
        return None, FILE_OPENED
    try:
        stream = open_stream(node, name)
    except SmbError as error:
        if error.status is not NtStatus.OBJECT_NAME_NOT_FOUND:
            raise
        if body.create_disposition not in _CREATES:
            raise
        # A new stream changes the file, whatever access to the stream is asked for.
        writable = security.maximal_access(request, node, FILE_WRITE_DATA)
        if not writable & request.tree.maximal_access & FILE_WRITE_DATA:
            raise SmbError(NtStatus.ACCESS_DENIED) from error
        return create_stream(node, name), FILE_CREATED
    if body.create_disposition == FILE_CREATE:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    return stream, FILE_OPENED


def _new(
    request: Request,
    body: CreateRequest,
    volume: Volume,
    path: str,
    stream_name: str | None,
    contexts: dict[bytes, memoryview],
) -> Found:
    """Create a file or directory, with its stream, security descriptor and EAs."""
    options = body.create_options
    if options & FILE_DIRECTORY_FILE and stream_name is not None:
        raise SmbError(NtStatus.NOT_A_DIRECTORY)
    if body.file_attributes & FILE_ATTRIBUTE_READONLY and options & FILE_DELETE_ON_CLOSE:
        raise SmbError(NtStatus.CANNOT_DELETE)
    attributes = body.file_attributes
    if not options & FILE_DIRECTORY_FILE:
        attributes |= FILE_ATTRIBUTE_ARCHIVE  # a new file has changed since the last backup
    eas = None
    if SMB2_CREATE_EA_BUFFER in contexts:
        eas = parse_full_ea(contexts[SMB2_CREATE_EA_BUFFER]).attributes
    descriptor = None
    if SMB2_CREATE_SD_BUFFER in contexts:
        descriptor = security.parse(contexts[SMB2_CREATE_SD_BUFFER])
    security.check_creation(request, path, bool(options & FILE_DIRECTORY_FILE))
    if options & FILE_DIRECTORY_FILE:
        node = volume.create_directory(path, attributes)
    else:
        node = volume.create_file(path, attributes)
    try:
        stream = create_stream(node, stream_name) if stream_name is not None else None
        if eas:
            ea.set_eas(node, eas)
        security.set_new(request, node, descriptor)
        maximal = _maximal_access(request, body, node, contexts)
        # The creator gets what it asked for, whatever the new descriptor says.
        granted = map_generic(body.desired_access)
        if granted & MAXIMUM_ALLOWED:
            granted = granted & ~MAXIMUM_ALLOWED | maximal
    except BaseException:
        node.unlink()
        node.close()
        raise
    return Found(node, stream, FILE_CREATED, granted, maximal)


def _take_back(found: Found) -> None:
    """Remove what was created when the open was not admitted."""
    if found.stream is not None:
        found.stream.delete()
    else:
        found.node.unlink()


def _maximal_access(
    request: Request, body: CreateRequest, node: Node, contexts: dict[bytes, memoryview]
) -> int:
    """Return what the user may do with the file at most on this share.

    Of rights that nobody asks for it may say no, which saves most of the cost of an open.
    """
    wanted = map_generic(body.desired_access)
    if wanted & MAXIMUM_ALLOWED or SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST in contexts:
        wanted = FILE_ALL_ACCESS
    elif body.create_disposition in _TRUNCATES:
        wanted |= FILE_WRITE_DATA | DELETE
    return security.maximal_access(request, node, wanted) & request.tree.maximal_access


def _grant(request: Request, body: CreateRequest, maximal: int) -> int:
    """Return the granted access; SmbError(ACCESS_DENIED) when something asked for is missing."""
    desired = map_generic(body.desired_access)
    if body.create_disposition in _TRUNCATES:
        needed = FILE_WRITE_DATA
        if body.create_disposition == FILE_SUPERSEDE:
            needed |= DELETE
        if needed & ~maximal:
            raise SmbError(NtStatus.ACCESS_DENIED)
    if body.create_options & FILE_DELETE_ON_CLOSE and not desired & (DELETE | MAXIMUM_ALLOWED):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if desired & MAXIMUM_ALLOWED:
        desired = desired & ~MAXIMUM_ALLOWED
        if desired & ~maximal & ~SYNCHRONIZE:
            raise SmbError(NtStatus.ACCESS_DENIED)
        return maximal | desired
    if desired & ~maximal & ~SYNCHRONIZE:
        raise SmbError(NtStatus.ACCESS_DENIED)
    return desired


def _admit(request: Request, body: CreateRequest, found: Found, path: str) -> Open:
    """Enter the open into the store, which checks share modes and pending deletion."""
    server, tree, node = request.connection.server, request.tree, found.node
    stream = found.stream
    key = found.key
    open_id = server.store.new_open_id()
    access = found.granted
    overwrite = body.create_disposition in _TRUNCATES and found.action != FILE_CREATED
    if overwrite:
        access |= FILE_WRITE_DATA  # overwriting needs the others to share writing
    server.oplocks.check_open(key, access, body.share_access, overwrite)
    requested = body.requested_oplock_level
    if (
        not tree.share.oplocks
        or (node.is_directory and stream is None)
        or (found.action == FILE_OPENED and is_stat_open(access))
    ):
        requested = SMB2_OPLOCK_LEVEL_NONE
    # Alone until the store says otherwise: an open that comes in between sees the level asked for.
    level = grantable(requested, ())
    delete_on_close = body.create_options & FILE_DELETE_ON_CLOSE
    record = OpenRecord(
        open_id=open_id,
        granted_access=access,
        share_access=body.share_access,
        flags=(OPEN_DELETE_ON_CLOSE if delete_on_close else 0)
        | (OPEN_DIRECTORY if node.is_directory else 0),
        session_id=request.session.session_id,
        tree_id=tree.tree_id,
        create_options=body.create_options,
        client_guid=request.connection.client_guid,
        oplock_level=level,
    )
    try:
        added = server.store.add_open(
            key, record, f"{tree.share.path}/{path}" if delete_on_close else ""
        )
    except SharingViolation as violation:
        server.oplocks.check_sharing(violation.others)
        raise
    if level and added.packed_others:
        level = grantable(requested, added.others)
        if level != record.oplock_level:
            server.store.set_oplock(key, open_id, level, OPLOCK_HELD)
    open_ = Open(
        request.session,
        tree,
        request.connection,
        open_id,
        found.granted,
        node=node,
        stream=stream,
        key=key,
        path=path,
    )
    server.oplocks.granted(open_, level)
    open_.share_access = body.share_access
    open_.create_options = body.create_options
    open_.mode = body.create_options & 0x3E
    open_.delete_on_close = bool(delete_on_close)
    return open_


def _wait_for_break(
    server: Server, key: bytes, needed: BreakNeededError, resume: Resume
) -> Callable[[], None]:
    """Have the oplocks broken and wait until they are, or their opens are closed."""
    server.store.add_waiter(key)
    give_up = server.wait_for(key, resume)
    server.oplocks.request_break(key, needed.holders, needed.level)
    if not server.oplocks.still_held(key, needed.holders):
        give_up()
        resume()  # it ended before anybody knew that we wait
    return give_up


def _prepare(
    open_: Open, body: CreateRequest, found: Found, contexts: dict[bytes, memoryview]
) -> None:
    """Open the data as far as it was granted; truncate what is overwritten."""
    node, granted = found.node, found.granted
    overwritten = found.action in (FILE_OVERWRITTEN, FILE_SUPERSEDED)
    wants_write = bool(granted & _WRITES) or overwritten
    wants_read = bool(granted & _READS)
    if node.is_directory:
        if wants_read and not node.readable:
            node.open_data(read=True, write=False)
    elif (
        found.stream is None
        and found.action != FILE_CREATED
        and (wants_read or wants_write)
        and node.is_regular
    ):
        _open_data(node, body, wants_read, wants_write)
    if overwritten:
        open_.data.truncate(0)
        if found.stream is None:
            attributes = body.file_attributes & ~FILE_ATTRIBUTE_DIRECTORY
            node.set_attributes(attributes | FILE_ATTRIBUTE_ARCHIVE)
            node.clear_eas_and_streams(found.action == FILE_SUPERSEDED)
    if SMB2_CREATE_ALLOCATION_SIZE in contexts and found.action != FILE_OPENED:
        open_.data.allocate(parse_u64(contexts[SMB2_CREATE_ALLOCATION_SIZE]))


def _open_data(node: Node, body: CreateRequest, read: bool, write: bool) -> None:
    """Open a file's data; what MAXIMUM_ALLOWED promised too much is left out."""
    try:
        node.open_data(read=read, write=write)
    except OSError:
        if not body.desired_access & MAXIMUM_ALLOWED:
            raise
        node.open_data(read=True, write=False)


def _answers(
    server: Server, open_: Open, stat: FileStat, found: Found, contexts: dict[bytes, memoryview]
) -> list[tuple[bytes, bytes]]:
    """Return the create contexts of the response ([MS-SMB2] 3.3.5.9.*)."""
    answers = []
    request = contexts.get(SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST)
    if request is not None:
        since = parse_maximal_access(request)
        if since is not None and since == stat.last_write_time:
            answers.append(maximal_access_response(NtStatus.NONE_MAPPED, 0))
        else:
            answers.append(maximal_access_response(NtStatus.SUCCESS, found.maximal))
    if SMB2_CREATE_QUERY_ON_DISK_ID in contexts:
        answers.append(on_disk_id_response(stat.ino, stat.dev))
    return answers
