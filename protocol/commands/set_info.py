"""SMB2 SET_INFO ([MS-SMB2] 3.3.5.21): times and attributes, rename, link, deletion, sizes."""

import os
from collections.abc import Callable
from functools import partial

from usmbd.protocol.commands import security
from usmbd.protocol.commands.breaks import handles_given_up
from usmbd.protocol.commands.data_change import changing
from usmbd.protocol.commands.request import Answer, Handling, Request
from usmbd.protocol.commands.telling import link_told, tell, tell_all
from usmbd.protocol.effects import Blocking, Resume, Sliced, Wait, Waiting
from usmbd.protocol.state.below import Below, opens_about, opens_below
from usmbd.protocol.state.notify.change import (
    ADDED_STREAM,
    MODIFIED_STREAM,
    REMOVED_STREAM,
    RENAMED,
    DirectoryChange,
    modified,
    moved,
    of_stream,
)
from usmbd.protocol.state.notify.place import Place
from usmbd.protocol.state.open import LARGE_FILE, Open
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.records import OpenRecord, file_key
from usmbd.protocol.state.store.sharing import violates
from usmbd.protocol.vfs import directory_entry, ea
from usmbd.protocol.vfs.base import NameRights
from usmbd.protocol.vfs.names import parse_path
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.vfs.write_time import KeptWriteTime
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ADD_FILE,
    FILE_APPEND_DATA,
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
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_SHARE_ALL, FILE_SHARE_DELETE
from usmbd.protocol.wire.fscc import set_info as setters
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_TEMPORARY,
)
from usmbd.protocol.wire.fscc.ea import full_eas
from usmbd.protocol.wire.fscc.file_info import FileFullEaInformation
from usmbd.protocol.wire.query_info import (
    SMB2_0_INFO_FILE,
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_SECURITY,
)
from usmbd.protocol.wire.set_info import SetInfoRequest, SetInfoResponse, set_info_buffer
from usmbd.protocol.wire.status import NtStatus, SmbError

_RESPONSE = SetInfoResponse().pack()
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
        # Volume labels, quotas and object ids belong to the machine's administrator.
        raise SmbError(NtStatus.ACCESS_DENIED)
    raise SmbError(NtStatus.NOT_SUPPORTED)


def _change(request: Request, change: setters.SetRequest) -> Answer | Handling:
    """Change what one information class says."""
    match change:
        case setters.SetBasic():
            return _basic(request, change)
        case setters.SetRename():
            return _rename(request, change)
        case setters.SetLink():
            return _link(request, change)
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
    if wanted:
        yield Blocking(node.set_attributes, wanted)
    if any(times):
        yield Blocking(_set_times, open_, *times)
    matches = FILE_NOTIFY_CHANGE_ATTRIBUTES if wanted else 0
    for time, what in zip(times, _TIMES, strict=True):
        matches |= what if time > 0 else 0
    if matches or change.change_time > 0:
        yield from tell(open_, *([modified(matches)] if matches else []))
    return _RESPONSE


def _set_times(open_: Open, creation: int, access: int, write: int, change: int) -> None:
    """Set times, and whether what this open does changes them; 0 leaves one as it is.

    A time and -1 stop the changes, -2 starts them again. The change time goes on with the next
    change of the file: the inode's own cannot be set, nor stopped, as on Samba.
    """
    node = open_.node
    times = [max(time, 0) for time in (creation, access, write, change)]
    if any(times):
        node.set_times(*times)
    if write:
        resumes = write == setters.TIME_RESUME_UPDATES
        open_.kept_write_time = None if resumes else KeptWriteTime(node)
    if access:
        node.keep_access_time(access != setters.TIME_RESUME_UPDATES)


def _rename(request: Request, change: setters.SetRename) -> Handling:
    """FileRenameInformation ([MS-FSA] 2.1.5.15.11)."""
    open_, server = request.open, request.connection.server
    open_.require(DELETE)
    names = security.name_rights(request)
    if open_.stream is not None or change.name.startswith(":"):
        yield from _rename_stream(request, change)
        return _RESPONSE
    path, stream = open_.node.volume.parse_path(change.name.removeprefix("\\"))
    if stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if not path or not open_.node.path:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if server.store.is_delete_pending(open_.key):
        raise SmbError(NtStatus.DELETE_PENDING)
    yield from handles_given_up(request, open_.key, open_)
    others = [r for r in server.store.opens(open_.key) if r.open_id != open_.persistent_id]
    if any(not r.share_access & 4 and r.granted_access & ~0x00100180 for r in others):
        # Another open that does not share deletion also forbids the rename of its file.
        raise SmbError(NtStatus.SHARING_VIOLATION)
    posix = open_.node.volume.options.posix  # and then what is open is no obstacle
    if open_.node.is_directory and not (posix or open_.tree.posix_renames):
        yield from _free_below(request)
    if not posix:
        yield from _open_directory(request, path, FILE_SHARE_ALL & ~FILE_SHARE_DELETE)
    if change.replace:
        ignores = change.ignore_read_only or posix
        yield from _free_target(request, path, change.posix or posix, ignores)
    call = Blocking(_rename_node, open_, path, change.replace, names, server.notifier.place)
    tell_all(server, (yield from call))
    if not open_.node.is_directory:
        open_.told_at_close |= RENAMED
    store = request.connection.server.store
    if store.oplock_count(open_.key):
        store.move_durable(open_.key, os.fsencode(open_.node.path))
        if server.persistence.ready:
            yield from server.persistence.written(open_.key)
    return _RESPONSE


def _rename_node(
    open_: Open,
    path: str,
    replace: bool,
    names: NameRights,
    place: Callable[[Node], Place | None],
) -> list[DirectoryChange]:
    """Rename and remember the new name; return what the engine has to tell."""
    node = open_.node
    before = place(node)
    directory_entry.rename(node, path, replace, names)
    open_.path = path
    by = open_.parent_lease_key
    return moved(before, place(node), is_directory=node.is_directory, by=by)


def _free_below(request: Request) -> Waiting[None]:
    """Refuse to rename a directory while something below it is open ([MS-FSA] 2.1.4.2).

    What is open only because clients cache the handle is closed first, one file after the other.
    The first that stays open decides, and what is opened meanwhile.
    """
    open_, server = request.open, request.connection.server
    name = yield from Blocking(directory_entry.current_path, open_.node)
    path = f"{open_.tree.share.path}/{name}"
    found = yield from _open_below(request, path)
    for key in found.keys:
        yield from handles_given_up(request, key, None)
        if server.store.count_opens(key):
            break
    if found.keys and (found.more or (yield from _open_below(request, path)).keys):
        raise SmbError(NtStatus.ACCESS_DENIED)


def _open_below(request: Request, path: str) -> Waiting[Below]:
    """Return what is open below the directory of the request, in all workers."""
    open_, server = request.open, request.connection.server
    opens = opens_about(server, path)
    own = yield from Blocking(opens_below, path, open_.key, opens)
    found = yield from Wait(partial(_ask_others, server, path, open_.key))
    keys = dict.fromkeys([other.key for other in own if not other.closed])
    return Below((*keys, *(key for key in found.keys if key not in keys)), found.more)


def _ask_others(server: Server, path: str, key: bytes, resume: Resume[Below]) -> None:
    """Ask the other workers what they have open below a directory."""
    server.peers.find_below(path, key, resume)


def _open_directory(request: Request, path: str, share: int) -> Waiting[None]:
    """Refuse a new name in a directory that somebody has for himself ([MS-FSA] 2.1.5.15.6, 11).

    It is opened to add a file, with this sharing; smbd only looks for opens with DELETE.
    """
    key = yield from Blocking(_directory, request, path)
    store = request.connection.server.store

    def keeps_out(record: OpenRecord) -> bool:
        return violates(FILE_ADD_FILE, share, record.granted_access, record.share_access)

    if any(map(keeps_out, store.opens(key))):
        yield from handles_given_up(request, key, None)
        if any(map(keeps_out, store.opens(key))):
            raise SmbError(NtStatus.SHARING_VIOLATION)


def _directory(request: Request, path: str) -> bytes:
    """Return the key of the directory of `path`; SmbError(OBJECT_PATH_NOT_FOUND)."""
    volume = request.tree.volume
    assert volume is not None
    try:
        with volume.lookup(path.rpartition("/")[0]) as directory:
            stat = directory.last_stat
    except SmbError as error:
        if error.status is not NtStatus.OBJECT_NAME_NOT_FOUND:
            raise
        raise SmbError(NtStatus.OBJECT_PATH_NOT_FOUND) from error
    return file_key(stat.dev, stat.ino)


def _free_target(request: Request, path: str, posix: bool, ignore_read_only: bool) -> Waiting[None]:
    """Refuse to replace a file that is open, or read-only ([MS-FSA] 2.1.5.15.6, 2.1.5.15.11).

    What is open only because clients cache the handle is closed first. With POSIX semantics it is
    replaced all the same, and goes on without a name.
    """
    target = yield from Blocking(_target, request, path)
    if target is None:
        return
    key, read_only = target
    if read_only and not ignore_read_only:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if not posix:
        yield from handles_given_up(request, key, None)
        if request.connection.server.store.opens(key):
            raise SmbError(NtStatus.ACCESS_DENIED)


def _target(request: Request, path: str) -> tuple[bytes, bool] | None:
    """Return key and read-only attribute of the file that is to be replaced, if there is one."""
    volume = request.open.node.volume
    assert isinstance(volume, Volume)
    try:
        target = volume.lookup(path)
    except SmbError:
        return None
    with target:
        if target.inode == request.open.node.inode:
            return None
        stat = target.last_stat
        return file_key(stat.dev, stat.ino), bool(stat.attributes & FILE_ATTRIBUTE_READONLY)


def _rename_stream(request: Request, change: setters.SetRename) -> Handling:
    """Rename a named stream: the target is another stream of the same file."""
    open_ = request.open
    if open_.stream is None or not change.name.startswith(":"):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    _, stream = parse_path("x" + change.name)
    if stream is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    old = open_.stream.name
    yield Blocking(_rename_stream_node, request, open_.stream, stream, change.replace)
    yield from tell(
        open_,
        of_stream(REMOVED_STREAM, old),
        of_stream(ADDED_STREAM, stream),
    )
    return _RESPONSE


def _rename_stream_node(request: Request, named: Stream, name: str, replace: bool) -> None:
    """Rename a stream by whoever may write the file: the new name changes it, as a new stream."""
    granted = security.maximal_access(request, named.node, FILE_WRITE_DATA)
    if not granted & FILE_WRITE_DATA:
        raise SmbError(NtStatus.ACCESS_DENIED)
    named.rename(name, replace=replace)


def _link(request: Request, change: setters.SetLink) -> Handling:
    """FileLinkInformation ([MS-FSA] 2.1.5.15.6)."""
    open_, server = request.open, request.connection.server
    node = open_.node
    path, stream = node.volume.parse_path(change.name.removeprefix("\\"))
    if stream is not None or not path or open_.stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    names = security.name_rights(request)
    if node.is_directory:
        raise SmbError(NtStatus.FILE_IS_A_DIRECTORY)
    if server.store.is_delete_pending(open_.key):
        raise SmbError(NtStatus.ACCESS_DENIED)
    posix = node.volume.options.posix
    if not posix:
        yield from _open_directory(request, path, FILE_SHARE_ALL)
    if change.replace:
        yield from _free_target(request, path, posix, posix)
    yield Blocking(directory_entry.link, node, path, change.replace, names)
    tell_all(server, (yield from Blocking(link_told, request, path)))
    return _RESPONSE


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
    server.store.set_delete_pending(
        open_.key, open_.persistent_id, change.delete, open_.tree.share.path + "/" + open_.path
    )
    if change.delete:
        server.notifier.dooms(open_.key)
    # Of several names only this one goes: whoever closes the file last may have it by another.
    posix = change.posix or open_.node.volume.options.posix or links > 1
    open_.deletes_name = change.delete and posix and open_.stream is None
    return _RESPONSE


def _delete_on_close(request: Request, change: setters.SetDisposition) -> Handling:
    """Set or clear FILE_DELETE_ON_CLOSE, which only an open that began with it has."""
    open_, server = request.open, request.connection.server
    if not open_.create_options & FILE_DELETE_ON_CLOSE or change.posix:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if change.delete:
        yield Blocking(_check_deletable, request, change.ignore_read_only)
    open_.set_delete_on_close(server, change.delete)
    return _RESPONSE


def _check_deletable(request: Request, ignore_read_only: bool) -> int:
    """Return how many names the file has; SmbError if it is not to be deleted.

    CANNOT_DELETE for a read-only file, DIRECTORY_NOT_EMPTY ([MS-FSA] 2.1.5.15.3).
    """
    open_ = request.open
    if open_.node.on_read_only_file_system():
        raise SmbError(NtStatus.MEDIA_WRITE_PROTECTED)
    if not open_.node.path and open_.stream is None:
        raise SmbError(NtStatus.ACCESS_DENIED)
    stat = open_.node.stat()
    if stat.attributes & FILE_ATTRIBUTE_READONLY and not ignore_read_only:
        raise SmbError(NtStatus.CANNOT_DELETE)
    if open_.node.is_directory and open_.stream is None and not open_.node.is_empty():
        raise SmbError(NtStatus.DIRECTORY_NOT_EMPTY)
    return 1 if open_.node.is_directory else stat.nlink


def _end_of_file(request: Request, change: setters.SetEndOfFile) -> Handling:
    """FileEndOfFileInformation ([MS-FSA] 2.1.5.15.4)."""
    open_ = _file(request)
    request.connection.server.caching.changed(open_)
    truncate = open_.file_data().truncate
    yield changing(open_, truncate, change.end_of_file, long=open_.is_large())
    yield from _tell_size(open_)
    return _RESPONSE


def _allocation(request: Request, change: setters.SetAllocation) -> Handling:
    """FileAllocationInformation ([MS-FSA] 2.1.5.15.1)."""
    open_ = _file(request)
    request.connection.server.caching.changed(open_)
    long = change.allocation_size > LARGE_FILE or open_.is_large()
    yield changing(open_, open_.file_data().allocate, change.allocation_size, long=long)
    yield from _tell_size(open_)
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
    """Return the open of a file that may be written."""
    open_ = request.open
    if open_.node.is_directory and open_.stream is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    open_.require(FILE_WRITE_DATA | FILE_APPEND_DATA)
    return open_


def _position(request: Request, change: setters.SetPosition) -> Answer:
    """FilePositionInformation ([MS-FSA] 2.1.5.15.10): kept for the next query."""
    request.open.position = change.current_byte_offset
    return _RESPONSE


def _mode(request: Request, change: setters.SetMode) -> Answer:
    """FileModeInformation ([MS-FSA] 2.1.5.15.8); what WRITE obeys of it is FILE_WRITE_THROUGH."""
    request.open.mode = change.mode
    return _RESPONSE


def _full_ea(request: Request, data: memoryview) -> Handling:
    """FileFullEaInformation ([MS-FSA] 2.1.5.15.5)."""
    open_ = request.open
    open_.require(FILE_WRITE_EA)
    yield Sliced(ea.set_eas, open_.node, full_eas(data))
    yield from tell(open_, modified(FILE_NOTIFY_CHANGE_EA))
    return _RESPONSE
