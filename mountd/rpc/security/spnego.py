"""SPNEGO on a bind: tokens read and written, and the mechanism chosen ([RFC4178] 4.2, [MS-SPNG]).

mountd imports nothing of the engine, which has its own of these lines around a session setup.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from usmbd.mountd.ipc.base import MAX_MECH_LIST, MAX_MIC

SPNEGO: Final = bytes.fromhex("2b0601050502")  # 1.3.6.1.5.5.2
NTLMSSP: Final = bytes.fromhex("2b06010401823702020a")  # 1.3.6.1.4.1.311.2.2.10
KERBEROS: Final = bytes.fromhex("2a864886f712010202")  # 1.2.840.113554.1.2.2
MS_KERBEROS: Final = bytes.fromhex("2a864882f712010202")  # 1.2.840.48018.1.2.2

ACCEPT_COMPLETED, ACCEPT_INCOMPLETE = 0, 1
"""negState ([RFC4178] 4.2.2)."""

OCTETS, OID, ENUMERATED, SEQUENCE, APPLICATION = 0x04, 0x06, 0x0A, 0x30, 0x60

MAX_MECHANISMS: Final = 32
"""Mechanisms that a client may list: Windows knows five."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a client says: mechanisms in its first token, and what is for the chosen one."""

    mechanisms: tuple[bytes, ...] = ()
    mech_list: bytes = b""
    """MechTypeList as it came, which a mechListMIC signs."""
    inner: bytes = b""
    mic: bytes = b""


def parse_init(data: bytes) -> Token:
    """Read a NegTokenInit in its GSS frame ([RFC4178] 4.2.1, [RFC2743] 3.1); ValueError."""
    frame = _only(data, APPLICATION)
    kind, oid, rest = _split(frame)
    if kind != OID or oid != SPNEGO:
        raise ValueError("no token of SPNEGO")
    found = _fields(_only(_only(rest, 0xA0), SEQUENCE))
    mech_list = found.get(0xA0, b"")
    mechanisms: list[bytes] = []
    for kind, oid in _elements(_only(mech_list, SEQUENCE)):
        if kind != OID or len(mechanisms) == MAX_MECHANISMS:
            raise ValueError("a list of mechanisms that is none")
        mechanisms.append(oid)
    if len(mech_list) > MAX_MECH_LIST:
        raise ValueError("a list of mechanisms that is too long")
    mic = found.get(0xA3, b"")
    if mic[:1] != bytes((OCTETS,)):
        mic = b""  # a server's hints have the same number ([MS-SPNG] 2.2.1)
    return Token(tuple(mechanisms), mech_list, _octets(found.get(0xA2)), _mic(mic))


def parse_response(data: bytes) -> Token:
    """Read a client's NegTokenResp ([RFC4178] 4.2.2); ValueError."""
    found = _fields(_only(_only(data, 0xA1), SEQUENCE))
    return Token(inner=_octets(found.get(0xA2)), mic=_mic(found.get(0xA3)))


def _mic(element: bytes | None) -> bytes:
    """Return a mechListMIC, which mountd takes so long; ValueError."""
    mic = _octets(element or None)
    if len(mic) > MAX_MIC:
        raise ValueError("a signature that is too long")
    return mic


def response(state: int, mechanism: bytes = b"", inner: bytes = b"", mic: bytes = b"") -> bytes:
    """Return a NegTokenResp with those of its parts that are not empty."""
    parts = encode(0xA0, encode(ENUMERATED, bytes((state,))))
    if mechanism:
        parts += encode(0xA1, encode(OID, mechanism))
    if inner:
        parts += encode(0xA2, encode(OCTETS, inner))
    if mic:
        parts += encode(0xA3, encode(OCTETS, mic))
    return encode(0xA1, encode(SEQUENCE, parts))


AP_REQ: Final = b"\1\0"
"""TOK_ID of a ticket in a GSS frame ([RFC4121] 4.1)."""


def unframed(token: bytes) -> bytes:
    """Return a Kerberos token without its GSS frame ([RFC2743] 3.1), if it has one; ValueError."""
    if token[:1] != bytes((APPLICATION,)):
        return token
    kind, oid, rest = _split(_only(token, APPLICATION))
    if kind != OID or oid != KERBEROS or rest[:2] != AP_REQ:
        raise ValueError("no ticket")
    return rest[2:]


def encode(kind: int, content: bytes) -> bytes:
    """Return one element of DER ([X.690] 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes((kind, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((kind, 0x80 | len(length))) + length + content


def _split(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the kind and the content of the first element, and what follows; ValueError."""
    if len(data) < 2:
        raise ValueError("an element that is short")
    length, start = data[1], 2
    if length >= 0x80:
        size = length & 0x7F
        if not 0 < size <= 4:
            raise ValueError("an element of no length")
        start += size
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("an element that is short")
    return data[0], data[start : start + length], data[start + length :]


def _only(data: bytes, kind: int) -> bytes:
    """Return the content of the one element that is there."""
    found, content, rest = _split(data)
    if found != kind or rest:
        raise ValueError(f"an element {found:#x} where {kind:#x} has to be")
    return content


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    while content:
        kind, inner, content = _split(content)
        yield kind, inner


def _fields(content: bytes) -> dict[int, bytes]:
    """Return the elements of a sequence by their kind, which comes once."""
    found: dict[int, bytes] = {}
    for kind, inner in _elements(content):
        if kind in found:
            raise ValueError("an element that comes twice")
        found[kind] = inner
    return found


def _octets(field: bytes | None) -> bytes:
    return b"" if field is None else _only(field, OCTETS)
