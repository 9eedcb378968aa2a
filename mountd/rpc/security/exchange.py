"""The login of one association, message by message: NTLM, Kerberos, or SPNEGO around one of them.

[MS-RPCE] 3.3.1.5.2: a token comes with the bind, the answer goes with its ack; further ones with
alter_context, which is answered, or with an auth3, which is not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from usmbd.mountd.ipc.accounts import DirectoryRequest, DirectoryResponse
from usmbd.mountd.ipc.messages import (
    BindTicketRequest,
    BindTicketResponse,
    LoginRequest,
    LoginResponse,
    LoginStatus,
)
from usmbd.mountd.rpc.security import kerberos, ntlm, spnego

LET_IN: Final = (LoginStatus.OK,)
"""A guest, or nobody, binds without security of his own."""


class Protection(Protocol):
    """What protects calls once the login is over."""

    def size(self, *, sealed: bool) -> int:
        """Return the bytes of a token."""

    def open(self, message: bytes, start: int, end: int, token: bytes, *, sealed: bool) -> bytes:
        """Return a message in the clear; ValueError when its token is wrong."""

    def close(self, message: bytes, start: int, end: int, *, sealed: bool) -> bytes:
        """Return a message with its token behind it."""


@dataclass(slots=True)
class Established:
    """Who has logged in, the key of that login, and how his calls are protected."""

    login: LoginResponse
    key: bytes = field(repr=False)
    protection: Protection


Step = bytes | DirectoryRequest
"""The next token for the client, or what mountd has to be asked before there is one."""


@dataclass(slots=True)
class Answer:
    """What came of a question: a token for the client, and the login where it is over."""

    token: bytes
    established: Established | None


class Exchange(Protocol):
    """A login under way; what it does not like of a token is a ValueError."""

    def step(self, token: bytes) -> Step:
        """Take the client's next token."""

    def answered(self, answer: DirectoryResponse) -> Answer:
        """Take mountd's answer."""


@dataclass(slots=True)
class Surroundings:
    """What a login is about."""

    computer: str
    """The server's name."""
    address: str
    """The client's address."""
    ntlmv1: bool = False
    """`ntlm auth` permits it."""
    signs_headers: bool = False
    """Both sides want headers signed, where that is not so anyway ([MS-RPCE] 2.2.2.3)."""


class NtlmExchange:
    """NTLM ([MS-NLMP]): three messages, and mountd checks the third."""

    def __init__(self, around: Surroundings) -> None:
        """Begin with none."""
        self._around = around
        self._acceptor: ntlm.Acceptor | None = None
        self._asked = False

    def step(self, token: bytes) -> Step:
        """Take NEGOTIATE, then AUTHENTICATE."""
        if self._acceptor is None:
            around = self._around
            self._acceptor = ntlm.Acceptor(token, around.computer, ntlmv1=around.ntlmv1)
            return self._acceptor.challenge
        if self._asked:
            raise ValueError("a message too many")
        proof = self._acceptor.authenticate(token)
        self._asked = True
        return LoginRequest(
            proof.user,
            proof.domain,
            proof.workstation,
            proof.challenge,
            proof.nt_response,
            self._around.address,
            proof.client_challenge,
        )

    def answered(self, answer: DirectoryResponse) -> Answer:
        """Take mountd's word on the proof."""
        assert self._acceptor is not None
        login = _let_in(answer)
        key = self._acceptor.finish(login.session_base_key)
        return Answer(b"", Established(login, key, self._acceptor.protection(key)))

    def signed(self, established: Established, message: bytes, mic: bytes) -> bytes:
        """Check the client's signature of SPNEGO's list of mechanisms, and return the server's.

        They are the first messages; for calls the key streams begin anew ([MS-SPNG] 3.3.5.1).
        """
        assert self._acceptor is not None
        signing = self._acceptor.protection(established.key)
        if not signing.check(message, mic):
            raise ValueError("the list of mechanisms was changed on the way")
        own = signing.sign(message)
        established.protection = self._acceptor.protection(established.key, signing.next)
        return own


class TicketExchange:
    """Kerberos ([RFC4121]): mountd has the keytab; a third token ends it, as in DCE style.

    There its tokens have no frame ([MS-KILE] 3.4.5.4); impacket frames the first one all the same.
    """

    def __init__(self, around: Surroundings) -> None:
        """Begin with none."""
        self._around = around
        self._context = 0
        self.mech_list = self.mech_list_mic = b""
        """SPNEGO's, for the last token."""
        self.mic = b""
        """The server's signature of it."""

    def step(self, token: bytes) -> Step:
        """Take a ticket, or what ends the exchange."""
        token = spnego.unframed(token)
        if not token:
            raise ValueError("no ticket")
        return BindTicketRequest(
            token, self._around.address, self._context, self.mech_list, self.mech_list_mic
        )

    def answered(self, answer: DirectoryResponse) -> Answer:
        """Take mountd's word on the ticket."""
        if isinstance(answer, BindTicketResponse) and answer.context:
            self._context = answer.context
            return Answer(answer.login.token, None)
        if not isinstance(answer, BindTicketResponse):
            raise ValueError("mountd does not tell")
        login = _let_in(answer.login)
        keys = kerberos.Keys(
            answer.kind, answer.key, answer.subkey, answer.sending, answer.receiving
        )
        protection = kerberos.protection(keys, whole=self._around.signs_headers)
        self.mic = login.mech_list_mic
        return Answer(login.token, Established(login, login.session_base_key[:16], protection))


class SpnegoExchange:
    """SPNEGO ([RFC4178]): the first mechanism of the client's list that is known here is taken."""

    def __init__(self, around: Surroundings) -> None:
        """Begin with no mechanism."""
        self._around = around
        self._inner: NtlmExchange | TicketExchange | None = None
        self._first: spnego.Token = spnego.Token()
        self._mechanism = b""
        self._mic = b""
        self._told = False
        """The client knows the mechanism that was chosen."""

    def step(self, token: bytes) -> Step:
        """Take a NegTokenInit, then NegTokenResps."""
        inner = self._inner
        if inner is None:
            self._first = said = spnego.parse_init(token)
            inner = self._choose(said.mechanisms)
            if self._mechanism != said.mechanisms[0] or not said.inner:
                # Its token is another mechanism's: the client sends the first one of this.
                return self._response(b"")
        else:
            said = spnego.parse_response(token)
        self._mic = said.mic
        if isinstance(inner, TicketExchange):
            signed = bool(said.mic) or self._has_to_sign
            inner.mech_list = self._first.mech_list if signed else b""
            inner.mech_list_mic = said.mic
        answer = inner.step(said.inner)
        return self._response(answer) if isinstance(answer, bytes) else answer

    @property
    def _has_to_sign(self) -> bool:
        """Whether somebody may have put another mechanism before this one."""
        return self._mechanism != self._first.mechanisms[0]

    def _choose(self, mechanisms: tuple[bytes, ...]) -> NtlmExchange | TicketExchange:
        for mechanism in mechanisms:
            if mechanism in (spnego.KERBEROS, spnego.MS_KERBEROS):
                self._inner = TicketExchange(self._around)
            elif mechanism == spnego.NTLMSSP:
                self._inner = NtlmExchange(self._around)
            else:
                continue
            self._mechanism = mechanism
            return self._inner
        raise ValueError("no mechanism that is known here")

    def _response(self, inner: bytes) -> bytes:
        """Return a token that asks for another one."""
        mechanism = b"" if self._told else self._mechanism
        self._told = True
        return spnego.response(spnego.ACCEPT_INCOMPLETE, mechanism, inner)

    def answered(self, answer: DirectoryResponse) -> Answer:
        """Take mountd's answer; at the end sign the list of mechanisms, where that is to be."""
        assert self._inner is not None
        found = self._inner.answered(answer)
        established = found.established
        if established is None:
            return Answer(self._response(found.token), None)
        mic = b""
        if isinstance(self._inner, TicketExchange):
            mic = self._inner.mic
        elif self._mic:
            mic = self._inner.signed(established, self._first.mech_list, self._mic)
        if self._has_to_sign and not self._mic:
            raise ValueError("a list of mechanisms that nobody has signed")
        mechanism = b"" if self._told else self._mechanism
        return Answer(
            spnego.response(spnego.ACCEPT_COMPLETED, mechanism, found.token, mic), established
        )


def _let_in(answer: DirectoryResponse) -> LoginResponse:
    """Return a login that is let in; ValueError for all others."""
    if not isinstance(answer, LoginResponse):
        raise ValueError("mountd does not tell")
    if answer.status not in LET_IN or not answer.session_base_key:
        raise ValueError(f"the login is refused: {answer.status}")
    return answer


AUTHN_GSS_NEGOTIATE, AUTHN_WINNT, AUTHN_GSS_KERBEROS = 9, 10, 16
"""RPC_C_AUTHN_* ([MS-RPCE] 2.2.1.1.7)."""

EXCHANGES: Final[dict[int, Callable[[Surroundings], Exchange]]] = {
    AUTHN_GSS_NEGOTIATE: SpnegoExchange,
    AUTHN_WINNT: NtlmExchange,
    AUTHN_GSS_KERBEROS: TicketExchange,
}
"""The types of security that a bind may ask for."""
