"""The acceptor of a session setup: SPNEGO around Kerberos or NTLM, or NTLM alone.

[MS-SPNG] 3, [RFC4178]::

    acceptor = Acceptor(names, now)
    acceptor.step(token)          -> Challenge: to the client, with MORE_PROCESSING_REQUIRED
    acceptor.step(token)          -> LoginProof, Ticket or TicketMic: to mountd
    acceptor.finish(base_key)     -> Established: the last token and the session key (NTLM)
    acceptor.ticket_taken(...)    -> the same, or a Challenge, after mountd saw a Ticket

The first mechanism of the client's list that the server has is taken ([RFC4178] 4.2.1). When
another one stands before it, somebody in the middle may have put it there: then both sides sign
the list, and nobody is let in before that. Kerberos' tokens are never looked into here: mountd has
the keytab, and it signs and checks the list as well.

The state of the exchange is held by `_ntlm` (which message comes next), `_kerberos` (where its
tokens go) and `_mech_types` (None until the first token, empty when the client speaks NTLM
without SPNEGO).
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from usmbd.protocol.auth import spnego_messages as messages
from usmbd.protocol.auth.ntlm import LoginProof, NtlmAcceptor
from usmbd.protocol.auth.ntlm_messages import NTLMSSP_SIGNATURE, ServerNames
from usmbd.protocol.auth.spnego_messages import (
    KERBEROS_OID,
    MS_KERBEROS_OID,
    NTLMSSP_OID,
    negotiate_hint,
)
from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

__all__ = [
    "Acceptor",
    "Challenge",
    "Established",
    "LoginProof",
    "Proof",
    "ServerNames",
    "Ticket",
    "TicketMic",
    "negotiate_hint",
]


MAX_MECH_LIST = 1024
"""Bytes of the client's list of mechanisms, kept until the login ends; Windows sends 50."""

MAX_TICKET = 48 * 1024
"""Bytes of a Kerberos token: Windows' MaxTokenSize, the longest that a domain gives."""

MAX_MIC = 256
"""Bytes of a mechListMIC: Kerberos' have 28 to 40 ([RFC4121] 4.2.6.1)."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's next token; the client is to answer it."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Ticket:
    """A Kerberos token (KRB_AP_REQ in its GSS frame), for mountd.

    `mech_list` is what has to be signed, empty where nothing has; `mech_list_mic` the client's
    signature, if it came along.
    """

    token: bytes = field(repr=False)
    mech_list: bytes = b""
    mech_list_mic: bytes = b""


@dataclass(frozen=True, slots=True)
class TicketMic:
    """The client's signature of its list, for the context that mountd keeps under `context`."""

    context: int
    mech_list_mic: bytes


Proof = LoginProof | Ticket | TicketMic
"""What mountd decides upon."""


@dataclass(frozen=True, slots=True)
class Established:
    """The exchange is over: the server's last token (empty without SPNEGO) and the session key.

    The key has 16 bytes (by Kerberos 16 to 32), or none for a guest, whose session cannot be
    signed.
    """

    token: bytes
    session_key: bytes = field(repr=False)


class _Kerberos(Enum):
    """Where an exchange by Kerberos stands."""

    UNUSED = auto()
    WAITS_FOR_TICKET = auto()
    WAITS_FOR_MIC = auto()
    DONE = auto()
    """mountd is asked."""


class Acceptor:
    """The server's side of one authentication. After an error it is of no use any more."""

    __slots__ = (
        "_context",
        "_has_kerberos",
        "_has_ntlm",
        "_kerberos",
        "_mech_list",
        "_mech_list_mic",
        "_mech_types",
        "_ntlm",
        "_oid",
        "_proof",
    )

    def __init__(
        self,
        names: ServerNames,
        now: int,
        challenge: bytes | None = None,
        *,
        kerberos: bool = False,
        ntlm: bool = True,
        ntlmv1: bool = False,
    ) -> None:
        """Be `names` at the FILETIME `now`; NTLM's `challenge` (8 bytes) is random unless given."""
        self._ntlm = NtlmAcceptor(names, now, challenge, ntlmv1=ntlmv1)
        self._has_kerberos = kerberos
        self._has_ntlm = ntlm
        self._kerberos = _Kerberos.UNUSED
        self._oid = b""  # of Kerberos, as the client says it
        self._context = 0
        self._mech_types: list[bytes] | None = None
        self._mech_list = b""
        self._mech_list_mic: bytes | None = None
        self._proof: LoginProof | None = None

    def step(self, token: Buffer) -> Challenge | Proof:
        """Take the client's next token.

        SmbError(INVALID_PARAMETER) if it is malformed or out of turn, SmbError(LOGON_FAILURE)
        if it proves nothing that can be checked.
        """
        view = memoryview(token)
        if self._proof is not None or self._kerberos is _Kerberos.DONE:
            raise MalformedError("the proof is being checked")
        if self._mech_types is None:
            return self._first(view)
        if self._kerberos is not _Kerberos.UNUSED:
            return self._later_of_kerberos(view)
        return self._later(view)

    def finish(self, exchange_key: bytes) -> Established:
        """Conclude after mountd let the client in, with the base key that it gave.

        An empty key stands for a guest or a null session. SmbError(LOGON_FAILURE) if the
        messages were tampered with.
        """
        session_key = self._ntlm.finish(exchange_key)
        if not self._mech_types:
            return Established(b"", session_key)
        mic = self._answer_mic() if session_key else b""
        return Established(
            messages.build_response(messages.ACCEPT_COMPLETED, mech_list_mic=mic), session_key
        )

    def mic_wanted(self, context: int, token: bytes, mech_list_mic: bytes) -> Challenge:
        """Ask for the client's signature of its list, with Kerberos' answer and the server's own.

        mountd keeps the security context under the number `context` meanwhile.
        """
        self._kerberos, self._context = _Kerberos.WAITS_FOR_MIC, context
        return Challenge(
            messages.build_response(
                messages.ACCEPT_INCOMPLETE,
                mechanism=self._oid,
                token=token,
                mech_list_mic=mech_list_mic,
            )
        )

    def finish_ticket(self, token: bytes, mech_list_mic: bytes, session_key: bytes) -> Established:
        """Conclude after mountd let the client in by its ticket, with Kerberos' own answer."""
        # Whoever was told the mechanism in an earlier token is not told again ([RFC4178] 4.2.2).
        told = self._context or not token
        return Established(
            messages.build_response(
                messages.ACCEPT_COMPLETED,
                mechanism=b"" if told else self._oid,
                token=token,
                mech_list_mic=mech_list_mic,
            ),
            session_key,
        )

    def _first(self, token: memoryview) -> Challenge | Ticket:
        """Take the first token: the client's mechanisms with an optimistic token, or raw NTLM."""
        if token[: len(NTLMSSP_SIGNATURE)] == NTLMSSP_SIGNATURE:
            self._mech_types = []
            return Challenge(self._negotiate(token))
        init = messages.parse_init(token)
        if len(init.mech_list) > MAX_MECH_LIST:
            raise MalformedError(f"a list of mechanisms of {len(init.mech_list)} bytes")
        self._mech_types, self._mech_list = init.mech_types, init.mech_list
        self._mech_list_mic = init.mech_list_mic
        optimistic = init.mech_token
        # The optimistic token is of the client's first mechanism; it is worth a look even if
        # that is another one, for there are clients that list Kerberos and send NTLM.
        speaks_ntlm = (
            optimistic is not None and optimistic[: len(NTLMSSP_SIGNATURE)] == NTLMSSP_SIGNATURE
        )
        chosen = self._choose(init.mech_types, NTLMSSP_OID if speaks_ntlm else None)
        state = messages.ACCEPT_INCOMPLETE if self._prefers(chosen) else messages.REQUEST_MIC
        if chosen == NTLMSSP_OID:
            reply = b""
            if optimistic is not None and (self._prefers(chosen) or speaks_ntlm):
                reply = self._negotiate(optimistic)
            return Challenge(messages.build_response(state, mechanism=NTLMSSP_OID, token=reply))
        self._kerberos, self._oid = _Kerberos.WAITS_FOR_TICKET, chosen
        if optimistic is not None and self._prefers(chosen):
            return self._ticket(optimistic)
        return Challenge(messages.build_response(state, mechanism=chosen))

    def _choose(self, mech_types: list[bytes], spoken: bytes | None) -> bytes:
        """Return the first of the client's mechanisms that is had, or the one `spoken` already."""
        had = []
        if self._has_kerberos:
            had += [MS_KERBEROS_OID, KERBEROS_OID]
        if self._has_ntlm:
            had.append(NTLMSSP_OID)
        if spoken in had and spoken in mech_types:
            assert spoken is not None
            return spoken
        for oid in mech_types:
            if oid in had:
                return oid
        if NTLMSSP_OID in mech_types:
            raise SmbError(NtStatus.LOGON_FAILURE)  # `ntlm auth = disabled`
        raise MalformedError("the client offers no mechanism that is had")

    def _negotiate(self, token: memoryview) -> bytes:
        """Return NTLM's challenge; SmbError(LOGON_FAILURE) where NTLM is not had."""
        if not self._has_ntlm:
            raise SmbError(NtStatus.LOGON_FAILURE)
        return self._ntlm.negotiate(token)

    def _later(self, token: memoryview) -> Challenge | LoginProof:
        """Take a token after the first: NTLM's messages, in the same wrapping as before."""
        if self._mech_types:
            response = messages.parse_response(token)
            if response.response_token is None:
                raise MalformedError("the response holds no token of NTLM")
            token = response.response_token
            self._mech_list_mic = response.mech_list_mic
        if not self._ntlm.expects_authenticate:
            reply = self._negotiate(token)
            return Challenge(
                messages.build_response(
                    messages.ACCEPT_INCOMPLETE, mechanism=NTLMSSP_OID, token=reply
                )
            )
        self._proof = self._ntlm.authenticate(token)
        return self._proof

    def _later_of_kerberos(self, token: memoryview) -> Ticket | TicketMic:
        """Take a token after the first: Kerberos' own, or the signature that was asked for."""
        response = messages.parse_response(token)
        if self._kerberos is _Kerberos.WAITS_FOR_TICKET:
            if response.response_token is None:
                raise MalformedError("the response holds no token of Kerberos")
            self._mech_list_mic = response.mech_list_mic
            return self._ticket(response.response_token)
        mic = response.mech_list_mic
        if not mic or len(mic) > MAX_MIC:
            raise MalformedError("the response holds no signature")
        self._kerberos = _Kerberos.DONE
        return TicketMic(self._context, mic)

    def _ticket(self, token: memoryview) -> Ticket:
        """Return what goes to mountd: the list, too, where it has to be signed."""
        mic = self._mech_list_mic or b""
        if not 0 < len(token) <= MAX_TICKET or len(mic) > MAX_MIC:
            raise MalformedError(f"a token of Kerberos of {len(token)} bytes")
        self._kerberos = _Kerberos.DONE
        if self._prefers(self._oid) and not mic:
            return Ticket(bytes(token))
        return Ticket(bytes(token), self._mech_list, mic)

    def _prefers(self, oid: bytes) -> bool:
        """Tell whether a mechanism was the client's first choice."""
        return (self._mech_types or [b""])[0] == oid

    def _answer_mic(self) -> bytes:
        """Check the client's mechListMIC and return the server's ([RFC4178] 5).

        The list must be signed when its first mechanism was not taken, or somebody in the
        middle could have put it in front. A client that agreed on no signatures cannot sign.
        """
        claimed = self._mech_list_mic
        if not self._ntlm.signs or (claimed is None and self._prefers(NTLMSSP_OID)):
            return b""
        if claimed is None:
            raise SmbError(NtStatus.LOGON_FAILURE)
        own = self._ntlm.countersign(self._mech_list, claimed)
        if own is None:
            raise SmbError(NtStatus.LOGON_FAILURE)
        return own
