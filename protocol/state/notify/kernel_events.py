"""What the kernel tells of watched directories: the forest follows it, the watches are told."""

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from usmbd.protocol.state.notify.attributes import Attributes
from usmbd.protocol.state.notify.change import from_event, renamed
from usmbd.protocol.state.notify.directories import Directories, Directory
from usmbd.protocol.state.notify.leased import Leased
from usmbd.protocol.state.notify.telling import Telling
from usmbd.protocol.state.notify.walk import Walk
from usmbd.protocol.state.notify.walker import Walker
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.turns import Loop, in_turns
from usmbd.protocol.vfs import inotify, kernel
from usmbd.protocol.vfs.file_systems import is_below
from usmbd.protocol.vfs.inotify import Event
from usmbd.protocol.wire.status import NtStatus

log = logging.getLogger("usmbd.vfs")

_NAMES: Final = inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_FROM | inotify.IN_MOVED_TO
_READS: Final = 16  # of the queue, before a request is answered by what it holds


class KernelEvents:
    """Reads the events of a worker's watched directories."""

    def __init__(
        self,
        host: Loop,
        directories: Directories,
        walker: Walker,
        attributes: Attributes,
        leased: Leased,
        telling: Telling,
        watches: Callable[[], list[Watch]],
        end: Callable[[Watch, NtStatus], None],
    ) -> None:
        """`watches` returns all watches of the worker, `end` ends one."""
        self._host = host
        self._directories = directories
        self._walker = walker
        self._attributes = attributes
        self._leased = leased
        self._telling = telling
        self._watches = watches
        self._end = end
        self._moves: dict[int, tuple[Directory, Event]] = {}
        self._taken: deque[Event] = deque()
        self._more = False  # the kernel had more than was taken
        self._due = False
        telling.caught_up = self._go_on

    def catch_up(self) -> None:
        """Take what the kernel has queued, so that it comes before what is done next."""
        for _ in range(_READS):
            if not self.read():
                return

    def read(self) -> bool:
        """Take some events of the kernel; tell whether there may be more now.

        A slice of them: each is told all who watch its directory.
        """
        if self._telling.behind:
            return False  # and then goes on
        turns = self._host.turns
        began = turns.clock()
        fresh, self._walker.fresh = self._walker.fresh, []
        if not self._taken:
            events, self._more = self._directories.read()
            self._taken.extend(events)
        while self._taken:
            self._event(self._directories, self._taken.popleft())
            if self._telling.behind or turns.over(began):
                break
        if self._taken or self._more:
            self._walker.fresh += fresh
        else:
            self._moved_away()
            for directory in fresh:
                directory.fresh = None
        if not self._taken:
            return self._more
        if not (self._due or self._telling.behind):
            self._due = True
            turns.later(self, self._go_on)
        return False

    def _go_on(self) -> None:
        """Take what was left of the events: the kernel does not tell of it again."""
        self._due = False
        if self._taken:
            self.read()

    def _event(self, directories: Directories, event: Event) -> None:
        """Act on one event."""
        mask = event.mask
        directory = directories.find(event.watch)
        if directory is not None and directory.leased:
            self._leased.event(directory, event)
        if self._moves:
            source = self._moves.pop(event.cookie, None) if event.cookie else None
            target = directory
            if source is not None and target is not None and mask & inotify.IN_MOVED_TO:
                self._renamed(*source, target, event)
                return
            if source is not None:
                self._moves[source[1].cookie] = source
            self._moved_away()
        if mask & inotify.IN_Q_OVERFLOW:
            self._overflowed(directories)
            return
        if directory is None:
            return
        if mask & (inotify.IN_IGNORED | inotify.IN_UNMOUNT):
            self._is_over(directories, directory)
        elif mask & inotify.IN_MOVED_FROM:
            self._moves[event.cookie] = directory, event
        elif event.name:
            self._entry(directory, event)

    def _entry(self, directory: Directory, event: Event) -> None:
        """Tell what happened to an entry of a directory; a new directory is watched as well."""
        name, mask = event.name, event.mask
        if mask & inotify.IN_ATTRIB:
            self._attributes.changed(directory, name)
            return
        if not mask & _NAMES:
            self._telling.tell(directory, from_event(event))
            return
        self._attributes.gone(directory, name)
        is_directory = bool(mask & inotify.IN_ISDIR)
        if mask & inotify.IN_CREATE and directory.fresh is not None and name in directory.fresh:
            directory.fresh.discard(name)  # told of already
        else:
            self._telling.tell(directory, from_event(event))
        if is_directory and mask & (inotify.IN_CREATE | inotify.IN_MOVED_TO):
            self._grow(directory, directory.trees, name, tells=bool(mask & inotify.IN_CREATE))

    def _grow(
        self, directory: Directory, watches: Iterable[Watch], name: str, *, tells: bool
    ) -> None:
        """Watch a directory that has come into another, and what is below it."""
        child = directory.child(name)
        for watch in watches:
            if watch.ended or (child is not None and watch in child.watches):
                continue
            self._walker.start(Walk(self._directories, watch, directory, name, tells=tells))

    def mounted(self, points: Collection[str]) -> Iterator[None]:
        """Watch what is seen now where something was mounted or unmounted, in steps.

        The kernel tells nothing of what has come and gone by that, so clients have to list.
        """
        self.catch_up()
        places: dict[tuple[Directory, str], None] = {}
        for watch in self._watches():
            if not watch.watch_tree or watch.directory is None or watch.ended:
                continue
            top = os.readlink(kernel.fd_path(watch.node.fd))
            for point in points:
                if is_below(point, top):
                    above, _, name = point[len(top.rstrip("/")) + 1 :].rpartition("/")
                    directory = watch.directory.find(above)
                    if directory is not None:
                        places[directory, name] = None
            yield
        for directory, name in places:
            trees = directory.trees
            self._detach(directory, name)
            for watch in trees:
                walk = Walk(self._directories, watch, directory, name)
                walk.missed = True
                self._walker.start(walk)
            yield

    def _detach(self, directory: Directory, name: str) -> None:
        """Have what was a directory's entry be somewhere else, where trees do not follow it."""
        child = directory.child(name)
        if child is not None:
            trees = directory.trees
            child.move(None, "")
            self._walker.give_up(child, *trees)

    def _renamed(self, source: Directory, went: Event, target: Directory, came_: Event) -> None:
        """Tell of a rename, in one directory or from one to another."""
        is_directory = bool(came_.mask & inotify.IN_ISDIR)
        self._attributes.gone(source, went.name)
        child = source.child(went.name) if is_directory else None
        if child is not None:
            child.move(target, came_.name)
        if source is target:
            self._telling.tell(source, renamed(went.name, came_.name, is_directory=is_directory))
        else:
            self._telling.tell(source, from_event(went))
            self._telling.tell(target, from_event(came_))
        if not is_directory:
            return
        if child is not None:
            gone = [watch for watch in source.trees if watch not in target.watches]
            self._walker.give_up(child, *gone)
        trees = target.trees
        # Where it has come from it was told of, but made and renamed before it could be watched.
        known = [watch for watch in trees if watch in source.watches]
        self._grow(target, known, came_.name, tells=True)
        self._grow(target, [w for w in trees if w not in known], came_.name, tells=False)

    def _moved_away(self) -> None:
        """Tell of what went and came nowhere that is watched."""
        moves, self._moves = self._moves, {}
        for directory, event in moves.values():
            self._attributes.gone(directory, event.name)
            if event.mask & inotify.IN_ISDIR:
                self._detach(directory, event.name)
            self._telling.tell(directory, from_event(event))

    def _is_over(self, directories: Directories, directory: Directory) -> None:
        """Forget a directory that the kernel watches no more: it is gone, or its file system."""
        directories.forget(directory)
        for watch in directory.watches:
            watch.directories.give_back(1)
            if watch.directory is directory:
                watch.directory = None
                self._end(watch, NtStatus.DELETE_PENDING)
        directory.watches = ()

    def _overflowed(self, directories: Directories) -> None:
        """Have all clients list what they watch, and look for what has come unseen."""
        log.warning("inotify: events were lost (fs.inotify.max_queued_events)")
        self._leased.all_lost()
        in_turns(self._host.turns, self, self._look_anew(directories))

    def _look_anew(self, directories: Directories) -> Iterator[None]:
        """Have all list, and look for what there is now, in steps."""
        for watch in self._watches():
            watch.lose()
            if watch.watch_tree and not watch.ended:
                self._walker.start(Walk(directories, watch))
            yield
