"""New names for what is open: FileRenameInformation, FileLinkInformation ([MS-FSA] 2.1.5.15)."""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from usmbd.protocol.commands import security
from usmbd.protocol.commands.breaks import handles_given_up
from usmbd.protocol.commands.data_change import archive
from usmbd.protocol.commands.default_stream import become_data
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.commands.telling import link_told, tell, tell_all
from usmbd.protocol.effects import Blocking, Resume, Sliced, Slow, Wait, Waiting
from usmbd.protocol.state.below import Below, opens_about, opens_below
from usmbd.protocol.state.notify.change import (
    ADDED_STREAM,
    REMOVED_STREAM,
    RENAMED,
    DirectoryChange,
    moved,
    of_stream,
)
from usmbd.protocol.state.notify.place import Place
from usmbd.protocol.state.open import LARGE_FILE, Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.state.store.sharing import violates
from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.base import NameRights, VolumeBase
from usmbd.protocol.vfs.names import parse_path
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ADD_FILE,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.create import FILE_SHARE_ALL, FILE_SHARE_DELETE
from usmbd.protocol.wire.fscc import set_info as setters
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_READONLY,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.set_info import SetInfoResponse
from usmbd.protocol.wire.snapshot_tokens import take_token
from usmbd.protocol.wire.status import NtStatus, SmbError

_RESPONSE = SetInfoResponse().pack()


def rename(request: Request, change: setters.SetRename) -> Handling:
    """FileRenameInformation ([MS-FSA] 2.1.5.15.11)."""
    open_, server = request.open, request.connection.server
    open_.require(DELETE)
    names = security.name_rights(request)
    if open_.stream is not None or change.name.startswith(":"):
        yield from _rename_stream(request, change)
        return _RESPONSE
    path = _new_path(open_.node.volume, change.name)
    if not path or not open_.node.path:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if server.store.is_delete_pending(open_.key, open_.tree.disk_path(open_.path)):
        raise SmbError(NtStatus.DELETE_PENDING)
    yield from handles_given_up(request, open_.key, open_)
    others = server.store.look(open_.key).without(open_.persistent_id)
    if any(not share & 4 and access & ~0x00100180 for access, share in others.sharing()):
        # Another open that does not share deletion also forbids the rename of its file.
        raise SmbError(NtStatus.SHARING_VIOLATION)
    posix = open_.node.volume.options.posix  # and then what is open is no obstacle
    if open_.node.is_directory and not (posix or open_.tree.posix_renames):
        yield from _free_below(request)
    if not posix:
        yield from _open_directory(request, path, FILE_SHARE_ALL & ~FILE_SHARE_DELETE)
    large = False
    if change.replace:
        ignores = change.ignore_read_only or posix
        large = yield from _free_target(request, path, change.posix or posix, ignores)
    kind = Slow if large else Blocking
    call = kind(_rename_node, open_, path, change.replace, names, server.notifier.place)
    told = yield from call
    try:
        yield from _renamed(open_)
    finally:
        tell_all(server, told)
    return _RESPONSE


def _renamed(open_: Open) -> Waiting[None]:
    """Have what is known of a file follow its new name."""
    server = open_.connection.server
    if not open_.node.is_directory:
        open_.told_at_close |= RENAMED
        if not open_.archived:
            yield from archive(open_)
    if server.store.oplock_count(open_.key):
        with suppress(SmbError):  # no room: it is renamed, and lost to who loses his connection
            server.store.move_durable(open_.key, os.fsencode(open_.node.path))
        if server.persistence.ready:
            yield from server.persistence.tried(open_.key)


def _new_path(volume: VolumeBase, name: str) -> str:
    """Return the path that a new name means below the share's root.

    SmbError INVALID_PARAMETER for that of a stream, MEDIA_WRITE_PROTECTED for one in a previous
    version, as Samba: who opens it gets that, and never a file of the present.
    """
    path, stream = volume.parse_path(name.removeprefix("\\"))
    if stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if volume.options.snapshots is not None and take_token(path)[1] is not None:
        raise SmbError(NtStatus.MEDIA_WRITE_PROTECTED)
    return path


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
    open_.tunnel(open_.connection.server)
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
    own = yield from Sliced(opens_below, path, open_.key, opens)
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

    def keeps_out(others: tuple[int, int]) -> bool:
        return violates(FILE_ADD_FILE, share, *others)

    if any(map(keeps_out, store.look(key).sharing())):
        yield from handles_given_up(request, key, None)
        if any(map(keeps_out, store.look(key).sharing())):
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


def _free_target(request: Request, path: str, posix: bool, ignore_read_only: bool) -> Waiting[bool]:
    """Refuse to replace a file that is open, or read-only ([MS-FSA] 2.1.5.15.6, 2.1.5.15.11).

    Tells whether to give its blocks back may take long.

    What is open only because clients cache the handle is closed first. With POSIX semantics it is
    replaced all the same, and goes on without a name.
    """
    target = yield from Blocking(_target, request, path)
    if target is None:
        return False
    key = file_key(target.dev, target.ino)
    if target.attributes & FILE_ATTRIBUTE_READONLY and not ignore_read_only:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if not posix:
        yield from handles_given_up(request, key, None)
        if request.connection.server.store.count_opens(key):
            raise SmbError(NtStatus.ACCESS_DENIED)
    return max(target.size, target.allocation) > LARGE_FILE


def _target(request: Request, path: str) -> FileStat | None:
    """Return the stat of the file that is to be replaced, if there is one."""
    volume = request.open.node.volume
    assert isinstance(volume, Volume)
    try:
        target = volume.lookup(path)
    except SmbError:
        return None
    with target:
        return None if target.inode == request.open.node.inode else target.last_stat


def _rename_stream(request: Request, change: setters.SetRename) -> Handling:
    """Rename a named stream: the target is another stream of the same file, or its data.

    By the name of a file its directory is opened first, as for any; then it is refused.
    """
    open_ = request.open
    if open_.stream is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if not change.name.startswith(":"):
        path, _ = open_.node.volume.parse_path(change.name.removeprefix("\\"))
        yield from _open_directory(request, path, FILE_SHARE_ALL & ~FILE_SHARE_DELETE)
        raise SmbError(NtStatus.INVALID_PARAMETER)
    _, stream = parse_path("x" + change.name)
    if stream is None:
        yield from become_data(request, replace=change.replace)
        return _RESPONSE
    old = open_.stream.name
    yield Blocking(_rename_stream_node, request, open_.stream, stream, change.replace)
    yield from tell(
        open_,
        of_stream(REMOVED_STREAM, old),
        of_stream(ADDED_STREAM, stream),
    )
    return _RESPONSE


def _rename_stream_node(request: Request, named: Stream, name: str, replace: bool) -> None:
    """Rename a stream by whoever may write the file: the new name changes it, as a new stream.

    Who opens it by the new name meets the share mode of the open that has renamed it, its locks and
    what it caches, but where others have the stream open by the old name, or had what is replaced.
    """
    granted = security.maximal_access(request, named.node, FILE_WRITE_DATA)
    if not granted & FILE_WRITE_DATA:
        raise SmbError(NtStatus.ACCESS_DENIED)
    open_, store, stat = request.open, request.connection.server.store, named.node.last_stat
    old, exact = open_.key, named.node.volume.options.case_sensitive
    new = file_key(stat.dev, stat.ino, name, exact=exact)
    moved = new != old and store.move_stream(old, new, open_.persistent_id)
    if moved:
        open_.key = new
    try:
        named.rename(name, replace=replace)
    except BaseException:
        if moved and store.move_stream(new, old, open_.persistent_id):
            open_.key = old
        raise


def link(request: Request, change: setters.SetLink) -> Handling:
    """FileLinkInformation ([MS-FSA] 2.1.5.15.6)."""
    open_, server = request.open, request.connection.server
    node = open_.node
    path = _new_path(node.volume, change.name)
    if not path or open_.stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    names = security.name_rights(request)
    if node.is_directory:
        raise SmbError(NtStatus.FILE_IS_A_DIRECTORY)
    if server.store.is_delete_pending(open_.key, open_.tree.disk_path(open_.path)):
        raise SmbError(NtStatus.ACCESS_DENIED)
    posix = node.volume.options.posix
    if not posix:
        yield from _open_directory(request, path, FILE_SHARE_ALL)
    large = False
    if change.replace:
        large = yield from _free_target(request, path, posix, posix)
    kind = Slow if large else Blocking
    yield kind(directory_entry.link, node, path, change.replace, names)
    tell_all(server, (yield from Blocking(link_told, request, path)))
    return _RESPONSE
