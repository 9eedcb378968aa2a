"""SMB2 NEGOTIATE ([MS-SMB2] 2.2.3, 2.2.4) and the SMB1 form that leads to it.

The negotiate contexts of 3.1.1 are in `negotiate_contexts`.
"""

import struct

from usmbd.protocol.wire.base import Buffer, Layout, bytes16, u16, u32, u64
from usmbd.protocol.wire.body import Body, Parts, buffer_at
from usmbd.protocol.wire.header import HEADER_SIZE, SMB1_PROTOCOL_ID, SMB2_PROTOCOL_ID
from usmbd.protocol.wire.negotiate_contexts import (
    NegotiateContexts,
    build_contexts,
    parse_contexts,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

NO_GUID = bytes(16)
"""ClientGuid of a client that does not tell any."""

_COMMAND = slice(12, 14)
_CLIENT_GUID = slice(HEADER_SIZE + 12, HEADER_SIZE + 28)

# SecurityMode
SMB2_NEGOTIATE_SIGNING_ENABLED = 0x0001
SMB2_NEGOTIATE_SIGNING_REQUIRED = 0x0002

# Dialects
SMB2_DIALECT_202 = 0x0202
SMB2_DIALECT_210 = 0x0210
SMB2_DIALECT_300 = 0x0300
SMB2_DIALECT_302 = 0x0302
SMB2_DIALECT_311 = 0x0311
# Answer to a multi-protocol NEGOTIATE with SMB1_DIALECT_2XX: the client asks again in SMB2.
SMB2_DIALECT_WILDCARD = 0x02FF

# Capabilities
SMB2_GLOBAL_CAP_DFS = 0x00000001
SMB2_GLOBAL_CAP_LEASING = 0x00000002
SMB2_GLOBAL_CAP_LARGE_MTU = 0x00000004
SMB2_GLOBAL_CAP_MULTI_CHANNEL = 0x00000008
SMB2_GLOBAL_CAP_PERSISTENT_HANDLES = 0x00000010
SMB2_GLOBAL_CAP_DIRECTORY_LEASING = 0x00000020
SMB2_GLOBAL_CAP_ENCRYPTION = 0x00000040
SMB2_GLOBAL_CAP_NOTIFICATIONS = 0x00000080

# Dialect strings of the SMB1 form ([MS-SMB2] 3.3.5.3)
SMB1_DIALECT_202 = "SMB 2.002"
SMB1_DIALECT_2XX = "SMB 2.???"

SMB1_COMMAND_NEGOTIATE = 0x72
# The SMB1 header, WordCount (u8, 0 here) and ByteCount (u16) ([MS-CIFS] 2.2.3, 2.2.4.52.1).
SMB1_HEADER_SIZE = 32
SMB1_BUFFER_FORMAT_DIALECT = 0x02

_SMB1_COUNTS = Layout("<BH")


class NegotiateRequest(Body, size=36):
    """SMB2 NEGOTIATE Request ([MS-SMB2] 2.2.3), before Dialects.

    The last eight bytes are ClientStartTime below 3.1.1: `parse_negotiate_contexts` only
    when Dialects has 3.1.1.
    """

    structure_size: u16 = 36
    dialect_count: u16
    security_mode: u16
    reserved: u16 = 0
    capabilities: u32
    client_guid: bytes16
    negotiate_context_offset: u32 = 0
    negotiate_context_count: u16 = 0
    reserved2: u16 = 0


class NegotiateResponse(Body, size=64):
    """SMB2 NEGOTIATE Response ([MS-SMB2] 2.2.4), before Buffer and NegotiateContextList."""

    structure_size: u16 = 65
    security_mode: u16
    dialect_revision: u16
    negotiate_context_count: u16 = 0
    server_guid: bytes16
    capabilities: u32
    max_transact_size: u32
    max_read_size: u32
    max_write_size: u32
    system_time: u64
    server_start_time: u64 = 0
    security_buffer_offset: u16 = 0
    security_buffer_length: u16 = 0
    negotiate_context_offset: u32 = 0


def parse_dialects(message: memoryview, request: NegotiateRequest) -> tuple[int, ...]:
    """Return Dialects in the client's order; SmbError(INVALID_PARAMETER) when there are none."""
    count = request.dialect_count
    if not count:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    data = buffer_at(message, HEADER_SIZE + NegotiateRequest.SIZE, 2 * count, NegotiateRequest.SIZE)
    return struct.unpack(f"<{count}H", data)


def parse_negotiate_contexts(message: memoryview, request: NegotiateRequest) -> NegotiateContexts:
    """Return the contexts of a 3.1.1 request; SmbError(INVALID_PARAMETER) on any bad one."""
    dialects_end = HEADER_SIZE + NegotiateRequest.SIZE + 2 * request.dialect_count
    offset = request.negotiate_context_offset
    if offset < dialects_end or offset % 8 or offset > len(message):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return parse_contexts(message[offset:], request.negotiate_context_count)


def build_negotiate_response(
    response: NegotiateResponse,
    token: bytes,
    contexts: list[tuple[int, bytes]] | None = None,
) -> Parts:
    """Return the body of `response` with the security `token` and (3.1.1) `contexts`.

    Sets the offsets, lengths and count in `response`; contexts are (ContextType, Data).
    """
    response.security_buffer_offset = HEADER_SIZE + NegotiateResponse.SIZE
    response.security_buffer_length = len(token)
    if not contexts:
        return [response.pack(), token]
    padding = bytes(-len(token) % 8)
    response.negotiate_context_count = len(contexts)
    response.negotiate_context_offset = response.security_buffer_offset + len(token) + len(padding)
    return [response.pack(), token, padding, build_contexts(contexts)]


def is_smb1_negotiate(message: Buffer) -> bool:
    """Tell whether `message` is an SMB1 NEGOTIATE, the only SMB1 that is answered."""
    return (
        len(message) > SMB1_HEADER_SIZE
        and bytes(message[:4]) == SMB1_PROTOCOL_ID
        and message[4] == SMB1_COMMAND_NEGOTIATE
    )


def client_guid(message: Buffer) -> bytes:
    """Return ClientGuid of an SMB2 NEGOTIATE ([MS-SMB2] 2.2.3); `NO_GUID` when there is none.

    Nothing else of it is looked at: who gets the message checks it.
    """
    start = bytes(message[: HEADER_SIZE + NegotiateRequest.SIZE])
    whole = len(start) == HEADER_SIZE + NegotiateRequest.SIZE
    if not whole or start[:4] != SMB2_PROTOCOL_ID or start[_COMMAND] != b"\0\0":
        return NO_GUID
    return start[_CLIENT_GUID]


def parse_smb1_dialects(message: memoryview) -> list[str]:
    """Return the dialect strings of an SMB1 NEGOTIATE ([MS-CIFS] 2.2.4.52.1).

    SmbError(INVALID_PARAMETER) when the counts do not fit or a string is not terminated.
    """
    word_count, byte_count = _SMB1_COUNTS.unpack_from(message, SMB1_HEADER_SIZE)
    start = SMB1_HEADER_SIZE + 3
    if word_count or start + byte_count > len(message):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    dialects = bytes(message[start : start + byte_count]).split(b"\0")
    if dialects.pop() or any(d[:1] != bytes([SMB1_BUFFER_FORMAT_DIALECT]) for d in dialects):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return [dialect[1:].decode("latin-1") for dialect in dialects]
