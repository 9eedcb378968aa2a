"""SMB2 CHANGE_NOTIFY ([MS-SMB2] 3.3.5.19): wait for changes in a directory.

The first request of an open begins its watch, which goes on between requests; filter and flag of
later ones do not count, nor does their length beyond that of the first ([MS-CIFS] 3.3.5.59.4).
"""

from usmbd.protocol.commands.request import Answer, Handling, Reply, Request
from usmbd.protocol.effects import Wait
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.change_notify import (
    SMB2_WATCH_TREE,
    ChangeNotifyRequest,
    build_change_notify_response,
)
from usmbd.protocol.wire.status import NtStatus, SmbError


def change_notify(request: Request) -> Answer | Handling:
    """Answer with what has changed in a directory, now or when something does.

    A reserved flag is refused, a reserved bit of CompletionFilter is one that nothing matches, as
    with Windows and smbd. NOT_IMPLEMENTED without `change notify`, as smbd answers.
    """
    body = parse_body(ChangeNotifyRequest, request.message)
    connection, open_ = request.connection, request.open
    length = body.output_buffer_length
    if length > connection.max_transact_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, length)
    if body.flags & ~SMB2_WATCH_TREE:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if open_.pipe is not None or not open_.node.is_directory or open_.stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    open_.require(FILE_LIST_DIRECTORY)
    if not connection.server.config.change_notify:
        raise SmbError(NtStatus.NOT_IMPLEMENTED)
    watch = _watch(request, body)
    if watch.ready:
        return _changes(watch, length)
    return _wait(watch, length)


def _watch(request: Request, body: ChangeNotifyRequest) -> Watch:
    """Return the open's watch, up to date; one that has ended is followed by another."""
    open_, server = request.open, request.connection.server
    watch = open_.watch
    if watch is not None and not watch.ended:
        server.notifier.catch_up()
        return watch
    if server.store.is_delete_pending(open_.key):
        raise SmbError(NtStatus.DELETE_PENDING)
    tree = bool(body.flags & SMB2_WATCH_TREE)
    length = body.output_buffer_length
    open_.watch = server.notifier.watch(open_, body.completion_filter, tree, length)
    return open_.watch


def _wait(watch: Watch, length: int) -> Handling:
    """Wait for a change; CANCEL, the end of the open and the directory's end it, too."""
    yield Wait(watch.wait, interim=True)
    return _changes(watch, length)


def _changes(watch: Watch, length: int) -> Answer:
    """Answer with what the client has not been told, or have it list the directory.

    NOTIFY_ENUM_DIR comes with a CHANGE_NOTIFY Response ([MS-SMB2] 3.3.4.4).
    """
    data = watch.take(length)
    if data is None:
        return Reply(build_change_notify_response(), NtStatus.NOTIFY_ENUM_DIR)
    return list(build_change_notify_response(data))
