"""New passwords as a client of SAM encrypts them, by the document ([MS-SAMR] 3.2.2)."""

import hashlib
import hmac
import secrets
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from impacket.crypto import SamEncryptNTLMHash

from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.rc4 import Rc4

SALT = bytes(range(16, 32))
LABELS = (
    b"Microsoft SAM encryption key AEAD-AES-256-CBC-HMAC-SHA512 16\0",
    b"Microsoft SAM MAC key AEAD-AES-256-CBC-HMAC-SHA512 16\0",
)


def plain(password: str, key: bytes) -> bytes:
    """Encrypt by RC4 (3.2.2.1)."""
    data = password.encode("utf-16-le")
    clear = secrets.token_bytes(512 - len(data)) + data + len(data).to_bytes(4, "little")
    return Rc4(key).update(clear)


def salted(password: str, key: bytes) -> bytes:
    """Encrypt by RC4 with a salt (3.2.2.2)."""
    return plain(password, hashlib.md5(SALT + key).digest()) + SALT


def hashed(password: str, key: bytes) -> bytes:
    """Build SAMPR_USER_INTERNAL1_INFORMATION."""
    return bytes(SamEncryptNTLMHash(nt_hash(password), key)) + bytes(16) + b"\1\0\0"


def aes(password: str, key: bytes) -> tuple[bytes, bytes]:
    """Encrypt by AES (3.2.2.4); the cipher text, and what proves it."""
    encryption, mac = (hmac.digest(key, label, "sha512") for label in LABELS)
    data = password.encode("utf-16-le")
    clear = len(data).to_bytes(2, "little") + data + secrets.token_bytes(512 - len(data))
    fill = 16 - len(clear) % 16
    encryptor = Cipher(algorithms.AES(encryption[:32]), modes.CBC(SALT)).encryptor()
    cipher = encryptor.update(clear + bytes([fill]) * fill) + encryptor.finalize()
    return cipher, hmac.digest(mac, b"\x01" + SALT + cipher + b"\x01", "sha512")


def aes_set(password: str, key: bytes, position: int) -> bytes:
    """Build SAMPR_USER_INTERNAL7_INFORMATION at a position of the stub."""
    cipher, authenticator = aes(password, key)
    head = authenticator + SALT + struct.pack("<IIQ", len(cipher), 0x20000, 0)
    return bytes(-position % 8) + head + bytes(4) + struct.pack("<I", len(cipher)) + cipher


def aes_change(user: str, old: str, new: str, *, iterations: int) -> bytes:
    """Build the stub of SamrUnicodeChangePasswordUser4."""
    key = hashlib.pbkdf2_hmac("sha512", nt_hash(old), SALT, iterations, 16)
    cipher, authenticator = aes(new, key)
    name = user.encode("utf-16-le")
    stub = struct.pack("<IHHI", 0, len(name), len(name), 0x20000)
    stub += struct.pack("<III", len(user), 0, len(user)) + name
    stub += bytes(-len(stub) % 8)
    stub += authenticator + SALT + struct.pack("<IIQ", len(cipher), 0x20004, iterations)
    return stub + struct.pack("<I", len(cipher)) + cipher
