"""NTLM on a bind: the acceptor's messages and the protection of calls ([MS-NLMP] 2.2, 3.2, 3.4).

The proof is mountd's to check. Only what clients of this century speak is there: NTLMv2 with
extended session security, 128 bits and a key exchange; everything else is a ValueError.
"""

import hashlib
import hmac
import os
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from usmbd.mountd.rc4 import Rc4

SIGNATURE: Final = b"NTLMSSP\0"

UNICODE, REQUEST_TARGET, SIGN, SEAL = 0x1, 0x4, 0x10, 0x20
NTLM, ALWAYS_SIGN, TARGET_SERVER = 0x200, 0x8000, 0x20000
EXTENDED, TARGET_INFO, VERSION, USE_128, KEY_EXCHANGE, USE_56 = (
    *(0x00080000, 0x00800000, 0x02000000),
    *(0x20000000, 0x40000000, 0x80000000),
)
"""NegotiateFlags (2.2.2.5)."""

NEEDED: Final = UNICODE | EXTENDED | USE_128 | KEY_EXCHANGE
KNOWN: Final = NEEDED | SIGN | SEAL | NTLM | ALWAYS_SIGN | REQUEST_TARGET | VERSION | USE_56

AV_EOL, AV_COMPUTER, AV_DOMAIN, AV_DNS_COMPUTER, AV_FLAGS, AV_TIMESTAMP = 0, 1, 2, 3, 6, 7
MIC_PROVIDED: Final = 2

MAC_SIZE: Final = 16
_HEAD: Final = struct.Struct("<8sIHHI")
_MIC_AT: Final = 72
_EPOCH: Final = 11644473600
_OWN_VERSION: Final = bytes((6, 1, 0, 0, 0, 0, 0, 15))


@dataclass(frozen=True, slots=True)
class Proof:
    """What mountd is asked to check."""

    user: str
    domain: str
    workstation: str
    challenge: bytes
    nt_response: bytes


class Acceptor:
    """One login: NEGOTIATE, CHALLENGE, AUTHENTICATE."""

    def __init__(self, negotiate: bytes, computer: str) -> None:
        """Take the client's first message; ValueError when it is not to be served."""
        self._negotiate = negotiate
        signature, kind, flags = _unpack("<8sII", negotiate)
        if signature != SIGNATURE or kind != 1:
            raise ValueError("no NEGOTIATE_MESSAGE")
        if flags & NEEDED != NEEDED:
            raise ValueError("NTLM without 128 bits, key exchange or extended session security")
        self._flags = flags & KNOWN | TARGET_INFO | TARGET_SERVER | NTLM
        self.server_challenge = os.urandom(8)
        self.challenge = self._challenge(computer)
        self._authenticate = b""
        self._encrypted_key = b""
        self._needs_mic = False

    def _challenge(self, computer: str) -> bytes:
        """Return the CHALLENGE_MESSAGE (2.2.1.2)."""
        name = computer.encode("utf-16-le", "replace")
        now = (time.time_ns() // 100 + _EPOCH * 10_000_000).to_bytes(8, "little")
        lower = computer.lower().encode("utf-16-le", "replace")
        names = (AV_DOMAIN, name), (AV_COMPUTER, name), (AV_DNS_COMPUTER, lower)
        pairs = (*names, (AV_TIMESTAMP, now), (AV_EOL, b""))
        info = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in pairs)
        size = len(name)
        head = _HEAD.pack(SIGNATURE, 2, size, size, 56)
        head += struct.pack("<I8s8x", self._flags, self.server_challenge)
        head += struct.pack("<HHI", len(info), len(info), 56 + size) + _OWN_VERSION
        return head + name + info

    def authenticate(self, message: bytes) -> Proof:
        """Take the AUTHENTICATE_MESSAGE (2.2.1.3); ValueError when it is none, or anonymous."""
        signature, kind = _unpack("<8sI", message)
        if signature != SIGNATURE or kind != 3:
            raise ValueError("no AUTHENTICATE_MESSAGE")
        nt_response, domain, user, workstation, key = (
            _field(message, at) for at in (20, 28, 36, 44, 52)
        )
        (flags,) = _unpack("<I", message, 60)
        if flags & NEEDED != NEEDED:
            raise ValueError("what was agreed is agreed no more")
        if not user or not nt_response or len(key) != 16:
            raise ValueError("nobody, or without a key")
        self._authenticate, self._encrypted_key = message, key
        pairs = _pairs(nt_response)
        said = pairs.get(AV_FLAGS, b"\0\0\0\0")
        self._needs_mic = bool(int.from_bytes(said, "little") & MIC_PROVIDED)
        names = [each.decode("utf-16-le") for each in (user, domain, workstation)]
        if any(len(each) > 256 for each in names) or len(nt_response) > 16384:
            raise ValueError("names that are too long")
        return Proof(names[0], names[1], names[2], self.server_challenge, nt_response)

    def finish(self, base_key: bytes) -> bytes:
        """Return the exported session key; ValueError when the messages were changed on the way."""
        key = Rc4(base_key).update(self._encrypted_key)
        if self._needs_mic:
            if len(self._authenticate) < _MIC_AT + 16:
                raise ValueError("no MIC")
            mic = self._authenticate[_MIC_AT : _MIC_AT + 16]
            without = self._authenticate[:_MIC_AT] + bytes(16) + self._authenticate[_MIC_AT + 16 :]
            covered = self._negotiate + self.challenge + without
            if not hmac.compare_digest(hmac.digest(key, covered, "md5"), mic):
                raise ValueError("a MIC that is wrong")
        return key


class Protection:
    """The signatures and the sealing of both directions, in order ([MS-NLMP] 3.4.3, 3.4.4.2)."""

    def __init__(self, key: bytes, first: int = 0) -> None:
        """Make the keys of a session key; `first`: the number of the first message."""
        self._incoming = _Direction(key, "client-to-server", first)
        self._outgoing = _Direction(key, "server-to-client", first)

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

    def __init__(self, key: bytes, direction: str, first: int) -> None:
        def made(kind: str) -> bytes:
            magic = f"session key to {direction} {kind} key magic constant\0".encode()
            return hashlib.md5(key + magic, usedforsecurity=False).digest()

        self._sign = made("signing")
        self.stream = Rc4(made("sealing"))
        self._sequence = first

    def mac(self, message: bytes) -> bytes:
        """Return the signature of the next message."""
        sequence = struct.pack("<I", self._sequence)
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        checksum = hmac.digest(self._sign, sequence + message, "md5")[:8]
        return b"\1\0\0\0" + self.stream.update(checksum) + sequence


def _unpack(layout: str, data: bytes, at: int = 0) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error as error:
        raise ValueError("a message that is short") from error


def _field(message: bytes, at: int) -> bytes:
    """Return what a field of a message leads to."""
    try:
        length, _, offset = struct.unpack_from("<HHI", message, at)
    except struct.error as error:
        raise ValueError("a message that is short") from error
    if offset + length > len(message):
        raise ValueError("a field that passes the end")
    return message[offset : offset + length]


def _pairs(nt_response: bytes) -> dict[int, bytes]:
    """Return the AV pairs of an NTLMv2 response (2.2.2.7, 2.2.2.1)."""
    found: dict[int, bytes] = {}
    at = 44
    while at + 4 <= len(nt_response):
        kind, size = struct.unpack_from("<HH", nt_response, at)
        if kind == AV_EOL or at + 4 + size > len(nt_response):
            break
        found[kind] = nt_response[at + 4 : at + 4 + size]
        at += 4 + size
    return found
