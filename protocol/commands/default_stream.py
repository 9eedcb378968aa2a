"""A named stream that becomes the data of its file ([MS-FSA] 2.1.5.15.11: a new name `::$DATA`)."""

from usmbd.protocol.commands import security
from usmbd.protocol.commands.breaks import handles_given_up
from usmbd.protocol.commands.request import Request
from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, Waiting
from usmbd.protocol.state.notify.change import REMOVED_STREAM, of_stream
from usmbd.protocol.state.store.records import base_key
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import Stream
from usmbd.protocol.wire.access import FILE_WRITE_DATA
from usmbd.protocol.wire.status import NtStatus, SmbError


def become_data(request: Request, *, replace: bool) -> Waiting[None]:
    """Go on with the file's data in the place of a stream, which has its name no more.

    A file has data always, so it takes `replace`, and what is not empty is not replaced:
    SmbError(OBJECT_NAME_COLLISION). NOT_SUPPORTED for who caches or has locked the stream, or
    deletes it on close: all that would be the file's then. ACCESS_DENIED for what macOS keeps,
    which has one name. SHARING_VIOLATION where others have it or the file open.
    """
    open_, server = request.open, request.connection.server
    stream, store = open_.stream, server.store
    assert stream is not None
    if not stream.node.is_regular:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if type(stream) is not Stream:
        raise SmbError(NtStatus.ACCESS_DENIED)
    if not replace:
        raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
    if open_.oplock_level or open_.lock_count or open_.delete_on_close:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if store.is_delete_pending(open_.key):
        raise SmbError(NtStatus.DELETE_PENDING)
    file = base_key(open_.key)
    yield from handles_given_up(request, file, None)
    if store.count_opens(open_.key) > 1 or store.count_opens(file):
        raise SmbError(NtStatus.SHARING_VIOLATION)
    key = open_.key
    waiters = yield from Blocking(_move, request, stream)
    server.wake_workers(key, waiters)
    yield from tell(open_, of_stream(REMOVED_STREAM, stream.name))


def _move(request: Request, stream: Stream) -> tuple[int, ...]:
    """Put the stream's data into its file, and have the open stand on that; return whom to wake.

    Nobody comes between: before anything is looked at, the stream is delete pending, and the open
    has the file too, which it shares with nobody until it is done.
    """
    open_, store = request.open, request.connection.server.store
    key, file, open_id = open_.key, base_key(open_.key), open_.persistent_id
    store.set_delete_pending(key, open_id, True)
    try:
        record, *others = store.opens(key)
        if others:
            raise SmbError(NtStatus.SHARING_VIOLATION)
        share_access, record.share_access = record.share_access, 0
        store.add_open(file, record)
        try:
            node = _moved(request, stream)
        except BaseException:
            store.remove_open(file, open_id)
            raise
    except BaseException:
        store.set_delete_pending(key, open_id, False)
        raise
    record.share_access = share_access
    store.update_open(file, record)
    store.remove_open(key, open_id)
    waiters = store.deleted(key)
    open_.stream = None
    open_.hold(node, file)
    return waiters


def _moved(request: Request, stream: Stream) -> Node:
    """Put the stream's data into its file and delete it; return the file, open for data."""
    if not security.maximal_access(request, stream.node, FILE_WRITE_DATA) & FILE_WRITE_DATA:
        raise SmbError(NtStatus.ACCESS_DENIED)
    volume = request.tree.volume
    assert volume is not None
    node = volume.lookup(stream.node.path)
    try:
        if node.inode != stream.node.inode:
            raise SmbError(NtStatus.FILE_DELETED)
        node.open_data(read=True, write=True)
        if node.size():
            raise SmbError(NtStatus.OBJECT_NAME_COLLISION)
        data = bytearray(stream.stat().size)
        stream.read_into([data], 0)
        try:
            if node.write(data, 0) < len(data):
                raise SmbError(NtStatus.DISK_FULL)
            stream.delete()
        except BaseException:
            node.truncate(0)
            raise
        node.stat()
    except BaseException:
        node.close()
        raise
    return node
