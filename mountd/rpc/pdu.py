"""Connection-oriented DCE/RPC PDUs: requests parsed, answers built (C706 12.6, [MS-RPCE] 2.2.2).

Parsers take one whole PDU and check every count against the bytes that are there; they raise
`PduError` for what breaks the framing or is short.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal
from uuid import UUID

HEADER_SIZE = 16
"""Size of the header common to all PDUs (C706 12.6.3.1)."""

PFC_FIRST_FRAG = 0x01
PFC_LAST_FRAG = 0x02
PFC_SUPPORT_HEADER_SIGN = 0x04
PFC_DID_NOT_EXECUTE = 0x20
PFC_OBJECT_UUID = 0x80

MAX_CONTEXT_ELEMENTS = 64
"""Presentation contexts looked at in one bind; Windows sends 3, the count is a byte on the wire."""

MAX_TRANSFER_SYNTAXES = 16
"""Transfer syntaxes looked at in one context; there are three that mean anything."""

NIL_UUID = UUID(int=0)
NDR = UUID("8a885d04-1ceb-11c9-9fe8-08002b104860")
"""NDR 2.0 ([MS-RPCE] 2.2.4.12)."""
NDR64 = UUID("71710533-beba-4937-8319-b5dbef9ccc36")
"""NDR64 1.0 ([MS-RPCE] 2.2.4.13)."""
BIND_TIME_FEATURES_PREFIX = UUID("6cb71c2c-9812-4540-0000-000000000000").bytes_le[:8]
"""The constant half of the bind time feature negotiation syntax ([MS-RPCE] 2.2.2.14)."""

LITTLE_ENDIAN_DREP = b"\x10\x00\x00\x00"
"""What every answer is written in: little-endian, ASCII, IEEE (C706 14.1)."""


class PduError(ValueError):
    """The bytes are no PDU that a server may receive; the association cannot go on."""


def _unpack(layout: str, pdu: bytes | bytearray | memoryview, offset: int = 0) -> tuple[Any, ...]:
    """Read values at `offset`; `PduError` when the PDU ends before they do."""
    try:
        return struct.unpack_from(layout, pdu, offset)
    except struct.error as error:
        raise PduError(str(error)) from None


class PduType(IntEnum):
    """PTYPE values of the connection-oriented protocol (C706 12.6.4)."""

    REQUEST = 0
    RESPONSE = 2
    FAULT = 3
    BIND = 11
    BIND_ACK = 12
    BIND_NAK = 13
    ALTER_CONTEXT = 14
    ALTER_CONTEXT_RESP = 15
    SHUTDOWN = 17
    CO_CANCEL = 18
    ORPHANED = 19
    AUTH3 = 16


class Fault(IntEnum):
    """Status codes of fault PDUs (C706 appendix E, [MS-RPCE] 3.1.1.5.5)."""

    ACCESS_DENIED = 0x00000005
    BAD_STUB_DATA = 0x000006F7
    OP_RNG_ERROR = 0x1C010002
    UNK_IF = 0x1C010003
    PROTO_ERROR = 0x1C01000B
    SERVER_TOO_BUSY = 0x1C010014
    UNSPECIFIED = 0x1C000012
    CONTEXT_MISMATCH = 0x1C00001A
    REMOTE_NO_MEMORY = 0x1C00001B


class ContextResult(IntEnum):
    """p_cont_def_result_t (C706 12.6.3.1, [MS-RPCE] 2.2.2.4)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    PROVIDER_REJECTION = 2
    NEGOTIATE_ACK = 3


class ProviderReason(IntEnum):
    """p_provider_reason_t: why a context was rejected (C706 12.6.3.1)."""

    NOT_SPECIFIED = 0
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 1
    PROPOSED_TRANSFER_SYNTAXES_NOT_SUPPORTED = 2
    LOCAL_LIMIT_EXCEEDED = 3


class NakReason(IntEnum):
    """p_reject_reason_t: why a whole bind was refused (C706 12.6.3.1, [MS-RPCE] 2.2.2.5)."""

    NOT_SPECIFIED = 0
    PROTOCOL_VERSION_NOT_SUPPORTED = 4
    AUTHENTICATION_TYPE_NOT_RECOGNIZED = 8


@dataclass(frozen=True, slots=True)
class Header:
    """The header common to all connection-oriented PDUs (C706 12.6.3.1)."""

    minor_version: int
    ptype: int
    flags: int
    endian: Literal["<", ">"]
    frag_length: int
    auth_length: int
    call_id: int

    @staticmethod
    def parse(buffer: bytes | bytearray | memoryview) -> "Header":
        """Read the first 16 bytes; `PduError` for another protocol or a length that lies."""
        version, minor, ptype, flags, integers, floats = _unpack("<6B", buffer)
        if version != 5 or minor > 1:
            raise PduError(f"DCE/RPC version {version}.{minor}")
        # High half of the first octet: byte order; low half: character set; second: floats.
        if integers not in (0x00, 0x10) or floats > 3:
            raise PduError(f"data representation {integers:#x} {floats:#x}")
        endian: Literal["<", ">"] = "<" if integers == 0x10 else ">"
        frag_length, auth_length, call_id = _unpack(endian + "HHI", buffer, 8)
        if frag_length < HEADER_SIZE:
            raise PduError(f"a fragment of {frag_length} bytes is shorter than its header")
        return Header(minor, ptype, flags, endian, frag_length, auth_length, call_id)


@dataclass(frozen=True, slots=True)
class Syntax:
    """p_syntax_id_t: an interface or a transfer syntax with its version (C706 12.6.3.1)."""

    uuid: UUID
    major: int
    minor: int

    def pack(self) -> bytes:
        """Return the 20 bytes of the identifier, little-endian."""
        return self.uuid.bytes_le + struct.pack("<HH", self.major, self.minor)


NO_SYNTAX = Syntax(NIL_UUID, 0, 0)
"""What stands in a result that accepts nothing."""
NDR_SYNTAX = Syntax(NDR, 2, 0)
NDR64_SYNTAX = Syntax(NDR64, 1, 0)


@dataclass(frozen=True, slots=True)
class ContextElement:
    """p_cont_elem_t: one interface with the transfer syntaxes it may be spoken in."""

    context_id: int
    abstract: Syntax
    transfers: tuple[Syntax, ...]


@dataclass(frozen=True, slots=True)
class Bind:
    """The body of bind and alter_context (C706 12.6.4.3, 12.6.4.1)."""

    max_xmit_frag: int
    max_recv_frag: int
    assoc_group_id: int
    contexts: tuple[ContextElement, ...]
    total_contexts: int


@dataclass(frozen=True, slots=True)
class Request:
    """One fragment of a request (C706 12.6.4.9)."""

    alloc_hint: int
    context_id: int
    opnum: int
    stub: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """p_result_t: the answer to one context (C706 12.6.3.1)."""

    result: ContextResult
    reason: int
    transfer: Syntax

    def pack(self) -> bytes:
        """Return the 24 bytes of the result."""
        return struct.pack("<HH", self.result, self.reason) + self.transfer.pack()


def _parse_syntax(pdu: bytes, offset: int, endian: str) -> Syntax:
    """Read a p_syntax_id_t; `PduError` when the PDU ends before it does."""
    raw, version = _unpack(endian + "16sI", pdu, offset)
    uuid = UUID(bytes_le=raw) if endian == "<" else UUID(bytes=raw)
    return Syntax(uuid, version & 0xFFFF, version >> 16)


def parse_bind(pdu: bytes, header: Header) -> Bind:
    """Read a bind or alter_context; contexts past `MAX_CONTEXT_ELEMENTS` are counted, not kept.

    Raises `PduError` when the contexts do not fit the PDU, or one holds more than
    `MAX_TRANSFER_SYNTAXES`.
    """
    endian = header.endian
    max_xmit, max_recv, group, total = _unpack(endian + "HHIB", pdu, HEADER_SIZE)
    offset = HEADER_SIZE + 12
    contexts = []
    for _ in range(min(total, MAX_CONTEXT_ELEMENTS)):
        context_id, count = _unpack(endian + "HB", pdu, offset)
        if count > MAX_TRANSFER_SYNTAXES:
            raise PduError(f"a context with {count} transfer syntaxes")
        abstract = _parse_syntax(pdu, offset + 4, endian)
        transfers = tuple(
            _parse_syntax(pdu, offset + 24 + 20 * index, endian) for index in range(count)
        )
        contexts.append(ContextElement(context_id, abstract, transfers))
        offset += 24 + 20 * count
    return Bind(max_xmit, max_recv, group, tuple(contexts), total)


def parse_request(pdu: bytes, header: Header) -> Request:
    """Read one request fragment: its stub is what follows the fixed part, without a verifier."""
    alloc_hint, context_id, opnum = _unpack(header.endian + "IHH", pdu, HEADER_SIZE)
    start = HEADER_SIZE + 8 + (16 if header.flags & PFC_OBJECT_UUID else 0)
    if start > len(pdu):
        raise PduError("the object identifier passes the end of the fragment")
    return Request(alloc_hint, context_id, opnum, bytes(pdu[start:]))


def build(ptype: PduType, call_id: int, body: bytes, flags: int = 0x03) -> bytes:
    """Put the common header before `body`; a PDU without authentication, version 5.0."""
    return (
        struct.pack("<4B", 5, 0, ptype, flags)
        + LITTLE_ENDIAN_DREP
        + struct.pack("<HHI", HEADER_SIZE + len(body), 0, call_id)
        + body
    )


def build_bind_ack(
    ptype: PduType,
    call_id: int,
    max_xmit_frag: int,
    max_recv_frag: int,
    assoc_group_id: int,
    secondary_address: bytes,
    results: Sequence[Result],
    token: bytes = b"",
    *,
    signs_headers: bool = False,
) -> bytes:
    """Build a bind_ack or alter_context_resp (C706 12.6.4.4, 12.6.4.2).

    `secondary_address` holds its NUL, or is empty (as in alter_context_resp); `token` is a
    sec_trailer with what it stands before, or nothing.
    """
    head = struct.pack(
        "<HHIH", max_xmit_frag, max_recv_frag, assoc_group_id, len(secondary_address)
    )
    head += secondary_address
    # The results are aligned to four octets, counted from the start of the PDU.
    head += bytes(-(HEADER_SIZE + len(head)) % 4)
    body = head + struct.pack("<BBH", len(results), 0, 0) + b"".join(r.pack() for r in results)
    if not token:
        return build(ptype, call_id, body)
    flags = 0x03 | (PFC_SUPPORT_HEADER_SIGN if signs_headers else 0)
    made = bytearray(build(ptype, call_id, body + token, flags))
    struct.pack_into("<H", made, 10, len(token) - 8)
    return bytes(made)


def build_bind_nak(call_id: int, reason: NakReason) -> bytes:
    """Build a bind_nak that names version 5.0 as the one spoken here (C706 12.6.4.5)."""
    return build(PduType.BIND_NAK, call_id, struct.pack("<HBBB", reason, 1, 5, 0))


def build_fault(call_id: int, context_id: int, status: int) -> bytes:
    """Build a fault for a call that was not executed (C706 12.6.4.7)."""
    body = struct.pack("<IHBBII", 0, context_id, 0, 0, status, 0)
    flags = PFC_FIRST_FRAG | PFC_LAST_FRAG | PFC_DID_NOT_EXECUTE
    return build(PduType.FAULT, call_id, body, flags)


def build_response(call_id: int, context_id: int, stub: bytes, max_frag: int) -> list[bytes]:
    """Build a response, cut into fragments of at most `max_frag` bytes (C706 12.6.4.10).

    Every fragment but the last carries a multiple of eight stub bytes, so that the alignment
    inside a fragment is that of the whole stub.
    """
    room = (max_frag - HEADER_SIZE - 8) & ~7
    fragments = []
    for offset in range(0, max(len(stub), 1), room):
        part = stub[offset : offset + room]
        flags = (PFC_FIRST_FRAG if offset == 0 else 0) | (
            PFC_LAST_FRAG if offset + room >= len(stub) else 0
        )
        body = struct.pack("<IHBB", len(stub) - offset, context_id, 0, 0) + part
        fragments.append(build(PduType.RESPONSE, call_id, body, flags))
    return fragments
