"""CREATE's third step: whether the open can stand beside the others ([MS-SMB2] 3.3.5.9).

The store knows the opens of all workers; the oplocks that stand in the way are broken first.
"""

from collections.abc import Callable

from usmbd.protocol.commands.find_or_create import Found, Wanted
from usmbd.protocol.effects import Resume
from usmbd.protocol.state import one_file
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.oplocks import BreakNeededError, grantable, is_stat_open
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.base import SharingViolation
from usmbd.protocol.state.store.records import (
    OPEN_DELETE_ON_CLOSE,
    OPEN_DIRECTORY,
    OPLOCK_HELD,
    OpenRecord,
)
from usmbd.protocol.wire.access import FILE_WRITE_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_OPENED,
    SMB2_OPLOCK_LEVEL_NONE,
)


def admit(wanted: Wanted, found: Found) -> Open:
    """Enter the open into the store, which checks share modes and pending deletion.

    SmbError SHARING_VIOLATION, DELETE_PENDING; BreakNeededError when others hold an oplock that
    has to be broken first.
    """
    request, body, node = wanted.request, wanted.body, found.node
    server, tree = request.connection.server, request.tree
    stream = found.stream
    key = found.key
    one_file.check_opens(server, request.session, request.connection.network, key)
    open_id = server.store.new_open_id()
    access = found.granted
    overwrite = wanted.truncates and found.action != FILE_CREATED
    if overwrite:
        access |= FILE_WRITE_DATA  # overwriting needs the others to share writing
    server.oplocks.check_open(key, access, body.share_access, overwrite)
    requested = body.requested_oplock_level
    if (
        not tree.share.oplocks
        or (node.is_directory and stream is None)
        or (found.action == FILE_OPENED and is_stat_open(access))
    ):
        requested = SMB2_OPLOCK_LEVEL_NONE
    # Alone until the store says otherwise: an open that comes in between sees the level asked for.
    level = grantable(requested, ())
    delete_on_close = body.create_options & FILE_DELETE_ON_CLOSE
    record = OpenRecord(
        open_id=open_id,
        granted_access=access,
        share_access=body.share_access,
        flags=(OPEN_DELETE_ON_CLOSE if delete_on_close else 0)
        | (OPEN_DIRECTORY if node.is_directory else 0),
        session_id=request.session.session_id,
        tree_id=tree.tree_id,
        create_options=body.create_options,
        client_guid=request.connection.client_guid,
        oplock_level=level,
    )
    try:
        added = server.store.add_open(
            key, record, f"{tree.share.path}/{node.path}" if delete_on_close else ""
        )
    except SharingViolation as violation:
        server.oplocks.check_sharing(violation.others)
        raise
    if level and added.packed_others:
        level = grantable(requested, added.others)
        if level != record.oplock_level:
            server.store.set_oplock(key, open_id, level, OPLOCK_HELD)
    open_ = Open(
        request.session,
        tree,
        request.connection,
        open_id,
        found.granted,
        node=node,
        stream=stream,
        key=key,
        path=node.path,
        place=wanted.place,
    )
    server.oplocks.granted(open_, level)
    open_.share_access = body.share_access
    open_.create_options = body.create_options
    open_.mode = body.create_options & 0x3E
    open_.delete_on_close = bool(delete_on_close)
    return open_


def wait_for_break(
    server: Server, key: bytes, needed: BreakNeededError, resume: Resume[None]
) -> Callable[[], None]:
    """Have the oplocks broken and wait until they are, or their opens are closed."""
    server.store.add_waiter(key)
    give_up = server.wait_for(key, resume)
    server.oplocks.request_break(key, needed.holders, needed.level)
    if not server.oplocks.still_held(key, needed.holders):
        give_up()
        resume()  # it ended before anybody knew that we wait
    return give_up
