"""FSCTLs that get, set and delete reparse points ([MS-FSA] 2.1.5.10.14, .38 and .3)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking
from usmbd.protocol.state.notify.change import modified
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.store.records import OPEN_DELETE_ON_CLOSE, OPEN_DIRECTORY, file_key
from usmbd.protocol.vfs import reparse_points, stored_reparse
from usmbd.protocol.vfs.links import target_of
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA
from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_ATTRIBUTES
from usmbd.protocol.wire.fscc.attributes import IO_REPARSE_TAG_SYMLINK
from usmbd.protocol.wire.fscc.reparse import (
    build_relative_symlink,
    build_reparse_point,
    link_of,
    parse_reparse_point,
)
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.protocol.wire.status import NtStatus, SmbError


def get_reparse_point(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_GET_REPARSE_POINT: links that stay in the share, special files, what clients set.

    Where a link leads that leaves the share belongs to the file system below: NOT_SUPPORTED.
    """
    output = yield from Blocking(_get, _file(request).node)
    if body.max_output_response < len(output):
        raise SmbError(NtStatus.BUFFER_TOO_SMALL)
    return list(build_ioctl_response(body, output))


def _get(node: Node) -> bytes:
    """Return the reparse point as it is now."""
    tag = node.stat().reparse_tag
    if not tag:
        raise SmbError(NtStatus.NOT_A_REPARSE_POINT)
    stored = stored_reparse.read(node.xattr_target()) if node.has_xattrs else None
    is_link = tag == IO_REPARSE_TAG_SYMLINK
    if stored is not None:
        is_link = link_of(parse_reparse_point(memoryview(stored))) is not None
    target = target_of(node) if is_link else None
    if is_link and target is None:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if stored is not None:
        return stored
    return build_relative_symlink(target) if target is not None else build_reparse_point(tag)


def set_reparse_point(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_SET_REPARSE_POINT: a link, a special file, or what another program means by it."""
    _file(request).require(FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES)
    return _change(request, body, data, _set)


def delete_reparse_point(request: Request, body: IoctlRequest, data: memoryview) -> Handling:
    """FSCTL_DELETE_REPARSE_POINT: what is left is an empty file, or the directory."""
    _file(request).require(FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES)
    return _change(request, body, data, _delete)


def _change(
    request: Request,
    body: IoctlRequest,
    data: memoryview,
    change: Callable[[Request, memoryview], tuple[int, ...]],
) -> Handling:
    """Change the open's file, and tell."""
    key = request.open.key
    waiters = yield from Blocking(change, request, data)
    request.connection.server.wake_workers(key, waiters)
    yield from tell(request.open, modified(FILE_NOTIFY_CHANGE_ATTRIBUTES))
    return list(build_ioctl_response(body))


def _set(request: Request, data: memoryview) -> tuple[int, ...]:
    """Make a reparse point of the file, or put a link or special file in its place.

    Returns whom to wake, as `_stand_on`.
    """
    open_, point = request.open, parse_reparse_point(data)
    buffer = build_reparse_point(point.tag, bytes(point.data), point.guid)
    # A link or a FIFO has no descriptor; by the POSIX extensions its mode says all.
    bare = open_.node.volume.options.posix or not request.tree.share.acl_xattr
    with _alone(request) as alone:
        made = reparse_points.set_point(open_.node, point, buffer, may_replace=bare and alone)
        return () if made is None else _stand_on(request, made)


def _delete(request: Request, data: memoryview) -> tuple[int, ...]:
    """Make a file of a reparse point; return whom to wake."""
    open_ = request.open
    if not open_.node.stat().reparse_tag:
        raise SmbError(NtStatus.NOT_A_REPARSE_POINT)
    point = parse_reparse_point(data)
    with _alone(request) as alone:
        made = reparse_points.remove_point(open_.node, point, may_replace=alone)
        return () if made is None else _stand_on(request, made)


def _stand_on(request: Request, node: Node) -> tuple[int, ...]:
    """Have the open go on with another inode, which has taken the place and name of its own.

    Nobody else has either open: the old one is delete pending. Returns who has waited for that.
    """
    open_, store = request.open, request.connection.server.store
    stat = node.last_stat
    key = file_key(stat.dev, stat.ino)
    (record,) = store.opens(open_.key)
    flags = record.flags & ~OPEN_DIRECTORY
    record.flags &= ~OPEN_DELETE_ON_CLOSE  # the name is the new one's
    store.update_open(open_.key, record)
    store.remove_open(open_.key, open_.persistent_id)
    waiters = store.deleted(open_.key)
    record.flags = flags
    path = open_.tree.disk_path(node.path) if flags & OPEN_DELETE_ON_CLOSE else ""
    store.add_open(key, record, path, user=open_.tree.identity.ids)
    open_.hold(node, key)
    return waiters


@contextmanager
def _alone(request: Request) -> Iterator[bool]:
    """Say whether nobody knows the inode but this open, which does not promise to keep it.

    If so nobody opens it meanwhile: as one that is to be deleted.
    """
    open_, store = request.open, request.connection.server.store
    if (
        store.count_opens(open_.key) > 1
        or store.is_delete_pending(open_.key)
        or open_.oplock_level
        or open_.durable is not None
        or open_.lock_count
        or open_.watch is not None
        or open_.enumeration is not None
    ):
        yield False
        return
    key = open_.key
    store.set_delete_pending(key, open_.persistent_id, True)
    try:
        yield store.count_opens(key) == 1 and not store.stream_opens(key)
    finally:
        if open_.key == key:
            store.set_delete_pending(key, open_.persistent_id, False)


def _file(request: Request) -> Open:
    """Return the open of a file or directory, not of a stream."""
    if request.open is None:
        raise SmbError(NtStatus.FILE_CLOSED)
    open_ = request.open
    if open_.pipe is not None:
        raise SmbError(NtStatus.INVALID_DEVICE_REQUEST)
    if open_.stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return open_
