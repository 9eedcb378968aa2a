"""What protects calls once a login by NTLM is over ([MS-NLMP] 3.4)."""

import hashlib
import hmac
import struct
import zlib
from typing import Final

from usmbd.mountd.rc4 import Rc4

EXTENDED, USE_128, KEY_EXCHANGE, USE_56 = 0x00080000, 0x20000000, 0x40000000, 0x80000000
"""NegotiateFlags that decide how ([MS-NLMP] 2.2.2.5)."""

MAC_SIZE: Final = 16

_VERSION: Final = b"\1\0\0\0"  # of NTLMSSP_MESSAGE_SIGNATURE ([MS-NLMP] 2.2.2.9)
_RANDOM_PAD: Final = 4


class Protection:
    """The signatures and the sealing of both directions, in order ([MS-NLMP] 3.4.3, 3.4.4.2)."""

    def __init__(self, key: bytes, first: int = 0, flags: int = USE_128 | KEY_EXCHANGE) -> None:
        """Make the keys of a session key; `first`: the number of the first message."""
        self._incoming = _Direction(key, "client-to-server", first, flags)
        self._outgoing = _Direction(key, "server-to-client", first, flags)

    def size(self, *, sealed: bool) -> int:
        """Return the bytes of a signature, sealed or not."""
        return MAC_SIZE

    def open(self, message: bytes, start: int, end: int, token: bytes, *, sealed: bool) -> bytes:
        """Return a message in the clear; ValueError when its signature is wrong."""
        if sealed:
            message = self.unseal(message, start, end)
        if not self.check(message, token):
            raise ValueError("a signature that is wrong")
        return message

    @property
    def next(self) -> int:
        """The number of the next message."""
        return self._outgoing.sequence

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the next message."""
        return self._outgoing.mac(message)

    def unseal(self, message: bytes, start: int, end: int) -> bytes:
        """Return a message whose part from `start` to `end` is sealed, in the clear."""
        return message[:start] + self._incoming.stream.update(message[start:end]) + message[end:]

    def check(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a message, in the clear, has the next signature."""
        return hmac.compare_digest(self._incoming.mac(message), signature)

    def close(self, message: bytes, start: int, end: int, *, sealed: bool) -> bytes:
        """Return a message with its signature behind it, its part sealed or not."""
        if not sealed:
            return message + self._outgoing.mac(message)
        hidden = self._outgoing.stream.update(message[start:end])
        return message[:start] + hidden + message[end:] + self._outgoing.mac(message)


class _Direction:
    """What one side sends."""

    def __init__(self, key: bytes, direction: str, first: int, flags: int) -> None:
        def made(kind: str, key: bytes) -> bytes:
            magic = f"session key to {direction} {kind} key magic constant\0".encode()
            return hashlib.md5(key + magic, usedforsecurity=False).digest()

        self._sign = made("signing", key)
        self.stream = Rc4(made("sealing", _weakened(key, flags)))
        self.sequence = first
        self._seals_checksum = bool(flags & KEY_EXCHANGE)

    def mac(self, message: bytes) -> bytes:
        """Return the signature of the next message."""
        sequence = struct.pack("<I", self.sequence)
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        checksum = hmac.digest(self._sign, sequence + message, "md5")[:8]
        if self._seals_checksum:
            checksum = self.stream.update(checksum)
        return _VERSION + checksum + sequence


def _weakened(key: bytes, flags: int) -> bytes:
    """Return as much of a session key as sealing keys are made of ([MS-NLMP] 3.4.5.3)."""
    if flags & USE_128:
        return key
    return key[: 7 if flags & USE_56 else 5]


class PlainProtection:
    """Signatures and sealing without extended session security ([MS-NLMP] 3.4.4.1).

    One stream of the key and one count serve both directions, as with Samba, and what is signed is
    the stub alone, by its CRC32: no headers are.
    """

    def __init__(self, key: bytes, first: int = 0) -> None:
        """Begin the stream; NTLMSSP_NEGOTIATE_LM_KEY alone would weaken it (3.4.5.3)."""
        self._stream = Rc4(key)
        self.next = first
        """The number of the next message, whoever sends it."""

    def size(self, *, sealed: bool) -> int:
        """Return the bytes of a signature, sealed or not."""
        return MAC_SIZE

    def open(self, message: bytes, start: int, end: int, token: bytes, *, sealed: bool) -> bytes:
        """Return a message in the clear; ValueError when its signature is wrong."""
        stub = self._stream.update(message[start:end]) if sealed else message[start:end]
        if not self.check(stub, token):
            raise ValueError("a signature that is wrong")
        return message[:start] + stub + message[end:]

    def close(self, message: bytes, start: int, end: int, *, sealed: bool) -> bytes:
        """Return a message with its signature behind it, its part sealed or not."""
        stub = message[start:end]
        hidden = self._stream.update(stub) if sealed else stub
        return message[:start] + hidden + message[end:] + self.sign(stub)

    def check(self, message: bytes, signature: bytes) -> bool:
        """Tell whether a message has the next signature; its RandomPad says nothing (2.2.2.9.1)."""
        return hmac.compare_digest(self.sign(message)[8:], signature[8:])

    def sign(self, message: bytes) -> bytes:
        """Return the signature of the next message."""
        clear = bytes(_RANDOM_PAD) + struct.pack("<II", zlib.crc32(message), self.next)
        self.next = (self.next + 1) & 0xFFFFFFFF
        return _VERSION + self._stream.update(clear)
