"""Takes messages out of their transforms: encrypted is the outer one, compressed the inner.

[MS-SMB2] 3.3.5.2.1.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from usmbd.protocol.commands.request import Disconnect
from usmbd.protocol.compression.transform import Apart, Steps, decompress, original_size
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.wire.header import (
    COMPRESSION_PROTOCOL_ID,
    SMB2_PROTOCOL_ID,
    TransformHeader,
)
from usmbd.protocol.wire.status import MalformedError

LANE: Final = "compressed messages"
"""Of the threads; few come at a time (`Server.unpacking`)."""


class Taking(Protocol):
    """What takes the messages that come out: the dispatcher."""

    connection: Connection
    server: Server

    @property
    def message_limit(self) -> int:
        """The longest message that the client may send now."""

    def take(self, message: memoryview, sealed: Session | None) -> None:
        """Take up one request, or a compound of them."""

    def later(
        self, work: Callable[[], None], keeps: int, drop: Callable[[], None] | None = None
    ) -> None:
        """Go on with this client's work, which keeps some bytes, when others had their turn.

        Where the client has gone meanwhile, `drop()` is called instead.
        """


def take_encrypted(dispatcher: Taking, message: memoryview) -> None:
    """Decrypt a message with its session's keys ([MS-SMB2] 3.3.5.2.1.1); Disconnect."""
    connection = dispatcher.connection
    transform = TransformHeader.parse(message)
    session = connection.session_table.get(transform.session_id)
    if session is None or session.sealer is None or not session.on(connection):
        raise Disconnect("an encrypted message of an unknown session")
    try:
        plain = session.sealer.open(message, connection.transport.buffer)
    except MalformedError as error:
        raise Disconnect(f"an encrypted message that cannot be opened: {error}") from error
    session.seals = True
    if plain[:4] == SMB2_PROTOCOL_ID:
        dispatcher.take(plain, session)
    elif plain[:4] == COMPRESSION_PROTOCOL_ID:
        take_compressed(dispatcher, plain, session)
    else:
        raise Disconnect("no SMB2 message inside the encryption")


def take_compressed(dispatcher: Taking, message: memoryview, sealed: Session | None) -> None:
    """Decompress a message, in slices ([MS-SMB2] 3.3.5.2.1.2); Disconnect.

    What comes after it may overtake it, as it may a request that waits for a disk.
    """
    connection = dispatcher.connection
    compression = connection.compression
    if compression is None:
        raise Disconnect("a compressed message, which was not negotiated")
    try:
        size = original_size(
            message, compression, connection.segment_limit, dispatcher.message_limit
        )
    except MalformedError as error:
        raise Disconnect(f"a compressed message: {error}") from error
    steps, keeps = decompress(message, compression, size), len(message) + size
    if dispatcher.server.turns.full():  # messages of many clients may come in one turn
        dispatcher.later(partial(_go_on, dispatcher, steps, keeps, sealed), keeps, steps.close)
    else:
        _go_on(dispatcher, steps, keeps, sealed)


def _go_on(
    dispatcher: Taking,
    steps: Steps[memoryview],
    keeps: int,
    sealed: Session | None,
    error: BaseException | None = None,
) -> None:
    """Go on with a compressed message; give it to the dispatcher when it is whole.

    An `error` is that of a thread.
    """
    if error is not None:
        steps.close()
        raise error
    try:
        while True:
            apart = next(steps)
            if apart is not None:
                connection = dispatcher.connection
                connection.memory.keep(keeps)
                start = partial(_make, dispatcher, steps, apart, keeps, sealed)
                dispatcher.server.unpacking.begin(connection.network, start)
                return
            if dispatcher.server.turns.over():
                again = partial(_go_on, dispatcher, steps, keeps, sealed)
                dispatcher.later(again, keeps, steps.close)
                return
    except StopIteration as stop:
        plain = stop.value
    except MalformedError as malformed:
        raise Disconnect(f"a compressed message: {malformed}") from malformed
    if plain[:4] != SMB2_PROTOCOL_ID:
        raise Disconnect("no SMB2 message inside the compression")
    dispatcher.take(plain, sealed)


def _make(
    dispatcher: Taking, steps: Steps[memoryview], apart: Apart, keeps: int, sealed: Session | None
) -> bool:
    """Have a thread take the long step; False where the client has gone meanwhile."""
    connection, server = dispatcher.connection, dispatcher.server
    if connection.closed:
        connection.memory.keep(-keeps)
        steps.close()
        return False
    apart.over = server.unpacking.end
    ended = partial(_made, dispatcher, steps, keeps, sealed)
    server.threads.submit(apart.run, (), None, ended, LANE)
    return True


def _made(
    dispatcher: Taking,
    steps: Steps[memoryview],
    keeps: int,
    sealed: Session | None,
    _: object,
    error: BaseException | None,
) -> None:
    """Go on when others had their turn."""
    dispatcher.connection.memory.keep(-keeps)
    again = partial(_go_on, dispatcher, steps, keeps, sealed, error)
    dispatcher.later(again, keeps, steps.close)
