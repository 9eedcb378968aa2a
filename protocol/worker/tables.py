"""The tables that `usmbd.control --list` shows, of one worker."""

import time
from uuid import UUID

from usmbd.mountd.ipc.messages import (
    ConnectionRow,
    ListKind,
    OpenRow,
    RdmaConnectionRow,
    Row,
    SessionRow,
)
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
)

_CIPHERS = {1: "AES-128-CCM", 2: "AES-128-GCM", 3: "AES-256-CCM", 4: "AES-256-GCM"}
_SIGNING = {0: "HMAC-SHA256", 1: "AES-CMAC", 2: "AES-GMAC"}
_DIALECTS = {0x202: "2.0.2", 0x210: "2.1", 0x300: "3.0", 0x302: "3.0.2", 0x311: "3.1.1"}
_OPLOCKS = {
    SMB2_OPLOCK_LEVEL_NONE: "none",
    SMB2_OPLOCK_LEVEL_II: "II",
    SMB2_OPLOCK_LEVEL_EXCLUSIVE: "exclusive",
    SMB2_OPLOCK_LEVEL_BATCH: "batch",
}


def tables(server: Server, kinds: list[ListKind], no_rdma: str = "") -> list[Row]:
    """Return the rows of the kinds asked for; `no_rdma` says why RDMA is not in use, if so."""
    rows: list[Row] = []
    sessions = [s for s in server.session_table.values() if s.channel_list]
    if ListKind.SESSIONS in kinds:
        rows += [_session(server, session) for session in sessions]
    if ListKind.CONNECTIONS in kinds:
        rows += [_connection(server, connection) for connection in server.connections]
    if ListKind.OPENS in kinds:
        rows += [_open(server, o) for session in sessions for o in session.open_table.values()]
    if ListKind.RDMA in kinds:
        rows += [_rdma(server, connection, no_rdma) for connection in server.connections]
    return rows


def _session(server: Server, session: Session) -> SessionRow:
    """Describe a session."""
    connection = next(iter(session.channel_list))
    encrypts = session.seals or session.encrypt_data
    now = time.time()
    return SessionRow(
        session_id=session.session_id,
        user=session.user,
        client_address=connection.transport.peer,
        worker=server.worker,
        dialect=_DIALECTS.get(session.dialect, ""),
        signing=_SIGNING[connection.signing_algorithm_id] if session.signing_required else "",
        encryption=_CIPHERS.get(connection.cipher_id, "") if encrypts else "",
        channels=len(session.channel_list),
        opens=len(session.open_table),
        age=int(now - session.created),
        idle=int(now - max(c.last_request for c in session.channel_list)),
        shares=[tree.share.name for tree in session.tree_connect_table.values()],
        guest=session.guest or session.anonymous,
    )


def _connection(server: Server, connection: Connection) -> ConnectionRow:
    """Describe a connection."""
    return ConnectionRow(
        client_address=connection.transport.peer,
        server_address=connection.transport.local,
        transport="tcp" if connection.rdma is None else "rdma",
        worker=server.worker,
        dialect=_DIALECTS.get(connection.dialect, ""),
        client_guid=str(UUID(bytes_le=connection.client_guid)),
        sessions=len(connection.session_table),
        credits=connection.credit_window.available,
        requests=connection.requests,
        age=int(time.time() - connection.created),
    )


def _rdma(server: Server, connection: Connection, no_rdma: str) -> RdmaConnectionRow:
    """Describe by which way a connection's data goes."""
    transport, rdma = connection.transport, connection.rdma
    sent = received = 0
    if rdma is None:
        path, reason = "tcp", no_rdma or "the client did not ask for RDMA"
    else:
        sent, received = rdma.bytes_written, rdma.bytes_read
        path, reason = ("direct", "") if sent or received else ("messages", _indirect(connection))
    return RdmaConnectionRow(
        client_address=transport.peer,
        server_address=transport.local,
        worker=server.worker,
        data_path=path,
        reason=reason,
        sent=sent,
        received=received,
    )


def _indirect(connection: Connection) -> str:
    """Return why a client of SMB Direct may not let its memory be read and written."""
    sessions = connection.session_table.values()
    if any(session.seals for session in sessions):
        return "the client encrypts, and few clients then let their memory be accessed"
    if any(session.signing_required for session in sessions):
        return "the client signs, and few clients then let their memory be accessed"
    return "the client has not asked for a direct transfer yet"


def _open(server: Server, open_: Open) -> OpenRow:
    """Describe an open."""
    return OpenRow(
        open_id=open_.persistent_id,
        session_id=open_.session.session_id,
        user=open_.session.user,
        worker=server.worker,
        share=open_.tree.share.name,
        path=open_.path.encode("utf-8", "replace").decode(),
        access=open_.granted_access,
        share_access=open_.share_access,
        oplock="lease" if open_.lease is not None else _OPLOCKS[open_.oplock_level],
        locks=open_.lock_count,
        durable=open_.durable is not None,
    )
