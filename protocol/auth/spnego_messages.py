"""The tokens of SPNEGO ([RFC4178] 4.2, [MS-SPNG] 2.2) that an acceptor reads and writes."""

from dataclasses import dataclass

from usmbd.protocol.auth import der
from usmbd.protocol.auth.der import context, encode
from usmbd.protocol.wire.status import MalformedError

SPNEGO_OID = bytes.fromhex("2b0601050502")  # 1.3.6.1.5.5.2
NTLMSSP_OID = bytes.fromhex("2b06010401823702020a")  # 1.3.6.1.4.1.311.2.2.10
KERBEROS_OID = bytes.fromhex("2a864886f712010202")  # 1.2.840.113554.1.2.2
MS_KERBEROS_OID = bytes.fromhex("2a864882f712010202")  # 1.2.840.48018.1.2.2
"""What Windows 2000 made of it, cutting a number to 16 bits; Windows still puts it first."""

# NegState ([RFC4178] 4.2.2)
ACCEPT_COMPLETED = 0
ACCEPT_INCOMPLETE = 1
REQUEST_MIC = 3

MAX_MECHANISMS = 32
"""Mechanisms that a client may list: Windows knows five."""

# What [MS-SPNG] 2.2.1 puts where RFC 2478 had the principal's name.
_HINT_NAME = b"not_defined_in_RFC4178@please_ignore"


@dataclass(frozen=True, slots=True)
class NegTokenInit:
    """A client's first token ([RFC4178] 4.2.1). `mech_list` is MechTypeList as DER, for the MIC."""

    mech_types: list[bytes]
    mech_list: bytes
    mech_token: memoryview | None
    mech_list_mic: bytes | None


@dataclass(frozen=True, slots=True)
class NegTokenResp:
    """A client's later token ([RFC4178] 4.2.2); its negState says nothing to an acceptor."""

    response_token: memoryview | None
    mech_list_mic: bytes | None


def negotiate_hint(*, kerberos: bool = False, ntlm: bool = True) -> bytes:
    """Return the NegTokenInit2 of a NEGOTIATE Response ([MS-SPNG] 2.2.1), in Windows' order."""
    offered = [MS_KERBEROS_OID, KERBEROS_OID] if kerberos else []
    if ntlm:
        offered.append(NTLMSSP_OID)
    mech_types = encode(der.SEQUENCE, *(encode(der.OBJECT_IDENTIFIER, oid) for oid in offered))
    hints = encode(der.SEQUENCE, encode(context(0), encode(der.GENERAL_STRING, _HINT_NAME)))
    token = encode(der.SEQUENCE, encode(context(0), mech_types), encode(context(3), hints))
    return encode(
        der.APPLICATION_0,
        encode(der.OBJECT_IDENTIFIER, SPNEGO_OID),
        encode(context(0), token),
    )


def parse_init(token: memoryview) -> NegTokenInit:
    """Return a NegTokenInit in its GSS frame ([RFC2743] 3.1); MalformedError if it is none."""
    tag, oid, rest = der.split(der.expect(token, der.APPLICATION_0))
    if tag != der.OBJECT_IDENTIFIER or oid != SPNEGO_OID:
        raise MalformedError("the token is not of SPNEGO")
    found = der.fields(der.expect(der.expect(rest, context(0)), der.SEQUENCE))
    mech_list = found.get(context(0))
    if mech_list is None:
        raise MalformedError("the client lists no mechanisms")
    mech_types: list[bytes] = []
    for tag, mech_type in der.elements(der.expect(mech_list, der.SEQUENCE)):
        if tag != der.OBJECT_IDENTIFIER or len(mech_types) == MAX_MECHANISMS:
            raise MalformedError("the list of mechanisms is malformed")
        mech_types.append(bytes(mech_type))
    mic = found.get(context(3))
    if mic is not None and der.split(mic)[0] != der.OCTET_STRING:
        mic = None  # a server's hints have the same number ([MS-SPNG] 2.2.1)
    return NegTokenInit(
        mech_types, bytes(mech_list), _octets(found.get(context(2))), _octet_bytes(mic)
    )


def parse_response(token: memoryview) -> NegTokenResp:
    """Return a NegTokenResp; MalformedError if it is none."""
    found = der.fields(der.expect(der.expect(token, context(1)), der.SEQUENCE))
    return NegTokenResp(_octets(found.get(context(2))), _octet_bytes(found.get(context(3))))


def build_response(
    state: int, *, mechanism: bytes = b"", token: bytes = b"", mech_list_mic: bytes = b""
) -> bytes:
    """Return a NegTokenResp with those of its parts that are not empty."""
    parts = [encode(context(0), encode(der.ENUMERATED, bytes((state,))))]
    if mechanism:
        parts.append(encode(context(1), encode(der.OBJECT_IDENTIFIER, mechanism)))
    if token:
        parts.append(encode(context(2), encode(der.OCTET_STRING, token)))
    if mech_list_mic:
        parts.append(encode(context(3), encode(der.OCTET_STRING, mech_list_mic)))
    return encode(context(1), encode(der.SEQUENCE, *parts))


def _octet_bytes(field: memoryview | None) -> bytes | None:
    """Return the content of an optional OCTET STRING, for keeps."""
    content = _octets(field)
    return None if content is None else bytes(content)


def _octets(field: memoryview | None) -> memoryview | None:
    """Return the content of an optional OCTET STRING."""
    return None if field is None else der.expect(field, der.OCTET_STRING)
