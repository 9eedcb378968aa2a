"""Binding a connection to a session as a further channel ([MS-SMB2] 3.3.5.5.2).

The order of the checks is Samba's, which its tests expect; the client signs the request with the
session's key, so every refusal is signed with it as well. A session of another worker cannot be
bound: the supervisor brings all connections of one ClientGuid together, so such a client has
changed it. The store tells enough of that session to refuse as another server would.
"""

from contextlib import suppress
from dataclasses import dataclass

from usmbd.mountd.ipc.messages import TreeConnectResponse, TreeStatus
from usmbd.protocol.commands.request import Request
from usmbd.protocol.commands.tree_connect import question
from usmbd.protocol.crypto.signing import Signer, make_signer
from usmbd.protocol.effects import Waiting
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.mountd import ask
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session, SessionState
from usmbd.protocol.wire.header import SMB2_FLAGS_SIGNED
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300
from usmbd.protocol.wire.negotiate_contexts import SIGNING_AES_GMAC
from usmbd.protocol.wire.status import NtStatus, SmbError

MAXIMUM_CHANNELS = 32
"""Connections of one session: as many as Windows and Samba take."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """What a binding is checked against; `session` is None when another worker has it."""

    session: Session | None
    dialect: int
    signing_algorithm_id: int
    cipher_id: int
    signer: Signer | None


def find_binding(request: Request) -> Session:
    """Return the session that the connection may be bound to; SmbError when it may not."""
    connection, header = request.connection, request.header
    bound = _find(connection.server, header.session_id)
    own = connection.signing_algorithm_id
    _check_signature(request, bound)
    if own != bound.signing_algorithm_id:
        # GMAC does not go together with another algorithm in one session.
        if bound.signing_algorithm_id >= SIGNING_AES_GMAC:
            raise SmbError(NtStatus.REQUEST_OUT_OF_SEQUENCE)
        if own >= SIGNING_AES_GMAC:
            raise SmbError(NtStatus.NOT_SUPPORTED)
    if connection.dialect < SMB2_DIALECT_300 or not connection.server.config.multichannel:
        raise SmbError(NtStatus.REQUEST_NOT_ACCEPTED)
    if request.signer is None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if bound.dialect != connection.dialect or bound.cipher_id != connection.cipher_id:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    session = bound.session
    if session is None or session.client_guid != connection.client_guid:
        raise SmbError(NtStatus.REQUEST_NOT_ACCEPTED)
    if session.state is SessionState.EXPIRED:
        raise SmbError(NtStatus.NETWORK_SESSION_EXPIRED)
    if not session.account or session.state is SessionState.SUSPENDED:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    if connection in session.channel_list:
        raise SmbError(NtStatus.REQUEST_NOT_ACCEPTED)
    if len(session.channel_list) >= MAXIMUM_CHANNELS:
        raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
    connection.session_table[session.session_id] = session
    return session


def check_hosts(connection: Connection, session: Session) -> Waiting[None]:
    """Check that the shares in use may be used from here, too; SmbError(ACCESS_DENIED)."""
    trees = {tree.asked_name: tree.tree_id for tree in session.tree_connect_table.values()}
    for name, tree_id in trees.items():
        asked = question(session, tree_id, name, connection)
        answer = yield from ask(connection.server.mountd, asked, TreeConnectResponse)
        if answer.status is TreeStatus.HOST_DENIED:
            raise SmbError(NtStatus.ACCESS_DENIED)


def sign_refusal(request: Request) -> None:
    """Let the refusal of a request that names a session without a channel here be believed.

    Of one that has ended here as well. SmbError(ACCESS_DENIED) when the request has a wrong
    signature of that session.
    """
    ended = request.connection.ended_signers.get(request.header.session_id)
    if ended is not None:
        if request.header.flags & SMB2_FLAGS_SIGNED and ended.verify(request.message):
            request.signer = ended
        return
    with suppress(_UnknownError):
        _check_signature(request, _find(request.connection.server, request.header.session_id))


def _check_signature(request: Request, bound: _Bound) -> None:
    """Check the session's own signature and sign the reply likewise; SmbError(ACCESS_DENIED)."""
    signer = bound.signer
    if bound.session is not None:
        channel = bound.session.channel_list.get(request.connection)
        if channel is not None:
            signer = channel.signer  # it is a channel already: its own key counts
    if request.header.flags & SMB2_FLAGS_SIGNED and signer is not None:
        request.signer = signer
        if not signer.verify(request.message):
            raise SmbError(NtStatus.ACCESS_DENIED)


class _UnknownError(SmbError):
    """No worker has the session: USER_SESSION_DELETED."""


def _find(server: Server, session_id: int) -> _Bound:
    """Find a valid session here or in another worker; SmbError(USER_SESSION_DELETED)."""
    session = server.session_table.get(session_id)
    if session is not None and session.channel_list:
        return _Bound(
            session,
            session.dialect,
            session.signing_algorithm_id,
            session.cipher_id,
            session.signer,
        )
    record = server.store.get_session(session_id)
    if record is None or record.worker == server.worker:
        raise _UnknownError(NtStatus.USER_SESSION_DELETED)
    signer = None
    if record.signing_key:
        signer = make_signer(record.signing_algorithm_id, record.signing_key)
    return _Bound(None, record.dialect, record.signing_algorithm_id, record.cipher_id, signer)
