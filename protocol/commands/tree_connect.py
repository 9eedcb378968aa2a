"""SMB2 TREE_CONNECT and TREE_DISCONNECT ([MS-SMB2] 3.3.5.7, 3.3.5.8)."""

import logging

from usmbd.mountd.ipc.messages import (
    TreeConnectRequest as AskTreeConnect,
)
from usmbd.mountd.ipc.messages import (
    TreeConnectResponse as TreeAnswer,
)
from usmbd.mountd.ipc.messages import TreeDisconnect, TreeStatus
from usmbd.mountd.ipc.settings import ShareConfig, ShareType
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.effects import Resume, Slow, Wait, Waiting
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.mountd import ask
from usmbd.protocol.state.session import Session
from usmbd.protocol.state.speed import VolumeSpeed
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.state.volumes import open_for
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.machine_domain import MachineDomain
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_DIALECT_311
from usmbd.protocol.wire.negotiate import SMB2_GLOBAL_CAP_DFS as SMB2_GLOBAL_CAP_DFS
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.wire.tree_connect import (
    SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY,
    SMB2_SHARE_CAP_DFS,
    SMB2_SHARE_TYPE_DISK,
    SMB2_SHARE_TYPE_PIPE,
    SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM,
    SMB2_SHAREFLAG_COMPRESS_DATA,
    SMB2_SHAREFLAG_DFS,
    SMB2_SHAREFLAG_DFS_ROOT,
    SMB2_SHAREFLAG_ENCRYPT_DATA,
    SMB2_SHAREFLAG_NO_CACHING,
    TreeConnectRequest,
    TreeConnectResponse,
    share_path,
    split_share_path,
)
from usmbd.protocol.wire.tree_disconnect import TreeDisconnectRequest, TreeDisconnectResponse

log = logging.getLogger("usmbd.conn")

MAXIMUM_TREES = 1024
"""Tree connects of one session; Windows' clients use one a share."""

_STATUS = {
    TreeStatus.NO_SHARE: NtStatus.BAD_NETWORK_NAME,
    TreeStatus.HOST_DENIED: NtStatus.ACCESS_DENIED,
    TreeStatus.INVALID_USER: NtStatus.ACCESS_DENIED,
    TreeStatus.NO_USER: NtStatus.ACCESS_DENIED,
    TreeStatus.TOO_MANY_CONNECTIONS: NtStatus.REQUEST_NOT_ACCEPTED,
    TreeStatus.ERROR: NtStatus.UNSUCCESSFUL,
}
_DISCONNECTED = TreeDisconnectResponse().pack()


def tree_connect(request: Request) -> Handling:
    """Connect the session to a share, if mountd says that its user may use it."""
    body = parse_body(TreeConnectRequest, request.message)
    server_name, name = split_share_path(share_path(request.message, body))
    session, connection = request.session, request.connection
    if (
        connection.dialect == SMB2_DIALECT_311
        and request.signer is None
        and request.sealed is None
        and not (session.guest or session.anonymous)
    ):
        request.disconnect("an unprotected TREE_CONNECT")
    tree = yield from connect_share(request, server_name, name)
    request.header.tree_id = tree.tree_id
    return _response(request, tree.share, tree)


def connect_share(request: Request, server_name: str, name: str) -> Waiting[TreeConnect]:
    """Connect the session of a request to a share; SmbError."""
    session, connection = request.session, request.connection
    try:
        if len(session.tree_connect_table) >= MAXIMUM_TREES:
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
        place = connection.server.trees.take(session.proven_user, connection.network)
    except SmbError:
        _tell_refusal(session, connection, name, "too_many_trees")
        raise
    try:
        return (yield from _connect(request, server_name, name, place))
    except BaseException:
        place.give_back()
        raise


def _connect(request: Request, server_name: str, name: str, place: Place) -> Waiting[TreeConnect]:
    """Connect it, in a place that it has; SmbError."""
    session, connection = request.session, request.connection
    server = connection.server
    tree_id = session.next_tree_id
    session.next_tree_id += 1
    asked = question(session, tree_id, name, connection)
    while True:
        generation = server.generation
        answer = yield from ask(server.mountd, asked, TreeAnswer)
        if answer.status is not TreeStatus.OK or answer.share is None:
            _tell_refusal(session, connection, name, answer.status.value)
            raise SmbError(_STATUS.get(answer.status, NtStatus.UNSUCCESSFUL))
        share, found = answer.share, None
        identity = Identity(answer.uid, answer.gid, tuple(answer.groups))
        try:
            if share.encryption_required and session.sealer is None:
                _tell_refusal(session, connection, name, "encryption_required")
                raise SmbError(NtStatus.ACCESS_DENIED)
            if share.type is ShareType.DISK:
                # On a thread: the path may lead to a server that hangs.
                found = yield from Slow(open_for, share, identity, lane=share.name)
            if session.closed:  # meanwhile
                raise SmbError(NtStatus.USER_SESSION_DELETED)
        except Exception as error:
            # Mountd counts a tree connect too many.
            server.mountd.tell(TreeDisconnect(session_id=session.session_id, tree_id=tree_id))
            if not isinstance(error, OSError):
                raise
            log.error(
                "its path cannot be opened: %s", error.strerror,
                extra={
                    "client": connection.transport.peer, "share": share.name, "path": share.path
                },
            )  # fmt: skip
            raise SmbError(NtStatus.BAD_NETWORK_NAME) from error
        before, asked = asked, question(session, tree_id, name, connection)
        if generation == server.generation and asked == before:
            break  # neither the files nor the channels have changed meanwhile
    volume, speed = (None, VolumeSpeed()) if found is None else server.volumes.admit(share, found)
    tree = TreeConnect(
        session,
        tree_id,
        share,
        volume,
        speed,
        identity,
        writable=answer.writable,
        server_name=server_name,
        asked_name=name,
        place=place,
    )
    tree.domain = MachineDomain(answer.domain) if answer.domain else None
    tree.audits = answer.audits
    session.tree_connect_table[tree_id] = tree
    if volume is not None:
        connection.admit(Standing.USER if session.proven_user else Standing.GUEST)
    return tree


def _tell_refusal(session: Session, connection: Connection, share: str, reason: str) -> None:
    """Log why somebody does not get a share: the client hears a status alone."""
    user = session.user or "anonymous"
    facts = {"client": connection.transport.peer, "user": user, "share": share}
    log.info("tree connect refused: %s", reason, extra=facts)


def question(session: Session, tree_id: int, share: str, connection: Connection) -> AskTreeConnect:
    """Return the question to mountd whether the session, come by `connection`, may use a share."""
    peer = connection.transport.peer
    others = {channel.transport.peer for channel in session.channel_list}
    return AskTreeConnect(
        session_id=session.session_id,
        tree_id=tree_id,
        share=share[:255],
        user=session.user,
        uid=session.identity.uid,
        gid=session.identity.gid,
        groups=list(session.identity.groups),
        client_address=peer,
        server_address=connection.transport.local,
        other_addresses=sorted(others - {peer}),
        guest=session.guest,
        anonymous=session.anonymous,
        ticket=session.ticket,
    )


def _response(request: Request, share: ShareConfig, tree: TreeConnect) -> bytes:
    """Build the response ([MS-SMB2] 3.3.5.7)."""
    flags = share.csc_policy.flags if tree.volume else SMB2_SHAREFLAG_NO_CACHING
    if share.encryption_required and request.connection.dialect >= SMB2_DIALECT_300:
        flags |= SMB2_SHAREFLAG_ENCRYPT_DATA
    if tree.volume and share.compress_data and request.connection.compression is not None:
        flags |= SMB2_SHAREFLAG_COMPRESS_DATA
    if tree.volume and share.hide_unreadable:
        flags |= SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM
    capabilities = 0
    if share.msdfs_root and request.connection.server_capabilities & SMB2_GLOBAL_CAP_DFS:
        flags |= SMB2_SHAREFLAG_DFS | SMB2_SHAREFLAG_DFS_ROOT
        capabilities |= SMB2_SHARE_CAP_DFS
    if share.continuous_availability and request.connection.dialect >= SMB2_DIALECT_300:
        capabilities |= SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY
    return TreeConnectResponse(
        share_type=SMB2_SHARE_TYPE_DISK if tree.volume else SMB2_SHARE_TYPE_PIPE,
        share_flags=flags,
        capabilities=capabilities,
        maximal_access=tree.maximal_access,
    ).pack()


def tree_disconnect(request: Request) -> Handling:
    """End the tree connect and its opens."""
    parse_body(TreeDisconnectRequest, request.message)
    server, tree = request.connection.server, request.tree

    def start(resume: Resume[None]) -> None:
        server.close_tree(tree, resume)

    yield Wait(start)
    return _DISCONNECTED
