"""Calls signed and sealed by Kerberos with RC4 ([RFC4757] 7, [MS-KILE] 3.4.5.4.1).

For realms that have nothing newer: where both sides can, they agree on AES whatever the ticket is.
"""

import hashlib
import hmac
import os
import struct
from typing import Final

from usmbd.mountd.rc4 import Rc4

ARCFOUR: Final = 23
"""rc4-hmac ([RFC4757] 5)."""

FRAME: Final = bytes.fromhex("06092a864886f712010202")
"""Kerberos' OID, behind the token's own tag and length ([RFC2743] 3.1)."""

MIC_HEAD: Final = bytes.fromhex("01011100ffffffff")
WRAP_HEAD: Final = bytes.fromhex("020111001000ffff")
"""TOK_ID, SGN_ALG, SEAL_ALG and filler ([RFC4757] 7.2, 7.3)."""

MIC_USAGE, WRAP_USAGE = 15, 13
"""[RFC4757] 3."""

PART: Final = 8
"""Bytes of a header, a sequence number, a checksum and a confounder each."""


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "md5")


class Rc4Protection:
    """The signatures and the sealing of both directions, in order."""

    def __init__(self, key: bytes, sending: int, receiving: int, *, whole: bool) -> None:
        """Take a context's key and counts; `whole`: headers are signed, too."""
        self._key = key
        self._sending, self._receiving = sending, receiving
        self._whole = whole
        self._sign = _hmac(key, b"signaturekey\0")
        self._numbers = _hmac(key, bytes(4))
        self._crypt = _hmac(bytes(each ^ 0xF0 for each in key), bytes(4))

    def size(self, *, sealed: bool) -> int:
        """Return the bytes of a token."""
        return 2 + len(FRAME) + PART * (4 if sealed else 3)

    def open(self, message: bytes, start: int, end: int, token: bytes, *, sealed: bool) -> bytes:
        """Return a message in the clear, whose stub is there; ValueError for a wrong token."""
        size = self.size(sealed=sealed)
        head = WRAP_HEAD if sealed else MIC_HEAD
        if len(token) != size or token[: -PART * (4 if sealed else 3)] != self._frame(size):
            raise ValueError("a token of another kind")
        inner = token[2 + len(FRAME) :]
        if inner[:PART] != head:
            raise ValueError("a token of another kind")
        checksum = inner[2 * PART : 3 * PART]
        number = self._number(inner[PART : 2 * PART], checksum)
        if number != struct.pack(">I", self._receiving & 0xFFFFFFFF) + bytes(4):
            raise ValueError("a token that comes again, or is missing")
        confounder = b""
        if sealed:
            stream = self._stream(number)
            confounder = stream.update(inner[3 * PART :])
            message = message[:start] + stream.update(message[start:end]) + message[end:]
        made = self._checksum(head, confounder, message, start, end)
        if not hmac.compare_digest(made, checksum):
            raise ValueError("a signature that is wrong")
        self._receiving += 1
        return message

    def close(self, message: bytes, start: int, end: int, *, sealed: bool) -> bytes:
        """Return a message with its token behind it, its part sealed or not."""
        head = WRAP_HEAD if sealed else MIC_HEAD
        number = struct.pack(">I", self._sending & 0xFFFFFFFF) + b"\xff" * 4
        self._sending += 1
        confounder = os.urandom(PART) if sealed else b""
        checksum = self._checksum(head, confounder, message, start, end)
        if sealed:
            stream = self._stream(number)
            confounder = stream.update(confounder)
            message = message[:start] + stream.update(message[start:end]) + message[end:]
        frame = self._frame(self.size(sealed=sealed))
        return message + frame + head + self._number(number, checksum) + checksum + confounder

    @staticmethod
    def _frame(size: int) -> bytes:
        """Return what stands before a token: the data is not counted (DCE style)."""
        return bytes((0x60, size - 2)) + FRAME

    def _number(self, number: bytes, checksum: bytes) -> bytes:
        """Return a sequence number en- or decrypted."""
        return Rc4(_hmac(self._numbers, checksum)).update(number)

    def _stream(self, number: bytes) -> Rc4:
        """Return what seals the message of a number."""
        return Rc4(_hmac(self._crypt, number[:4]))

    def _checksum(
        self, head: bytes, confounder: bytes, message: bytes, start: int, end: int
    ) -> bytes:
        """Return the checksum of a message in the clear."""
        usage = WRAP_USAGE if confounder else MIC_USAGE
        covered = message if self._whole else message[start:end]
        digest = hashlib.md5(usedforsecurity=False)
        for part in (struct.pack("<I", usage), head, confounder, covered):
            digest.update(part)
        return _hmac(self._sign, digest.digest())[:PART]
