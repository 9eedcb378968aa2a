"""The check of an NTLMv2 proof ([MS-NLMP] 3.3.2), where the hashes are.

The engine never sees a password's hash: it hands over what the client proved and gets the
session's base key, which is worth nothing for another login.
"""

import hashlib
import hmac

# NTProofStr, and the least of NTLMv2_CLIENT_CHALLENGE: 28 bytes and an AV pair ([MS-NLMP] 2.2.2.7).
PROOF_SIZE = 16
MIN_NT_RESPONSE = PROOF_SIZE + 28


def upper(text: str) -> str:
    """Return the text in upper case one to one, as Windows does it (U+00DF stays)."""
    return "".join(up if len(up := c.upper()) == 1 else c for c in text)


def nt_owf_v2(nt_hash: bytes, user: str, domain: str) -> bytes:
    """Return NTOWFv2, the response key, for the user and domain as the client sent them."""
    identity = (upper(user) + domain).encode("utf-16-le", "surrogatepass")
    return hmac.digest(nt_hash, identity, hashlib.md5)


def verify(
    nt_hash: bytes, user: str, domain: str, server_challenge: bytes, nt_response: bytes
) -> bytes | None:
    """Return the SessionBaseKey (16 bytes), or None when the proof is not this hash's.

    NTLMv1 responses (24 bytes) are too short to be taken for NTLMv2 and refused with it.
    """
    if len(nt_response) < MIN_NT_RESPONSE:
        return None
    key = nt_owf_v2(nt_hash, user, domain)
    proof, blob = nt_response[:PROOF_SIZE], nt_response[PROOF_SIZE:]
    expected = hmac.digest(key, server_challenge + blob, hashlib.md5)
    if not hmac.compare_digest(expected, proof):
        return None
    return hmac.digest(key, expected, hashlib.md5)
