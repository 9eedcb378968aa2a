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
    deletes it on close: all that would be the file's then. SHARING_VIOLATION where others have it
    or the file open.
    """
    open_, server = request.open, request.connection.server
    stream, store = open_.stream, server.store
    assert stream is not None
    if not stream.node.is_regular:
        raise SmbError(NtStatus.INVALID_PARAMETER)
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
    node = yield from Blocking(_moved, request, stream)
    open_.stream = None
    open_.stand_on(server, node)
    yield from tell(open_, of_stream(REMOVED_STREAM, stream.name))


def _moved(request: Request, stream: Stream) -> Node:
    """Put the stream's data into its file; return that, open for data."""
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
        node.write(data, 0)
        stream.delete()
        node.stat()
    except BaseException:
        node.close()
        raise
    return node
