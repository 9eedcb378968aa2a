"""SMB2 LOGOFF ([MS-SMB2] 3.3.5.6)."""

from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.effects import Resume, Wait
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.logoff import LogoffRequest, LogoffResponse

_RESPONSE = LogoffResponse().pack()


def logoff(request: Request) -> Handling:
    """End the session with its tree connects and opens."""
    parse_body(LogoffRequest, request.message)
    server, session = request.connection.server, request.session

    def start(resume: Resume[None]) -> None:
        server.close_session(session, resume)

    yield Wait(start)
    return _RESPONSE
