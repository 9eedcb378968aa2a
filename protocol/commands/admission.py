"""CREATE's third step: whether the open can stand beside the others ([MS-SMB2] 3.3.5.9).

The store knows the opens of all workers; what their clients cache is broken first where it has to.
"""

from usmbd.protocol.commands.app_instance import check_instances
from usmbd.protocol.commands.create_wanted import Found, Wanted
from usmbd.protocol.commands.durable import may_be_persistent, prepare
from usmbd.protocol.effects import OnDescriptor, Waiting
from usmbd.protocol.state import one_file
from usmbd.protocol.state.caching.caching import Asked
from usmbd.protocol.state.caching.needed import BreakNeededError
from usmbd.protocol.state.caching.rules import NONE, is_stat_open
from usmbd.protocol.state.local_locks import LocalLocks
from usmbd.protocol.state.open import MODE, Open
from usmbd.protocol.state.store.base import SharingViolation, Store
from usmbd.protocol.state.store.records import (
    NO_ID,
    OPEN_DELETE_ON_CLOSE,
    OPEN_DIRECTORY,
    OPEN_DURABLE,
    OPEN_FORK_BESIDE,
    OPEN_PERSISTENT,
    OpenRecord,
    base_key,
)
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.vfs.node import OFFSET_MAX, Node
from usmbd.protocol.vfs.short_names import is_made
from usmbd.protocol.wire.access import FILE_WRITE_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_OPENED,
    SMB2_OPLOCK_LEVEL_NONE,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
    LeaseContext,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.negotiate import SMB2_GLOBAL_CAP_DIRECTORY_LEASING
from usmbd.protocol.wire.status import NtStatus, SmbError


def admit(wanted: Wanted, found: Found) -> Open:
    """Enter the open into the store, which checks share modes and pending deletion.

    SmbError SHARING_VIOLATION, DELETE_PENDING, INVALID_PARAMETER for the lease of another file;
    BreakNeededError when what others cache has to be broken first, or the file is being deleted;
    InstancesError when the same application's opens have to be closed.
    """
    request, body, node = wanted.request, wanted.body, found.node
    connection, session, tree = request.connection, request.session, request.tree
    server = connection.server
    stream = found.stream
    key = found.key
    crowd = one_file.check_opens(server, session, connection.network, key)
    open_id = server.store.new_open_id()
    access = found.granted
    overwrite = wanted.truncates and found.action != FILE_CREATED
    if overwrite:
        access |= FILE_WRITE_DATA  # it wants the others to share writing, and then keeps none
    delete_on_close = body.create_options & FILE_DELETE_ON_CLOSE
    lease = wanted.lease
    if lease is not None:
        lease = _lease(lease, wanted, found, tree)
    follows = lease is not None and node.is_directory and stream is None
    if follows and not _follow(wanted, open_id, key, node):
        assert lease is not None
        # Nobody would know when it is over.
        lease.lease_state = NONE
    record = found.record = OpenRecord(
        open_id=open_id,
        granted_access=access,
        share_access=body.share_access,
        flags=(OPEN_DELETE_ON_CLOSE if delete_on_close else 0)
        | (OPEN_DIRECTORY if node.is_directory else 0)
        | (OPEN_FORK_BESIDE if node.volume.options.forks_in_files and node.is_regular else 0),
        session_id=session.session_id,
        tree_id=tree.tree_id,
        create_options=body.create_options,
        client_guid=connection.client_guid,
        parent_lease_key=NO_ID if lease is None else _parent_key(lease),
    )
    level = body.requested_oplock_level
    if (
        not tree.share.oplocks
        or (node.is_directory and stream is None)
        or (found.action == FILE_OPENED and is_stat_open(access))
    ):
        level = SMB2_OPLOCK_LEVEL_NONE
    if wanted.instance is not None:
        check_instances(request, wanted.instance, key)
        wanted.instance.put(record)
    durable = None
    if wanted.durable is not None and stream is None and wanted.time is None:
        durable = prepare(wanted, wanted.durable, record, key, found)
    asked = Asked(
        key,
        record,
        level,
        lease,
        allocation=node.last_stat.allocation if stream is None else OFFSET_MAX,
        overwrite=overwrite,
        waited=wanted.waited,
        directory=node.is_directory and stream is None,
    )
    if found.action == FILE_CREATED and server.store.oplock_count(key):
        server.durable.end_all(key)  # of a file that is gone, and whose inode this one has
    several_names = node.last_stat.nlink > 1 and node.is_regular
    path = tree.disk_path(node.path) if delete_on_close or several_names else ""
    try:
        server.store.add_open(
            key,
            record,
            path,
            asked.admit,
            None if durable is None else durable.record,
            keeps=found.granted if overwrite else None,
            user=tree.identity.ids if path else (),
        )
    except BaseException as error:
        if follows:
            server.notifier.unfollow(open_id)
        if isinstance(error, SharingViolation):
            server.caching.check_sharing(error, record)
        elif isinstance(error, SmbError) and error.status is NtStatus.DELETE_PENDING:
            _await_deletion(server.store, key, wanted, found)
        raise
    open_ = Open(
        session,
        tree,
        connection,
        open_id,
        found.granted,
        held=node,
        stream=stream,
        key=key,
        path=node.path,
        place=wanted.place,
    )
    if tree.share.posix_locking and stream is None and node.is_regular and not tree.speed.may_hang:
        open_.local_locks = LocalLocks(node)
    server.caching.admitted(open_, asked)
    found.beside = asked.beside
    if "~" in wanted.path and wanted.path != node.path and is_made(wanted.path.rpartition("/")[2]):
        open_.short_path = wanted.path
    open_.share_access = body.share_access
    open_.create_options = body.create_options
    open_.mode = body.create_options & MODE
    if durable is not None and record.flags & OPEN_DURABLE:
        open_.durable = durable
        if durable.persistent and not record.flags & OPEN_PERSISTENT:  # its path is too long
            durable.persistent = durable.lasting = False
    if delete_on_close:
        open_.delete_on_close = True
        # POSIX takes the name at once; who else has the file goes on with it.
        open_.deletes_name = wanted.posix
    if crowd is not None:
        crowd.enter_open(open_)
    return open_


def _await_deletion(store: Store, key: bytes, wanted: Wanted, found: Found) -> None:
    """BreakNeededError, once, where nobody has the file open that is delete pending.

    A worker deletes it just now, and then the name is free.
    """
    if wanted.awaited_deletion or found.action == FILE_CREATED:
        return
    for going in (key, base_key(key)):
        if store.is_being_deleted(going):
            wanted.awaited_deletion = True
            raise BreakNeededError(going, [])


def agree(open_: Open, found: Found, stat: FileStat) -> Waiting[FileStat]:
    """Agree with others who have the file open on what is in it; return its stat.

    What they changed before this client was granted a cache is seen by another look alone.
    """
    if found.action != FILE_OPENED:  # but overwritten
        open_.connection.server.caching.changes.overwritten(open_)
    elif open_.oplock_level and not found.node.is_directory:
        data = found.node if found.stream is None else found.stream
        stat = yield from OnDescriptor(data.stat)
    return stat


def _lease(
    lease: LeaseContext, wanted: Wanted, found: Found, tree: TreeConnect
) -> LeaseContext | None:
    """Return the lease that is asked for, if this file can have one.

    SmbError(INVALID_PARAMETER) for the key of another file's, also where it can have none.
    """
    connection = wanted.request.connection
    can = tree.share.oplocks and not tree.share.kernel_oplocks
    if found.node.is_directory and found.stream is None:
        can = (
            can
            and lease.version == 2
            and bool(connection.server_capabilities & SMB2_GLOBAL_CAP_DIRECTORY_LEASING)
            # Nobody follows it while its client is away; smbd gives none there either.
            and not _is_persistent(wanted)
        )
    if can:
        return lease
    known = connection.server.store.lease_file(connection.client_guid, lease.lease_key)
    if known is not None and known != found.key:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return None


def _is_persistent(wanted: Wanted) -> bool:
    """Tell whether a persistent open is asked for that there can be."""
    asked = wanted.durable
    return asked is not None and asked.persistent and may_be_persistent(wanted.request)


def _follow(wanted: Wanted, open_id: int, key: bytes, node: Node) -> bool:
    """Follow what happens in a directory from before its lease on; False: that cannot be."""
    request = wanted.request
    user, network = request.session.proven_user, request.connection.network
    return request.connection.server.notifier.follow(open_id, key, node, user, network)


def _parent_key(lease: LeaseContext) -> bytes:
    """Return the lease key of the directory, as the client has it; NO_ID if it does not say."""
    said = lease.lease_flags & SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET
    return lease.parent_lease_key if said else NO_ID
