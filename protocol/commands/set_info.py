"""SMB2 SET_INFO ([MS-SMB2] 3.3.5.21): times and attributes, deletion, sizes; see also rename."""

from usmbd.protocol.commands import quotas, security
from usmbd.protocol.commands.breaks import handles_given_up, let_go
from usmbd.protocol.commands.data_change import archive, changing, reserve, taken_away
from usmbd.protocol.commands.rename import link, rename
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, Sliced, Waiting
from usmbd.protocol.state.notify.change import (
    MODIFIED_STREAM,
    modified,
    of_stream,
)
from usmbd.protocol.state.open import LARGE_FILE, Open
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.vfs import ea, inode_flags
from usmbd.protocol.vfs.emptiness import is_empty
from usmbd.protocol.vfs.kept_times import KeptWriteTime, keep_access_time
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
)
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.change_notify import (
    FILE_NOTIFY_CHANGE_ATTRIBUTES,
    FILE_NOTIFY_CHANGE_CREATION,
    FILE_NOTIFY_CHANGE_EA,
    FILE_NOTIFY_CHANGE_LAST_ACCESS,
    FILE_NOTIFY_CHANGE_LAST_WRITE,
)
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_NO_INTERMEDIATE_BUFFERING,
    FILE_SYNCHRONOUS_IO_ALERT,
    FILE_SYNCHRONOUS_IO_NONALERT,
    FILE_WRITE_THROUGH,
)
from usmbd.protocol.wire.fscc import set_info as setters
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_TEMPORARY,
)
from usmbd.protocol.wire.fscc.ea import full_eas
from usmbd.protocol.wire.fscc.file_info import FileFullEaInformation
from usmbd.protocol.wire.query_info import (
    SMB2_0_INFO_FILE,
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_QUOTA,
    SMB2_0_INFO_SECURITY,
)
from usmbd.protocol.wire.set_info import SetInfoRequest, SetInfoResponse, set_info_buffer
from usmbd.protocol.wire.status import NtStatus, SmbError

_RESPONSE = SetInfoResponse().pack()
_SYNCHRONOUS = FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT
# What a new creation, access, write and change time match; nothing asks for the last.
_TIMES = (
    FILE_NOTIFY_CHANGE_CREATION,
    FILE_NOTIFY_CHANGE_LAST_ACCESS,
    FILE_NOTIFY_CHANGE_LAST_WRITE,
    0,
)


def set_info(request: Request) -> Answer | Handling:
    """Change what the client asks for of an open, by InfoType."""
    body = parse_body(SetInfoRequest, request.message)
    connection, open_ = request.connection, request.open
    data = set_info_buffer(request.message, body)
    if len(data) > connection.max_transact_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, len(data))
    if open_.pipe is not None:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if body.info_type == SMB2_0_INFO_FILE:
        if body.file_info_class == FileFullEaInformation:
            return _full_ea(request, data)
        change = setters.parse_set(body.file_info_class, data)
        return _change(request, change)
    if body.info_type == SMB2_0_INFO_SECURITY:
        return security.change(request, body.additional_information, data)
    if body.info_type == SMB2_0_INFO_FILESYSTEM:
        # Labels, object ids and whether there are quotas belong to the machine's administrator.
        raise SmbError(NtStatus.ACCESS_DENIED)
    if body.info_type == SMB2_0_INFO_QUOTA:
        return quotas.change(request, data)
    raise SmbError(NtStatus.NOT_SUPPORTED)


def _change(request: Request, change: setters.SetRequest) -> Answer | Handling:
    """Change what one information class says."""
    match change:
        case setters.SetBasic():
            return _basic(request, change)
        case setters.SetRename():
            return rename(request, change)
        case setters.SetLink():
            return link(request, change)
        case setters.SetDisposition():
            return _disposition(request, change)
        case setters.SetEndOfFile():
            return _end_of_file(request, change)
        case setters.SetAllocation():
            return _allocation(request, change)
        case setters.SetValidDataLength():
            return _valid_data_length(request, change)
        case setters.SetPosition():
            return _position(request, change)
        case setters.SetMode():
            return _mode(request, change)


def _basic(request: Request, change: setters.SetBasic) -> Handling:
    """FileBasicInformation ([MS-FSA] 2.1.5.15.2): times and attributes; 0 leaves one as it is."""
    open_ = request.open
    open_.require(FILE_WRITE_ATTRIBUTES)
    node = open_.node
    wanted = change.file_attributes
    if wanted & FILE_ATTRIBUTE_DIRECTORY and not node.is_directory:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if wanted & FILE_ATTRIBUTE_TEMPORARY and node.is_directory:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    times = (
        change.creation_time,
        change.last_access_time,
        change.last_write_time,
        change.change_time,
    )
    if wanted or any(times):
        yield Blocking(_set_basic, open_, change)
    if wanted and not wanted & FILE_ATTRIBUTE_ARCHIVE:
        taken_away(request.connection.server, open_)
    matches = FILE_NOTIFY_CHANGE_ATTRIBUTES if wanted else 0
    for time, what in zip(times, _TIMES, strict=True):
        matches |= what if time > 0 else 0
    if matches or change.change_time > 0:
        # A change time alone, which nobody watches, explains what the kernel says all the same.
        yield from tell(open_, modified(matches))
    return _RESPONSE


def _set_basic(open_: Open, change: setters.SetBasic) -> None:
    """Set attributes and times, and whether what this open does changes them; 0 leaves one.

    A time and -1 stop the changes, -2 starts them again. The change time goes on with the next
    change that is none of these: the inode's own cannot be set, nor stopped, as on Samba.
    """
    node = open_.node
    if change.change_time == setters.TIME_SUSPEND_UPDATES:
        open_.kept_change_time = open_.kept_change_time or node.stat().change_time
    elif change.change_time:
        open_.kept_change_time = max(change.change_time, 0)
    if change.file_attributes:
        node.set_attributes(change.file_attributes)
    access, write = change.last_access_time, change.last_write_time
    creation, kept = change.creation_time, open_.kept_change_time
    if max(creation, access, write, kept) > 0:
        node.set_times(max(creation, 0), max(access, 0), max(write, 0), kept)
    if write:
        resumes = write == setters.TIME_RESUME_UPDATES
        open_.kept_write_time = None if resumes else KeptWriteTime(node)
    if access:
        keep_access_time(node, access != setters.TIME_RESUME_UPDATES)


def _disposition(request: Request, change: setters.SetDisposition) -> Handling:
    """FileDispositionInformation(Ex) ([MS-FSA] 2.1.5.15.3): delete at the last close, or not.

    With POSIX semantics the name goes at the close of this open, and the file with the last one
    (FILE_DISPOSITION_INFORMATION_EX in ntddk.h). A stream has no life without its name: refused.
    There are no image sections to check for, as Linux deletes what runs.
    """
    open_, server = request.open, request.connection.server
    open_.require(DELETE)
    security.name_rights(request)
    if change.posix and open_.stream is not None:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if change.on_close:
        return (yield from _delete_on_close(request, change))
    links = 1
    if change.delete:
        links = yield from Blocking(_check_deletable, request, change.ignore_read_only)
        yield from handles_given_up(request, open_.key, open_)
    path, user = open_.tree.disk_path(open_.path), open_.tree.identity.ids
    server.store.set_delete_pending(
        open_.key, open_.persistent_id, change.delete, path, user, one_name=links > 1
    )
    if change.delete:
        server.notifier.dooms(open_.key)
    # Of several names only this one goes: whoever closes the file last may have it by another.
    posix = change.posix or open_.node.volume.options.posix or links > 1
    open_.deletes_name = change.delete and posix and open_.stream is None
    yield from _written(request)
    return _RESPONSE


def _delete_on_close(request: Request, change: setters.SetDisposition) -> Handling:
    """Set or clear FILE_DELETE_ON_CLOSE, which only an open that began with it has."""
    open_, server = request.open, request.connection.server
    if not open_.create_options & FILE_DELETE_ON_CLOSE or change.posix:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if change.delete:
        yield Blocking(_check_deletable, request, change.ignore_read_only)
    open_.set_delete_on_close(server, change.delete)
    yield from _written(request)
    return _RESPONSE


def _written(request: Request) -> Waiting[None]:
    """Have it written down for persistent opens of the file; who has one himself waits for that."""
    open_, server = request.open, request.connection.server
    if open_.durable is not None and open_.durable.persistent:
        yield from server.persistence.tried(open_.key)
    elif server.persistence.ready and server.store.oplock_count(open_.key):
        server.persistence.later(open_.key)


def _check_deletable(request: Request, ignore_read_only: bool) -> int:
    """Return of how many names one goes, 1 for a stream; SmbError if it is not to be deleted.

    CANNOT_DELETE for a read-only file or one that the kernel keeps, DIRECTORY_NOT_EMPTY ([MS-FSA]
    2.1.5.15.3). `delete readonly` of the share has the first deleted, too.
    """
    open_ = request.open
    if open_.node.on_read_only_file_system():
        raise SmbError(NtStatus.MEDIA_WRITE_PROTECTED)
    if not open_.node.path and open_.stream is None:
        raise SmbError(NtStatus.ACCESS_DENIED)
    stat = open_.node.stat()
    ignore_read_only = ignore_read_only or open_.tree.share.delete_readonly
    if stat.attributes & FILE_ATTRIBUTE_READONLY and not ignore_read_only:
        raise SmbError(NtStatus.CANNOT_DELETE)
    if inode_flags.is_fixed(open_.node, stream=open_.stream is not None):
        raise SmbError(NtStatus.CANNOT_DELETE)
    if open_.node.is_directory and open_.stream is None and not is_empty(open_.node):
        raise SmbError(NtStatus.DIRECTORY_NOT_EMPTY)
    return 1 if open_.node.is_directory or open_.stream is not None else stat.nlink


def _end_of_file(request: Request, change: setters.SetEndOfFile) -> Handling:
    """FileEndOfFileInformation ([MS-FSA] 2.1.5.15.4)."""
    open_ = _file(request)
    server, truncate = request.connection.server, open_.file_data().truncate
    try:
        yield changing(open_, truncate, change.end_of_file, long=open_.is_large())
    finally:
        cached = server.caching.changes.changed(open_)
    if not open_.archived:
        yield from archive(open_)
    yield from _tell_size(open_)
    if cached:
        yield from let_go(server, open_, cached)
    return _RESPONSE


def _allocation(request: Request, change: setters.SetAllocation) -> Handling:
    """FileAllocationInformation ([MS-FSA] 2.1.5.15.1)."""
    open_ = _file(request)
    long = change.allocation_size > LARGE_FILE or open_.is_large()
    server, data = request.connection.server, open_.file_data()
    store = server.store
    try:
        yield changing(open_, reserve, store, open_.key, data, change.allocation_size, long=long)
    finally:
        cached = server.caching.changes.changed(open_)
    if not open_.archived:
        yield from archive(open_)
    yield from _tell_size(open_)
    if cached:
        yield from let_go(server, open_, cached)
    return _RESPONSE


def _tell_size(open_: Open) -> Waiting[None]:
    """Tell that a file or a stream has another size; of a file the kernel tells who watches."""
    stream = open_.stream
    yield from tell(open_, *([] if stream is None else [of_stream(MODIFIED_STREAM, stream.name)]))


def _valid_data_length(request: Request, change: setters.SetValidDataLength) -> Handling:
    """FileValidDataLengthInformation ([MS-FSA] 2.1.5.15.14): neither less nor past the end.

    All of a POSIX file up to its end is valid, so that its size is the one length to set.
    """
    open_ = _file(request)
    stat = yield from Blocking(open_.file_data().stat)
    if change.valid_data_length != stat.size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return _RESPONSE


def _file(request: Request) -> Open:
    """Return the open of a file that may be cut, not just appended to ([MS-SMB2] 3.3.5.21.1)."""
    open_ = request.open
    if open_.node.is_directory and open_.stream is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    open_.require(FILE_WRITE_DATA)
    return open_


def _position(request: Request, change: setters.SetPosition) -> Answer:
    """FilePositionInformation ([MS-FSA] 2.1.5.15.10): kept for the next query."""
    request.open.position = change.current_byte_offset
    return _RESPONSE


def _mode(request: Request, change: setters.SetMode) -> Answer:
    """FileModeInformation ([MS-FSA] 2.1.5.15.7); what WRITE obeys of it is FILE_WRITE_THROUGH.

    Whether an open is synchronous its CREATE has said for good, and so what is not buffered.
    """
    open_ = request.open
    if bool(change.mode & _SYNCHRONOUS) != bool(open_.mode & _SYNCHRONOUS):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    kept = FILE_NO_INTERMEDIATE_BUFFERING
    if open_.mode & FILE_NO_INTERMEDIATE_BUFFERING:
        kept |= FILE_WRITE_THROUGH
    open_.mode = open_.mode & kept | change.mode & ~kept
    return _RESPONSE


def _full_ea(request: Request, data: memoryview) -> Handling:
    """FileFullEaInformation ([MS-FSA] 2.1.5.15.5)."""
    open_ = request.open
    open_.require(FILE_WRITE_EA)
    yield Sliced(ea.set_eas, open_.node, full_eas(data))
    yield from tell(open_, modified(FILE_NOTIFY_CHANGE_EA))
    return _RESPONSE
