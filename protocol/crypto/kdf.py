"""Keys of a session, derived from its session key ([MS-SMB2] 3.1.4.2).

The 2.x dialects sign with the session key itself. The 3.x dialects derive one key a purpose
with the counter-mode function of [SP800-108] 5.1 over HMAC-SHA256; 3.1.1 binds them to the
messages before the authentication by taking the preauthentication hash as context.
"""

import hmac
from dataclasses import dataclass

from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_DIALECT_311
from usmbd.protocol.wire.negotiate_contexts import AES_256_CCM, AES_256_GCM

SESSION_KEY_SIZE = 16
"""Bytes of Session.SessionKey: a longer key is cut, a shorter one is filled with zeros."""


class Key(bytearray):
    """A key, wiped when nobody refers to it any more: its memory may be lent for anything else.

    What is computed on the way to it is beyond reach: Python's `bytes` are freed as they are.
    """

    def __del__(self) -> None:
        """Wipe it."""
        self[:] = bytes(len(self))


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """Keys of one session or channel, from the server's side; empty where a dialect has none.

    `encryption` protects what the server sends, `decryption` what the client sends: 16 bytes,
    or 32 for the AES-256 ciphers. `signing` and `application` are 16 bytes.
    """

    signing: Buffer
    encryption: Buffer
    decryption: Buffer
    application: Buffer


def derive(key: bytes, label: bytes, context: bytes, size: int = 16) -> Key:
    """Return `size` bytes (32 at most) of KDF output; 'r' and 'L' have 32 bits ([MS-SMB2] 3.1.4.2).

    `label` and `context` carry their terminating NUL where the document counts it. One
    iteration is enough, for the pseudorandom function yields 32 bytes.
    """
    data = b"\0\0\0\1" + label + b"\0" + context + (size * 8).to_bytes(4, "big")
    return Key(hmac.digest(key, data, "sha256")[:size])


def derive_keys(
    dialect: int, session_key: bytes, full_session_key: bytes, preauth_hash: bytes, cipher: int
) -> SessionKeys:
    """Return the keys of a session or channel of `dialect` ([MS-SMB2] 3.3.5.5.3).

    `session_key` is Session.SessionKey, `full_session_key` the whole key that GSS gave (only
    the AES-256 ciphers use it), `preauth_hash` PreauthSession.PreauthIntegrityHashValue
    (only 3.1.1 uses it), `cipher` Connection.CipherId, 0 if none.
    """
    key = session_key[:SESSION_KEY_SIZE].ljust(SESSION_KEY_SIZE, b"\0")
    if dialect < SMB2_DIALECT_300:
        return SessionKeys(signing=Key(key), encryption=b"", decryption=b"", application=Key(key))
    if dialect < SMB2_DIALECT_311:
        return SessionKeys(
            signing=derive(key, b"SMB2AESCMAC\0", b"SmbSign\0"),
            encryption=derive(key, b"SMB2AESCCM\0", b"ServerOut\0"),
            # The document's context is nine characters: a space fills up "ServerIn".
            decryption=derive(key, b"SMB2AESCCM\0", b"ServerIn \0"),
            application=derive(key, b"SMB2APP\0", b"SmbRpc\0"),
        )
    wide = cipher in (AES_256_CCM, AES_256_GCM)
    cipher_key, size = (full_session_key, 32) if wide else (key, 16)
    return SessionKeys(
        signing=derive(key, b"SMBSigningKey\0", preauth_hash),
        encryption=derive(cipher_key, b"SMBS2CCipherKey\0", preauth_hash, size),
        decryption=derive(cipher_key, b"SMBC2SCipherKey\0", preauth_hash, size),
        application=derive(key, b"SMBAppKey\0", preauth_hash),
    )
