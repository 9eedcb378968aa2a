"""Message integrity of NTLM ([MS-NLMP] 3.4).

SMB2 signs with keys of its own; what NTLM signs is SPNEGO's list of mechanisms alone, by the first
message of each side.
"""

import hashlib
import hmac
import zlib

from usmbd.protocol.auth.ntlm_messages import (
    NTLMSSP_NEGOTIATE_56,
    NTLMSSP_NEGOTIATE_128,
    NTLMSSP_NEGOTIATE_KEY_EXCH,
)
from usmbd.protocol.auth.rc4 import rc4

_SIGN_MAGIC = {
    False: b"session key to client-to-server signing key magic constant\0",
    True: b"session key to server-to-client signing key magic constant\0",
}
_SEAL_MAGIC = {
    False: b"session key to client-to-server sealing key magic constant\0",
    True: b"session key to server-to-client sealing key magic constant\0",
}

_VERSION = b"\1\0\0\0"  # NTLMSSP_MESSAGE_SIGNATURE.Version (2.2.2.9.2)
_FIRST_SEQUENCE = bytes(4)
_RANDOM_PAD = bytes(4)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def sign_key(session_key: bytes, from_server: bool) -> bytes:
    """Return SIGNKEY: 16 bytes ([MS-NLMP] 3.4.5.2)."""
    return _md5(session_key + _SIGN_MAGIC[from_server])


def seal_key(flags: int, session_key: bytes, from_server: bool) -> bytes:
    """Return SEALKEY: 16 bytes, weakened unless 128 bits were negotiated ([MS-NLMP] 3.4.5.3)."""
    if not flags & NTLMSSP_NEGOTIATE_128:
        session_key = session_key[: 7 if flags & NTLMSSP_NEGOTIATE_56 else 5]
    return _md5(session_key + _SEAL_MAGIC[from_server])


def first_mac(flags: int, session_key: bytes, from_server: bool, message: bytes) -> bytes:
    """Return the first signature of a direction, with session security ([MS-NLMP] 3.4.4.2)."""
    key = sign_key(session_key, from_server)
    checksum = hmac.digest(key, _FIRST_SEQUENCE + message, "md5")[:8]
    if flags & NTLMSSP_NEGOTIATE_KEY_EXCH:
        checksum = rc4(seal_key(flags, session_key, from_server), checksum)
    return _VERSION + checksum + _FIRST_SEQUENCE


def plain_macs(session_key: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Return both sides' signatures of a message, without extended session security (3.4.4.1).

    The client's is the first, the server's the second one of a stream and a count that serve both
    directions, as with Samba. NTLMSSP_NEGOTIATE_LM_KEY alone would weaken the key (3.4.5.3).
    """
    checksum = zlib.crc32(message).to_bytes(4, "little")
    clear = b"".join(_RANDOM_PAD + checksum + number.to_bytes(4, "little") for number in (0, 1))
    sealed = rc4(session_key, clear)
    return _VERSION + sealed[:12], _VERSION + sealed[12:]
