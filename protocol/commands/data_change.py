"""How a command changes the data of an open: by which thread, and what of the file changes, too.

The write time may be kept, and FILE_ATTRIBUTE_ARCHIVE tells backups that the file has changed.
"""

import logging
from collections.abc import Callable
from typing import TypeVarTuple

from usmbd.protocol.commands.telling import tell
from usmbd.protocol.effects import Blocking, OnDescriptor, Slow, Waiting
from usmbd.protocol.state.notify.change import modified
from usmbd.protocol.state.open import Open, OpenData
from usmbd.protocol.state.server import Server
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.store.records import OPEN_DISCONNECTED
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import FILE_APPEND_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.change_notify import FILE_NOTIFY_CHANGE_ATTRIBUTES
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_ARCHIVE
from usmbd.protocol.wire.status import SmbError

log = logging.getLogger("usmbd.files")

FEW_OPENS = 256
"""Of a file, for all of which FILE_ATTRIBUTE_ARCHIVE may be taken away: to look at each takes 2 us,
and to tell another worker 10."""

_WRITES = FILE_WRITE_DATA | FILE_APPEND_DATA

Ts = TypeVarTuple("Ts")


def changing(
    open_: Open, call: Callable[[*Ts], object], *args: *Ts, long: bool = False
) -> Blocking[object]:
    """Return the effect that calls `call(*args)`, which changes the data of `open_`.

    With `long` on a thread: the file system has much to do.

    What was opened for writing is changed by the descriptor, which needs nobody's rights; to put
    the write time back takes the user's, or the process's.
    """
    if open_.kept_write_time is not None:
        kind = Slow if long else Blocking
        return kind(open_.kept_write_time.during, call, *args)
    if long:
        return Slow(call, *args)
    if open_.stream is not None or open_.node.writable:
        return OnDescriptor(call, *args)
    return Blocking(call, *args)


def moving(open_: Open, call: Callable[[*Ts], object], *args: *Ts) -> Blocking[object]:
    """Return the same for a call that moves much data, on one of the share's threads for those."""
    kept = open_.kept_write_time
    if kept is not None:
        return Slow(kept.during, call, *args, bulk=True)
    return Slow(call, *args, bulk=True)


def flushing(open_: Open) -> Blocking[object]:
    """Return the effect that flushes an open: on a thread, where there is a disk to wait for."""
    data = open_.data
    assert data is not None
    return OnDescriptor(data.flush) if open_.node.volume.in_memory(open_.node) else Slow(data.flush)


def reserve(store: Store, key: bytes, data: OpenData, allocation: int) -> None:
    """Reserve room for a file or cut it; what it got in vain is given back if nobody else has it.

    That cuts it at its end, where others may append.
    """
    if isinstance(data, Node):
        data.allocate(allocation, lambda: store.count_opens(key) == 1)
    else:
        data.allocate(allocation)


def archive(open_: Open) -> Waiting[None]:
    """Set FILE_ATTRIBUTE_ARCHIVE with an open's first change or new name ([MS-FSA] 2.1.4.17).

    And with the first after it has been taken away (`taken_away`). Not by the POSIX extensions, as
    with Samba.
    """
    open_.archived = True
    node = open_.node
    if node.volume.options.posix or node.last_stat.attributes & FILE_ATTRIBUTE_ARCHIVE:
        return
    if (yield from Blocking(_archive, node)):
        yield from tell(open_, modified(FILE_NOTIFY_CHANGE_ATTRIBUTES))


def taken_away(server: Server, open_: Open) -> None:
    """Have all opens of a file mark it again: a backup has taken FILE_ATTRIBUTE_ARCHIVE away.

    Those that had marked it before, in whatever worker. A backup of a file that is open all the
    time would miss what is changed behind it. One that has many opens is marked by the next of
    them, as with Samba.
    """
    if server.store.count_opens(open_.key) > FEW_OPENS:
        return
    for record in server.store.opens(open_.key):
        if not record.granted_access & _WRITES or record.flags & OPEN_DISCONNECTED:
            continue
        if record.worker == server.worker:
            server.mark_again(record.session_id, record.open_id)
        else:
            server.peers.mark_again(record.worker, record.session_id, record.open_id)


def _archive(node: Node) -> bool:
    """Set the attribute; return whether it was not there. What cannot keep it keeps the data."""
    try:
        return node.set_archive()
    except (OSError, SmbError) as error:
        log.debug("not marked as changed: %s", error, extra={"path": node.path})
        return False
