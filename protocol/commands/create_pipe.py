"""CREATE on IPC$: a named pipe of mountd's RPC process ([MS-SMB2] 3.3.5.9)."""

from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.pipe import PIPE_STAT, Pipe
from usmbd.protocol.wire.access import FILE_ALL_ACCESS
from usmbd.protocol.wire.create import FILE_OPENED, CreateRequest, build_create_response
from usmbd.protocol.wire.status import NtStatus, SmbError


def create_pipe(request: Request, body: CreateRequest, name: str) -> Handling:
    """Open a named pipe."""
    session, tree, connection = request.session, request.tree, request.connection
    server = connection.server
    if not name or len(name) > 255:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND if name else NtStatus.ACCESS_DENIED)
    pipe = Pipe(server, name)
    place = server.pipes.take(session.proven_user, connection.network)
    try:
        yield from pipe.open(session, tree, connection.transport.peer)
        if tree.closed:  # meanwhile
            pipe.close()
            raise SmbError(NtStatus.NETWORK_NAME_DELETED)
    except BaseException:
        place.give_back()
        raise
    open_ = Open(
        session,
        tree,
        connection,
        server.store.new_open_id(),
        body.desired_access & FILE_ALL_ACCESS or FILE_ALL_ACCESS,
        pipe=pipe,
        path=name,
        place=place,
    )
    request.open = open_
    return list(
        build_create_response(
            PIPE_STAT, open_.persistent_id, open_.volatile_id, create_action=FILE_OPENED
        )
    )
