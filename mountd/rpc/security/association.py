"""Security of one association: its bind's login, and how its calls are protected.

[MS-RPCE] 2.2.1.1.7, 2.2.2.11, 3.3.1.5.2.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from usmbd.mountd.ipc.accounts import DirectoryResponse
from usmbd.mountd.ipc.messages import LoginResponse
from usmbd.mountd.rpc.pdu import (
    HEADER_SIZE,
    PFC_OBJECT_UUID,
    PFC_SUPPORT_HEADER_SIGN,
    Header,
    PduError,
)
from usmbd.mountd.rpc.security.exchange import (
    AUTHN_GSS_KERBEROS,
    EXCHANGES,
    Exchange,
    Protection,
    Step,
    Surroundings,
)

TRAILER: Final = struct.Struct("<BBBBI")
"""sec_trailer ([MS-RPCE] 2.2.2.11): type, level, padding, reserved, context."""

MAX_TOKEN: Final = 48 * 1024
"""Bytes of a token: Windows' MaxTokenSize, the longest ticket that a domain gives."""

PAD: Final = 16
"""What the stub of an answer is filled up to ([MS-RPCE] 2.2.2.11)."""


class Level(IntEnum):
    """RPC_C_AUTHN_LEVEL ([MS-RPCE] 2.2.1.1.8); PKT is the next one in fact."""

    CONNECT = 2
    PKT = 4
    INTEGRITY = 5
    PRIVACY = 6


class RefusedError(Exception):
    """A bind, or a call, whose security is not to be had."""


def split(message: bytes, header: Header) -> tuple[bytes, tuple[int, int, int, int], bytes]:
    """Return a PDU up to its trailer, the trailer's type, level, padding, context, and the token.

    PduError when there is no room for them.
    """
    at = len(message) - header.auth_length - TRAILER.size
    if at < HEADER_SIZE:
        raise PduError("a verifier that is longer than its fragment")
    kind, level, padding, _, context = struct.unpack_from(header.endian + "BBBBI", message, at)
    if padding > at - HEADER_SIZE:
        raise PduError("more padding than there is before the verifier")
    return message[:at], (kind, level, padding, context), message[at + TRAILER.size :]


class Security:
    """What an association has agreed on; nothing until its bind says so."""

    def __init__(self, computer: str, address: str, *, ntlmv1: bool = False) -> None:
        """Be the server `computer` for a client at `address`; `ntlmv1`: it is permitted."""
        self._around = Surroundings(computer, address, ntlmv1)
        self._exchange: Exchange | None = None
        self._agreed = AUTHN_GSS_KERBEROS, Level.CONNECT, 0
        self._protection: Protection | None = None
        self.wanted = False
        """The bind asked for security: without it no call is answered."""

    @property
    def _level(self) -> Level:
        return self._agreed[1]

    def bind(self, message: bytes, header: Header) -> Step:
        """Take a bind's token; return its answer's, or what mountd has to be asked for that."""
        _, (kind, level, _, context), token = split(message, header)
        if kind not in EXCHANGES or level not in tuple(Level):
            raise RefusedError(f"security of type {kind}, level {level}")
        self._around.signs_headers = bool(header.flags & PFC_SUPPORT_HEADER_SIGN)
        self._exchange = EXCHANGES[kind](self._around)
        self.wanted, self._agreed = True, (kind, Level(level), context)
        return self._step(token)

    def go_on(self, message: bytes, header: Header) -> Step:
        """Take a later token of the login; the same."""
        _, (kind, level, _, context), token = split(message, header)
        if self._exchange is None or (kind, level, context) != self._agreed:
            raise RefusedError("a login that was not begun")
        return self._step(token)

    def _step(self, token: bytes) -> Step:
        assert self._exchange is not None
        if len(token) > MAX_TOKEN:
            raise RefusedError("a token that is too long")
        try:
            answer = self._exchange.step(token)
        except ValueError as error:
            self._exchange = None
            raise RefusedError(str(error)) from error
        return self._trailed(answer) if isinstance(answer, bytes) else answer

    def _trailed(self, token: bytes) -> bytes:
        """Return a token behind its trailer."""
        kind, level, context = self._agreed
        return TRAILER.pack(kind, level, 0, 0, context) + token

    def answered(
        self, answer: DirectoryResponse, became: Callable[[LoginResponse, bytes], None]
    ) -> bytes:
        """Take mountd's answer; return the trailer and the token for the client.

        At the end of the login `became` is told who he is, and his key.
        """
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            raise RefusedError("a login that was not begun")
        try:
            found = exchange.answered(answer)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        if found.established is None:
            self._exchange = exchange
        else:
            self._protection = found.established.protection
            became(found.established.login, found.established.key)
        return self._trailed(found.token)

    def opened(self, message: bytes, header: Header) -> bytes:
        """Return a request in the clear, without what protects it; RefusedError for a wrong one."""
        if not self.wanted:
            if header.auth_length:
                raise RefusedError("a verifier that nobody agreed on")
            return message
        protection = self._protection
        if protection is None:
            raise RefusedError("a call before the login")
        if self._level is Level.CONNECT:
            return message if not header.auth_length else split(message, header)[0]
        if not header.auth_length:
            raise RefusedError("a call without a signature")
        body, (kind, level, padding, context), token = split(message, header)
        if (kind, level, context) != self._agreed:
            raise RefusedError("a call of another security than the bind's")
        start = HEADER_SIZE + 8 + (16 if header.flags & PFC_OBJECT_UUID else 0)
        end = len(body) - padding
        if start > end:
            raise PduError("a request that is short, or more padding than stub")
        signed = message[: len(message) - len(token)]
        sealed = self._level is Level.PRIVACY
        try:
            return protection.open(signed, start, len(body), token, sealed=sealed)[:end]
        except ValueError as error:
            raise RefusedError(str(error)) from error

    @property
    def overhead(self) -> int:
        """Bytes that protection takes of a fragment, at most."""
        if self._protection is None or self._level is Level.CONNECT:
            return 0
        sealed = self._level is Level.PRIVACY
        return TRAILER.size + self._protection.size(sealed=sealed) + PAD

    def closed(self, fragment: bytes) -> bytes:
        """Return a fragment of a response as it goes out: signed, sealed, or as it is."""
        protection = self._protection
        if protection is None or self._level is Level.CONNECT:
            return fragment
        kind, level, context = self._agreed
        start = HEADER_SIZE + 8
        padding = -(len(fragment) - start) % PAD
        body = bytearray(fragment + bytes(padding))
        end = len(body)
        body += TRAILER.pack(kind, level, padding, 0, context)
        sealed = level is Level.PRIVACY
        size = protection.size(sealed=sealed)
        struct.pack_into("<HH", body, 8, len(body) + size, size)
        return protection.close(bytes(body), start, end, sealed=sealed)
