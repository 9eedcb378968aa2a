"""SMB2 LOGOFF ([MS-SMB2] 3.3.5.6)."""

from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.logoff import LogoffRequest, LogoffResponse

_RESPONSE = LogoffResponse().pack()


def logoff(request: Request) -> Answer:
    """End the session with its tree connects and opens; the reply is still signed by it."""
    parse_body(LogoffRequest, request.message)
    session = request.session
    channel = session.channel_list.get(request.connection)
    request.connection.server.close_session(session)
    if channel is not None:
        # The reply's signature needs the key for this one moment.
        session.channel_list[request.connection] = channel
    return _RESPONSE
