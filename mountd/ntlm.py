"""The check of an NTLM proof ([MS-NLMP] 3.3), where the hashes are.

The engine never sees a password's hash: it hands over what the client proved and gets the key of
that login. An NTLMv1 proof has 24 bytes, an NTLMv2 proof more: none is ever tried as the other.
"""

import hashlib
import hmac

from usmbd.mountd.des import desl
from usmbd.mountd.md4 import md4

# NTProofStr, and the least of NTLMv2_CLIENT_CHALLENGE: 28 bytes and an AV pair ([MS-NLMP] 2.2.2.7).
PROOF_SIZE = 16
MIN_NT_RESPONSE = PROOF_SIZE + 28

V1_RESPONSE_SIZE = 24
"""Bytes of NTLM_RESPONSE ([MS-NLMP] 2.2.2.6)."""


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
    """Return NTLMv2's SessionBaseKey (16 bytes), or None when the proof is not this hash's."""
    if len(nt_response) < MIN_NT_RESPONSE:
        return None
    key = nt_owf_v2(nt_hash, user, domain)
    proof, blob = nt_response[:PROOF_SIZE], nt_response[PROOF_SIZE:]
    expected = hmac.digest(key, server_challenge + blob, hashlib.md5)
    if not hmac.compare_digest(expected, proof):
        return None
    return hmac.digest(key, expected, hashlib.md5)


def verify_v1(
    nt_hash: bytes, server_challenge: bytes, nt_response: bytes, client_challenge: bytes
) -> bytes | None:
    """Return NTLMv1's KeyExchangeKey (16 bytes), or None when the proof is not this hash's.

    [MS-NLMP] 3.3.1, 3.4.5.1. There is a `client_challenge` with extended session security alone;
    without it the key is the same in all of a user's logins.
    """
    challenges = server_challenge + client_challenge
    challenge = server_challenge
    if client_challenge:
        challenge = hashlib.md5(challenges, usedforsecurity=False).digest()[:8]
    if not hmac.compare_digest(desl(nt_hash, challenge), nt_response):
        return None
    session_base_key = md4(nt_hash)
    if not client_challenge:
        return session_base_key
    return hmac.digest(session_base_key, challenges, hashlib.md5)
