"""On which channel a client is told of a break ([MS-SMB2] 3.3.4.6, 3.3.4.7)."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from usmbd.protocol.wire.header import (
    SMB2_FLAGS_SERVER_TO_REDIR,
    UNSOLICITED_MESSAGE_ID,
    Command,
    Header,
)

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection
    from usmbd.protocol.state.open import Open
    from usmbd.protocol.state.session import Session

BREAK_SECONDS = 35.0
"""A client that has not answered a break by then has lost what it held ([MS-SMB2] 3.3.2.1)."""


class Channel(NamedTuple):
    """A connection on which a session of the client is at home."""

    connection: "Connection"
    session: "Session"


def channels_of(open_: "Open") -> Iterator[Channel]:
    """Yield the living channels of an open's session, first the one that it was made on."""
    session, own = open_.session, open_.connection
    if own in session.channel_list and not own.closed:
        yield Channel(own, session)
    for connection in session.channel_list:
        if connection is not own and not connection.closed:
            yield Channel(connection, session)


def channels_of_client(
    connections: Iterable["Connection"], opens: Iterable["Open"]
) -> Iterator[Channel]:
    """Yield the living connections of a client as channels, each by the best of its sessions.

    That is one that has one of the `opens`, which the notice is about, else any.
    """
    for connection in connections:
        if connection.closed:
            continue
        sessions = [open_.session for open_ in opens if open_.session.on(connection)]
        sessions += [s for s in connection.session_table.values() if s.valid and s.on(connection)]
        if sessions:
            yield Channel(connection, sessions[0])


def send_notice(channel: Channel, body: bytes) -> None:
    """Send a break notification: unasked and unsigned, encrypted where the session is."""
    header = Header(
        command=Command.OPLOCK_BREAK,
        flags=SMB2_FLAGS_SERVER_TO_REDIR,
        message_id=UNSOLICITED_MESSAGE_ID,
        process_id=0,
    )
    parts = [header.pack(), body]
    connection, session = channel
    if session.encrypt_data and session.sealer is not None:
        connection.transport.send(session.sealer.seal(parts, session.session_id))
    else:
        connection.transport.send(parts)
