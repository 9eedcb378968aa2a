"""The directories that a worker's clients have leases on: what ends them ([MS-FSA] 2.1.4.12).

What the engine changes breaks the leases of all others at once (`Caching.directory_changed`), by
what the store knows. This is for the rest: the kernel tells of each change in a directory that is
leased here, and those that no engine has told of were made by local programs or NFS.

Which is which is counted, for inotify does not say who did it: an event is worth one word of the
engine's of the same name and kind, whichever comes first, from whichever worker. Of attributes one
word is worth all events before it: the engine sets several for one change, and speaks then.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.state.notify.attributes import HELD_SECONDS
from usmbd.protocol.state.notify.change import ANY_ATTRIBUTE, NAMES, WRITTEN, Change
from usmbd.protocol.state.notify.directories import Directories, Directory
from usmbd.protocol.state.speed import Clock
from usmbd.protocol.state.turns import Loop, in_turns
from usmbd.protocol.vfs import inotify
from usmbd.protocol.vfs.inotify import Event
from usmbd.protocol.wire import change_notify as wire
from usmbd.protocol.wire.create_contexts import SMB2_LEASE_NONE

EVENTS: Final = (
    inotify.IN_ONLYDIR
    | inotify.IN_MASK_ADD
    | inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_ATTRIB
    | inotify.IN_CLOSE_WRITE
)
"""What a listing shows: names, attributes and times, and sizes when who has written closes the
file, as Windows tells them; not each write."""

EXPLAINED_SECONDS: Final = 1.0
"""For so long the engine's word explains an event of the same name."""

MOST_WORDS: Final = 4096
"""Words that are kept, and events that wait; beyond it all leases here are broken instead."""

_CAME: Final = inotify.IN_CREATE | inotify.IN_MOVED_TO
_WENT: Final = inotify.IN_DELETE | inotify.IN_MOVED_FROM
_GONE: Final = inotify.IN_IGNORED | inotify.IN_UNMOUNT
_KINDS: Final = (_CAME, _WENT, inotify.IN_ATTRIB, inotify.IN_CLOSE_WRITE)
_OF_NAME: Final = {
    wire.FILE_ACTION_ADDED: _CAME,
    wire.FILE_ACTION_RENAMED_NEW_NAME: _CAME,
    wire.FILE_ACTION_REMOVED: _WENT,
    wire.FILE_ACTION_RENAMED_OLD_NAME: _WENT,
}

About = tuple[bytes, str, int]


class Leased:
    """What the kernel says of leased directories, beside what the engine has said."""

    def __init__(self, host: Loop, clock: Clock, break_own: Callable[[int, int], None]) -> None:
        """`break_own(open, left)` breaks the lease of an open of this worker."""
        self._host = host
        self._clock = clock
        self._break_own = break_own
        self._opens: dict[int, tuple[Directory, Place]] = {}
        self._breaking: dict[int, None] = {}
        """Those whose leases are to be broken, once however much has changed meanwhile."""
        self._held: dict[About, Directory] = {}
        self._events: Counter[About] = Counter()
        self._words: dict[About, list[float]] = {}
        self._due = False

    def __len__(self) -> int:
        """Count the opens that are followed."""
        return len(self._opens)

    def __contains__(self, open_id: int) -> bool:
        """Tell whether an open is followed."""
        return open_id in self._opens

    def follow(
        self, directories: Directories, fd: int, key: bytes, open_id: int, place: Place
    ) -> None:
        """Follow the open directory `fd` for an open that is to have a lease; OSError, SmbError."""
        place.take(1)
        try:
            directory = directories.lease(fd, key, EVENTS, open_id)
        except OSError:
            place.give_back()
            raise
        self._opens[open_id] = directory, place

    def end(self, directories: Directories, open_id: int) -> None:
        """Follow nothing for an open any more."""
        directory, place = self._opens.pop(open_id)
        directories.end_lease(directory, open_id)
        place.give_back()

    def _broken(self, directory: Directory) -> None:
        """Break the leases of this worker's clients on a directory."""
        self._break(directory.leased)

    def all_lost(self) -> None:
        """Break all leases: nobody knows what has changed."""
        self._break(self._opens)

    def _break(self, opens: Iterable[int]) -> None:
        """Break the leases of opens, in slices: clients say how many there are."""
        self._breaking.update(dict.fromkeys(opens))
        in_turns(self._host.turns, self, self._break_each())

    def _break_each(self) -> Iterator[None]:
        """Break one in each step."""
        while self._breaking:
            open_id, _ = self._breaking.popitem()
            if open_id in self._opens:
                self._break_own(open_id, SMB2_LEASE_NONE)
                yield

    def event(self, directory: Directory, event: Event) -> None:
        """Take an event of a leased directory."""
        if event.mask & _GONE:
            self._broken(directory)
        kind = next((kind for kind in _KINDS if event.mask & kind), 0)
        if not kind or not event.name:
            return
        about = directory.key, event.name, kind
        if not self._take_word(about):
            if len(self._held) >= MOST_WORDS:
                self._broken(directory)
                return
            self._held[about] = directory
            self._events[about] += 1
            if not self._due:
                self._due = True
                self._clock.call_later(HELD_SECONDS, self._unexplained)

    def explain(self, key: bytes, change: Change) -> None:
        """Note that the engine makes a change in a directory, and breaks what it has to."""
        name, nul, _ = change.name.partition("\0")
        kind = _OF_NAME.get(change.action, 0)
        if change.action == wire.FILE_ACTION_MODIFIED and change.matches & WRITTEN == WRITTEN:
            self._explain((key, name, inotify.IN_CLOSE_WRITE))
        elif kind and change.matches & NAMES:
            self._explain((key, name, kind))
        if nul or not kind or kind == _CAME or change.matches & ANY_ATTRIBUTE & ~WRITTEN:
            about = key, name, inotify.IN_ATTRIB  # EAs and streams are xattrs, too
            self._held.pop(about, None)
            self._events.pop(about, None)

    def _explain(self, about: About) -> None:
        """Have a word explain an event that has come, or one that comes."""
        if about in self._held:
            self._events[about] -= 1
            if not self._events[about]:
                del self._held[about], self._events[about]
            return
        now = self._clock.time()
        if len(self._words) >= MOST_WORDS:
            self._words = {a: times for a, times in self._words.items() if times[-1] >= now}
            if len(self._words) >= MOST_WORDS:
                self._words.clear()  # what they would have explained breaks leases
        self._words.setdefault(about, []).append(now + EXPLAINED_SECONDS)

    def _take_word(self, about: About) -> bool:
        """Tell whether an event has been explained, which uses a word up."""
        times = self._words.get(about)
        if times is None:
            return False
        now = self._clock.time()
        while times and times[0] < now:
            times.pop(0)
        explained = bool(times)
        if explained:
            times.pop(0)
        if not times:
            del self._words[about]
        return explained

    def _unexplained(self) -> None:
        """Break the leases for what others than the engine have changed."""
        self._due = False
        held, self._held = self._held, {}
        self._events.clear()
        directories = {id(each): each for each in held.values()}
        self._break(chain.from_iterable(each.leased for each in directories.values()))
