"""AES with ciphertext stealing, for Kerberos ([RFC3961] 5.3, [RFC3962], [RFC8009])."""

import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

BLOCK: Final = 16


def encrypt(key: bytes, data: bytes) -> bytes:
    """Encrypt at least one block, in CBC with the last two blocks swapped ([RFC3962] 5)."""
    if len(data) <= BLOCK:
        return _cbc(key, data, encrypting=True)
    whole = _cbc(key, data + bytes(-len(data) % BLOCK), encrypting=True)
    last = len(data) % BLOCK or BLOCK
    return whole[: -2 * BLOCK] + whole[-BLOCK:] + whole[-2 * BLOCK : -BLOCK][:last]


def decrypt(key: bytes, data: bytes) -> bytes:
    """Decrypt what `encrypt` made; ValueError for less than a block."""
    if len(data) < BLOCK:
        raise ValueError("less than a block")
    if len(data) == BLOCK:
        return _cbc(key, data, encrypting=False)
    last = len(data) % BLOCK or BLOCK
    head, swapped, tail = data[: -BLOCK - last], data[-BLOCK - last : -last], data[-last:]
    stolen = _block(key, swapped)
    before = tail + stolen[last:]
    whole = _cbc(key, head + before + swapped, encrypting=False)
    return whole[: len(data)]


@cache
def fold(text: bytes) -> bytes:
    """Return the 128-bit n-fold of a constant ([RFC3961] 5.1)."""
    size = len(text)
    times = math.lcm(BLOCK, size) // size
    bits = int.from_bytes(text, "big")
    width = 8 * size
    rotated = b""
    for turn in range(times):
        by = 13 * turn % width
        value = (bits >> by | bits << (width - by)) & ((1 << width) - 1)
        rotated += value.to_bytes(size, "big")
    total = 0
    for at in range(0, len(rotated), BLOCK):
        total += int.from_bytes(rotated[at : at + BLOCK], "big")
    while total >> 128:  # addition in ones' complement
        total = (total & ((1 << 128) - 1)) + (total >> 128)
    return total.to_bytes(BLOCK, "big")


def derive(key: bytes, usage: int, kind: int) -> bytes:
    """Return the key for one use: 0xAA encrypts, 0x55 checks what is so, 0x99 what is not."""
    block = fold(usage.to_bytes(4, "big") + bytes((kind,)))
    made = b""
    while len(made) < len(key):
        block = _cbc(key, block, encrypting=True)
        made += block
    return made[: len(key)]


def derive_sha2(key: bytes, usage: int, kind: int, *, digest: str, check: int) -> bytes:
    """Return the same for SHA-2: what checks has `check` bytes ([RFC8009] 3, 5)."""
    size = len(key) if kind == 0xAA else check
    label = usage.to_bytes(4, "big") + bytes((kind,))
    counted = (1).to_bytes(4, "big") + label + b"\0" + (8 * size).to_bytes(4, "big")
    return hmac.digest(key, counted, digest)[:size]


@dataclass(frozen=True, slots=True)
class Kind:
    """An encryption type: AES, and how keys come of its key and what its checksums are."""

    key: int
    """Bytes of its key."""
    checksum: int
    """Bytes of a checksum."""
    digest: str
    derive: Callable[[bytes, int, int], bytes]
    of_ciphertext: bool = False
    """What is sealed is checked as it is sent, behind a block of zeros."""

    def made(self, key: bytes, *parts: bytes) -> bytes:
        """Return the checksum of data in parts."""
        made = hmac.new(key, digestmod=self.digest)
        for part in parts:
            made.update(part)
        return made.digest()[: self.checksum]


KINDS: Final = {
    17: Kind(16, 12, "sha1", derive),
    18: Kind(32, 12, "sha1", derive),
    19: Kind(16, 16, "sha256", partial(derive_sha2, digest="sha256", check=16), True),
    20: Kind(32, 24, "sha384", partial(derive_sha2, digest="sha384", check=24), True),
}
"""aes128- and aes256-cts-hmac-sha1-96, aes128-cts-hmac-sha256-128, aes256-cts-hmac-sha384-192."""


def _cbc(key: bytes, data: bytes, *, encrypting: bool) -> bytes:
    cipher = Cipher(AES(key), CBC(bytes(BLOCK)))
    worker = cipher.encryptor() if encrypting else cipher.decryptor()
    return worker.update(data) + worker.finalize()


def _block(key: bytes, block: bytes) -> bytes:
    """Decrypt one block by itself."""
    worker = Cipher(AES(key), ECB()).decryptor()
    return worker.update(block) + worker.finalize()
