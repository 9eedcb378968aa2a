"""SMB2 SESSION_SETUP: login, re-authentication, binding of channels ([MS-SMB2] 3.3.5.5)."""

import logging
import time
from contextlib import suppress

from usmbd.mountd.ipc.messages import (
    AnonymousRequest,
    LoginRequest,
    LoginResponse,
    LoginStatus,
    TicketMicRequest,
    TicketRequest,
)
from usmbd.mountd.ipc.settings import Encryption, Signing
from usmbd.protocol.auth.ntlm import LoginProof
from usmbd.protocol.auth.ntlm_messages import ServerNames
from usmbd.protocol.auth.spnego import (
    Acceptor,
    Challenge,
    Established,
    Proof,
    Ticket,
    TicketMic,
)
from usmbd.protocol.commands import session_owner
from usmbd.protocol.commands.binding import check_hosts, find_binding, sign_refusal
from usmbd.protocol.commands.request import Handling, Reply, Request
from usmbd.protocol.crypto.encryption import make_sealer
from usmbd.protocol.crypto.kdf import derive_keys
from usmbd.protocol.crypto.preauth import PreauthHash
from usmbd.protocol.crypto.signing import make_signer
from usmbd.protocol.effects import Resume, Wait, Waiting
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.interfaces import host_name
from usmbd.protocol.state.mountd import ask
from usmbd.protocol.state.session import Channel, Session, SessionState
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.header import SMB2_FLAGS_SIGNED
from usmbd.protocol.wire.negotiate import (
    SMB2_DIALECT_311,
    SMB2_NEGOTIATE_SIGNING_REQUIRED,
)
from usmbd.protocol.wire.session_setup import (
    SMB2_SESSION_FLAG_BINDING,
    SMB2_SESSION_FLAG_ENCRYPT_DATA,
    SMB2_SESSION_FLAG_IS_GUEST,
    SMB2_SESSION_FLAG_IS_NULL,
    SessionSetupRequest,
    build_session_setup_response,
    security_buffer,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

log = logging.getLogger("usmbd.auth")

MAXIMUM_SESSIONS = 64
"""Sessions of one connection, half-open ones included: Windows uses one a user, multi-user
mounts of Linux one a user as well; a client without a login cannot fill memory with more."""

MAXIMUM_HALF_OPEN = 16
"""Of them, those whose login has begun: a user's takes two round trips."""

STRANGER_SESSIONS = 4
"""Sessions, half-open or of nobody, of a connection on which no user has logged in yet."""

MAXIMUM_TOKEN = 64 * 1024
"""Bytes of one security token; the field cannot hold more."""

_STATUS = {
    LoginStatus.REFUSED: NtStatus.ACCESS_DENIED,
    LoginStatus.PASSWORD_EXPIRED: NtStatus.PASSWORD_EXPIRED,
    LoginStatus.PASSWORD_MUST_CHANGE: NtStatus.PASSWORD_MUST_CHANGE,
    LoginStatus.ACCOUNT_DISABLED: NtStatus.ACCOUNT_DISABLED,
    LoginStatus.ACCOUNT_EXPIRED: NtStatus.ACCOUNT_EXPIRED,
}


def session_setup(request: Request) -> Handling:
    """Take one step of an authentication: for a new session, a known one, or a new channel."""
    body = parse_body(SessionSetupRequest, request.message)
    token = security_buffer(request.message, body)
    session, new, binding = _find(request, body)
    connection = request.connection
    request.header.session_id = session.session_id
    if connection in session.acceptors and session.acceptors[connection] is None:
        raise SmbError(NtStatus.REQUEST_NOT_ACCEPTED)
    preauth = _preauth(connection, session) if connection.dialect == SMB2_DIALECT_311 else None
    if preauth is not None:
        preauth.update(request.message)
    acceptor = session.acceptors.get(connection)
    if acceptor is None:
        config = connection.server.config
        acceptor = session.acceptors[connection] = Acceptor(
            _names(connection),
            from_ns(time.time_ns()),
            kerberos=config.kerberos,
            ntlm=config.ntlm,
            ntlmv1=config.ntlmv1,
        )
    try:
        step = acceptor.step(token)
        del token  # the message is given back while mountd is asked
        if isinstance(step, Challenge):
            return _more(request, step, preauth)
        session.acceptors[connection] = None  # mountd is asked: no further step before its answer
        answer = yield from _login(request, step)
        if answer.status is LoginStatus.MIC_WANTED:
            if session.closed or connection.closed:  # meanwhile
                raise SmbError(NtStatus.USER_SESSION_DELETED)
            session.acceptors[connection] = acceptor
            wanted = acceptor.mic_wanted(answer.context, answer.token, answer.mech_list_mic)
            return _more(request, wanted, preauth)
        established = _concluded(acceptor, step, answer)
        if binding:
            session_owner.check_binding(session, answer)
            yield from check_hosts(connection, session)
        else:
            session_owner.admit(connection.server.config, answer, connection.transport.peer)
            if session.valid:
                ticket = session.ticket
                session_owner.reauthenticate(session, answer, connection.transport.peer)
                if session.ticket != ticket and not session.closed:
                    with suppress(SmbError):  # no room: it goes on, known by the old one
                        connection.server.keep_session(session, connection)
    except Exception:
        _failed(request, session, new, binding)
        raise
    session.acceptors.pop(connection, None)
    if session.closed or connection.closed:  # meanwhile
        raise SmbError(NtStatus.USER_SESSION_DELETED)
    if binding:
        _bind(request, session, established.session_key)
    elif session.state is SessionState.IN_PROGRESS:
        domain = step.domain if isinstance(step, LoginProof) else ""
        _establish(request, session, body, answer, domain, established.session_key)
        try:
            # Known before it waits: what is configured anew meanwhile has to reach it.
            connection.server.register_session(session, connection)
            yield from _drop_previous(request, body.previous_session_id, session)
            if session.closed:  # meanwhile
                raise SmbError(NtStatus.USER_SESSION_DELETED)
        except Exception:
            connection.server.close_session(session)
            raise
    connection.preauth_sessions.pop(session.session_id, None)
    connection.end_login(session.session_id)
    if session.account:
        connection.admit(Standing.USER)
    if not binding:
        connection.server.expiries.watch(session)
    channel = session.channel_list.get(connection)
    request.session = session
    request.signer = channel.signer if channel is not None else None
    return list(build_session_setup_response(_flags(session), established.token))


def _find(request: Request, body: SessionSetupRequest) -> tuple[Session, bool, bool]:
    """Return the session, whether it is new, and whether a channel is bound ([MS-SMB2] 3.3.5.5)."""
    connection = request.connection
    server = connection.server
    session_id = request.header.session_id
    if not session_id:
        _make_room(connection)
        if server.config.encryption is Encryption.REQUIRED and not connection.cipher_id:
            session_owner.tell_refusal("encryption_required", connection.transport.peer)
            raise SmbError(NtStatus.ACCESS_DENIED)
        session = server.new_session(connection.dialect)
        if not connection.begin_login(session):
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
        return session, True, False
    if body.flags & SMB2_SESSION_FLAG_BINDING:
        return find_binding(request), False, True
    known = connection.session_table.get(session_id)
    if known is None or (known.valid and connection not in known.channel_list):
        sign_refusal(request)
        raise SmbError(NtStatus.USER_SESSION_DELETED)
    if known.valid:
        _verify(request, known)
    return known, not known.valid, False


def _make_room(connection: Connection) -> None:
    """Have room for one login more; SmbError(INSUFFICIENT_RESOURCES) when there is none.

    Where too many have begun and gone no further, the oldest gives way ([MS-SMB2] 3.3.5.5.1 lets a
    server limit both).
    """
    server = connection.server
    is_user = connection.standing is Standing.USER
    most = MAXIMUM_SESSIONS if is_user else STRANGER_SESSIONS
    half_open = MAXIMUM_HALF_OPEN if is_user else STRANGER_SESSIONS
    if len(connection.half_open) >= half_open or len(connection.session_table) >= most:
        # Where mountd is asked there is no acceptor any more: that login is about to end.
        begun = connection.half_open.values()
        oldest = next((s for s in begun if s.acceptors.get(connection)), None)
        if oldest is not None:
            server.close_session(oldest)
    if len(connection.session_table) >= most or (
        0 < server.config.max_active_sessions <= server.store.user_sessions()
    ):
        session_owner.tell_refusal("too_many_sessions", connection.transport.peer)
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)


def _verify(request: Request, session: Session) -> None:
    """Check the signature of a re-authentication."""
    channel = session.channel_list.get(request.connection)
    if request.header.flags & SMB2_FLAGS_SIGNED and channel and channel.signer:
        request.signer = channel.signer  # the refusal is signed as well: else no client believes it
        if not channel.signer.verify(request.message):
            raise SmbError(NtStatus.ACCESS_DENIED)
    elif session.signing_required and request.sealed is not session:
        raise SmbError(NtStatus.ACCESS_DENIED)


def _names(connection: Connection) -> ServerNames:
    """Return the names that the NTLM challenge tells."""
    config = connection.server.config
    return ServerNames(
        netbios_computer=config.netbios_name,
        netbios_domain=config.workgroup,
        dns_computer=host_name(),
    )


def _preauth(connection: Connection, session: Session) -> PreauthHash:
    """Return the hash chain of this authentication, begun from the connection's."""
    chain = connection.preauth_sessions.get(session.session_id)
    if chain is None:
        chain = connection.preauth_sessions[session.session_id] = connection.preauth.copy()
    return chain


def _more(request: Request, challenge: Challenge, preauth: PreauthHash | None) -> Reply:
    """Send the client a token that it has to answer."""
    if preauth is not None:
        request.on_reply = preauth.update
    return Reply(
        build_session_setup_response(0, challenge.token), NtStatus.MORE_PROCESSING_REQUIRED
    )


def _concluded(acceptor: Acceptor, proof: Proof, answer: LoginResponse) -> Established:
    """Return the exchange's end after mountd has let the client in."""
    if isinstance(proof, LoginProof):
        return acceptor.finish(answer.session_base_key)
    return acceptor.finish_ticket(answer.token, answer.mech_list_mic, answer.session_base_key)


def _login(request: Request, proof: Proof) -> Waiting[LoginResponse]:
    """Ask mountd who this is; SmbError(LOGON_FAILURE or ACCESS_DENIED) when nobody."""
    server, peer = request.connection.server, request.connection.transport.peer
    facts: dict[str, str | int] = {"client": peer}
    if isinstance(proof, LoginProof):
        facts["user"] = "anonymous" if proof.anonymous else proof.user
        facts["domain"], facts["workstation"] = proof.domain, proof.workstation
    log.debug("logs in%s", "" if isinstance(proof, LoginProof) else " by Kerberos", extra=facts)
    answer = yield from ask(server.mountd, _question(request, proof), LoginResponse)
    log.debug("mountd says %s, uid %d", answer.status.value, answer.uid, extra={"client": peer})
    if answer.status in _GOES_ON:
        return answer
    session_owner.tell_refusal(
        answer.status.value, peer, str(facts.get("user") or answer.user or "by Kerberos")
    )
    raise SmbError(_STATUS.get(answer.status, NtStatus.LOGON_FAILURE))


_GOES_ON = (LoginStatus.OK, LoginStatus.GUEST, LoginStatus.ANONYMOUS, LoginStatus.MIC_WANTED)


def _question(
    request: Request, proof: Proof
) -> LoginRequest | AnonymousRequest | TicketRequest | TicketMicRequest:
    """Return what mountd is asked; SmbError(LOGON_FAILURE) for names that no account has."""
    transport = request.connection.transport
    if isinstance(proof, Ticket):
        return TicketRequest(
            token=proof.token,
            client_address=transport.peer,
            server_address=transport.local,
            mech_list=proof.mech_list,
            mech_list_mic=proof.mech_list_mic,
        )
    if isinstance(proof, TicketMic):
        return TicketMicRequest(
            context=proof.context,
            mech_list_mic=proof.mech_list_mic,
            client_address=transport.peer,
        )
    if proof.anonymous:
        return AnonymousRequest(client_address=transport.peer)
    return LoginRequest(
        user=proof.user,
        domain=proof.domain,
        workstation=proof.workstation,
        server_challenge=proof.server_challenge,
        nt_response=proof.nt_response,
        client_address=transport.peer,
        client_challenge=proof.client_challenge,
    )


def _failed(request: Request, session: Session, new: bool, binding: bool) -> None:
    """Undo a failed authentication; a failed binding leaves the session alone."""
    connection = request.connection
    session.acceptors.pop(connection, None)
    connection.preauth_sessions.pop(session.session_id, None)
    if binding or new:
        if connection not in session.channel_list:
            connection.session_table.pop(session.session_id, None)
            connection.end_login(session.session_id)
    else:
        connection.server.close_session(session)


def _establish(
    request: Request,
    session: Session,
    body: SessionSetupRequest,
    answer: LoginResponse,
    domain: str,
    key: bytes,
) -> None:
    """Make a new session valid: user, keys, protection ([MS-SMB2] 3.3.5.5.3)."""
    connection = request.connection
    config = connection.server.config
    session_owner.own(session, answer, domain)
    if not (session.guest or session.anonymous):
        required = (body.security_mode & SMB2_NEGOTIATE_SIGNING_REQUIRED) or (
            config.signing is Signing.MANDATORY
        )
        session.signing_required = bool(required)
    chain = connection.preauth_sessions.get(session.session_id)
    keys = derive_keys(
        connection.dialect,
        key[:16],
        key,
        chain.value if chain is not None else b"",
        connection.cipher_id,
    )
    signer = None
    if key and not session.guest:
        signer = make_signer(connection.signing_algorithm_id, keys.signing)
        if connection.cipher_id and not session.anonymous:  # whose keys everybody knows
            session.sealer = make_sealer(connection.cipher_id, keys.encryption, keys.decryption)
            session.encrypt_data = config.encryption in (Encryption.DESIRED, Encryption.REQUIRED)
    session.signer, session.signing_key = signer, keys.signing if signer is not None else b""
    session.application_key = bytes(keys.application) if signer is not None else b""
    session.signing_algorithm_id = connection.signing_algorithm_id
    session.cipher_id = connection.cipher_id
    session.client_guid = connection.client_guid
    session.channel_list[connection] = Channel(connection, signer)
    session.state = SessionState.VALID
    log.debug(
        "signing %s, encryption %s",
        _protection(signer, session.signing_required),
        _protection(session.sealer, session.encrypt_data),
        extra=_facts(connection, session),
    )
    log.info("logged in as uid %d", session.identity.uid, extra=_facts(connection, session))


def _facts(connection: Connection, session: Session) -> dict[str, str | int]:
    """Return whose session it is, for the log; nobody has proved anything for an anonymous one."""
    client = connection.transport.peer
    if session.anonymous:
        return {"client": client, "user": "anonymous"}
    return {"client": client, "user": session.user, "session": session.session_id}


def _protection(possible: object, required: bool) -> str:
    """Return a kind of protection for the log."""
    return "required" if required else "when asked for" if possible else "impossible"


def _bind(request: Request, session: Session, key: bytes) -> None:
    """Add the connection as a channel, with a signing key of its own ([MS-SMB2] 3.3.5.5.3)."""
    connection = request.connection
    chain = connection.preauth_sessions.get(session.session_id)
    keys = derive_keys(
        connection.dialect,
        key[:16],
        key,
        chain.value if chain is not None else b"",
        connection.cipher_id,
    )
    signer = make_signer(connection.signing_algorithm_id, keys.signing)
    session.channel_list[connection] = Channel(connection, signer)
    log.debug(
        "channel %d of the session", len(session.channel_list), extra=_facts(connection, session)
    )


def _drop_previous(request: Request, previous: int, session: Session) -> Waiting[None]:
    """End the session that the client lost and names, if it is the same account's (3.3.5.5.3).

    Guests and the anonymous are nobody's same: none of them ends the session of another.
    """
    server = request.connection.server
    if not previous or previous == session.session_id:
        return
    record = server.store.get_session(previous)
    if record is None or not record.user or record.user != session.account:
        return

    def start(resume: Resume[None]) -> None:
        if record.worker == server.worker:
            server.end_session(previous, resume)
        else:
            server.peers.close_session(record.worker, previous, resume)

    yield Wait(start)


def _flags(session: Session) -> int:
    """Return SessionFlags."""
    if session.guest:
        return SMB2_SESSION_FLAG_IS_GUEST
    if session.anonymous or session.state is SessionState.SUSPENDED:
        return SMB2_SESSION_FLAG_IS_NULL
    return SMB2_SESSION_FLAG_ENCRYPT_DATA if session.encrypt_data else 0
