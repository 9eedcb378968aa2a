"""From an answer to a message: header, credits, signature, encryption ([MS-SMB2] 3.3.4.1)."""

from typing import Final

from usmbd.protocol.commands.negotiate import negotiate_smb1
from usmbd.protocol.commands.request import Answer, Disconnect, Reply, Request
from usmbd.protocol.compression.transform import Payloads
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.session import Session
from usmbd.protocol.wire.error import build_error_response
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    PROCESS_ID,
    SIGNATURE_OFFSET,
    SMB2_FLAGS_ASYNC_COMMAND,
    SMB2_FLAGS_PRIORITY_MASK,
    SMB2_FLAGS_RELATED_OPERATIONS,
    SMB2_FLAGS_REPLAY_OPERATION,
    SMB2_FLAGS_SERVER_TO_REDIR,
    SMB2_FLAGS_SIGNED,
    SMB2_PROTOCOL_ID,
    Command,
    Header,
)
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.transport.base import Buffer, FileSpan, Part

_pack_header = Header.LAYOUT.pack
_NO_SIGNATURE = bytes(16)
_ECHOED_FLAGS = SMB2_FLAGS_PRIORITY_MASK | SMB2_FLAGS_REPLAY_OPERATION


LONG_REPLY: Final = 1 << 18
"""A reply of so many bytes takes up to a millisecond to protect, by HMAC-SHA256 8 MiB take 26: that
is done while the turn's slice lasts, else each connection would have one a turn for a READ."""


def to_protect(request: Request, answer: Answer) -> int:
    """Return how many bytes are to be signed or encrypted, where they are many; else 0."""
    if type(answer) is not list or (request.signer is None and request.sealed is None):
        return 0
    size = len(buffer(answer[-1]))
    return size if size >= LONG_REPLY else 0


class Replies:
    """What leaves on one connection."""

    def __init__(self, connection: Connection) -> None:
        """Begin with nothing sent."""
        self.connection = connection

    def reply(self, request: Request, answer: Answer, chained: int = 0) -> list[Part] | None:
        """Return a reply's header and body, signed; `chained` is its NextCommand."""
        status = 0
        if isinstance(answer, list):
            body = answer
        elif isinstance(answer, bytes):
            body = [answer]
        elif isinstance(answer, Reply):
            body, status = list(answer.parts), answer.status
        else:
            return None
        header = request.header
        flags = SMB2_FLAGS_SERVER_TO_REDIR | (header.flags & _ECHOED_FLAGS)
        process_id, tree_id = PROCESS_ID, header.tree_id
        if request.async_id:
            flags |= SMB2_FLAGS_ASYNC_COMMAND
            process_id, tree_id = request.async_id & 0xFFFFFFFF, request.async_id >> 32
            credits = 0
        else:
            credits = self.connection.credit_window.grant(header.credits, header.credit_charge)
        if request.chain is not None:
            flags |= header.flags & SMB2_FLAGS_RELATED_OPERATIONS
        if request.signer is not None and request.signs:
            flags |= SMB2_FLAGS_SIGNED
        packed = _pack_header(
            SMB2_PROTOCOL_ID,
            HEADER_SIZE,
            header.credit_charge,
            status,
            header.command,
            credits,
            flags,
            chained,
            header.message_id,
            process_id,
            tree_id,
            header.session_id,
            _NO_SIGNATURE,
        )
        if flags & SMB2_FLAGS_SIGNED and not chained:
            return self.sign(request, [packed, *body])
        return [packed, *body]

    def sign(self, request: Request, parts: list[Part]) -> list[Part]:
        """Put the signature into the header of one reply ([MS-SMB2] 3.3.4.1.1)."""
        signer = request.signer
        assert signer is not None
        memory = buffers(parts)
        signature = signer.sign(memory, request.header.message_id, True, False)
        header = memory[0]
        return [bytes(header[:SIGNATURE_OFFSET]) + signature, *parts[1:]]

    def interim(self, request: Request) -> list[Part]:
        """Return STATUS_PENDING, unsigned as Windows does, with the credits of the request."""
        connection, header = self.connection, request.header
        request.async_id = next(connection.async_ids)
        connection.async_command_list[request.async_id] = request
        packed = _pack_header(
            SMB2_PROTOCOL_ID,
            HEADER_SIZE,
            header.credit_charge,
            NtStatus.PENDING,
            header.command,
            connection.credit_window.grant(header.credits, header.credit_charge),
            SMB2_FLAGS_SERVER_TO_REDIR | SMB2_FLAGS_ASYNC_COMMAND,
            0,
            header.message_id,
            request.async_id & 0xFFFFFFFF,
            request.async_id >> 32,
            header.session_id,
            _NO_SIGNATURE,
        )
        return [packed, build_error_response(b"")]

    def compress(self, parts: list[Part], payloads: Payloads) -> list[Part]:
        """Put a reply's header and fixed part before its data, which is compressed (3.1.4.4)."""
        return list(payloads.message(b"".join(buffers(parts[:-1]))))

    def send(self, parts: list[Part], invalidate: int = 0) -> None:
        """Hand one message to the transport; by RDMA the peer gives up the token `invalidate`."""
        if invalidate:
            rdma = self.connection.rdma
            assert rdma is not None
            rdma.send(parts, invalidate)
        else:
            self.connection.transport.send(parts)

    def seal(self, session: Session, parts: list[Part], invalidate: int = 0) -> None:
        """Encrypt one message and hand it to the transport."""
        assert session.sealer is not None
        sealed = session.sealer.seal(
            buffers(parts), session.session_id, self.connection.transport.buffer
        )
        self.send(sealed, invalidate)  # type: ignore[arg-type]


def buffer(part: Part) -> Buffer:
    """Return a part that is known to be in memory."""
    assert not isinstance(part, FileSpan)
    return part


def buffers(parts: list[Part]) -> list[Buffer]:
    """Return the parts of a message that is signed or encrypted: all of them in memory."""
    return [buffer(part) for part in parts]


def reply_to_smb1(connection: Connection, message: memoryview) -> bytes:
    """Answer the multi-protocol NEGOTIATE with an SMB2 one ([MS-SMB2] 3.3.5.3); Disconnect."""
    try:
        body = b"".join(negotiate_smb1(connection, message))
    except SmbError as error:
        raise Disconnect("an SMB1 client") from error
    connection.credit_window.use(0, 1)
    header = Header(
        command=Command.NEGOTIATE,
        flags=SMB2_FLAGS_SERVER_TO_REDIR,
        credits=connection.credit_window.grant(1, 1),
        process_id=0,
    )
    return header.pack() + body
