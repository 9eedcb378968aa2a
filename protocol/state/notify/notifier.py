"""A worker's change notification: who watches here, and the two ways by which changes come.

    the kernel: inotify -> `read` -> a change in a directory -> the watches that have it
    the engine: a command -> `changed` -> every worker with watches -> `receive` -> those of its own

The kernel is asked unless `kernel change notify` is off; then the engine tells everything.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.state.notify.attributes import Attributes
from usmbd.protocol.state.notify.change import Change, DirectoryChange, at
from usmbd.protocol.state.notify.directories import Directories
from usmbd.protocol.state.notify.kernel_events import KernelEvents
from usmbd.protocol.state.notify.leased import Leased
from usmbd.protocol.state.notify.place import Place, place_of, place_of_entry
from usmbd.protocol.state.notify.sight import Sight
from usmbd.protocol.state.notify.telling import Telling
from usmbd.protocol.state.notify.walk import Walk
from usmbd.protocol.state.notify.walker import Walker
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.threads import Threads
from usmbd.protocol.state.turns import Loop, in_turns
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.change_notify import FILE_ACTION_ADDED
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.open import Open

log = logging.getLogger("usmbd.vfs")

WATCHES_OF_USER: Final = 2
"""All workers together take this part of what Linux gives a user (fs.inotify.max_user_watches): one
of so many. The rest is for other programs and for the names that are looked up in any case."""

BUFFERS: Final = 64 << 20
"""Bytes of changes that a worker keeps for its clients: 1,000 buffers that are full."""

_MAX_USER_WATCHES: Final = "/proc/sys/fs/inotify/max_user_watches"


class Peers(Protocol):
    """The ways to other workers that notification needs."""

    def changed(self, worker: int, change: DirectoryChange) -> None:
        """Tell `worker` of a change."""

    def doomed(self, worker: int, key: bytes) -> None:
        """Tell `worker` that a directory is going to be deleted."""


class Caching(Protocol):
    """What clients cache: they follow changes as those do who watch."""

    @property
    def directories_cached(self) -> bool:
        """Whether anybody, in any worker, may have a lease on a directory."""

    def directory_changed(self, key: bytes, by: bytes) -> None:
        """Break the leases on a directory, wherever they are, but the one with the key `by`."""

    def break_own(self, open_id: int, left: int) -> None:
        """Break the lease of an open of this worker, so that at most `left` stays."""


class Host(Loop, Protocol):
    """What it needs of the server that it is a part of."""

    @property
    def config(self) -> ServerConfig:
        """The settings."""


class Notifier:
    """The watches of one worker's clients."""

    def __init__(
        self,
        host: Host,
        store: Store,
        peers: Peers,
        threads: Threads,
        clock: Clock,
        caching: Caching,
    ) -> None:
        """Begin without watches, and without a queue of the kernel."""
        self._host = host
        self._store = store
        self._peers = peers
        self._threads = threads
        self._clock = clock
        self._telling = Telling(host)
        self._attributes = Attributes(host, clock, self._telling)
        self._caching = caching
        self._leased = Leased(host, clock, caching.break_own)
        self._sight = Sight(host, threads)
        self._directories: Directories | None = None
        self._walker: Walker | None = None
        self._events: KernelEvents | None = None
        self._watches: dict[bytes, list[Watch]] = {}
        self._count = 0
        self._watching = False
        self.listen: Callable[[int], None] = lambda fd: None
        """Told of the descriptor that is readable when `read` has something to do."""
        self.directories = FairShare(self._room)
        """Of directories that the kernel watches: one for each watch that has it."""
        self.buffers = FairShare(lambda: BUFFERS)
        """Of bytes that wait for clients."""

    def _room(self) -> int:
        """Return how many directories may be watched."""
        return max_user_watches() // WATCHES_OF_USER // max(self._host.config.workers, 1)

    @property
    def watched(self) -> int:
        """How many directories the kernel watches."""
        return len(self._directories) if self._directories is not None else 0

    # -- watches -------------------------------------------------------------------------

    def watch(self, open_: "Open", completion_filter: int, watch_tree: bool, length: int) -> Watch:
        """Begin to watch the directory of an open; SmbError.

        What cannot be had at once comes later, or ends the watch.
        """
        session, network = open_.session, open_.connection.network
        user = session.proven_user
        watch = Watch(
            open_.node,
            open_.tree,
            open_.key,
            completion_filter,
            watch_tree,
            length,
            self.directories.place(user, network),
            self.buffers.place(user, network),
            self.end,
        )
        if self._host.config.kernel_change_notify:
            self._ask_kernel()
            assert self._walker is not None
            assert self._directories is not None
            self._walker.start(Walk(self._directories, watch), first=True)
            if watch.status is not None:
                raise SmbError(watch.status)
        self._watches.setdefault(watch.key, []).append(watch)
        self._count += 1
        self._say_whether_watching()
        return watch

    def _say_whether_watching(self) -> None:
        """Have the other workers tell this one of changes, as long as somebody is to be told."""
        watching = bool(self._count or len(self._leased))
        if watching is not self._watching:
            self._watching = watching
            self._store.set_watching(watching)

    def end(self, watch: Watch, status: NtStatus) -> None:
        """End a watch: what waits is answered with `status`."""
        if watch.status is None:
            watch.end(status)
        watches = self._watches.get(watch.key, [])
        if watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watches[watch.key]
            self._count -= 1
            self._say_whether_watching()
        if self._walker is not None:
            self._walker.give_up(watch.directory, watch)

    def follow(self, open_id: int, key: bytes, node: Node, user: str, network: str) -> bool:
        """Follow a directory on which an open is to have a lease; False: it cannot be."""
        if not self._host.config.kernel_change_notify:
            return True  # it follows what clients do, as those who watch
        try:
            self._ask_kernel()
            assert self._directories is not None
            place = self.directories.place(user, network)
            self._leased.follow(self._directories, node.fd, key, open_id, place)
        except (OSError, SmbError) as error:
            log.info("a folder gets no lease: %s", error, extra={"path": node.path})
            return False
        self._say_whether_watching()
        return True

    def unfollow(self, open_id: int) -> None:
        """Follow nothing more for an open, if anything was."""
        if open_id in self._leased:
            assert self._directories is not None
            self._leased.end(self._directories, open_id)
            self._say_whether_watching()

    def _ask_kernel(self) -> None:
        """Have a queue of the kernel's; SmbError(INSUFFICIENT_RESOURCES)."""
        if self._directories is not None:
            return
        try:
            directories = self._directories = Directories()
        except OSError as error:
            log.error("inotify: %s (fs.inotify.max_user_instances)", error.strerror)
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES) from error
        walker = self._walker = Walker(
            self._host, self._threads, directories, self.end, self._clock
        )
        self._events = KernelEvents(
            self._host,
            directories,
            walker,
            self._attributes,
            self._leased,
            self._telling,
            self._all,
            self.end,
        )
        self.listen(directories.fileno())

    def _all(self) -> list[Watch]:
        """Return all watches."""
        return [watch for watches in self._watches.values() for watch in watches]

    def read(self) -> bool:
        """Take some of the kernel's events; tell whether there may be more."""
        return self._events is not None and self._events.read()

    def catch_up(self) -> None:
        """Take what the kernel has queued, so that it comes before what is done next."""
        if self._events is not None:
            self._events.catch_up()

    def close(self) -> None:
        """Give the kernel's queue back."""
        if self._directories is not None:
            self._directories.close()

    # -- from the engine -----------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        """Whether anybody, in any worker, is to be told of changes: nearly free to ask."""
        return self._store.anybody_watches() or self._caching.directories_cached

    @property
    def asks_kernel(self) -> bool:
        """Whether the kernel tells of names and data, so that the engine need not."""
        return self._host.config.kernel_change_notify

    def place(self, node: Node) -> Place | None:
        """Return where a file is whose name or data the engine changes; may block.

        None where nobody is told by the engine: the kernel tells, or nobody listens.
        """
        return place_of(node, above=not self.asks_kernel) if self._tells else None

    def place_of_entry(self, directory: int, path: str, name: str) -> Place | None:
        """Return where an entry of an open directory is, by the path of that; as `place`."""
        if not self._tells:
            return None
        return place_of_entry(directory, path, name, above=not self.asks_kernel)

    @property
    def _tells(self) -> bool:
        """Whether anybody is told by the engine."""
        return self._caching.directories_cached or not (self.asks_kernel or not self.wanted)

    def of_file(
        self, node: Node, changes: Iterable[Change], by: bytes | None, *, by_kernel: bool = False
    ) -> list[DirectoryChange]:
        """Return changes of a file as its directory's, for `changed`; may block."""
        if not self.wanted:
            return []
        place = place_of(node, above=not self.asks_kernel)
        return at(place, *changes, by=by, by_kernel=by_kernel)

    def changed(self, change: DirectoryChange) -> None:
        """Tell those who cache a listing, and all workers, of what this one has changed."""
        if change.by is not None:
            self._caching.directory_changed(change.ancestors[0][0], change.by)
        if not change.changes:
            return
        if self._watching:
            self.receive(change)
        for worker in self._store.watching():
            if worker != self._store.worker:
                self._peers.changed(worker, change)

    def receive(self, change: DirectoryChange) -> None:
        """Tell the watches here of what a worker has changed."""
        if self._directories is not None:
            self.catch_up()
            key = change.ancestors[0][0]
            directory = self._directories.by_key(key)
            if directory is not None:
                for each in change.changes:
                    if directory.leased:
                        self._leased.explain(key, each)
                    if not change.by_kernel or each.action == FILE_ACTION_ADDED:
                        self._attributes.explain(key, each.name.partition("\0")[0])
                if not change.by_kernel:
                    self._telling.tell(directory, change.changes)
        if not self.asks_kernel:
            self._tell_above(change)

    def _tell_above(self, change: DirectoryChange) -> None:
        """Tell the watches of a directory, and those of trees that it is in."""
        path = ""
        for key, name in change.ancestors:
            for watch in list(self._watches.get(key, ())):
                if watch.directory is not None or (path and not watch.watch_tree):
                    continue
                self._sight.tell(watch, path, change.changes)
            path = f"{name}/{path}" if path else name

    def all_lost(self) -> None:
        """Have all clients list what they watch: a worker had more to tell than could be sent."""
        self._each(self._all(), Watch.lose)
        self._leased.all_lost()

    def mounted(self, points: Collection[str]) -> None:
        """Look anew at folders of shares where something was mounted or unmounted."""
        self._leased.all_lost()
        if self._events is not None:
            in_turns(self._host.turns, self, self._events.mounted(points))

    def settings_changed(self) -> None:
        """Have all clients list and ask again: changes may come another way from now on."""
        self._each(self._all(), partial(self.end, status=NtStatus.NOTIFY_ENUM_DIR))
        self._leased.all_lost()

    def dooms(self, key: bytes) -> None:
        """Tell all workers that a directory is going to be deleted."""
        if not self.wanted:
            return
        self.is_doomed(key)
        for worker in self._store.watching():
            if worker != self._store.worker:
                self._peers.doomed(worker, key)

    def is_doomed(self, key: bytes) -> None:
        """Answer those who watch a directory that is going to be deleted."""
        watches = self._watches.get(key)
        if watches:
            self._each(list(watches), partial(self.end, status=NtStatus.DELETE_PENDING))

    def _each(self, watches: Iterable[Watch], act: Callable[[Watch], None]) -> None:
        """Do something with each of many watches, in slices."""

        def steps() -> Iterator[None]:
            for watch in watches:
                act(watch)
                yield

        in_turns(self._host.turns, self, steps())


def max_user_watches() -> int:
    """Return how many directories this process' user may watch; 8192 where nobody says."""
    try:
        with open(_MAX_USER_WATCHES, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 8192
