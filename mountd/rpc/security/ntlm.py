"""NTLM on a bind: the acceptor's messages ([MS-NLMP] 2.2, 3.2).

The proof is mountd's to check. What clients of this century speak is taken: NTLMv2 with extended
session security, 128 bits and a key exchange. Where `ntlm auth` permits NTLMv1 the client may leave
out each of these; everything else is a ValueError.
"""

import hmac
import os
import struct
import time
from dataclasses import dataclass
from typing import Any, Final

from usmbd.mountd.rc4 import Rc4
from usmbd.mountd.rpc.security.ntlm_protection import (
    EXTENDED,
    KEY_EXCHANGE,
    USE_56,
    USE_128,
    PlainProtection,
    Protection,
)

SIGNATURE: Final = b"NTLMSSP\0"

UNICODE, REQUEST_TARGET, SIGN, SEAL = 0x1, 0x4, 0x10, 0x20
NTLM, ALWAYS_SIGN, TARGET_SERVER = 0x200, 0x8000, 0x20000
TARGET_INFO, VERSION = 0x00800000, 0x02000000
"""NegotiateFlags (2.2.2.5)."""

NEEDED: Final = UNICODE | EXTENDED | USE_128 | KEY_EXCHANGE
KNOWN: Final = NEEDED | SIGN | SEAL | NTLM | ALWAYS_SIGN | REQUEST_TARGET | VERSION | USE_56

V1_SIZE: Final = 24
"""Bytes of NTLM_RESPONSE and LM_RESPONSE (2.2.2.6, 2.2.2.3)."""

AV_EOL, AV_COMPUTER, AV_DOMAIN, AV_DNS_COMPUTER, AV_FLAGS, AV_TIMESTAMP = 0, 1, 2, 3, 6, 7
MIC_PROVIDED: Final = 2

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
    client_challenge: bytes = b""
    """Of NTLMv1 with extended session security."""


class Acceptor:
    """One login: NEGOTIATE, CHALLENGE, AUTHENTICATE."""

    def __init__(self, negotiate: bytes, computer: str, *, ntlmv1: bool = False) -> None:
        """Take the client's first message; ValueError when it is not to be served."""
        self._ntlmv1 = ntlmv1
        self._needed = UNICODE if ntlmv1 else NEEDED
        self._negotiate = negotiate
        signature, kind, flags = _unpack("<8sII", negotiate)
        if signature != SIGNATURE or kind != 1:
            raise ValueError("no NEGOTIATE_MESSAGE")
        if flags & self._needed != self._needed:
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
        lm_response, nt_response, domain, user, workstation, key = (
            _field(message, at) for at in (12, 20, 28, 36, 44, 52)
        )
        (flags,) = _unpack("<I", message, 60)
        kept = self._needed | self._flags & EXTENDED
        if flags & kept != kept:
            raise ValueError("what was agreed is agreed no more")
        self._flags &= flags
        if not user or not nt_response or len(key) != 16 * self._exchanges:
            raise ValueError("nobody, or without a key")
        self._authenticate, self._encrypted_key = message, key
        pairs = _pairs(nt_response)
        said = pairs.get(AV_FLAGS, b"\0\0\0\0")
        self._needs_mic = bool(int.from_bytes(said, "little") & MIC_PROVIDED)
        names = [each.decode("utf-16-le") for each in (user, domain, workstation)]
        if any(len(each) > 256 for each in names) or len(nt_response) > 16384:
            raise ValueError("names that are too long")
        if len(nt_response) <= V1_SIZE and not self._ntlmv1:
            raise ValueError("NTLMv1, which `ntlm auth` does not permit")
        challenge = b""
        if len(nt_response) == V1_SIZE and self._flags & EXTENDED:
            if len(lm_response) != V1_SIZE:
                raise ValueError("no challenge of the client's")
            challenge = lm_response[:8]  # LmChallengeResponse[0..7] ([MS-NLMP] 3.3.1)
        return Proof(names[0], names[1], names[2], self.server_challenge, nt_response, challenge)

    @property
    def _exchanges(self) -> bool:
        return bool(self._flags & KEY_EXCHANGE)

    @property
    def extended(self) -> bool:
        """Whether extended session security is agreed on."""
        return bool(self._flags & EXTENDED)

    def protection(self, key: bytes, first: int = 0) -> Protection | PlainProtection:
        """Return what protects calls by a session key; `first`: the number of the first message."""
        if not self.extended:
            return PlainProtection(key, first)
        return Protection(key, first, self._flags)

    def finish(self, exchange_key: bytes) -> bytes:
        """Return the exported session key; ValueError when the messages were changed on the way.

        `exchange_key` is KeyExchangeKey, by NTLMv2 SessionBaseKey itself ([MS-NLMP] 3.4.5.1).
        """
        key = exchange_key
        if self._exchanges:
            key = Rc4(exchange_key).update(self._encrypted_key)
        if self._needs_mic:
            if len(self._authenticate) < _MIC_AT + 16:
                raise ValueError("no MIC")
            mic = self._authenticate[_MIC_AT : _MIC_AT + 16]
            without = self._authenticate[:_MIC_AT] + bytes(16) + self._authenticate[_MIC_AT + 16 :]
            covered = self._negotiate + self.challenge + without
            if not hmac.compare_digest(hmac.digest(key, covered, "md5"), mic):
                raise ValueError("a MIC that is wrong")
        return key


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
