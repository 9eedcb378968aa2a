"""Security of one association: its bind's login, and how its calls are protected.

[MS-RPCE] 2.2.1.1.7, 2.2.2.11, 3.3.1.5.2. NTLM alone: SPNEGO and Kerberos are refused, and a client
that the SMB session lets in needs neither.
"""

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from usmbd.mountd.ipc.accounts import DirectoryResponse
from usmbd.mountd.ipc.messages import LoginRequest, LoginResponse, LoginStatus
from usmbd.mountd.rpc.pdu import HEADER_SIZE, PFC_OBJECT_UUID, Header, PduError
from usmbd.mountd.rpc.security.ntlm import MAC_SIZE, Acceptor, Proof, Protection

AUTHN_WINNT: Final = 10
"""RPC_C_AUTHN_WINNT ([MS-RPCE] 2.2.1.1.7)."""

TRAILER: Final = struct.Struct("<BBBBI")
"""sec_trailer ([MS-RPCE] 2.2.2.11): type, level, padding, reserved, context."""

MAX_TOKEN: Final = 8192
"""Bytes of a message of NTLM; those of clients have some hundred."""

PAD: Final = 16
"""What the stub of an answer is filled up to ([MS-RPCE] 2.2.2.11)."""


class Level(IntEnum):
    """RPC_C_AUTHN_LEVEL ([MS-RPCE] 2.2.1.1.8)."""

    CONNECT = 2
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

    def __init__(self, computer: str, address: str) -> None:
        """Be the server `computer` for a client at `address`."""
        self._computer = computer
        self._address = address
        self._acceptor: Acceptor | None = None
        self._level = Level.CONNECT
        self._context = 0
        self._protection: Protection | None = None
        self.wanted = False
        """The bind asked for security: without it no call is answered."""

    @property
    def ready(self) -> bool:
        """Whether calls may come: the login is over, or there is none."""
        return not self.wanted or self._protection is not None

    def bind(self, message: bytes, header: Header) -> bytes:
        """Take a bind's token; return the trailer and the token of its answer."""
        _, (kind, level, _, context), token = split(message, header)
        if kind != AUTHN_WINNT or level not in tuple(Level) or len(token) > MAX_TOKEN:
            raise RefusedError(f"security of type {kind}, level {level}")
        try:
            self._acceptor = Acceptor(token, self._computer)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        self.wanted, self._level, self._context = True, Level(level), context
        return TRAILER.pack(kind, level, 0, 0, context) + self._acceptor.challenge

    def login(self, message: bytes, header: Header) -> LoginRequest:
        """Take the client's last token; return what mountd is asked of it."""
        _, (kind, level, _, context), token = split(message, header)
        agreed = AUTHN_WINNT, self._level, self._context
        if self._acceptor is None or (kind, level, context) != agreed or len(token) > MAX_TOKEN:
            raise RefusedError("a login that was not begun")
        try:
            proof: Proof = self._acceptor.authenticate(token)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        return LoginRequest(
            proof.user,
            proof.domain,
            proof.workstation,
            proof.challenge,
            proof.nt_response,
            self._address,
        )

    def finish(
        self, answer: DirectoryResponse, became: Callable[[LoginResponse, bytes], None]
    ) -> None:
        """Take mountd's answer; `became` is told who the client is, and his session's key."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is None or not isinstance(answer, LoginResponse):
            raise RefusedError("mountd does not tell")
        if answer.status is not LoginStatus.OK or not answer.session_base_key:
            raise RefusedError(f"the login is refused: {answer.status}")
        try:
            key = acceptor.finish(answer.session_base_key)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        self._protection = Protection(key)
        became(answer, key)

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
        if header.auth_length != MAC_SIZE:
            raise RefusedError("a call without a signature")
        body, (kind, level, padding, context), signature = split(message, header)
        if (kind, level, context) != (AUTHN_WINNT, self._level, self._context):
            raise RefusedError("a call of another security than the bind's")
        start = HEADER_SIZE + 8 + (16 if header.flags & PFC_OBJECT_UUID else 0)
        if start > len(body):
            raise PduError("a request that is short")
        signed = message[: len(message) - MAC_SIZE]
        if self._level is Level.PRIVACY:
            signed = protection.unseal(signed, start, len(body))
        if not protection.check(signed, signature):
            raise RefusedError("a signature that is wrong")
        end = len(body) - padding
        if end < start:
            raise PduError("more padding than stub")
        return signed[:end]

    @property
    def overhead(self) -> int:
        """Bytes that protection takes of a fragment, at most."""
        return TRAILER.size + MAC_SIZE + PAD if self._protects else 0

    @property
    def _protects(self) -> bool:
        return self._protection is not None and self._level is not Level.CONNECT

    def closed(self, fragment: bytes) -> bytes:
        """Return a fragment of a response as it goes out: signed, sealed, or as it is."""
        if not self._protects:
            return fragment
        assert self._protection is not None
        start = HEADER_SIZE + 8
        padding = -(len(fragment) - start) % PAD
        body = bytearray(fragment + bytes(padding))
        end = len(body)
        body += TRAILER.pack(AUTHN_WINNT, self._level, padding, 0, self._context)
        struct.pack_into("<HH", body, 8, len(body) + MAC_SIZE, MAC_SIZE)
        sealed = self._level is Level.PRIVACY
        return self._protection.seal(bytes(body), start, end, sealed=sealed)
