"""SMB2 LOGOFF ([MS-SMB2] 3.3.5.6)."""

from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.logoff import LogoffRequest, LogoffResponse

_RESPONSE = LogoffResponse().pack()


def logoff(request: Request) -> Answer:
    """End the session with its tree connects and opens."""
    parse_body(LogoffRequest, request.message)
    request.connection.server.close_session(request.session)
    return _RESPONSE
