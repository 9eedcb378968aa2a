"""Passwords as SAM's calls carry them, and what proves the old one ([MS-SAMR] 3.2.2).

ValueError for what is no password, or was encrypted with another key.
"""

import hashlib
import hmac
import struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from usmbd.mountd.des import des
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.rc4 import Rc4

BUFFER: Final = 516
"""Bytes of SAMPR_ENCRYPTED_USER_PASSWORD: 512 of characters at their end, and their length."""

SALT: Final = 16

MIN_ITERATIONS, MAX_ITERATIONS = 5_000, 1_000_000
"""PBKDF2's, as a client may choose them ([MS-SAMR] 3.1.5.10.4): the most take half a second."""

_LABELS: Final = (
    b"Microsoft SAM encryption key AEAD-AES-256-CBC-HMAC-SHA512 16\0",
    b"Microsoft SAM MAC key AEAD-AES-256-CBC-HMAC-SHA512 16\0",
)
_VERSION: Final = b"\x01"


def by_rc4(data: bytes, key: bytes) -> str:
    """Return the password of a buffer, or of one with a salt behind it."""
    if len(data) == BUFFER + SALT:
        # The salt goes before the key ([MS-SAMR] 3.2.2.2).
        key = hashlib.md5(data[BUFFER:] + key, usedforsecurity=False).digest()
    elif len(data) != BUFFER:
        raise ValueError("no encrypted password")
    clear = Rc4(key).update(data[:BUFFER])
    (length,) = struct.unpack_from("<I", clear, BUFFER - 4)
    if length > BUFFER - 4 or length % 2:
        raise ValueError("no password")
    return _characters(clear[BUFFER - 4 - length : BUFFER - 4])


def by_aes(cipher: bytes, salt: bytes, authenticator: bytes, key: bytes) -> str:
    """Return the password that AEAD-AES-256-CBC-HMAC-SHA512 protects ([MS-SAMR] 3.2.2.4)."""
    encryption, mac = (hmac.digest(key, label, "sha512") for label in _LABELS)
    said = hmac.digest(mac, _VERSION + salt + cipher + bytes((len(_VERSION),)), "sha512")
    if not hmac.compare_digest(said, authenticator):
        raise ValueError("encrypted with another key")
    if not cipher or len(cipher) % 16:
        raise ValueError("no encrypted password")
    decryptor = Cipher(algorithms.AES(encryption[:32]), modes.CBC(salt)).decryptor()
    clear = decryptor.update(cipher) + decryptor.finalize()
    (length,) = struct.unpack_from("<H", clear)
    if length > len(clear) - 2 or length % 2:
        raise ValueError("no password")
    return _characters(clear[2 : 2 + length])


def is_usual(iterations: int) -> bool:
    """Tell whether a client may have so many for `aes_key`."""
    return MIN_ITERATIONS <= iterations <= MAX_ITERATIONS


def aes_key(old_hash: bytes, salt: bytes, iterations: int) -> bytes:
    """Return the key that an old password gives for a new one ([MS-SAMR] 3.1.5.10.4)."""
    return hashlib.pbkdf2_hmac("sha512", old_hash, salt, iterations, 16)


def proves(old_hash: bytes, new_password: str, verifier: bytes) -> bool:
    """Tell whether who wants a new password knows the old one ([MS-SAMR] 2.2.11.1.1)."""
    return hmac.compare_digest(encrypted_hash(old_hash, nt_hash(new_password)), verifier)


def encrypted_hash(digest: bytes, key: bytes) -> bytes:
    """Return a hash encrypted by DES, each half with 7 bytes of a key ([MS-SAMR] 2.2.11.1.1)."""
    halves = (digest[:8], key[:7]), (digest[8:], key[7:14])
    return b"".join(des(each, half) for half, each in halves)


def decrypted_hash(data: bytes, key: bytes) -> bytes:
    """Return what `encrypted_hash` was given."""
    halves = (data[:8], key[:7]), (data[8:], key[7:14])
    return b"".join(des(each, half, back=True) for half, each in halves)


def _characters(data: bytes) -> str:
    try:
        return data.decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise ValueError("no characters") from error
