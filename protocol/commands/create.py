"""SMB2 CREATE ([MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1): files, directories, streams, pipes.

The walk, in the order of this file:

    create       read the request; refuse what no file system would take; pipes go their way
    _open        the four steps for a file, which takes a place among the worker's descriptors:
      _find        look it up or make it, and the rights to it   (find_or_create.py)
      admit        share modes, pending deletion, oplocks        (admission.py)
      _prepare     open the data, truncate what is overwritten
      response     with its create contexts                      (create_answers.py)
    made_before  what the client has sent before                   (create_again.py)
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial

from usmbd.protocol.commands.admission import admit, agree
from usmbd.protocol.commands.app_instance import (
    InstancesError,
    parse_app_instance,
    wait_for_instances,
)
from usmbd.protocol.commands.apple import answer_aapl
from usmbd.protocol.commands.breaks import wait_for_break
from usmbd.protocol.commands.create_again import come_back, made_before
from usmbd.protocol.commands.create_answers import answer_contexts, response
from usmbd.protocol.commands.create_pipe import create_pipe
from usmbd.protocol.commands.create_wanted import TRUNCATES, WRITES, Found, Wanted, lease_of
from usmbd.protocol.commands.data_change import reserve
from usmbd.protocol.commands.dfs import path_in_root
from usmbd.protocol.commands.durable import (
    OF_DURABLE,
    Asked,
    Reconnect,
    keep,
    parse_again,
    parse_asked,
)
from usmbd.protocol.commands.entries_stream import as_directory
from usmbd.protocol.commands.find_or_create import BeingMadeError, find_or_create
from usmbd.protocol.commands.quotas import QUOTA_FILE, QUOTA_FILE_ACCESS, quota_file_stat
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, OnDescriptor, Resume, Slow, Wait, Waiting
from usmbd.protocol.state.caching.needed import BreakNeededError
from usmbd.protocol.state.notify.change import (
    ADDED_STREAM,
    MODIFIED_STREAM,
    WRITTEN,
    came,
    modified,
    of_stream,
)
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.replays import CreateGuid
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.records import NO_ID
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.vfs import apple_fork, directory_entry
from usmbd.protocol.vfs.names import parse_posix_path
from usmbd.protocol.vfs.new_descriptor import LOOK_SECONDS, MAKING_SECONDS
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.xattrs import clear_eas_and_streams
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_LIST_DIRECTORY,
    FILE_READ_DATA,
    MAXIMUM_ALLOWED,
)
from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_ATTRIBUTES
from usmbd.protocol.wire.create import (
    FILE_CREATE_TREE_CONNECTION,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NO_INTERMEDIATE_BUFFERING,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN_BY_FILE_ID,
    FILE_OPENED,
    FILE_OVERWRITE_IF,
    FILE_OVERWRITTEN,
    FILE_RESERVE_OPFILTER,
    FILE_SHARE_ALL,
    FILE_SUPERSEDED,
    IMPERSONATION_DELEGATE,
    SMB2_OPLOCK_LEVEL_LEASE,
    CreateRequest,
    create_contexts_buffer,
    create_name,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_ALLOCATION_SIZE,
    SMB2_CREATE_APP_INSTANCE_ID,
    SMB2_CREATE_TIMEWARP_TOKEN,
    Contexts,
    known_contexts,
    parse_contexts,
    parse_u64,
)
from usmbd.protocol.wire.create_contexts_aapl import SMB2_CREATE_AAPL
from usmbd.protocol.wire.create_contexts_posix import SMB2_CREATE_POSIX, parse_posix_mode
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.header import SMB2_FLAGS_REPLAY_OPERATION
from usmbd.protocol.wire.snapshot_tokens import seconds_of, take_token
from usmbd.protocol.wire.status import NtStatus, SmbError

# What CREATE takes at all ([MS-SMB2] 3.3.5.9, [MS-FSA] 2.1.5.1); other bits are refused.
_VALID_OPTIONS = 0x00FFFFFF
_REFUSED_OPTIONS = FILE_CREATE_TREE_CONNECTION | FILE_OPEN_BY_FILE_ID | FILE_RESERVE_OPFILTER
_VALID_ACCESS = 0xF31F01FF
_VALID_ATTRIBUTES = 0x00007FB7 | 0x00000080 | 0x00020000 | 0x00048000

LEASE_BREAK_SECONDS = 50.0
"""The kernel takes a lease away after 45 (fs.lease-break-time); a machine that has it otherwise
answers SHARING_VIOLATION to who comes before that."""

LEASE_LOOK_SECONDS = 0.1
"""The kernel does not say when a lease is gone; a look is an open(2)."""

_SELDOM = frozenset({SMB2_CREATE_TIMEWARP_TOKEN, SMB2_CREATE_APP_INSTANCE_ID, SMB2_CREATE_AAPL,
                     SMB2_CREATE_ALLOCATION_SIZE})  # fmt: skip
"""Contexts that few opens have: one look for all of them."""

_READS = FILE_READ_DATA | FILE_EXECUTE
_DATA = _READS | WRITES
_OVERWRITES = (FILE_OVERWRITTEN, FILE_SUPERSEDED)


def create(request: Request) -> Answer | Handling:
    """Open or create what the name says."""
    connection, tree = request.connection, request.tree
    body = parse_body(CreateRequest, request.message)
    name = create_name(request.message, body)
    contexts: Contexts = {}
    said: tuple[Asked, bytes] | None = None
    if body.create_contexts_length:
        start, length = body.create_contexts_offset, body.create_contexts_length
        contexts = known_contexts(request.message, start, length) or parse_contexts(
            create_contexts_buffer(request.message, body)
        )
        if not OF_DURABLE.isdisjoint(contexts):
            said = parse_asked(connection.dialect, contexts)
            if said is None:
                again = parse_again(connection.dialect, contexts)
                if again is not None:
                    if tree.is_pipe:
                        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
                    again = _with_lease(request, name, contexts, again)
                    return come_back(request, contexts, again)
    if body.impersonation_level > IMPERSONATION_DELEGATE:
        raise SmbError(NtStatus.BAD_IMPERSONATION_LEVEL)
    if len(request.session.open_table) >= connection.server.config.max_open_files:
        # As [MS-SMB2] 3.3.5.9 has it; Samba answers TOO_MANY_OPENED_FILES, kept here for the
        # kernel's own refusal.
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    if tree.is_pipe:
        return create_pipe(request, body, name)
    if tree.share.msdfs_root:
        name = path_in_root(request, body, name)
    _check(body, tree)
    wanted = _wanted(request, body, name, contexts)
    if contexts and not _SELDOM.isdisjoint(contexts):
        if SMB2_CREATE_TIMEWARP_TOKEN in contexts:
            wanted.time = _time(contexts[SMB2_CREATE_TIMEWARP_TOKEN], wanted.time)
        if SMB2_CREATE_ALLOCATION_SIZE in contexts:
            wanted.allocation = parse_u64(contexts[SMB2_CREATE_ALLOCATION_SIZE])
        wanted.instance = parse_app_instance(request, contexts)
        wanted.aapl = answer_aapl(request, contexts)
    if said is not None:
        asked, create_guid = said
        wanted.durable = asked
        if create_guid != NO_ID:
            wanted.create_guid = create_guid
            guid = connection.client_guid, create_guid
            if asked.persistent or request.header.flags & SMB2_FLAGS_REPLAY_OPERATION:
                answer = made_before(wanted, asked, guid)
                if answer is not None:
                    return answer
            return _open(wanted, guid)
    return _open(wanted)


def _check(body: CreateRequest, tree: TreeConnect) -> None:
    """Refuse what no file system would take ([MS-FSA] 2.1.5.1, phase 1)."""
    options, access = body.create_options, body.desired_access
    if body.create_disposition > FILE_OVERWRITE_IF or body.share_access & ~FILE_SHARE_ALL:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if options & ~_VALID_OPTIONS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if options & _REFUSED_OPTIONS:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if options & FILE_DELETE_ON_CLOSE and not access & DELETE:  # named: no generic right will do
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if options & FILE_NO_INTERMEDIATE_BUFFERING and access & FILE_APPEND_DATA:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if options & FILE_DIRECTORY_FILE:
        if options & FILE_NON_DIRECTORY_FILE:
            raise SmbError(NtStatus.INVALID_PARAMETER)
        if body.create_disposition in TRUNCATES:
            raise SmbError(NtStatus.INVALID_PARAMETER)
    if access & ~_VALID_ACCESS or not access:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if body.file_attributes & ~_VALID_ATTRIBUTES:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if access & ACCESS_SYSTEM_SECURITY and not tree.audits:
        raise SmbError(NtStatus.PRIVILEGE_NOT_HELD)


def _wanted(request: Request, body: CreateRequest, name: str, contexts: Contexts) -> Wanted:
    """Split the name into a path and a stream, where the share has streams."""
    tree = request.tree
    assert tree.volume is not None
    posix, mode = request.connection.posix_extensions and SMB2_CREATE_POSIX in contexts, None
    if posix:
        mode = parse_posix_mode(contexts[SMB2_CREATE_POSIX])
        path, stream_name = parse_posix_path(name), None
    elif name.lower() == QUOTA_FILE:
        return _quota_file(request, body, name, contexts)
    else:
        name = as_directory(body, name.replace("/", "\\"))  # as parse_path takes it
        path, stream_name = tree.volume.parse_path(name)
        if name.endswith("\\") and body.create_options & FILE_NON_DIRECTORY_FILE:
            raise SmbError(NtStatus.OBJECT_NAME_INVALID)  # [MS-FSA] 2.1.5.1
    if stream_name is not None and not tree.share.streams_xattr:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    if stream_name is None and ":" in name and not posix:
        # `name::$DATA` is the data of a file, and no directory has such.
        if body.create_options & FILE_DIRECTORY_FILE:
            raise SmbError(NtStatus.NOT_A_DIRECTORY)
        body.create_options |= FILE_NON_DIRECTORY_FILE
    lease = None
    if body.requested_oplock_level == SMB2_OPLOCK_LEVEL_LEASE:
        lease = lease_of(request, contexts)
    wanted = Wanted(request, body, path, stream_name, contexts, name, lease)
    wanted.posix, wanted.posix_mode = posix, mode
    if tree.volume.options.snapshots is not None and "@GMT-" in path:
        wanted.time = take_token(path)[1]
    return wanted


def _quota_file(request: Request, body: CreateRequest, name: str, contexts: Contexts) -> Wanted:
    """Return what a client wants that opens the quotas themselves."""
    body.desired_access = QUOTA_FILE_ACCESS
    wanted = Wanted(request, body, "", None, contexts, name)
    wanted.quota_file = True
    return wanted


def _time(context: Buffer, said: int | None) -> int | None:
    """Return the time of a previous version that a context asks for, else the one `said`.

    0 means the present, as for Samba ([MS-SMB2] 2.2.13.2.7, 3.3.5.9.4).
    """
    filetime = parse_u64(context)
    return seconds_of(filetime) if filetime else said


def _with_lease(request: Request, name: str, contexts: Contexts, asked: Reconnect) -> Reconnect:
    """Return what a client comes back to, with the lease and the name that it has for it.

    Whatever oplock level it asks for: the other fields do not matter.
    """
    lease = lease_of(request, contexts)
    if lease is None:
        return asked
    assert request.tree.volume is not None
    if request.connection.posix_extensions and SMB2_CREATE_POSIX in contexts:
        path = parse_posix_path(name)
    else:
        path, _ = request.tree.volume.parse_path(name)
    return replace(asked, path=path, lease=lease)


def _admitted(wanted: Wanted) -> Waiting[tuple[Found, Open]]:
    """Find or create what is wanted, and have the store admit it beside the other opens."""
    request = wanted.request
    server = request.connection.server
    begun = 0.0
    while True:
        try:
            found = yield from Blocking(_find, wanted)
        except BeingMadeError:
            begun = begun or server.clock.time()
            if server.clock.time() - begun > MAKING_SECONDS:
                raise SmbError(NtStatus.SHARING_VIOLATION) from None
            look = partial(_look_again, server.clock, LOOK_SECONDS)
            yield Wait(look, interim=True, in_compound=True, keeps=wanted.keep_contexts())
            continue
        except SmbError as error:
            removed = error.status is NtStatus.OBJECT_PATH_NOT_FOUND and not wanted.path
            if removed and wanted.time is None:  # the root: there may be another one by now
                server.roots.check(request.tree.share.path)
            raise
        try:
            if request.tree.closed:  # while a thread looked the file up
                raise SmbError(NtStatus.NETWORK_NAME_DELETED)
            return found, admit(wanted, found)
        except BreakNeededError as needed:
            yield OnDescriptor(found.node.close)
            yield Wait(
                partial(wait_for_break, server, needed),
                interim=True,
                in_compound=True,
                keeps=wanted.keep_contexts(),
            )
            wanted.waited = True
        except InstancesError as needed:
            yield OnDescriptor(found.node.close)
            yield Wait(
                partial(wait_for_instances, server, needed),
                interim=True,
                in_compound=True,
                keeps=wanted.keep_contexts(),
            )
        except BaseException:
            yield (Slow if wanted.reserves_much else Blocking)(_give_up, found)
            raise


def _open(wanted: Wanted, guid: CreateGuid | None = None) -> Handling:
    """Open or create a file, directory or stream; `guid` by which the client may ask again."""
    request = wanted.request
    connection = request.connection
    server = connection.server
    place = wanted.place = server.descriptors.take(request.session.proven_user, connection.network)
    try:
        if guid is not None:
            if guid in server.replays.created:
                server.replays.refuse(guid)
            request.create_guid = guid
        found, open_ = yield from _admitted(wanted)
    except BaseException:
        place.give_back()
        if guid is not None:
            server.replays.failed(guid, request)
        raise
    request.open = open_
    open_.channel_sequence = request.header.channel_sequence
    try:
        long = found.action in _OVERWRITES and (wanted.reserves_much or open_.is_large())
        kind = Slow if long else Blocking
        try:
            stat = found.prepared or (yield from kind(_prepare, wanted, found))
        except BlockingIOError:
            stat = yield from _prepare_later(wanted, found, long=long)
        if found.beside or found.action in _OVERWRITES:
            stat = yield from agree(open_, found, stat)
        if open_.oplock_level and request.tree.share.kernel_oplocks:
            server.caching.oplocks.stand_with_kernel(open_)
        if found.action != FILE_OPENED:
            yield from _tell(open_, found)
        if not server.config.kernel_change_notify and found.stream is None:
            open_.write_time = stat.last_write_time
            open_.told_at_close = WRITTEN if found.granted & WRITES else 0
        if open_.durable is not None and open_.durable.persistent:
            yield from keep(server, open_, open_.durable)
        contexts, answers = wanted.contexts, b""
        if contexts:
            answers = answer_contexts(
                open_, stat, found.maximal, contexts, wanted.durable, found.record, wanted.aapl
            )
    except BaseException:
        if found.action == FILE_CREATED and server.store.count_opens(open_.key) == 1:
            open_.taken_back = found.made_at
            open_.set_delete_on_close(server, True)  # what a refused CREATE has made goes again
        server.close_open(open_)
        if guid is not None:
            server.replays.failed(guid, request)
        raise
    if guid is not None:
        server.replays.made(guid, request, open_, found.action)
    if request.chain is not None:
        request.chain.described = open_
    return response(open_, stat, found.action, open_.oplock_level, answers)


def _tell(open_: Open, found: Found) -> Waiting[None]:
    """Tell what was created or overwritten."""
    node, stream, created = found.node, found.stream, found.action == FILE_CREATED
    if stream is not None:
        what = ADDED_STREAM if created else MODIFIED_STREAM
        yield from tell(open_, of_stream(what, stream.name))
    elif created:
        new = came("", is_directory=node.is_directory)
        yield from tell(open_, new, by_kernel=True)
    else:
        written = 0 if open_.connection.server.notifier.asks_kernel else WRITTEN
        yield from tell(open_, modified(FILE_NOTIFY_CHANGE_ATTRIBUTES | written))


def _give_up(found: Found) -> None:
    """Let go of a file that was not admitted; one that was made for it is removed."""
    try:
        if found.made_file:
            directory_entry.unlink(found.node)
        elif found.stream is not None and found.action == FILE_CREATED:
            found.stream.delete()
    finally:
        found.node.close()


def _find(wanted: Wanted) -> Found:
    """Find or create the file; prepare it where that would be a second way to a thread.

    Only what leaves the file as it is: the store may still refuse the open, whose error comes
    before those of the preparation.
    """
    found = find_or_create(wanted)
    if wanted.quota_file:
        found.prepared = quota_file_stat(found.node.last_stat)
    elif found.action == FILE_OPENED and found.stream is None and not found.granted & _DATA:
        found.prepared = found.node.last_stat
    elif wanted.request.connection.server.pinned and found.action not in _OVERWRITES:
        with suppress(OSError, SmbError):
            found.prepared = _prepare(wanted, found)
    return found


def _prepare_later(wanted: Wanted, found: Found, *, long: bool) -> Waiting[FileStat]:
    """Prepare the file when a local program has given its lease back, which the kernel asks for.

    SmbError(SHARING_VIOLATION) when it does not in the time that the kernel leaves it.
    """
    clock = wanted.request.connection.server.clock
    end = clock.time() + LEASE_BREAK_SECONDS
    while True:
        keeps = wanted.keep_contexts()
        yield Wait(
            partial(_look_again, clock, LEASE_LOOK_SECONDS),
            interim=True,
            in_compound=True,
            keeps=keeps,
        )
        try:
            kind = Slow if long else Blocking
            stat = yield from kind(_prepare, wanted, found)
            # With what the program has written meanwhile.
            return stat if found.stream else (yield from OnDescriptor(found.node.stat))
        except BlockingIOError:
            if clock.time() > end:
                raise


def _look_again(clock: Clock, seconds: float, resume: Resume[None]) -> None:
    """Go on a little later."""
    clock.call_later(seconds, resume)


def _prepare(wanted: Wanted, found: Found) -> FileStat:
    """Open the data as far as it was granted; truncate what is overwritten; return its stat."""
    body, node, granted = wanted.body, found.node, found.granted
    data = node if found.stream is None else found.stream
    overwritten = found.action in _OVERWRITES
    wants_write = bool(granted & WRITES) or overwritten
    wants_read = bool(granted & _READS)
    if node.is_directory:
        if granted & FILE_LIST_DIRECTORY and not node.readable:
            node.open_data(read=True, write=False)
    elif (
        found.stream is None
        and found.action != FILE_CREATED
        and (wants_read or wants_write)
        and node.is_regular
    ):
        _open_data(node, body, wants_read, wants_write)
    if overwritten:
        if wanted.allocation and found.stream is None:
            node.check_room(wanted.allocation)
        data.truncate(0)
        if found.stream is None:
            attributes = body.file_attributes & ~FILE_ATTRIBUTE_DIRECTORY
            node.set_attributes(attributes | FILE_ATTRIBUTE_ARCHIVE)
            clear_eas_and_streams(node, eas=found.action == FILE_SUPERSEDED)
            apple_fork.empty(node)
        if wanted.allocation:
            store = wanted.request.connection.server.store
            reserve(store, found.key, data, wanted.allocation)
    if overwritten or found.stream is not None:
        return data.stat()
    return node.last_stat  # of what was made: as `find_or_create` left it


def _open_data(node: Node, body: CreateRequest, read: bool, write: bool) -> None:
    """Open a file's data; what MAXIMUM_ALLOWED promised too much is left out."""
    try:
        node.open_data(read=read, write=write)
    except OSError:
        if not body.desired_access & MAXIMUM_ALLOWED:
            raise
        node.open_data(read=True, write=False)
