"""The three messages of NTLMSSP and the AV pairs in them ([MS-NLMP] 2.2).

Everything a client sends is checked against the message's end before it is used; what does not
fit raises MalformedError.
"""

from dataclasses import dataclass
from struct import Struct

from usmbd.protocol.wire.base import Layout
from usmbd.protocol.wire.status import MalformedError

NTLMSSP_SIGNATURE = b"NTLMSSP\0"

# MessageType (2.2.1)
NTLM_NEGOTIATE = 0x00000001
NTLM_CHALLENGE = 0x00000002
NTLM_AUTHENTICATE = 0x00000003

# NegotiateFlags (2.2.2.5)
NTLMSSP_NEGOTIATE_UNICODE = 0x00000001
NTLM_NEGOTIATE_OEM = 0x00000002
NTLMSSP_REQUEST_TARGET = 0x00000004
NTLMSSP_NEGOTIATE_SIGN = 0x00000010
NTLMSSP_NEGOTIATE_SEAL = 0x00000020
NTLMSSP_NEGOTIATE_NTLM = 0x00000200
NTLMSSP_NEGOTIATE_ALWAYS_SIGN = 0x00008000
NTLMSSP_TARGET_TYPE_SERVER = 0x00020000
NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY = 0x00080000
NTLMSSP_NEGOTIATE_TARGET_INFO = 0x00800000
NTLMSSP_NEGOTIATE_VERSION = 0x02000000
NTLMSSP_NEGOTIATE_128 = 0x20000000
NTLMSSP_NEGOTIATE_KEY_EXCH = 0x40000000
NTLMSSP_NEGOTIATE_56 = 0x80000000

# AvId (2.2.2.1)
MSV_AV_EOL = 0x0000
MSV_AV_NB_COMPUTER_NAME = 0x0001
MSV_AV_NB_DOMAIN_NAME = 0x0002
MSV_AV_DNS_COMPUTER_NAME = 0x0003
MSV_AV_DNS_DOMAIN_NAME = 0x0004
MSV_AV_FLAGS = 0x0006
MSV_AV_TIMESTAMP = 0x0007
MSV_AV_TARGET_NAME = 0x0009
MSV_AV_CHANNEL_BINDINGS = 0x000A

# Values of MsvAvFlags
AV_FLAG_MIC_PROVIDED = 0x00000002

# Product 6.1, NTLMSSP_REVISION_W2K3 (2.2.2.10): what Samba says, so that no client expects more.
SERVER_VERSION = bytes((6, 1, 0, 0, 0, 0, 0, 15))

_OEM = "cp850"

MIC_SIZE = 16
SESSION_KEY_SIZE = 16

_PREFIX = Layout("<8sI")
_FLAGS = Layout("<I")
_FIELD = Layout("<HHI")
_AV_PAIR = Struct("<HH")
_CHALLENGE = Struct("<8sIHHII8s8xHHI8s")

_NEGOTIATE_FLAGS_OFFSET = 12
_AUTHENTICATE_FIELDS_OFFSET = 12
_AUTHENTICATE_FIELDS = 6
_AUTHENTICATE_FLAGS_OFFSET = 60
_MIC_OFFSET = 72

NTLM_RESPONSE_SIZE = 24
"""Bytes of an LM or NTLMv1 response (2.2.2.3, 2.2.2.6)."""

NTLMV2_RESPONSE_SIZE = 16
"""Bytes of the proof that begins an NTLMv2 response (2.2.2.8)."""

NTLMV2_AV_PAIRS_OFFSET = NTLMV2_RESPONSE_SIZE + 28
"""Where the AV pairs begin in an NTLMv2 response."""


@dataclass(frozen=True, slots=True)
class ServerNames:
    """What the CHALLENGE_MESSAGE tells of the server (2.2.2.1); empty names are left out."""

    netbios_computer: str
    netbios_domain: str
    dns_computer: str = ""
    dns_domain: str = ""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A parsed AUTHENTICATE_MESSAGE (2.2.1.3); `mic` is empty when the header lacks it."""

    lm_response: bytes
    nt_response: bytes
    domain: str
    user: str
    workstation: str
    encrypted_session_key: bytes
    flags: int
    mic: bytes


def message_type(message: memoryview) -> int:
    """Return MessageType; MalformedError unless it is a message of NTLMSSP."""
    signature, kind = _PREFIX.unpack_from(message)
    if signature != NTLMSSP_SIGNATURE:
        raise MalformedError("no NTLMSSP signature")
    return int(kind)


def parse_negotiate_flags(message: memoryview) -> int:
    """Return the flags of a NEGOTIATE_MESSAGE (2.2.1.1); its names say nothing of worth."""
    (flags,) = _FLAGS.unpack_from(message, _NEGOTIATE_FLAGS_OFFSET)
    return int(flags)


def build_challenge(flags: int, challenge: bytes, names: ServerNames, now: int) -> bytes:
    """Return a CHALLENGE_MESSAGE (2.2.1.2) with the server's names and the FILETIME `now`."""
    target = b""
    if flags & NTLMSSP_REQUEST_TARGET:
        target = names.netbios_computer.encode(encoding(flags), "replace")
    info = b"".join(
        _AV_PAIR.pack(av_id, len(value)) + value
        for av_id, value in (
            (MSV_AV_NB_DOMAIN_NAME, names.netbios_domain.encode("utf-16-le")),
            (MSV_AV_NB_COMPUTER_NAME, names.netbios_computer.encode("utf-16-le")),
            (MSV_AV_DNS_DOMAIN_NAME, names.dns_domain.encode("utf-16-le")),
            (MSV_AV_DNS_COMPUTER_NAME, names.dns_computer.encode("utf-16-le")),
            (MSV_AV_TIMESTAMP, now.to_bytes(8, "little")),
        )
        if value
    ) + _AV_PAIR.pack(MSV_AV_EOL, 0)
    target_offset = _CHALLENGE.size
    info_offset = target_offset + len(target)
    version = SERVER_VERSION if flags & NTLMSSP_NEGOTIATE_VERSION else bytes(8)
    header = _CHALLENGE.pack(
        NTLMSSP_SIGNATURE,
        NTLM_CHALLENGE,
        len(target),
        len(target),
        target_offset,
        flags,
        challenge,
        len(info),
        len(info),
        info_offset,
        version,
    )
    return header + target + info


def encoding(flags: int) -> str:
    """Return how names are written after these flags were granted (2.2.2.5).

    The OEM character set of a machine is its own affair; Samba's default is taken.
    """
    return "utf-16-le" if flags & NTLMSSP_NEGOTIATE_UNICODE else _OEM


def decode(name: bytes, names: str = "utf-16-le") -> str:
    """Return a name of the client's; MalformedError when it is not in its encoding."""
    try:
        return name.decode(names)
    except UnicodeDecodeError as error:
        raise MalformedError(f"a name is not in {names}: {error.reason}") from None


def parse_authenticate(message: memoryview, names: str = "utf-16-le") -> Authenticate:
    """Return the fields of an AUTHENTICATE_MESSAGE (2.2.1.3), whose names are in an encoding.

    Version and MIC are no part of older clients' messages: where the payload begins shows it.
    """
    payload = len(message)
    values = []
    for number in range(_AUTHENTICATE_FIELDS):
        place = _AUTHENTICATE_FIELDS_OFFSET + number * _FIELD.size
        length, _, offset = _FIELD.unpack_from(message, place)
        if not length:
            values.append(b"")
            continue
        if offset < _AUTHENTICATE_FLAGS_OFFSET or offset + length > len(message):
            raise MalformedError("a field lies outside of the AUTHENTICATE_MESSAGE")
        payload = min(payload, offset)
        values.append(bytes(message[offset : offset + length]))
    flags = 0
    if payload >= _AUTHENTICATE_FLAGS_OFFSET + _FLAGS.size:
        (flags,) = _FLAGS.unpack_from(message, _AUTHENTICATE_FLAGS_OFFSET)
    has_mic = payload >= _MIC_OFFSET + MIC_SIZE
    lm_response, nt_response, domain, user, workstation, encrypted_session_key = values
    return Authenticate(
        lm_response=lm_response,
        nt_response=nt_response,
        domain=decode(domain, names),
        user=decode(user, names),
        workstation=decode(workstation, names),
        encrypted_session_key=encrypted_session_key,
        flags=flags,
        mic=bytes(message[_MIC_OFFSET : _MIC_OFFSET + MIC_SIZE]) if has_mic else b"",
    )


def without_mic(message: bytes) -> bytes:
    """Return an AUTHENTICATE_MESSAGE with its MIC zeroed, as the MIC is computed (3.1.5.1.2)."""
    return message[:_MIC_OFFSET] + bytes(MIC_SIZE) + message[_MIC_OFFSET + MIC_SIZE :]


def parse_av_pairs(nt_response: bytes) -> dict[int, bytes]:
    """Return the AV pairs of an NTLMv2 response by AvId (2.2.2.7, 2.2.2.1).

    The end mark may be missing where the data ends, as with some old clients.
    """
    pairs: dict[int, bytes] = {}
    place = NTLMV2_AV_PAIRS_OFFSET
    while place + _AV_PAIR.size <= len(nt_response):
        av_id, length = _AV_PAIR.unpack_from(nt_response, place)
        place += _AV_PAIR.size
        if av_id == MSV_AV_EOL:
            break
        if place + length > len(nt_response):
            raise MalformedError("an AV pair is longer than the response")
        pairs[av_id] = nt_response[place : place + length]
        place += length
    return pairs
