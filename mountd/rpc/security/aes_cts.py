"""AES with ciphertext stealing, and HMAC-SHA1-96, for Kerberos ([RFC3961] 5.3, [RFC3962])."""

import hmac
import math
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

BLOCK: Final = 16
CHECKSUM: Final = 12
"""Bytes of HMAC-SHA1-96."""

KINDS: Final = {17: 16, 18: 32}
"""aes128- and aes256-cts-hmac-sha1-96, with the bytes of their keys ([RFC3962] 7)."""


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


def checksum(key: bytes, *parts: bytes) -> bytes:
    """Return HMAC-SHA1-96."""
    made = hmac.new(key, digestmod="sha1")
    for part in parts:
        made.update(part)
    return made.digest()[:CHECKSUM]


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


def _cbc(key: bytes, data: bytes, *, encrypting: bool) -> bytes:
    cipher = Cipher(AES(key), CBC(bytes(BLOCK)))
    worker = cipher.encryptor() if encrypting else cipher.decryptor()
    return worker.update(data) + worker.finalize()


def _block(key: bytes, block: bytes) -> bytes:
    """Decrypt one block by itself."""
    worker = Cipher(AES(key), ECB()).decryptor()
    return worker.update(block) + worker.finalize()
