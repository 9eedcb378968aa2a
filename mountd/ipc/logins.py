"""The messages about who logs in, by a password or a ticket, and whether he still may."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, field

from usmbd.mountd.ipc.base import (
    MAX_MECH_LIST,
    MAX_MIC,
    MAX_NT_RESPONSE,
    MAX_TICKET,
    MAX_TICKET_FACTS,
    Address,
    Groups,
    Handle,
    Message,
    Name,
)


class LoginStatus(StrEnum):
    """What became of a login."""

    OK = "ok"
    """The user is who he says; `session_base_key` is valid."""
    GUEST = "guest"
    """`map to guest` let the client in as the guest account: no key, no signing."""
    ANONYMOUS = "anonymous"
    """The null session was let in: no key, IPC$ and `guest ok` shares only."""
    BAD_USER = "bad_user"
    """No such user. The client must not learn it: STATUS_LOGON_FAILURE."""
    BAD_PASSWORD = "bad_password"
    """The proof does not fit the stored hash: STATUS_LOGON_FAILURE."""
    TOO_MANY = "too_many"
    """Too many logins of this client wait for their delayed answers: STATUS_LOGON_FAILURE."""
    PASSWORD_EXPIRED = "password_expired"
    """The proof is right, and too old (`maximum password age`)."""
    PASSWORD_MUST_CHANGE = "password_must_change"
    """The proof is right, and has to become another first."""
    ACCOUNT_DISABLED = "account_disabled"
    """The proof is right, of an account that lets nobody in."""
    ACCOUNT_EXPIRED = "account_expired"
    """The proof is right, of an account whose time is over."""
    REFUSED = "refused"
    """The configuration forbids it (no anonymous access): STATUS_ACCESS_DENIED."""
    BAD_TICKET = "bad_ticket"
    """The Kerberos token shows nothing, or the list of mechanisms: STATUS_LOGON_FAILURE."""
    MIC_WANTED = "mic_wanted"
    """The ticket is good; the client has to sign its list of mechanisms (`TicketMicRequest`)."""


class LoginRequest(Message):
    """Is this NTLM proof ([MS-NLMP] 3.3) that of the user? Answer: `LoginResponse`.

    `domain` is as the client sent it: it takes part in the proof.
    """

    user: Name
    domain: Name
    workstation: Name
    server_challenge: Annotated[bytes, Meta(min_length=8, max_length=8)]
    nt_response: Annotated[bytes, Meta(max_length=MAX_NT_RESPONSE)]
    client_address: Address
    client_challenge: Annotated[bytes, Meta(max_length=8)] = b""
    """Of NTLMv1 with extended session security; empty: without, or NTLMv2."""


class TicketRequest(Message):
    """Is this Kerberos token ([RFC4121] 4.1) good for this server? Answer: `LoginResponse`.

    `mech_list` is SPNEGO's list of mechanisms where it has to be signed ([RFC4178] 5), and
    `mech_list_mic` the client's signature if it came along. Without it the answer is MIC_WANTED.
    """

    token: Annotated[bytes, Meta(min_length=1, max_length=MAX_TICKET)]
    client_address: Address
    server_address: Address = ""
    """The address that the client came to, which it may have meant by its ticket."""
    mech_list: Annotated[bytes, Meta(max_length=MAX_MECH_LIST)] = b""
    mech_list_mic: Annotated[bytes, Meta(max_length=MAX_MIC)] = b""


class TicketMicRequest(Message):
    """Is this the client's signature that MIC_WANTED asked for? Answer: `LoginResponse`."""

    context: Handle
    """As `LoginResponse.context`."""
    mech_list_mic: Annotated[bytes, Meta(max_length=MAX_MIC)]
    client_address: Address


class BindTicketRequest(Message):
    """Is this Kerberos token of a bind of DCE/RPC good? Answer: `BindTicketResponse`.

    `mech_list` and `mech_list_mic` as in `TicketRequest`, with the last token.
    """

    token: Annotated[bytes, Meta(min_length=1, max_length=MAX_TICKET)]
    client_address: Address
    context: Handle = 0
    """As `BindTicketResponse.context`; 0: it is the first."""
    mech_list: Annotated[bytes, Meta(max_length=MAX_MECH_LIST)] = b""
    mech_list_mic: Annotated[bytes, Meta(max_length=MAX_MIC)] = b""


class AnonymousRequest(Message):
    """May a client without credentials have a session? Answer: `LoginResponse`."""

    client_address: Address


class LoginResponse(Message):
    """The answer to a login: the identity that the session's file operations run with."""

    status: LoginStatus
    user: Name = ""
    """The name as stored in the password file; the guest account's for guests."""
    uid: int = 0
    gid: int = 0
    """A user with a password but no account on this system gets the guest account's ids here;
    only a share with `force user` will let him in."""
    groups: Groups = field(default_factory=list)
    """All supplementary groups, `gid` excluded or included as the system says."""
    session_base_key: Annotated[bytes, Meta(max_length=32)] = b""
    """KeyExchangeKey ([MS-NLMP] 3.4.5.1), by NTLMv2 SessionBaseKey itself: 16 bytes when the status
    is OK, else empty. By Kerberos the session key itself, 16 to 32 bytes."""
    credential: int = 0
    """Stands for the password that was used, for `SessionRequest`; 0 for guests and tickets."""
    ticket: Annotated[bytes, Meta(max_length=MAX_TICKET_FACTS)] = b""
    """By Kerberos: who the ticket said the user is, sealed by mountd, for the later questions."""
    expires: int = 0
    """When the session ends, as a ticket or an account does, in seconds since 1970; 0: never."""
    token: Annotated[bytes, Meta(max_length=MAX_TICKET)] = b""
    """By Kerberos: what the client is to be answered (KRB_AP_REP), if it asked for anything."""
    mech_list_mic: Annotated[bytes, Meta(max_length=MAX_MIC)] = b""
    """The server's signature of the list of mechanisms."""
    context: Handle = 0
    """With MIC_WANTED: the security context that waits in mountd."""


class BindTicketResponse(Message):
    """The answer to a token of a bind, and at the end what protects calls ([RFC4121] 2)."""

    login: LoginResponse
    context: Handle = 0
    """The client is to be answered `login.token`, and to send another one, with this."""
    kind: int = 0
    """The encryption type of the key."""
    key: Annotated[bytes, Meta(max_length=32)] = b""
    subkey: bool = False
    sending: Handle = 0
    receiving: Handle = 0


class SessionRequest(Message):
    """Is this login still good? Asked after a `ConfigReloaded`. Answer: `SessionResponse`.

    It is not when the user was removed or has another password, or where guests are not let in
    any more.
    """

    user: Name
    """As `LoginResponse.user`."""
    credential: int = 0
    """As `LoginResponse.credential`; another mountd of the same state directory knows it too."""
    guest: bool = False
    anonymous: bool = False
    ticket: Annotated[bytes, Meta(max_length=MAX_TICKET_FACTS)] = b""
    """As `LoginResponse.ticket`."""


class SessionResponse(Message):
    """Whether a session may go on, with the ids of its user as they are now."""

    valid: bool
    uid: int = 0
    gid: int = 0
    groups: Groups = field(default_factory=list)
    credential: int = 0
    expires: int = 0
    """When the account ends, of who came by a password; 0: never."""
    known: bool = False
    """Of one that may not: its account is as it was, but for the password."""


class Logout(Message):
    """A session ended: what mountd counts for it is forgotten. No answer."""

    session_id: Handle
