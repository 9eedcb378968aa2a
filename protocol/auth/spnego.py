"""The acceptor of a session setup: SPNEGO around NTLM, or NTLM alone ([MS-SPNG] 3, [RFC4178]).

::

    acceptor = Acceptor(names, now)
    acceptor.step(token)          -> Challenge: to the client, with MORE_PROCESSING_REQUIRED
    acceptor.step(token)          -> LoginProof: to mountd
    acceptor.finish(base_key)     -> Established: the last token and the session key

The state of the exchange is held by `_ntlm` (which message comes next) and by `_mech_types`
(None until the first token, empty when the client speaks NTLM without SPNEGO).
"""

import hmac
import struct
from dataclasses import dataclass, field

from usmbd.protocol.auth import spnego_messages as messages
from usmbd.protocol.auth.ntlm import LoginProof, NtlmAcceptor
from usmbd.protocol.auth.ntlm_messages import NTLMSSP_SIGNATURE, ServerNames
from usmbd.protocol.auth.spnego_messages import NTLMSSP_OID, negotiate_hint
from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.status import NtStatus, SmbError

__all__ = ["Acceptor", "Challenge", "Established", "LoginProof", "ServerNames", "negotiate_hint"]


MAX_MECH_LIST = 1024
"""Bytes of the client's list of mechanisms, kept until the login ends; Windows sends 50."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's next token; the client is to answer it."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """The exchange is over: the server's last token (empty without SPNEGO) and the session key.

    The key has 16 bytes, or none for a guest, whose session cannot be signed.
    """

    token: bytes
    session_key: bytes = field(repr=False)


class Acceptor:
    """The server's side of one authentication. After an error it is of no use any more."""

    __slots__ = ("_mech_list", "_mech_list_mic", "_mech_types", "_ntlm", "_proof")

    def __init__(self, names: ServerNames, now: int, challenge: bytes | None = None) -> None:
        """Be `names` at the FILETIME `now`; NTLM's `challenge` (8 bytes) is random unless given."""
        self._ntlm = NtlmAcceptor(names, now, challenge)
        self._mech_types: list[bytes] | None = None
        self._mech_list = b""
        self._mech_list_mic: bytes | None = None
        self._proof: LoginProof | None = None

    def step(self, token: Buffer) -> Challenge | LoginProof:
        """Take the client's next token.

        SmbError(INVALID_PARAMETER) if it is malformed or out of turn, SmbError(LOGON_FAILURE)
        if it proves nothing that can be checked.
        """
        view = memoryview(token)
        try:
            if self._proof is not None:
                raise ValueError("the proof is being checked")
            if self._mech_types is None:
                return self._first(view)
            return self._later(view)
        except (ValueError, struct.error) as error:
            raise SmbError(NtStatus.INVALID_PARAMETER) from error

    def finish(self, session_base_key: bytes) -> Established:
        """Conclude after mountd let the client in, with the base key that it gave.

        An empty key stands for a guest or a null session. SmbError(LOGON_FAILURE) if the
        messages were tampered with.
        """
        try:
            session_key = self._ntlm.finish(session_base_key)
        except ValueError as error:
            raise SmbError(NtStatus.INVALID_PARAMETER) from error
        if not self._mech_types:
            return Established(b"", session_key)
        mic = self._answer_mic() if session_key else b""
        return Established(
            messages.build_response(messages.ACCEPT_COMPLETED, mech_list_mic=mic), session_key
        )

    def _first(self, token: memoryview) -> Challenge:
        """Take the first token: the client's mechanisms with an optimistic token, or raw NTLM."""
        if token[: len(NTLMSSP_SIGNATURE)] == NTLMSSP_SIGNATURE:
            self._mech_types = []
            return Challenge(self._ntlm.negotiate(token))
        init = messages.parse_init(token)
        if NTLMSSP_OID not in init.mech_types:
            raise ValueError("the client does not offer NTLM")
        if len(init.mech_list) > MAX_MECH_LIST:
            raise ValueError(f"a list of mechanisms of {len(init.mech_list)} bytes")
        self._mech_types, self._mech_list = init.mech_types, init.mech_list
        # The optimistic token is of the client's first mechanism; it is worth a look even if
        # that is another one, for there are clients that list Kerberos and send NTLM.
        optimistic = init.mech_token
        reply = b""
        if optimistic is not None and (
            self._prefers_ntlm or optimistic[: len(NTLMSSP_SIGNATURE)] == NTLMSSP_SIGNATURE
        ):
            reply = self._ntlm.negotiate(optimistic)
        state = messages.ACCEPT_INCOMPLETE if self._prefers_ntlm else messages.REQUEST_MIC
        return Challenge(messages.build_response(state, mechanism=NTLMSSP_OID, token=reply))

    def _later(self, token: memoryview) -> Challenge | LoginProof:
        """Take a token after the first: NTLM's messages, in the same wrapping as before."""
        if self._mech_types:
            response = messages.parse_response(token)
            if response.response_token is None:
                raise ValueError("the response holds no token of NTLM")
            token = response.response_token
            self._mech_list_mic = response.mech_list_mic
        if not self._ntlm.expects_authenticate:
            reply = self._ntlm.negotiate(token)
            return Challenge(
                messages.build_response(
                    messages.ACCEPT_INCOMPLETE, mechanism=NTLMSSP_OID, token=reply
                )
            )
        self._proof = self._ntlm.authenticate(token)
        return self._proof

    @property
    def _prefers_ntlm(self) -> bool:
        """Tell whether NTLM was the client's first choice."""
        return (self._mech_types or [b""])[0] == NTLMSSP_OID

    def _answer_mic(self) -> bytes:
        """Check the client's mechListMIC and return the server's ([RFC4178] 5).

        The list must be signed when its first mechanism was not taken, or somebody in the
        middle could have put it in front. A client that agreed on no signatures cannot sign.
        """
        claimed = self._mech_list_mic
        if not self._ntlm.signs or (claimed is None and self._prefers_ntlm):
            return b""
        if claimed is None:
            raise SmbError(NtStatus.LOGON_FAILURE)
        right = self._ntlm.mac(from_server=False, message=self._mech_list)
        if not hmac.compare_digest(claimed, right):
            raise SmbError(NtStatus.LOGON_FAILURE)
        return self._ntlm.mac(from_server=True, message=self._mech_list)
