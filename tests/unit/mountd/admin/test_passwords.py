"""Passwords as SAM's calls carry them."""

import hashlib
import hmac
import secrets

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from impacket.crypto import SamEncryptNTLMHash

from usmbd.mountd.admin import passwords
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.rc4 import Rc4

KEY = bytes(range(16))
SALT = bytes(range(16, 32))


def buffer(password: str, key: bytes) -> bytes:
    data = password.encode("utf-16-le")
    clear = secrets.token_bytes(512 - len(data)) + data + len(data).to_bytes(4, "little")
    return Rc4(key).update(clear)


def aes(password: str, key: bytes) -> tuple[bytes, bytes]:
    """Encrypt as [MS-SAMR] 3.2.2.4 says; the cipher text, and what proves it."""
    labels = (
        b"Microsoft SAM encryption key AEAD-AES-256-CBC-HMAC-SHA512 16\0",
        b"Microsoft SAM MAC key AEAD-AES-256-CBC-HMAC-SHA512 16\0",
    )
    encryption, mac = (hmac.digest(key, label, "sha512") for label in labels)
    data = password.encode("utf-16-le")
    clear = len(data).to_bytes(2, "little") + data + secrets.token_bytes(512 - len(data))
    clear += bytes([-len(clear) % 16 or 16]) * (-len(clear) % 16 or 16)
    encryptor = Cipher(algorithms.AES(encryption[:32]), modes.CBC(SALT)).encryptor()
    cipher = encryptor.update(clear) + encryptor.finalize()
    return cipher, hmac.digest(mac, b"\x01" + SALT + cipher + b"\x01", "sha512")


def test_rc4_goes_on() -> None:
    """RFC 6229, the key 0x0102030405."""
    stream = Rc4(bytes(range(1, 6)))
    assert stream.update(bytes(8)).hex() == "b2396305f03dc027"
    assert stream.update(bytes(8)).hex() == "ccc3524a0a1118a8"


@pytest.mark.parametrize("password", ["x", "pässwörd \U0001f600", "y" * 256])
def test_rc4_s_buffers(password: str) -> None:
    assert passwords.by_rc4(buffer(password, KEY), KEY) == password
    salted = hashlib.md5(SALT + KEY).digest()
    assert passwords.by_rc4(buffer(password, salted) + SALT, KEY) == password


@pytest.mark.parametrize("password", ["x", "pässwörd \U0001f600", "y" * 256])
def test_aes_s_buffers(password: str) -> None:
    cipher, authenticator = aes(password, KEY)
    assert passwords.by_aes(cipher, SALT, authenticator, KEY) == password
    for wrong in ((cipher, SALT, authenticator, SALT), (cipher[::-1], SALT, authenticator, KEY)):
        with pytest.raises(ValueError, match="another key"):
            passwords.by_aes(*wrong)


def test_what_another_key_encrypted() -> None:
    for _ in range(50):
        key = secrets.token_bytes(16)
        try:
            found = passwords.by_rc4(buffer("password", key), KEY)
        except ValueError:
            continue
        assert found != "password"
    for size in (0, 515, 517, 1000):
        with pytest.raises(ValueError, match="no encrypted password"):
            passwords.by_rc4(bytes(size), KEY)


def test_the_old_password_is_proved() -> None:
    old, new = nt_hash("old"), nt_hash("new")
    verifier = SamEncryptNTLMHash(old, new)
    assert passwords.encrypted_hash(old, new) == verifier
    assert passwords.decrypted_hash(verifier, new) == old
    assert passwords.proves(old, "new", verifier)
    assert not passwords.proves(nt_hash("other"), "new", verifier)


@pytest.mark.parametrize("iterations", [0, 4_999, 1_000_001, 1 << 40])
def test_iterations_have_bounds(iterations: int) -> None:
    assert not passwords.is_usual(iterations)


def test_the_key_of_an_old_password() -> None:
    assert passwords.aes_key(KEY, SALT, 5_000) == hashlib.pbkdf2_hmac(
        "sha512", KEY, SALT, 5_000, 16
    )
