"""FSCTL_SMBTORTURE_FORCE_UNACKED_TIMEOUT: Samba's test suite has a connection taken for cut.

No document has it. smbtorture sends it without a session, and tries then what becomes of breaks,
of requests that wait and of replays when a channel reaches nobody any more. Served where
`smbd:FSCTL_SMBTORTURE = yes` alone, as by smbd; the client harms nobody but itself with it.
"""

from typing import Final

from usmbd.protocol.commands.request import Request
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlRequest, build_ioctl_response
from usmbd.transport.base import Part

FSCTL_SMBTORTURE_FORCE_UNACKED_TIMEOUT: Final = 0x83848003


class AnsweredError(Exception):
    """A request has its answer before anything was asked of it."""

    def __init__(self, parts: list[Part]) -> None:
        """Keep the parts of its reply."""
        super().__init__()
        self.parts = parts


def serve(request: Request) -> None:
    """Take the connection for cut if this is what the request wants; AnsweredError then."""
    if (
        not request.connection.server.config.fsctl_smbtorture
        or request.header.command != Command.IOCTL
    ):
        return
    body = parse_body(IoctlRequest, request.message)
    if body.ctl_code == FSCTL_SMBTORTURE_FORCE_UNACKED_TIMEOUT and not body.input_count:
        request.connection.acknowledges = False
        raise AnsweredError(list(build_ioctl_response(body, b"")))
