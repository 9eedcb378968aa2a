"""What an open has left to do whose client is gone: mountd is asked first, then it is done.

The end of a connected open deletes with the rights that its tree connect has by then. One that
waits for its client has no tree connect, and its user's rights may have ended meanwhile: the share
is read only or another, he is one of `invalid users`, his account is closed or gone. Then the file
stays.
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from usmbd.mountd.ipc.messages import (
    AbsentUserRequest,
    Message,
    TreeConnectResponse,
    TreeStatus,
)
from usmbd.protocol.state import leftovers
from usmbd.protocol.state.mountd import Mountd
from usmbd.protocol.state.notify.change import DirectoryChange
from usmbd.protocol.state.notify.notifier import Notifier
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.base import Doomed, DurableOpen, Store
from usmbd.protocol.state.store.records import DEVICE_SIZE, Absent
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.state.tree import WRITING
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.wire.access import DELETE

log = logging.getLogger("usmbd.conn")

RETRY_SECONDS: Final = 1.0
"""Until a question is asked again that mountd could not answer."""

Told = Callable[[TreeConnectResponse], object]


class Host(Protocol):
    """What it needs of the server."""

    mountd: Mountd
    threads: Threads
    clock: Clock
    store: Store
    notifier: Notifier
    closing: int


class Deferred:
    """Asks who may, and deletes."""

    def __init__(self, host: Host) -> None:
        """Begin with nothing to do."""
        self._host = host

    def ask(self, found: DurableOpen, told: Callable[[Identity | None], None]) -> None:
        """Ask who may delete an open's file now; None: nobody may."""

        def answered(answer: TreeConnectResponse) -> None:
            user = deleter(found, answer)
            if user is None:
                path = {"path": f"{found.durable.share_path}/{found.durable.path!r}"}
                log.info("what it was to delete stays: its user may not any more", extra=path)
            told(user)

        self.rights(found.durable.who, answered)

    def rights(self, who: Absent | None, told: Told) -> None:
        """Ask what an open's user may do on its share now, until mountd knows."""
        if who is None:  # an older server has kept it
            told(TreeConnectResponse(TreeStatus.NO_USER))
            return

        def answered(answer: Message | None, error: BaseException | None = None, /) -> None:
            if isinstance(answer, TreeConnectResponse) and answer.status is not TreeStatus.ERROR:
                told(answer)
            else:
                self._host.clock.call_later(RETRY_SECONDS, self.rights, who, told)

        question = AbsentUserRequest(
            who.share, who.user, who.ticket, who.client_address, who.server_address
        )
        self._host.mountd.ask(question, answered)

    def delete(self, doomed: Doomed, ended: Callable[[tuple[int, ...]], None]) -> None:
        """Delete a file on a thread and tell the store, then call `ended(workers to wake)`."""
        host, changes = self._host, list[DirectoryChange]()

        def over(waiters: object, error: BaseException | None) -> None:
            host.closing -= 1
            for change in changes:
                host.notifier.changed(change)
            if error is not None:
                log.error("could not be deleted", exc_info=error, extra={"path": doomed.path})
            ended(waiters if isinstance(waiters, tuple) else ())

        host.closing += 1
        lane = (leftovers, doomed.key[:DEVICE_SIZE])
        call = (doomed, host.store, host.notifier, changes)
        host.threads.submit(leftovers.delete_told, call, None, over, lane, 1)


def stands(found: DurableOpen, answer: TreeConnectResponse) -> bool:
    """Tell whether a client could come back to an open, by what its user may do now."""
    share, durable = answer.share, found.durable
    if answer.status is not TreeStatus.OK or share is None:
        return False
    if (share.name, share.path) != (durable.share, durable.share_path):
        return False
    return answer.writable or not durable.granted_access & WRITING


def deleter(found: DurableOpen, answer: TreeConnectResponse) -> Identity | None:
    """Return as whom an open's file is deleted, by what its user may do now; None: it stays.

    Where he cannot have asked for that, somebody else has, of whom nobody knows: then it is enough
    that the share is one to write to.
    """
    share = answer.share
    if share is None or not stands(found, answer):
        return None
    asked = found.record.granted_access & DELETE
    if not answer.writable and (asked or share.read_only):
        return None
    return Identity(answer.uid, answer.gid, tuple(answer.groups))
