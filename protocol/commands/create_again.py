"""A CREATE for an open that there is already: the client comes back, or did not get the answer."""

from usmbd.protocol.commands import security
from usmbd.protocol.commands.create_answers import answer_contexts, response
from usmbd.protocol.commands.create_wanted import Wanted
from usmbd.protocol.commands.durable import Asked, Reconnect, parse_asked, reconnect
from usmbd.protocol.commands.request import Handling, Request
from usmbd.protocol.effects import Blocking, OnDescriptor, Waiting
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.replays import CreateGuid
from usmbd.protocol.state.store.records import OPEN_DISCONNECTED, OPEN_PERSISTENT, OpenRecord
from usmbd.protocol.wire.access import FILE_ALL_ACCESS
from usmbd.protocol.wire.create import (
    FILE_OPENED,
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_LEASE,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_DURABLE_HANDLE_REQUEST,
    SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST,
    Contexts,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.header import SMB2_FLAGS_REPLAY_OPERATION
from usmbd.protocol.wire.status import NtStatus, SmbError


def made_before(wanted: Wanted, asked: Asked, guid: CreateGuid) -> Handling | None:
    """Answer a CREATE that has been sent before ([MS-SMB2] 3.3.5.9.10); None: it has not.

    On a connection that is gone it may have made a persistent open, and a replayed one any.
    """
    request = wanted.request
    server = request.connection.server
    replayed = request.header.flags & SMB2_FLAGS_REPLAY_OPERATION
    made = server.replays.find(guid)
    if made is not None:
        if not replayed or made.replay is None:
            raise SmbError(NtStatus.DUPLICATE_OBJECTID)
        return _repeat(wanted, made, made.replay[1])
    kept = server.store.find_create_guid(*guid)
    if kept is None:
        return None
    if kept.record.flags & OPEN_DISCONNECTED:
        if not replayed:
            raise SmbError(NtStatus.DUPLICATE_OBJECTID)
        # Its answer is lost with the connection.
        action, open_id = kept.durable.action, kept.record.open_id
        again = Reconnect(open_id, guid[1], wanted.path, wanted.lease, asked.persistent)
        return come_back(request, wanted.contexts, again, asked, action)
    if replayed and kept.record.flags & OPEN_PERSISTENT:
        # Its client has had the answer, or nobody knows yet that the connection is gone.
        raise SmbError(NtStatus.FILE_NOT_AVAILABLE)
    return None


def _repeat(wanted: Wanted, open_: Open, action: int) -> Handling:
    """Answer a CREATE once more that has been answered on a channel which is lost.

    As Windows and Samba, who take the other fields of the request as read: the oplock level is the
    one that is asked for now, and durable is what that would have been. A lease is the open's own.
    """
    request = wanted.request
    if open_.session is not request.session or open_.tree is not request.tree:
        raise SmbError(NtStatus.DUPLICATE_OBJECTID)
    record = None
    if wanted.lease is not None:
        if open_.lease is None or open_.lease.lease_key != wanted.lease.lease_key:
            raise SmbError(NtStatus.ACCESS_DENIED)
        record = _record(request, open_)
    request.open = open_
    level = wanted.body.requested_oplock_level
    durable = level in (SMB2_OPLOCK_LEVEL_BATCH, SMB2_OPLOCK_LEVEL_LEASE) or (
        open_.durable is not None and open_.durable.persistent
    )
    asked = wanted.durable if durable else None
    answers, stat = yield from _answers(request, open_, wanted.contexts, asked, record)
    return response(open_, stat, action, level, answers)


def come_back(
    request: Request,
    contexts: Contexts,
    asked: Reconnect,
    replayed: Asked | None = None,
    action: int = FILE_OPENED,
) -> Handling:
    """Give a client the open back that it had on a connection which is lost.

    Where it has `replayed` its CREATE instead, it is told what that made.
    """
    server = request.connection.server
    contexts = {name: bytes(data) for name, data in contexts.items()}
    granted = replayed
    if granted is None and SMB2_CREATE_DURABLE_HANDLE_REQUEST in contexts:
        name = SMB2_CREATE_DURABLE_HANDLE_REQUEST
        said = parse_asked(request.connection.dialect, {name: contexts[name]})
        granted = None if said is None else said[0]
    open_ = yield from reconnect(request, asked, sum(map(len, contexts.values())))
    request.open = open_
    open_.channel_sequence = request.header.channel_sequence
    try:
        record = _record(request, open_) if open_.lease is not None else None
        answers, stat = yield from _answers(request, open_, contexts, granted, record)
    except BaseException:
        server.close_open(open_)
        raise
    if replayed is not None:  # its answer may be lost as well
        assert asked.create_guid is not None
        guid = request.connection.client_guid, asked.create_guid
        server.replays.made(guid, request, open_, action)
    return response(open_, stat, action, open_.oplock_level, answers)


def _record(request: Request, open_: Open) -> OpenRecord | None:
    """Return what all workers know of an open, its lease for one."""
    return request.connection.server.store.look(open_.key).with_id(open_.persistent_id)


def _answers(
    request: Request,
    open_: Open,
    contexts: Contexts,
    asked: Asked | None,
    record: OpenRecord | None,
) -> Waiting[tuple[bytes, FileStat]]:
    """Return the chain of create contexts for an open, and its stat."""
    stat = yield from OnDescriptor(open_.node.stat)
    maximal = 0
    if SMB2_CREATE_QUERY_MAXIMAL_ACCESS_REQUEST in contexts:
        node, every = open_.node, FILE_ALL_ACCESS
        maximal = yield from Blocking(security.maximal_access, request, node, every)
        maximal &= request.tree.maximal_access
    return answer_contexts(open_, stat, maximal, contexts, asked, record), stat
