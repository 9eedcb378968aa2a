"""CREATE's second step: find the file or make it, and the rights to it ([MS-FSA] 2.1.5.1).

    find_or_create -> _look_up -> _existing: may it be opened so? its stream
                               -> _new: made, with stream, EAs and descriptor

All of it may block, and runs as the tree's user, on a thread where the volume is slow.
"""

import os
from contextlib import suppress

from usmbd.protocol.commands import security
from usmbd.protocol.commands.apple import convert
from usmbd.protocol.commands.create_wanted import TRUNCATES, WRITES, Found, Wanted
from usmbd.protocol.state.tree import WRITING
from usmbd.protocol.vfs import directory_entry, ea, rights
from usmbd.protocol.vfs.apple import create_stream, may_be_in_double, open_stream
from usmbd.protocol.vfs.dfs_links import find_link
from usmbd.protocol.vfs.emptiness import is_empty
from usmbd.protocol.vfs.inode_flags import is_fixed, set_compressed
from usmbd.protocol.vfs.links import target_of
from usmbd.protocol.vfs.new_descriptor import is_being_made, is_closed, open_left
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import SHORT_DATA, long_call
from usmbd.protocol.vfs.snapshots import version_of
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    FILE_ALL_ACCESS,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
    SYNCHRONIZE,
    map_generic,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NO_COMPRESSION,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_REPARSE_POINT,
    FILE_OPENED,
    FILE_OVERWRITTEN,
    FILE_SUPERSEDE,
    FILE_SUPERSEDED,
    CreateRequest,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_EA_BUFFER,
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST,
    SMB2_CREATE_SD_BUFFER,
)
from usmbd.protocol.wire.error import symlink_error_data
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_COMPRESSED,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_SYSTEM,
    FILE_ATTRIBUTE_TEMPORARY,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.fscc.ea import full_eas
from usmbd.protocol.wire.status import NtStatus, SmbError

_DATA = FILE_READ_DATA | FILE_EXECUTE | WRITES

_TRIES = 8
"""Times that look-up and creation are tried when others create and delete the name meanwhile."""


class BeingMadeError(Exception):
    """Another is about to give the file, or the folder on the way to it, its descriptor: wait."""


def find_or_create(wanted: Wanted) -> Found:
    """Look the file up, or create it: again when somebody comes in between; BeingMadeError."""
    volume = wanted.request.tree.volume
    assert volume is not None
    if wanted.posix:
        volume = volume.posix_view()
    wanted.volume = volume
    if wanted.time is not None:
        wanted.volume, wanted.path, wanted.time = version_of(volume, wanted.path, wanted.time)
    if volume.options.msdfs:
        _stop_at_dfs_link(wanted, volume)
    try:
        return _tried(wanted)
    except SmbError as error:
        if error.status is not NtStatus.ACCESS_DENIED or not wanted.waits_for_descriptor:
            raise
        assert wanted.volume is not None
        if not is_being_made(wanted.volume, wanted.path):
            raise
        raise BeingMadeError from error
    finally:
        if wanted.parent is not None:
            wanted.keep_parent(None)


def _tried(wanted: Wanted) -> Found:
    """Look the file up, or create it, some times."""
    waits = wanted.waits_for_descriptor
    for _ in range(_TRIES):
        node = _look_up(wanted)
        try:
            if waits and node is not None:
                if is_closed(node.last_stat):
                    raise BeingMadeError
                open_left(node, wanted.request.tree.identity)
            return _new(wanted) if node is None else _existing(wanted, node)
        except BaseException as error:
            again = isinstance(error, SmbError) and _is_over(wanted, node, error.status)
            if node is not None:
                node.close()
            if not again:
                raise
            wanted.keep_parent(None)
    # It came and went each time: who only wants to open it finds nothing.
    raise SmbError(NtStatus.SHARING_VIOLATION if wanted.creates else NtStatus.OBJECT_NAME_NOT_FOUND)


def _stop_at_dfs_link(wanted: Wanted, volume: Volume) -> None:
    """Send the client for a referral where a link of DFS is on the way ([MS-DFSC] 3.3.5.3).

    SmbError(PATH_NOT_COVERED) for any path, as with Samba. The link itself can be opened, deleted.
    """
    found = find_link(volume, wanted.path)
    if found is None:
        return
    is_last = found[0] == wanted.path.count("/") + 1
    if not (is_last and wanted.body.create_options & FILE_OPEN_REPARSE_POINT):
        raise SmbError(NtStatus.PATH_NOT_COVERED)


def _is_over(wanted: Wanted, node: Node | None, status: NtStatus) -> bool:
    """Whether the error says nothing: the file has lost its name meanwhile, or one has come."""
    if status is NtStatus.FILE_DELETED:
        return True
    if node is None:
        return (
            status is NtStatus.OBJECT_NAME_COLLISION
            and wanted.body.create_disposition != FILE_CREATE
        )
    return _is_gone(node)


def _look_up(wanted: Wanted) -> Node | None:
    """Open what the name leads to; None when there is nothing and it is to be created.

    A symbolic link that is not followed, or leads nowhere, outside or to what is vetoed, is opened
    itself: to see it and to delete it. There are no data to open in it.
    """
    volume = wanted.volume
    assert volume is not None
    hides = volume.options.veto is not None
    link = bool(wanted.body.create_options & FILE_OPEN_REPARSE_POINT)
    try:
        try:
            return volume.lookup(wanted.path, open_reparse_point=link, keep=wanted.keep_parent)
        except SmbError as error:
            hidden = hides and error.status is NtStatus.OBJECT_NAME_NOT_FOUND
            if link or not (hidden or error.status is NtStatus.ACCESS_DENIED):
                raise
            return volume.lookup(wanted.path, open_reparse_point=True, keep=wanted.keep_parent)
    except SmbError as error:
        if error.status is NtStatus.ACCESS_DENIED and not volume.options.follow_symlinks:
            _stop_on_the_way(wanted, volume)
        if error.status is not NtStatus.OBJECT_NAME_NOT_FOUND or not wanted.creates:
            raise
        return None


def _stop_on_the_way(wanted: Wanted, volume: Volume) -> None:
    """Send the client where a link in the middle of its path leads, if that may be told.

    SmbError STOPPED_ON_SYMLINK with what is behind the link, from its separator on, as the part
    that was not parsed ([MS-SMB2] 2.2.2.2.1). Not where `..` has taken names out of the path.
    """
    found = volume.resolver.first_link(wanted.path)
    if found is None:
        return
    fd, path, left = found
    with Node(volume, fd, path, False, False) as link:
        target = target_of(link)
    if target is not None and ".." not in wanted.name.split("\\"):
        unparsed = _behind(wanted.name, left, "/" if wanted.posix else "\\")
        error = symlink_error_data(target, unparsed, relative=True)
        raise SmbError(NtStatus.STOPPED_ON_SYMLINK, error)


def _behind(name: str, count: int, separator: str) -> str:
    """Return the last `count` names of a client's path, from the separator before them on."""
    end = len(name.rstrip(separator))
    for _ in range(count):
        end = len(name[: name.rfind(separator, 0, end)].rstrip(separator))
    return name[end:]


def _is_gone(node: Node) -> bool:
    """Whether the file has lost the name by which it was found, and has no other in the share."""
    if not node.path:
        return False
    try:
        directory, _ = directory_entry.locate(node)
    except SmbError:
        return True
    os.close(directory)
    return False


def _existing(wanted: Wanted, node: Node) -> Found:
    """Check an existing file against the request ([MS-FSA] 2.1.5.1.2)."""
    body, stream_name = wanted.body, wanted.stream_name
    options, disposition = body.create_options, body.create_disposition
    stat = node.last_stat
    if stream_name is None and disposition == FILE_CREATE:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    if stat.attributes & FILE_ATTRIBUTE_REPARSE_POINT and not options & FILE_OPEN_REPARSE_POINT:
        _stop_at_reparse_point(wanted, node)
    if stream_name is None and node.is_directory:
        if options & FILE_NON_DIRECTORY_FILE:
            raise SmbError(NtStatus.FILE_IS_A_DIRECTORY)
        if wanted.truncates:
            raise SmbError(NtStatus.INVALID_PARAMETER if options & FILE_DIRECTORY_FILE
                           else NtStatus.OBJECT_NAME_COLLISION)  # fmt: skip
    elif options & FILE_DIRECTORY_FILE:
        raise SmbError(NtStatus.NOT_A_DIRECTORY)
    read_only = stat.attributes & FILE_ATTRIBUTE_READONLY and not node.is_directory
    if wanted.truncates and stream_name is None:
        _check_overwrite(body, node)
    maximal = _maximal_access(wanted, node)
    try:
        granted = _grant(body, maximal)
    except SmbError as error:
        if error.status is NtStatus.ACCESS_DENIED and _is_write_protected(wanted, node):
            raise SmbError(NtStatus.MEDIA_WRITE_PROTECTED) from error
        raise
    if options & FILE_DELETE_ON_CLOSE and (
        (read_only and not wanted.request.tree.share.delete_readonly)
        or is_fixed(node, stream=stream_name is not None)
    ):
        raise SmbError(NtStatus.CANNOT_DELETE)
    if read_only and granted & WRITES:
        if body.desired_access & MAXIMUM_ALLOWED and not (
            map_generic(body.desired_access) & WRITES
        ):
            granted &= ~(WRITES | FILE_DELETE_CHILD)  # [MS-FSA] 2.1.5.1.2.1
        else:
            raise SmbError(NtStatus.ACCESS_DENIED)
    if options & FILE_DELETE_ON_CLOSE:
        if not granted & DELETE:
            raise SmbError(NtStatus.ACCESS_DENIED)
        if node.is_directory and stream_name is None and not is_empty(node):
            # It opens, and stays: as with smbd. Windows finds out when it is closed.
            body.create_options &= ~FILE_DELETE_ON_CLOSE
    stream, action = _stream(wanted, node)
    if wanted.truncates and action == FILE_OPENED:
        action = FILE_SUPERSEDED if disposition == FILE_SUPERSEDE else FILE_OVERWRITTEN
    return Found(node, stream, action, granted, maximal)


def _stop_at_reparse_point(wanted: Wanted, node: Node) -> None:
    """Send the client where a link leads, or say that nobody here knows what the tag means.

    SmbError STOPPED_ON_SYMLINK with what [MS-SMB2] 2.2.2.2.1 has the client go by, or
    IO_REPARSE_TAG_NOT_HANDLED. Links and special files of the file system itself open as what they
    are, unless their data or their directory is wanted.
    """
    is_link = node.last_stat.reparse_tag == IO_REPARSE_TAG_SYMLINK
    if not node.has_xattrs:
        body = wanted.body
        asked = map_generic(body.desired_access) & _DATA or wanted.truncates
        if not is_link or not (asked or body.create_options & FILE_DIRECTORY_FILE):
            return
    target = target_of(node) if is_link else None
    if target is not None:
        error = symlink_error_data(target, "", relative=True)
        raise SmbError(NtStatus.STOPPED_ON_SYMLINK, error)
    if node.has_xattrs:
        raise SmbError(NtStatus.IO_REPARSE_TAG_NOT_HANDLED)


def _is_write_protected(wanted: Wanted, node: Node) -> bool:
    """Whether a change was asked for that the file system itself refuses to everybody."""
    asked = map_generic(wanted.body.desired_access)
    return (
        wanted.request.tree.writable
        and bool(wanted.truncates or asked & rights.CHANGES)
        and node.on_read_only_file_system()
    )


def _check_overwrite(body: CreateRequest, node: Node) -> None:
    """Refuse to overwrite a hidden or system file but as such ([MS-FSA] 2.1.5.1.2).

    One that is hidden by its name is no such file: who writes `.profile` again says nothing of it.
    """
    attributes = node.last_stat.attributes
    if attributes & FILE_ATTRIBUTE_READONLY:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if node.volume.options.hides(node.name):
        attributes &= ~FILE_ATTRIBUTE_HIDDEN
    for attribute in (FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_SYSTEM):
        if attributes & attribute & ~body.file_attributes:
            raise SmbError(NtStatus.ACCESS_DENIED)


def _stream(wanted: Wanted, node: Node) -> tuple[Stream | None, int]:
    """Open or create a named stream of an existing file."""
    name, request = wanted.stream_name, wanted.request
    if name is None:
        return None, FILE_OPENED
    if may_be_in_double(node, name):
        convert(request, node)
    try:
        stream = open_stream(node, name)
    except SmbError as error:
        if error.status is not NtStatus.OBJECT_NAME_NOT_FOUND or not wanted.creates:
            raise
        # A new stream changes the file, whatever access to the stream is asked for.
        writable = security.maximal_access(request, node, FILE_WRITE_DATA)
        if not writable & request.tree.maximal_access & FILE_WRITE_DATA:
            raise SmbError(NtStatus.ACCESS_DENIED) from error
        return create_stream(node, name), FILE_CREATED
    disposition = wanted.body.create_disposition
    if disposition == FILE_CREATE:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    if request.tree.aapl and disposition == FILE_OPEN and not stream.stat().size:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)  # to macOS an empty fork is none
    return stream, FILE_OPENED


def _new(wanted: Wanted) -> Found:
    """Create a file or directory, with its stream, descriptor and EAs ([MS-FSA] 2.1.5.1.1)."""
    request, body, path, contexts = wanted.request, wanted.body, wanted.path, wanted.contexts
    volume = wanted.volume
    assert volume is not None
    if wanted.time is not None:
        raise SmbError(NtStatus.MEDIA_WRITE_PROTECTED)
    described = SMB2_CREATE_SD_BUFFER in contexts and request.tree.share.nt_acl_support
    names = security.name_rights(request, described=described)
    options = body.create_options
    if options & FILE_DIRECTORY_FILE:
        if wanted.stream_name is not None:
            raise SmbError(NtStatus.NOT_A_DIRECTORY)
        if body.file_attributes & FILE_ATTRIBUTE_TEMPORARY:
            raise SmbError(NtStatus.INVALID_PARAMETER)
    attributes, stays = body.file_attributes, not request.tree.share.delete_readonly
    if stays and attributes & FILE_ATTRIBUTE_READONLY and options & FILE_DELETE_ON_CLOSE:
        raise SmbError(NtStatus.CANNOT_DELETE)
    if not options & FILE_DIRECTORY_FILE:
        attributes |= FILE_ATTRIBUTE_ARCHIVE  # a new file has changed since the last backup
    eas = None
    if SMB2_CREATE_EA_BUFFER in contexts:
        if len(contexts[SMB2_CREATE_EA_BUFFER]) > SHORT_DATA:
            long_call()
        eas = list(full_eas(memoryview(contexts[SMB2_CREATE_EA_BUFFER])))
    descriptor = None
    if described:
        data = memoryview(contexts[SMB2_CREATE_SD_BUFFER])
        descriptor = security.parse_new(request, data)
    if wanted.reserves_much:
        long_call()
    tunnel, share = request.connection.server.tunnel, request.tree.share
    path, creation_time = tunnel.find(share.path, path, wanted.posix)
    parent = wanted.parent if path == wanted.path else None
    mode = wanted.posix_mode
    if options & FILE_DIRECTORY_FILE:
        lists = security.lists_new(request, descriptor)
        node = volume.create_directory(
            path, attributes, read=lists, mode=mode, rights=names, parent=parent
        )
    else:
        node = volume.create_file(path, attributes, mode=mode, rights=names, parent=parent)
    try:
        if creation_time:
            node.set_times(creation=creation_time)
        stream = create_stream(node, wanted.stream_name) if wanted.stream_name is not None else None
        if eas:
            finish(ea.set_eas(node, eas))
        if options & FILE_NO_COMPRESSION and node.last_stat.attributes & FILE_ATTRIBUTE_COMPRESSED:
            set_compressed(node, False)
            node.last_stat.attributes &= ~FILE_ATTRIBUTE_COMPRESSED
        security.set_new(request, node, descriptor, names)
        if wanted.allocation and node.is_regular and stream is None:
            node.allocate(wanted.allocation)
        # The creator gets what it asked for, whatever the new descriptor says.
        granted = maximal = map_generic(body.desired_access)
        if granted & MAXIMUM_ALLOWED or SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST in contexts:
            maximal = _maximal_access(wanted, node)
        if granted & MAXIMUM_ALLOWED:
            granted = granted & ~MAXIMUM_ALLOWED | maximal
        if creation_time:
            tunnel.forget(share.path, wanted.path)
    except BaseException:
        try:
            with suppress(SmbError):  # somebody else has removed it
                directory_entry.unlink(node)
        finally:
            node.close()
        raise
    made_at = node.stat(as_made=True).change_time
    return Found(node, stream, FILE_CREATED, granted, maximal, made_file=True, made_at=made_at)


def _maximal_access(wanted: Wanted, node: Node) -> int:
    """Return what the user may do with the file at most on this share.

    Of rights that nobody asks for it may say no, which saves most of the cost of an open.
    """
    asked = map_generic(wanted.body.desired_access)
    if asked & MAXIMUM_ALLOWED or SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST in wanted.contexts:
        asked = FILE_ALL_ACCESS
    elif wanted.truncates or wanted.stream_name is not None:
        asked |= FILE_WRITE_DATA | DELETE
    request = wanted.request
    maximal = security.maximal_access(request, node, asked)
    if node.last_stat.reparse_tag == IO_REPARSE_TAG_SYMLINK and not node.has_xattrs:
        maximal &= ~_DATA
    if wanted.stream_name is not None and not node.path and maximal & FILE_WRITE_DATA:
        # The root cannot be deleted, so nobody has the right to it; its streams are its data.
        maximal |= DELETE
    if wanted.time is not None:
        maximal &= ~WRITING
    maximal &= request.tree.maximal_access  # and what no descriptor gives: CREATE has checked it
    return maximal | wanted.body.desired_access & ACCESS_SYSTEM_SECURITY


def _grant(body: CreateRequest, maximal: int) -> int:
    """Return the granted access; SmbError(ACCESS_DENIED) when something asked for is missing."""
    desired = map_generic(body.desired_access)
    if body.create_disposition in TRUNCATES:
        needed = FILE_WRITE_DATA
        if body.create_disposition == FILE_SUPERSEDE:
            needed |= DELETE
        if needed & ~maximal:
            raise SmbError(NtStatus.ACCESS_DENIED)
    if desired & MAXIMUM_ALLOWED:
        desired = desired & ~MAXIMUM_ALLOWED
        if desired & ~maximal & ~SYNCHRONIZE:
            raise SmbError(NtStatus.ACCESS_DENIED)
        return maximal | desired
    if desired & ~maximal & ~SYNCHRONIZE:
        raise SmbError(NtStatus.ACCESS_DENIED)
    return desired
