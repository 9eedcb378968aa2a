"""Whose session it is: the one gate of logins, re-authentications, bindings and PreviousSessionId.

A session's keys come from its first authentication and stay ([MS-SMB2] 3.3.5.5.2): whoever knows
them has proved to be that account, and no other proof that travels through the session shows
anything about its sender, who may have relayed it. So a session belongs for good to the account
that began it. Later proofs, by whatever mechanism mountd checked them, may do this:

    session of         proof of the same     of nobody             of another account, or a guest
    an account         goes on               is suspended          ended, ACCESS_DENIED
    a guest, nobody    goes on               ended, ACCESS_DENIED  ended, ACCESS_DENIED

The document lets the security context be replaced (3.3.5.5.2), and Samba replaces it; there the
knower of the old keys becomes the new user. A failed authentication ends the session in both
(3.3.5.5.3), so this one does as well, with all that was open: nothing of it is served to another.
A suspended session keeps what is open (smb2.session.reauth2 to 4 want that) and opens nothing more
until its account proves itself again.
"""

import logging

from usmbd.mountd.ipc.messages import LoginResponse, LoginStatus, SessionResponse
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.session import Session, SessionState
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.auth")


def admit(config: ServerConfig, answer: LoginResponse, peer: str) -> None:
    """Refuse a guest or nobody where all has to be protected; SmbError(ACCESS_DENIED).

    They have no key, so that they can neither sign nor encrypt ([MS-SMB2] 3.3.5.5.3).
    """
    if config.protected and answer.status is not LoginStatus.OK:
        tell_refusal(f"{answer.status.value}_cannot_sign", peer, answer.user)
        raise SmbError(NtStatus.ACCESS_DENIED)


def tell_refusal(reason: str, peer: str, user: str = "") -> None:
    """Log why somebody is not let in: the client hears a status alone."""
    facts = {"client": peer} | ({"user": user} if user else {})
    log.info("login refused: %s", reason, extra=facts)


def own(session: Session, answer: LoginResponse, domain: str) -> None:
    """Give a new session to whoever mountd named, for good."""
    session.user = answer.user
    session.domain = domain
    session.guest = answer.status is LoginStatus.GUEST
    session.anonymous = answer.status is LoginStatus.ANONYMOUS
    session.ticket, session.expires = answer.ticket, answer.expires
    refresh(session, answer)


def is_owner(session: Session, answer: LoginResponse) -> bool:
    """Whether the proof is that of the account, the guest or the nobody whose session it is."""
    same_kind = (session.guest, session.anonymous) == (
        answer.status is LoginStatus.GUEST,
        answer.status is LoginStatus.ANONYMOUS,
    )
    return same_kind and (session.user, session.identity.uid) == (answer.user, answer.uid)


def reauthenticate(session: Session, answer: LoginResponse, peer: str) -> None:
    """Go on with a session, or suspend it; SmbError(ACCESS_DENIED) for the proof of another."""
    facts = {"client": peer, "session": session.session_id}
    if is_owner(session, answer):
        if session.state is SessionState.SUSPENDED:
            log.info("the session is %s's again", session.user, extra=facts)
        refresh(session, answer)
        session.ticket, session.expires = answer.ticket, answer.expires
        session.state = SessionState.VALID
    elif answer.status is LoginStatus.ANONYMOUS and not (session.guest or session.anonymous):
        log.info(
            "the session of %s re-authenticated as anonymous: it opens nothing more",
            session.user, extra=facts,
        )  # fmt: skip
        if session.state is not SessionState.EXPIRED:  # which may do less
            session.state = SessionState.SUSPENDED
    else:
        log.warning(
            "the session of %s ended: it was re-authenticated as %s",
            session.user or "anonymous", answer.user or "anonymous", extra=facts,
        )  # fmt: skip
        raise SmbError(NtStatus.ACCESS_DENIED)


def check_binding(session: Session, answer: LoginResponse) -> None:
    """Refuse to bind a channel as another; the session goes on unharmed; SmbError(ACCESS_DENIED).

    What was refused at the request's begin ([MS-SMB2] 3.3.5.5) is asked again: mountd's answer
    took its time.
    """
    if answer.status is not LoginStatus.OK or not is_owner(session, answer):
        raise SmbError(NtStatus.ACCESS_DENIED)
    if session.state is SessionState.SUSPENDED:
        raise SmbError(NtStatus.NOT_SUPPORTED)


def refresh(session: Session, answer: LoginResponse | SessionResponse) -> None:
    """Take over what may change of an account: its groups, and by which password it came."""
    session.credential = answer.credential
    session.identity = Identity(answer.uid, answer.gid, tuple(answer.groups))
