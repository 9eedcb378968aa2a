"""Server: what one worker knows, and how it reaches the rest ([MS-SMB2] 3.3.1.5).

The composition root (the worker) puts in what does I/O: the store, the bus to the other
workers, the client of mountd, the threads. Everything else hangs below: connections, sessions,
tree connects, opens.
"""

import logging
import secrets
from collections.abc import Callable, Container, Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from usmbd.mountd.ipc.messages import MAX_PIPES_PER_WORKER, Logout, TreeDisconnect
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state import descriptors
from usmbd.protocol.state import tree as tree_connects
from usmbd.protocol.state.caching.caching import Caching
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.crowds import Crowds
from usmbd.protocol.state.deferred import Deferred
from usmbd.protocol.state.durable import PLACE_BYTES, DurableOpens
from usmbd.protocol.state.endings import Endings
from usmbd.protocol.state.expiry import Expiries
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.state.few import Few
from usmbd.protocol.state.memory import Memory
from usmbd.protocol.state.mountd import Mountd
from usmbd.protocol.state.notify.change import DirectoryChange
from usmbd.protocol.state.notify.notifier import Notifier
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.peers import Peers
from usmbd.protocol.state.persistence import Persistence
from usmbd.protocol.state.replays import Replays
from usmbd.protocol.state.roots import Roots
from usmbd.protocol.state.session import Session
from usmbd.protocol.state.speed import Clock, Pulse
from usmbd.protocol.state.store.base import RemoveOpenResult, Store
from usmbd.protocol.state.store.records import (
    LOCK,
    OPEN_DISCONNECTED,
    OpenRecord,
    SessionRecord,
)
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.state.tunnel import Tunnel
from usmbd.protocol.state.turns import Turns, Unhurried, in_turns
from usmbd.protocol.state.volumes import Volumes
from usmbd.protocol.vfs.identity import become, pin
from usmbd.protocol.wire.filetime import from_ns

log = logging.getLogger("usmbd.conn")

UNPACKED_AT_ONCE = 2
"""Compressed messages that threads make; each takes its whole size until it is taken up."""

OPENS_OF_STORE = 2
LOCKS_OF_STORE = 4
"""What opens and locks of all workers may take of the store: one of so many bytes each. The rest is
for what grows with them (folders of the tree, paths of files to be deleted) and for sessions."""

DISCONNECTED_OF_STORE = 8
"""And what opens may take that wait for their clients."""

OPEN_BYTES = 450
"""Of a file with one open in the store; of a durable one twice as much, which the half still holds.
Long paths are kept as long as there is much room (`Store.add_open`)."""

R = TypeVar("R")


class Server:
    """One worker's view of the server."""

    def __init__(
        self,
        config: ServerConfig,
        worker: int,
        guid: bytes,
        store: Store,
        mountd: Mountd,
        rpc: Mountd,
        threads: Threads,
        peers: Peers,
        clock: Clock,
    ) -> None:
        """Begin without a connection."""
        self.config = config
        self.worker = worker
        self.guid = guid
        self.store = store
        self.mountd = mountd
        self.rpc = rpc
        self.threads = threads
        self.peers = peers
        self.clock = clock
        self.pinned = False
        self.closing = 0  # opens that end on threads, sessions and trees that end in slices
        self.connections: set[Connection] = set()
        self.session_table: dict[int, Session] = {}
        self.persistence = Persistence(store, threads, clock)
        self.expiries = Expiries(self.session_table, clock)
        self.deferred = Deferred(self)
        self.durable = DurableOpens(
            store,
            clock,
            peers,
            worker,
            self.wake_workers,
            self._room_for_disconnected,
            self.persistence.later,
            self.deferred,
            self,
        )
        self.replays = Replays()
        self.endings = Endings(self)
        self.caching = Caching(
            store,
            clock,
            peers,
            worker,
            self.wake_workers,
            self.durable.end,
            self.persistence.later,
            self,
        )
        self.pulse = Pulse(clock)
        self.turns: Turns = Unhurried()
        self.unpacking = Few(UNPACKED_AT_ONCE)
        """Of compressed messages on threads."""
        self.memory: Memory = Memory(config.workers, lambda work: self.turns.later(self, work))
        self.waiters: dict[bytes, dict[Callable[[], None], None]] = {}
        """Who waits for a file, by its key; who has waited for the longest stands first."""
        self.connection_ended: Callable[[Connection], None] = lambda connection: None
        self.connection_admitted: Callable[[Connection], None] = lambda connection: None
        self.user_sessions = 0
        """Those of the table that are neither guests' nor anonymous: strangers take no places."""
        self.rdma_interfaces: Callable[[], dict[str, int]] = dict
        """Tells the speed of each network interface on which RDMA is served."""
        self.addresses: Container[IPv4Address | IPv6Address] | None = None
        """Those that are listened on, of which alone clients are told; None: all."""
        self.rdma_addresses: Container[IPv4Address | IPv6Address] | None = None
        """The same for RDMA."""
        self.notifier = Notifier(self, store, peers, threads, clock, self.caching)
        self.roots = Roots(self)
        self.tunnel = Tunnel(clock)
        self.volumes = Volumes(self.roots.opened)
        self.descriptor_limit = descriptors.limit()
        self.descriptors = FairShare(self._room_for_opens)
        """Of open files and folders: one each, and what their listings have."""
        self.pipes = FairShare(lambda: MAX_PIPES_PER_WORKER)
        self.trees = FairShare(lambda: tree_connects.MOST)
        self.locks = FairShare(self._room_for_locks)
        """Of byte ranges: each takes room in the store."""
        self.crowds = Crowds()
        self.generation = 0
        """How often mountd has read its files: what it answered before may not hold any more."""

    def _room_for_opens(self) -> int:
        """Return how many files may be open: by descriptors, and by the room in the store."""
        room = self.store.room // OPENS_OF_STORE // OPEN_BYTES // max(self.config.workers, 1)
        return min(descriptors.for_opens(self.descriptor_limit, len(self.connections)), room)

    def _room_for_disconnected(self) -> int:
        """Return how many opens may wait for their clients."""
        room = self.store.room // DISCONNECTED_OF_STORE // PLACE_BYTES
        return room // max(self.config.workers, 1)

    def _room_for_locks(self) -> int:
        """Return how many ranges may be locked."""
        return self.store.room // LOCKS_OF_STORE // LOCK.size // max(self.config.workers, 1)

    def pin(self) -> None:
        """Let the loop's thread, which calls this, never change its identity; see vfs.identity.

        From then on calls that need one go to threads. To be called before the thread opens an
        RDMA device, and after what it can do only as root: importing from a closed directory,
        say. OSError when the kernel refuses. Without root nothing changes.
        """
        self.pinned = pin()

    # -- sessions ------------------------------------------------------------------------

    def new_session(self, dialect: int) -> Session:
        """Return a session with an id that nobody has or begins with, not yet in the table.

        Ids have 32 bits, as Samba's: there are clients that keep no more of them. The worker's
        number is in the upper eight, the rest is random.
        """
        while True:
            session_id = (self.worker % 0xFF + 1) << 24 | secrets.randbits(24)
            begun = any(session_id in c.session_table for c in self.connections)
            if not begun and session_id not in self.session_table:
                return Session(session_id, dialect)

    def register_session(self, session: Session, connection: Connection) -> None:
        """Make a valid session known to all workers (GlobalSessionTable)."""
        self.session_table[session.session_id] = session
        self._count_session(session, 1)
        self.keep_session(session, connection)

    def keep_session(self, session: Session, connection: Connection) -> None:
        """Have the store tell of a session what it is now."""
        self.store.put_session(
            SessionRecord(
                session_id=session.session_id,
                worker=self.worker,
                user=session.account,
                client_guid=connection.client_guid,
                client_address=connection.transport.peer,
                dialect=session.dialect,
                signing_algorithm_id=session.signing_algorithm_id,
                cipher_id=session.cipher_id,
                signing_key=bytes(session.signing_key),
                creation_time=from_ns(int(session.created * 1e9)),
                ticket=session.ticket,
                server_address=connection.transport.local,
            )
        )

    def _count_session(self, session: Session, change: int) -> None:
        """Count a user's session, for all workers."""
        if session.proven_user:
            self.user_sessions += change
            self.store.set_user_sessions(self.user_sessions)

    def close_session(self, session: Session, gone: Callable[[], object] | None = None) -> None:
        """End a session with all that hangs below it ([MS-SMB2] 3.3.4.12).

        `gone()` is called when its last open has been closed, which may be later.
        """
        session_id = session.session_id
        if not session.closed:
            session.closed = True
            self.endings.begin(session_id)
            trees = list(session.tree_connect_table.values())
            for tree in trees:
                tree.end()
            session.tree_connect_table.clear()
            if self.session_table.pop(session_id, None) is not None:
                self._count_session(session, -1)
            for connection in [*session.channel_list, *session.acceptors]:
                channel = session.channel_list.get(connection)
                connection.session_ended(session_id, channel.signer if channel else None)
            session.channel_list.clear()
            session.acceptors.clear()
            opens = list(session.open_table.values())
            over = self.endings.end(session, opens, True, partial(self._ended, session, trees))
            if not over and session.valid:
                self.store.session_ends(session_id)
        if gone is not None:
            self.endings.after(session_id, gone)

    def _ended(self, session: Session, trees: list[TreeConnect]) -> None:
        """Forget a session whose opens are closed."""
        session_id = session.session_id
        for tree in trees:
            self.mountd.tell(TreeDisconnect(session_id=session_id, tree_id=tree.tree_id))
        if session.valid:
            self.store.remove_session(session_id)
            self.mountd.tell(Logout(session_id=session_id))
        self.endings.over(session_id)

    def end_session(self, session_id: int, gone: Callable[[], object]) -> None:
        """End a session, if there is one of this id, and call `gone()` when there is none."""
        session = self.session_table.get(session_id)
        if session is not None:
            self.close_session(session, gone)
        else:
            self.endings.after(session_id, gone)

    def close_tree(self, tree: TreeConnect, gone: Callable[[], None] | None = None) -> None:
        """End a tree connect and its opens ([MS-SMB2] 3.3.5.8); `gone()` follows the last."""
        session = tree.session
        tree.end()
        session.tree_connect_table.pop(tree.tree_id, None)

        def ended() -> None:
            self.mountd.tell(TreeDisconnect(session_id=session.session_id, tree_id=tree.tree_id))
            if gone is not None:
                gone()

        opens = [open_ for open_ in session.open_table.values() if open_.tree is tree]
        self.endings.end(session, opens, False, ended)

    def close_lost_open(self, open_: Open, *, lost: bool) -> None:
        """Close an open of what ends, unless it is closed already.

        Where the session is `lost`, durable ones stay for its client, as with Windows and Samba
        also after a LOGOFF; not where his rights have ended, by which nothing is deleted either.
        """
        if open_.tree.revoked:
            open_.lose_writing(self)
        elif lost and open_.durable is not None and not open_.closed:
            self.durable.may_stay(open_)
        self.close_open(open_)

    def close_open(self, open_: Open) -> None:
        """End an open; what goes wrong is logged, for its client cannot do anything about it."""
        try:
            if open_.delete_on_close and not open_.stays and not open_.closed:
                self.caching.handles_given_up(open_)
            open_.close(self)
        except Exception:
            log.exception("a close failed", extra={"path": open_.path})

    def close_open_of(self, key: bytes, record: OpenRecord) -> None:
        """Close an open of any worker, or end one that waits for its client."""
        if record.flags & OPEN_DISCONNECTED:
            self.durable.end(key, [record])
        elif record.worker != self.worker:
            self.peers.close_open(record.worker, record.session_id, record.open_id)
        else:
            self.close_own_open(record.session_id, record.open_id)

    def close_own_open(self, session_id: int, open_id: int) -> None:
        """Close an open of a session of this worker, if it is still there."""
        if (open_ := self._own_open(session_id, open_id)) is not None:
            self.close_open(open_)

    def mark_again(self, session_id: int, open_id: int) -> None:
        """Have an open of a session of this worker set FILE_ATTRIBUTE_ARCHIVE once more."""
        if (open_ := self._own_open(session_id, open_id)) is not None:
            open_.mark_again()

    def _own_open(self, session_id: int, open_id: int) -> Open | None:
        session = self.session_table.get(session_id)
        return session.open_table.get(open_id) if session is not None else None

    def end_open(self, open_: Open) -> None:
        """Finish the close of an open that no thread uses any more."""
        calls: list[Callable[[Server], list[DirectoryChange]]] = []
        if open_.has_last_words(self):
            calls.append(open_.last_words)
        if open_.may_remove_name() and not open_.stays:
            calls.append(open_.remove_name)
        self._end_open(open_, calls)

    def _end_open(
        self,
        open_: Open,
        calls: list[Callable[["Server"], list[DirectoryChange]]],
        changes: list[DirectoryChange] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Make what calls are left before an open leaves, one after the other."""
        if error is not None:
            log.error("a close failed", exc_info=error, extra={"path": open_.path})
        self._tell(changes)
        if calls:
            ended = partial(self._end_open, open_, calls[1:])
            self.as_user(open_.tree, partial(calls[0], self), ended, slow=open_.is_large())
        else:
            self._leave(open_)

    def _leave(self, open_: Open) -> None:
        """Take an open out of the store and delete what waited for that."""

        def left(result: RemoveOpenResult | None, error: BaseException | None = None) -> None:
            if result is None:
                log.error("a close failed", exc_info=error, extra={"path": open_.path})
            elif result.deletes:
                delete = partial(open_.delete, self, result)
                ended = partial(self._left, open_, result)
                self.as_user(open_.tree, delete, ended, slow=open_.is_large())
            else:
                if open_.delete_on_close and not result.last and not open_.stays:
                    self.notifier.dooms(open_.key)
                self._left(open_, result)

        if not open_.tree.speed.fast():
            self._on_thread(open_.tree, partial(open_.leave, self), left)
            return
        try:
            result = open_.leave(self)
        except Exception as failure:
            left(None, failure)
        else:
            left(result)

    def _left(
        self,
        open_: Open,
        result: RemoveOpenResult,
        changes: list[DirectoryChange] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Wake who waited for the end of an open, and tell what it has changed."""
        if error is not None:
            log.error("a close failed", exc_info=error, extra={"path": open_.path})
        if open_.durable is not None:
            self.durable.left(open_)
            if open_.durable.persistent:
                self.persistence.later(open_.key)
        self._tell(changes)
        self.wake_after(open_, result)

    def _tell(self, changes: list[DirectoryChange] | None) -> None:
        """Tell what the end of an open has changed."""
        for change in changes or ():
            self.notifier.changed(change)

    def as_user(
        self,
        tree: TreeConnect,
        call: Callable[[], R],
        ended: Callable[[R | None, BaseException | None], None],
        *,
        slow: bool = False,
    ) -> None:
        """Make a call with the rights of a tree's user: now, or on a thread if it may take long."""
        if self.pinned or slow or not tree.speed.fast():
            self._on_thread(tree, call, ended)
            return
        try:
            become(tree.identity)
            value = call()
        except Exception as error:
            ended(None, error)
        else:
            ended(value, None)

    def _on_thread(
        self,
        tree: TreeConnect,
        call: Callable[[], R],
        ended: Callable[[R | None, BaseException | None], None],
    ) -> None:
        """Make a call of an open that ends on a thread, as the tree's user."""

        def over(value: object, error: BaseException | None) -> None:
            self.closing -= 1
            ended(value, error)  # type: ignore[arg-type]

        self.closing += 1
        self.threads.submit(call, (), tree.identity, over, tree.speed)

    def connection_lost(self, connection: Connection) -> None:
        """Take a connection out of its sessions; close those without any ([MS-SMB2] 3.3.7.1)."""
        self.connections.discard(connection)
        for session in list(connection.session_table.values()):
            session.acceptors.pop(connection, None)
            session.channel_list.pop(connection, None)
            if not session.channel_list:
                # A binding under way elsewhere does not keep it: that one may yet fail.
                self.close_session(session)
        connection.session_table.clear()
        connection.preauth_sessions.clear()
        in_turns(self.turns, connection.transport, self.caching.connection_lost(connection))
        for session_id in list(connection.half_open):
            connection.end_login(session_id)
        connection.memory.close()
        self.connection_ended(connection)

    # -- waking --------------------------------------------------------------------------

    def wait_for(self, key: bytes, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at the next wake-up for `key`; return how to give that up."""
        waiting = self.waiters.setdefault(key, {})
        waiting[callback] = None

        def give_up() -> None:
            waiting.pop(callback, None)
            if not waiting and self.waiters.get(key) is waiting:
                del self.waiters[key]

        return give_up

    def wake(self, key: bytes) -> None:
        """Let all who wait for the file `key` in this worker try again, in slices."""
        waiting = self.waiters.pop(key, None)
        if waiting:
            in_turns(self.turns, key, _call_each(waiting))

    def wake_after(self, open_: Open, result: RemoveOpenResult) -> None:
        """Wake who waited for the end of an open, and for that of a file which went with it."""
        self.wake_workers(open_.key, result.waiters)
        if open_.to_wake is not None:
            self.wake_workers(*open_.to_wake)

    def wake_workers(self, key: bytes, workers: Iterable[int]) -> None:
        """Wake who waits for `key`, here and in other workers."""
        for worker in workers:
            if worker == self.worker:
                self.wake(key)
            else:
                self.peers.wake(worker, key)


def _call_each(waiting: dict[Callable[[], None], None]) -> Iterator[None]:
    """Call one a step. Whom a callback ends (its connection is lost, say) gives up its place."""
    for callback in list(waiting):
        if callback in waiting:
            del waiting[callback]
            callback()
            yield
