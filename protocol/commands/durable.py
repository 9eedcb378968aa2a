"""CREATE's part in durable opens: asking for one, coming back to it, sending its CREATE again.

[MS-SMB2] 3.3.5.9.6 and .10 (request), .7 and .12 (reconnect), .10 (replay). Where those leave room
it is as with smbd: files alone are durable, folders where they are persistent, named streams never;
16 minutes for version 1; 5 minutes at most and one by default for version 2. Who has proved to be
nobody gets none: anybody could claim it.

A reconnect makes the open anew, by the path that the store kept, as the user and with the access
that was granted; the file must be the very one, and as it was when the client went. That is how
smbd does it, and it is the same for any worker, the one that had the open included, and after its
death. Handing over descriptors would need the other way besides, and would let a client go on with
a file that has been replaced.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from usmbd.mountd.ipc.settings import Durability
from usmbd.protocol.commands.request import Request
from usmbd.protocol.effects import Blocking, OnDescriptor, Wait, Waiting
from usmbd.protocol.state import one_file
from usmbd.protocol.state.durable import Durable, absent, seen
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.open import MODE, Open
from usmbd.protocol.state.persistence import is_full
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.session import Session
from usmbd.protocol.state.store.base import DurableOpen
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DELETE_ON_CLOSE,
    OPEN_DISCONNECTED,
    OPEN_LASTING,
    OPEN_PERSISTENT,
    Absent,
    DurableRecord,
    OpenRecord,
    caches_handle,
    file_key,
)
from usmbd.protocol.state.tree import WRITING, TreeConnect
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.kept_times import KeptWriteTime
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import (
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_LIST_DIRECTORY,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT,
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2,
    SMB2_CREATE_DURABLE_HANDLE_REQUEST,
    SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2,
    SMB2_DHANDLE_FLAG_PERSISTENT,
    Contexts,
    LeaseContext,
    parse_durable_reconnect,
    parse_durable_reconnect_v2,
    parse_durable_request,
    parse_durable_request_v2,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_300, SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.commands.create_wanted import Found, Wanted

_OF_V1: Final = frozenset(
    {SMB2_CREATE_DURABLE_HANDLE_REQUEST, SMB2_CREATE_DURABLE_HANDLE_RECONNECT}
)
_OF_V2: Final = frozenset(
    {SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2}
)
OF_DURABLE: Final = _OF_V1 | _OF_V2
"""The contexts that `parse_asked` is for."""
_BESIDE_V2: Final = OF_DURABLE - {SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2}
_AGAIN_V1: Final = frozenset({SMB2_CREATE_DURABLE_HANDLE_RECONNECT})
_AGAIN_V2: Final = frozenset({SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2})
_BESIDE_V1: Final = _AGAIN_V1 | _OF_V2

V1_TIMEOUT: Final = 16 * 60 * 1000
"""Open.DurableOpenTimeout of version 1, in ms: as with Windows and Samba."""

V2_TIMEOUT: Final = 60 * 1000
"""The same of version 2 where the client names none."""

V2_TIMEOUT_MAX: Final = 300 * 1000
"""The longest that a client may name."""

SETTLE_TRIES: Final = 100
"""Looks, SETTLE_SECONDS apart, whether an open whose session has ended is disconnected."""

NEWS_TRIES: Final = 5
"""Looks at an open that still has its session: its client may be back before the news that it went.

The kernel closes a killed worker's sockets one after the other, the client's perhaps first.
"""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request for a durable open, but for its CreateGuid: those of most clients are the same."""

    version: int
    timeout: int
    """In ms."""
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class Reconnect:
    """The open that a client comes back to."""

    open_id: int
    create_guid: bytes | None = None
    """None: version 1."""
    path: str = ""
    """The name that the request has, below the share's root."""
    lease: LeaseContext | None = None
    persistent: bool = False


def parse_asked(dialect: int, contexts: Contexts) -> tuple[Asked, bytes] | None:
    """Return what is asked for, with its CreateGuid; None: `parse_again` is to be asked.

    SmbError(INVALID_PARAMETER). Contexts of version 2 are none for dialects older than 3.0.
    """
    beside = _BESIDE_V1 if dialect >= SMB2_DIALECT_300 else _AGAIN_V1
    data = contexts.get(SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2)
    if data is not None and beside is _BESIDE_V1:
        if _BESIDE_V2.isdisjoint(contexts):
            timeout, flags, guid = parse_durable_request_v2(data)
            return _asked_v2(timeout, flags), guid
    else:
        data = contexts.get(SMB2_CREATE_DURABLE_HANDLE_REQUEST)
        if data is not None and beside.isdisjoint(contexts):
            parse_durable_request(data)
            return _V1
    return None


@lru_cache(maxsize=64)
def _asked_v2(timeout: int, flags: int) -> Asked:
    """Return what is asked for by version 2, by most clients by the same words."""
    if not 0 < timeout <= V2_TIMEOUT_MAX:
        timeout = V2_TIMEOUT_MAX if timeout else V2_TIMEOUT
    return Asked(2, timeout, flags & SMB2_DHANDLE_FLAG_PERSISTENT != 0)


def parse_again(dialect: int, contexts: Contexts) -> Reconnect | None:
    """Return what the client comes back to, if it does; SmbError(INVALID_PARAMETER)."""
    names = (OF_DURABLE if dialect >= SMB2_DIALECT_300 else _OF_V1).intersection(contexts)
    if not names:
        return None
    if names in (_OF_V1, _AGAIN_V1):  # a request beside it is ignored (3.3.5.9.7)
        data = contexts[SMB2_CREATE_DURABLE_HANDLE_RECONNECT]
        return Reconnect(parse_durable_reconnect(data).persistent)
    if names != _AGAIN_V2:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    again = parse_durable_reconnect_v2(contexts[SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2])
    persistent = bool(again.flags & SMB2_DHANDLE_FLAG_PERSISTENT)
    return Reconnect(again.persistent, again.create_guid, persistent=persistent)


_V1: Final = Asked(1, V1_TIMEOUT), NO_ID


def prepare(
    wanted: "Wanted", asked: Asked, record: OpenRecord, key: bytes, found: "Found"
) -> Durable | None:
    """Return what an open has if it becomes durable, which it may; complete its record."""
    node, tree = found.node, wanted.request.tree
    known = tree.durable_owner
    record.durable_open_timeout = asked.timeout
    record.create_guid = wanted.create_guid
    if not known or asked.persistent or record.flags or not node.is_regular:
        return _prepare_seldom(wanted.request, asked, record, key, found)
    record.durable_owner = known
    share = tree.share
    # As `kept_of`, without its call. The access is the client's own, which an overwrite's record
    # has more than.
    kept = DurableRecord(
        key,
        share.name,
        share.path,
        node.path.encode("utf-8", "surrogateescape"),
        found.granted,
        node.born,
        found.action,
        mode=record.create_options & MODE,
        posix=node.volume.options.posix,
    )
    return Durable(kept, asked.timeout)


def _prepare_seldom(
    request: Request, asked: Asked, record: OpenRecord, key: bytes, found: "Found"
) -> Durable | None:
    """Do so for a session's first, for what is persistent or has flags, and for what cannot be."""
    node, tree = found.node, request.tree
    lasts = asked.persistent and _may_stay_persistent(request, record, node)
    record.durable_owner = owner_of(tree, node, persistent=lasts)
    if not record.durable_owner:
        return None
    who = None
    if lasts or record.flags & OPEN_DELETE_ON_CLOSE:
        who = absent(tree, request.connection)
    record.flags |= OPEN_PERSISTENT if lasts else 0
    mode = record.create_options & MODE
    kept = kept_of(tree, key, node, found.granted, found.action, mode, who)
    return Durable(kept, asked.timeout, lasting=lasts, persistent=lasts)


def _may_stay_persistent(request: Request, record: OpenRecord, node: Node) -> bool:
    """Tell whether an open may be persistent, and is not one whose name goes with its connection.

    Whoever else has the file open (POSIX).
    """
    goes = record.flags & OPEN_DELETE_ON_CLOSE and node.volume.options.posix
    return not goes and may_be_persistent(request)


def owner_of(tree: TreeConnect, node: Node, *, persistent: bool = False) -> bytes:
    """Return Open.DurableOwner of an open of this file; empty where none survives.

    A folder has only `persistent` ones: nothing of it that caches a handle is given.
    """
    if not (tree.share.keeps_handles and (node.is_regular or (persistent and node.is_directory))):
        return b""
    tree.durable_owner = owner(tree.session)
    return tree.durable_owner


def may_be_persistent(request: Request) -> bool:
    """Tell whether opens of this tree connect may be persistent ([MS-SMB2] 3.3.5.9.10)."""
    return request.tree.share.continuous_availability and bool(
        request.connection.server_capabilities & SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
    )


def kept_of(
    tree: TreeConnect,
    key: bytes,
    node: Node,
    granted: int,
    action: int,
    mode: int,
    who: Absent | None,
) -> DurableRecord:
    """Return what an open of `node` can be made anew from.

    `who` it is has to be known of one that is persistent, for which alone the share's durability
    counts, or that may delete its file.
    """
    share = tree.share
    path = node.path.encode("utf-8", "surrogateescape")
    kept = DurableRecord(
        key,
        share.name,
        share.path,
        path,
        granted,
        node.born,
        action,
        mode=mode,
        posix=node.volume.options.posix,
        who=who,
    )
    if who is None:
        return kept
    durability = share.persistent_handles_durability
    return msgspec.structs.replace(
        kept,
        synced=durability is not Durability.NONE,
        write_through=durability is Durability.STRICT,
    )


def keep(server: Server, open_: Open, durable: Durable) -> Waiting[None]:
    """Wait until a persistent open is kept; where it cannot be, it is durable at most.

    Its CREATE has made or overwritten the file, so it does not fail: the object store grants less
    than was asked for ([MS-SMB2] 3.3.5.9.10).
    """
    try:
        yield from server.persistence.written(open_.key)
    except SmbError as error:
        if not is_full(error):
            raise
        durable.persistent = durable.lasting = False
        if not server.store.end_persistence(open_.key, open_.persistent_id):
            open_.durable = None


def owner(session: Session) -> bytes:
    """Return what stands for a user, 16 bytes; empty for who has proved to be nobody."""
    if not session.durable_owner and session.account:
        account = session.account.encode("utf-8", "surrogatepass")
        session.durable_owner = blake2b(account, digest_size=16).digest()
    return session.durable_owner


def reconnect(request: Request, asked: Reconnect, keeps: int) -> Waiting[Open]:
    """Give the client back what it had open ([MS-SMB2] 3.3.5.9.7, .12).

    `keeps` is how many bytes of the message the caller still needs.
    """
    server, tree = request.connection.server, request.tree
    store = server.store
    for looks in range(SETTLE_TRIES):
        found = store.find_durable(asked.open_id)
        if found is None and asked.persistent and may_be_persistent(request):
            assert asked.create_guid is not None
            found = store.find_create_guid(request.connection.client_guid, asked.create_guid)
        record, durable = _check(request, asked, found)
        if record.flags & OPEN_DISCONNECTED:
            break
        if looks >= NEWS_TRIES and not server.durable.settles(record):
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)  # Open.Session is not NULL
        yield Wait(server.durable.settle, keeps=keeps)
    open_id = record.open_id
    user, network = request.session.proven_user, request.connection.network
    place = server.descriptors.take(user, network)
    node: Node | None = None
    try:
        node, kept = yield from Blocking(_find, request, record, durable)
        if tree.closed:  # meanwhile
            raise SmbError(NtStatus.NETWORK_NAME_DELETED)
        claimed = store.claim_open(open_id, request.session.session_id, tree.tree_id)
        if claimed is None:  # its time is over, or somebody else has it
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    except BaseException:
        place.give_back()
        if node is not None:
            yield OnDescriptor(node.close)
        raise
    locks = server.durable.claimed(open_id, record.worker)
    open_ = _open(request, claimed, durable, node, kept, place)
    open_.lock_place = locks or _lock_place(request, durable.locks)
    one_file.enter_again(server, open_)
    return open_


def _check(
    request: Request, asked: Reconnect, found: DurableOpen | None
) -> tuple[OpenRecord, DurableRecord]:
    """Refuse what is not this client's to come back to, in the order of 3.3.5.9.7 and .12."""
    if found is None:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    record, durable = found
    tree = request.tree
    if asked.create_guid is not None and asked.create_guid != record.create_guid:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    if record.flags & OPEN_PERSISTENT and not asked.persistent:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    _check_lease(request, asked, found)
    if record.durable_owner != owner(request.session):
        raise SmbError(NtStatus.ACCESS_DENIED)
    share = tree.share
    if (share.name, share.path) != (durable.share, durable.share_path) or not share.keeps_handles:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    if durable.granted_access & WRITING and not tree.writable:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return record, durable


def _check_lease(request: Request, asked: Reconnect, found: DurableOpen) -> None:
    """Refuse another lease than the open's, another client's, or another name for its file."""
    record, lease = found.record, asked.lease
    if record.oplock_level != SMB2_OPLOCK_LEVEL_LEASE:
        if lease is not None:
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
        return
    if (
        record.client_guid != request.connection.client_guid
        or lease is None
        or lease.lease_key != record.lease_key
        or lease.version != record.lease_version
        # H was lost by a break of its other opens.
        or not (caches_handle(record) or record.flags & OPEN_LASTING)
    ):
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    path = os.fsdecode(found.durable.path)
    same = asked.path == path if found.durable.posix else fold(asked.path) == fold(path)
    if not same and not record.flags & OPEN_DELETE_ON_CLOSE:  # Lease.FileDeleteOnClose
        raise SmbError(NtStatus.INVALID_PARAMETER)


def _find(
    request: Request, record: OpenRecord, durable: DurableRecord
) -> tuple[Node, KeptWriteTime | None]:
    """Open the file as the open had it; SmbError(OBJECT_NAME_NOT_FOUND) if it is not the same.

    Others may have changed it beside an open that lasts: its client was promised the open, and no
    cache.
    """
    volume = request.tree.volume
    assert volume is not None
    if durable.posix:
        volume = volume.posix_view()
    try:
        node = volume.lookup(os.fsdecode(durable.path))
    except (OSError, SmbError) as error:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND) from error
    try:
        statx, stat = kernel.statx_fd(node.fd), node.last_stat
        same = file_key(stat.dev, stat.ino) == durable.key and node.born == durable.birth
        lasting = bool(record.flags & OPEN_LASTING)
        if not same or (durable.seen and not lasting and seen(statx) != durable.seen):
            raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
        access = durable.granted_access
        write = bool(access & (FILE_WRITE_DATA | FILE_APPEND_DATA))
        read = bool(access & (FILE_READ_DATA | FILE_EXECUTE))
        if node.is_directory:
            read, write = bool(access & FILE_LIST_DIRECTORY), False
        if read or write:
            try:
                node.open_data(read=read, write=write)
            except OSError as error:  # the user may not any more
                raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND) from error
        return node, KeptWriteTime(node) if durable.keeps_write_time else None
    except BaseException:
        node.close()
        raise


def _open(
    request: Request,
    record: OpenRecord,
    durable: DurableRecord,
    node: Node,
    kept: KeptWriteTime | None,
    place: Place,
) -> Open:
    """Make the open anew."""
    server = request.connection.server
    open_ = Open(
        request.session,
        request.tree,
        request.connection,
        record.open_id,
        durable.granted_access,
        held=node,
        key=durable.key,
        path=node.path,
        place=place,
    )
    server.caching.has(open_, record)
    open_.share_access = record.share_access
    open_.create_options = record.create_options
    open_.mode = durable.mode
    open_.delete_on_close = bool(record.flags & OPEN_DELETE_ON_CLOSE)
    open_.deletes_name = open_.delete_on_close and durable.posix
    open_.position = durable.position
    node.reserved = durable.reserved
    flags = record.flags
    lasting, persistent = bool(flags & OPEN_LASTING), bool(flags & OPEN_PERSISTENT)
    timeout = record.durable_open_timeout
    open_.durable = Durable(durable, timeout, lasting=lasting, persistent=persistent)
    open_.lock_sequence = server.store.lock_sequences(record.open_id)
    open_.kept_write_time = kept
    open_.kept_change_time = durable.kept_change_time
    return open_


def _lock_place(request: Request, count: int) -> Place | None:
    """Count the locks of an open that another worker had; they are there already."""
    if not count:
        return None
    user, network = request.session.proven_user, request.connection.network
    place = request.connection.server.locks.place(user, network)
    place.count_in(count)
    return place
