"""Which of a client's requests came too late: its channels' sequence ([MS-SMB2] 3.3.5.2.10).

A client that has lost a channel raises ChannelSequence and sends again, as replays, what was not
answered. What the lost channel still brings must change nothing any more, and a replay has to wait
until its original is over: both are told FILE_NOT_AVAILABLE.

Requests that are answered before the next is read are never outstanding beside another, so only
those that wait are counted (`wait`, `over`), and a request whose sequence is the open's costs one
comparison.
"""

from usmbd.protocol.commands.request import Request
from usmbd.protocol.state.open import Open
from usmbd.protocol.wire.header import SMB2_FLAGS_REPLAY_OPERATION, Command
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300
from usmbd.protocol.wire.status import NtStatus, SmbError

_AHEAD = 0x7FFF
"""A sequence number up to so far beyond the open's is later, any other is earlier."""


def verify(request: Request, open_: Open, modifies: bool) -> None:
    """Compare a request's ChannelSequence with its open's; SmbError(FILE_NOT_AVAILABLE)."""
    if request.connection.dialect < SMB2_DIALECT_300:
        return  # the field is reserved there
    sequence = request.header.channel_sequence
    ahead = (sequence - open_.channel_sequence) & 0xFFFF
    refused = ahead > _AHEAD
    if 0 < ahead <= _AHEAD:
        open_.outstanding_pre += open_.outstanding
        open_.outstanding = 0
        open_.channel_sequence = sequence
    if request.header.flags & SMB2_FLAGS_REPLAY_OPERATION:
        refused = refused or open_.outstanding_pre > 0
    if refused and modifies:
        raise SmbError(NtStatus.FILE_NOT_AVAILABLE)


def wait(request: Request) -> None:
    """Count a request of an open that begins to wait (Open.OutstandingRequestCount).

    A CREATE has no open yet, and may be sent again meanwhile.
    """
    if request.header.command == Command.CREATE:
        request.connection.server.replays.waits(request)
    open_: Open | None = request.open
    if open_ is None or request.counted is not None:
        return
    request.counted = open_
    if request.header.channel_sequence == open_.channel_sequence:
        open_.outstanding += 1
    else:
        open_.outstanding_pre += 1


def over(request: Request, open_: Open) -> None:
    """Count a request no more that waited: it is answered ([MS-SMB2] 3.3.4.1)."""
    request.counted = None
    if request.header.channel_sequence == open_.channel_sequence:
        open_.outstanding -= 1
    else:
        open_.outstanding_pre -= 1
