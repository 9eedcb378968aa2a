"""What the table asks of a request beside session and tree: which open it means, who signed it."""

import struct
from typing import NoReturn

from usmbd.protocol.commands import smbtorture
from usmbd.protocol.commands.binding import sign_refusal
from usmbd.protocol.commands.request import Request
from usmbd.protocol.dispatch.channel_sequence import verify
from usmbd.protocol.dispatch.table import Row
from usmbd.protocol.wire.header import (
    HEADER_SIZE,
    RELATED_ID,
    SMB2_FLAGS_RELATED_OPERATIONS,
    SMB2_FLAGS_REPLAY_OPERATION,
    SMB2_FLAGS_SIGNED,
    Command,
)
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

_file_id = struct.Struct("<QQ")


def find_optional_session(request: Request) -> None:
    """Sign the reply of a command that needs no session with the one it names, if it signed.

    SESSION_SETUP checks its own signature: only it knows which key applies.
    """
    header, connection = request.header, request.connection
    if header.flags & SMB2_FLAGS_SIGNED and header.command == Command.ECHO:
        session = connection.session_table.get(header.session_id)
        channel = session.channel_list.get(connection) if session else None
        if session is None or channel is None or channel.signer is None:
            raise SmbError(NtStatus.USER_SESSION_DELETED)
        if not channel.signer.verify(request.message):
            raise SmbError(NtStatus.ACCESS_DENIED)
        request.session = session
        request.signer = channel.signer


def refuse_without_session(request: Request) -> NoReturn:
    """SmbError(USER_SESSION_DELETED), signed where a binding's key allows ([MS-SMB2] 3.3.5.2.9)."""
    smbtorture.serve(request)
    sign_refusal(request)
    raise SmbError(NtStatus.USER_SESSION_DELETED)


def find_open(request: Request, row: Row) -> None:
    """Find the open that FileId names ([MS-SMB2] 3.3.5.2.7.2 for a compound's)."""
    try:
        persistent, volatile = _file_id.unpack_from(request.message, HEADER_SIZE + row.file_id)
    except struct.error as error:  # a Layout would cost every request a call
        raise MalformedError(str(error)) from None
    chain = request.chain
    if (
        RELATED_ID in (volatile, persistent)
        and chain is not None
        and request.header.flags & SMB2_FLAGS_RELATED_OPERATIONS
    ):
        if chain.file is None:
            raise SmbError(chain.create_failure or NtStatus.FILE_CLOSED)
        persistent, volatile = chain.file
    open_ = request.session.open_table.get(volatile)
    if open_ is None or open_.persistent_id != persistent or open_.tree is not request.tree:
        if row.file_optional:
            return  # the handler knows whether it needs one
        raise SmbError(NtStatus.FILE_CLOSED)
    if open_.replay is not None and (chain is None or chain.file != (persistent, volatile)):
        # The client has had the answer to its CREATE, which it will not repeat (Samba does so).
        request.connection.server.replays.forget(open_, open_.replay[0])
    header = request.header
    if (
        header.status & 0xFFFF != open_.channel_sequence
        or header.flags & SMB2_FLAGS_REPLAY_OPERATION
    ):
        verify(request, open_, row.modifies)
    request.open = open_
    if chain is not None:
        chain.file = (persistent, volatile)
