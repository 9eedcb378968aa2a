"""SMB2 ECHO ([MS-SMB2] 3.3.5.17)."""

from usmbd.protocol.commands.request import Answer, Request
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.echo import EchoRequest, EchoResponse

_RESPONSE = EchoResponse().pack()


def echo(request: Request) -> Answer:
    """Say that the server is there."""
    parse_body(EchoRequest, request.message)
    return _RESPONSE
