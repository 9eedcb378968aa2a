"""A compound: several requests in one message, several replies in one ([MS-SMB2] 3.3.5.2.7)."""

import struct
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol

from usmbd.protocol.commands.request import Answer, Disconnect, Reply, Request
from usmbd.protocol.dispatch.replies import LONG_REPLY, Replies, buffer, buffers
from usmbd.protocol.state.connection import REPLY_SLACK, Connection
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    NEXT_COMMAND_OFFSET,
    SMB2_FLAGS_RELATED_OPERATIONS,
    SMB2_PROTOCOL_ID,
    Command,
    Header,
)
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.base import Buffer, Part

MAXIMUM_COMPOUND = 512
"""Elements of one compound. Clients send 3 to 6, Samba's tests 500; each costs a reply."""


class Suspended(Enum):
    """What stands for the answer of a request that waits."""

    SUSPENDED = auto()


SUSPENDED: Final = Suspended.SUSPENDED

Outcome = Answer | Suspended
"""What comes of running a request: its answer, or that it waits."""

SMALL_REPLY = 1024
"""Replies up to here always have room: 512 of them fit above the maximum. (By RDMA 512 errors do;
a client that asks for more at once has to be disconnected.)"""

_NOT_TO_BE_RELATED_TO = (NtStatus.USER_SESSION_DELETED, NtStatus.NETWORK_NAME_DELETED)
"""After a request without a session or tree a related one has none either: INVALID_PARAMETER."""


class Dispatching(Protocol):
    """What a compound needs of the dispatcher: the way of one request, in steps."""

    connection: Connection
    server: Server
    replies: Replies

    def later(self, work: Callable[[], None], keeps: int) -> None:
        """Go on with this client's work, which keeps some bytes, when others had their turn."""

    def begin(self, request: Request, sealed: Session | None) -> Outcome:
        """Run one request; SUSPENDED when it waits."""

    def failure(self, request: Request, error: BaseException) -> Reply:
        """Turn an exception into an answer."""


class Chain:
    """A compound: its requests one after the other, its replies in one message.

    Related requests take session, tree and file from the one before ([MS-SMB2] 3.3.5.2.7).
    """

    __slots__ = (
        "_count",
        "_dispatcher",
        "_offset",
        "_replies",
        "_sealed",
        "_size",
        "create_failure",
        "described",
        "file",
        "last",
        "message",
        "previous",
        "replies",
    )

    def __init__(
        self, dispatcher: Dispatching, message: memoryview, sealed: Session | None
    ) -> None:
        """Take a compound message."""
        self._dispatcher = dispatcher
        self._replies = dispatcher.replies
        self.message = message
        self._sealed = sealed
        self._offset = 0
        self._count = 0
        self._size = 0
        self.previous: Header | None = None
        self.file: tuple[int, int] | None = None
        self.create_failure: NtStatus | None = None
        self.last = False
        self.described: Open | None = None
        """What the CREATE just before has opened and looked at; None where the rest had to wait."""
        self.replies: list[tuple[Request, list[Part], bool]] = []
        """What is to be sent; False: it is an interim response."""

    def run(self) -> None:
        """Take up the requests until one waits or others are due; send the replies at the end."""
        dispatcher, began = self._dispatcher, 0.0
        turns = dispatcher.server.turns
        while self._offset < len(self.message):
            request = self._next()
            answer = self._related(request) or dispatcher.begin(request, self._sealed)
            if answer is SUSPENDED:
                return
            self._add(request, answer)
            if self._offset >= len(self.message):
                break
            began = turns.served(began)
            if not began:
                self.described = None
                dispatcher.later(self.run, len(self.message))
                return
        if self._size >= LONG_REPLY and turns.over():
            dispatcher.later(self.send, self._size)
            return
        self.send()

    def go_on(self, request: Request, answer: Answer) -> None:
        """Take the answer of the request that waited and run on."""
        self._add(request, answer)
        self.run()

    def rest(self) -> int:
        """Give the memory back of what is done; return the bytes that are to come."""
        self.message = memoryview(bytearray(self.message[self._offset :]))
        self._offset = 0
        return len(self.message)

    def _next(self) -> Request:
        """Cut the next request out of the message."""
        rest = self.message[self._offset :]
        header = Header.parse(rest)
        self._count += 1
        if header.protocol_id != SMB2_PROTOCOL_ID or self._count > MAXIMUM_COMPOUND:
            raise Disconnect("a malformed compound")
        size = header.next_command or len(rest)
        if size < HEADER_SIZE or size > len(rest) or (header.next_command and size % 8):
            raise Disconnect("NextCommand is wrong")
        self._offset += size
        self.last = self._offset >= len(self.message)
        request = Request(self._dispatcher.connection, header, rest[:size])
        request.sealed = self._sealed
        request.chain = self
        return request

    def _related(self, request: Request) -> Reply | None:
        """Give a related request the ids of the one before; an answer when that cannot be."""
        header, previous = request.header, self.previous
        if not header.flags & SMB2_FLAGS_RELATED_OPERATIONS:
            self.previous = header
            self.file = self.create_failure = None
            return None
        if previous is None:
            self._dispatcher.connection.credit_window.use(header.message_id, 1)
            return self._dispatcher.failure(request, SmbError(NtStatus.INVALID_PARAMETER))
        header.session_id = previous.session_id
        header.tree_id = previous.tree_id
        self.previous = header
        return None

    def _add(self, request: Request, answer: Answer) -> None:
        """Keep a reply; remember what a later related request needs of it."""
        header = request.header
        if isinstance(answer, Reply) and answer.status in _NOT_TO_BE_RELATED_TO:
            self.previous = None
        if header.command != Command.CREATE:
            self.described = None
        elif isinstance(answer, Reply):
            self.file, self.create_failure, self.described = None, answer.status, None
        elif request.open is not None:
            self.file = (request.open.persistent_id, request.open.volatile_id)
        size = sum(map(len, _body(answer)))
        self._size += size
        if self._size > self._dispatcher.connection.max_compound_reply and size > SMALL_REPLY:
            self._size -= size
            error = SmbError(NtStatus.INSUFFICIENT_RESOURCES)
            answer = self._dispatcher.failure(request, error)
        parts = self._replies.reply(request, answer, chained=1)
        if parts is not None:
            self.replies.append((request, parts, True))

    def send(self) -> None:
        """Send all replies in one message: aligned to 8 bytes, each signed for itself."""
        message: list[Part] = []
        replies, self.replies = self.replies, []
        for index, (request, parts, final) in enumerate(replies):
            header = bytearray(buffer(parts[0]))
            size = sum(len(buffer(part)) for part in parts)
            following = (size + 7) & ~7
            if following > size and len(replies) > 1:
                parts.append(bytes(following - size))  # the last as well, as Windows and Samba do
            if index == len(replies) - 1:
                following = 0
            struct.pack_into("<I", header, NEXT_COMMAND_OFFSET, following)
            parts[0] = bytes(header)
            if request.signer is not None and request.signs and final:
                parts = self._replies.sign(request, parts)
            message += parts
        if not message:
            return
        rdma = self._dispatcher.connection.rdma
        if rdma is not None and (
            sum(len(buffer(part)) for part in message) > rdma.max_message - REPLY_SLACK
        ):
            rdma.close("a compound whose replies are too long")
            return
        # One token can go with a message: later ones are the client's to invalidate
        # ([MS-SMBD] 3.1.5.8). What only became pending has its memory in use.
        tokens = (request.invalidate for request, _, final in replies if final)
        invalidate = next(filter(None, tokens), 0)
        if self._sealed is not None:
            self._replies.seal(self._sealed, message, invalidate)
        else:
            self._replies.send(message, invalidate)


def _body(answer: Answer) -> list[Buffer]:
    """Return the parts of an answer's body."""
    if isinstance(answer, bytes):
        return [answer]
    if isinstance(answer, Reply):
        return buffers(list(answer.parts))
    return buffers(answer) if isinstance(answer, list) else []
