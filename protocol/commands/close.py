"""SMB2 CLOSE ([MS-SMB2] 3.3.5.10)."""

from usmbd.protocol.commands.breaks import handles_given_up
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.commands.telling import tell_all
from usmbd.protocol.effects import Blocking, OnDescriptor, Slow, Wait
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.close import (
    SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB,
    CloseRequest,
    pack_close_response,
)


def close(request: Request) -> Handling:
    """Close the open; deletes the file where that was asked for and nobody else has it open."""
    body = parse_body(CloseRequest, request.message)
    open_ = request.open
    stat = None
    data = open_.data
    if body.flags & SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB and data is not None:
        stat = yield from OnDescriptor(data.stat)
    server = request.connection.server
    if open_.delete_on_close:
        yield from handles_given_up(request, open_.key, open_)
    if open_.begin_close():
        if open_.in_use:
            yield Wait(lambda resume: open_.idle.append(resume))
        if open_.has_last_words(server):
            tell_all(server, (yield from Blocking(open_.last_words, server)))
        if open_.may_remove_name():
            tell_all(server, (yield from Blocking(open_.remove_name, server)))
        result = yield from OnDescriptor(open_.leave, server)
        if result.deletes:
            kind = Slow if open_.is_large() else Blocking
            tell_all(server, (yield from kind(open_.delete, server, result)))
        elif open_.delete_on_close:
            server.notifier.dooms(open_.key)
        server.wake_after(open_, result)
        if open_.durable is not None and open_.durable.persistent:
            yield from server.persistence.tried(open_.key)
    return pack_close_response(stat)
