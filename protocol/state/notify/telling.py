"""Tells the watches of a directory what happens in it, in slices: clients say how many there are.

What is told later comes behind what was told before, and while something is behind no event of the
kernel is looked at: it could move the directory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from usmbd.protocol.state.notify.change import Change
from usmbd.protocol.state.notify.directories import Directory
from usmbd.protocol.state.notify.watch import Watch
from usmbd.protocol.state.turns import Loop

WATCHES_AT_ONCE: Final = 16
"""Watches between two looks at the clock: 20 us, or half a millisecond where each has an answer."""

MOST_BEHIND: Final = 1024
"""Changes that wait to be told, of half a KiB each. Beyond it the clients list a directory: who
changes a file may be faster than thousands of watches are told."""

_Changes = Sequence[Change] | None
"""None: there are too many to be told."""

_Row = tuple[Directory, _Changes, Iterator[Watch] | None]
"""Who has still to be told; None: all who watch it when its turn comes."""


class Telling:
    """What the watches of one worker are being told."""

    def __init__(self, host: Loop) -> None:
        """Begin with nothing that waits."""
        self._host = host
        self._rows: deque[_Row] = deque()
        self._lost: set[Directory] = set()
        """Those whose watches are going to lose what is told now."""
        self.caught_up: Callable[[], None] = lambda: None
        """Called when nothing waits any more."""

    @property
    def behind(self) -> bool:
        """Whether somebody has still to be told of something."""
        return bool(self._rows)

    def tell(self, directory: Directory, changes: Sequence[Change]) -> None:
        """Tell the watches that have a directory of changes in it."""
        if directory in self._lost:
            return
        row = directory, changes, iter(directory.watches)
        if len(self._rows) >= MOST_BEHIND:
            self._lost.add(directory)
            self._rows.append((directory, None, None))
        elif self._rows:
            self._rows.append(row)
        elif not self._told(*row):
            self._rows.append(row)
            self._host.turns.later(self, self._go_on)

    def _go_on(self) -> None:
        """Tell what waits, as far as this turn allows."""
        while self._rows:
            directory, changes, watches = self._rows[0]
            if watches is None:
                self._lost.remove(directory)  # what comes from here on comes behind
                watches = iter(directory.watches)
                self._rows[0] = directory, changes, watches
            if not self._told(directory, changes, watches):
                self._host.turns.later(self, self._go_on)
                return
            self._rows.popleft()
        self.caught_up()

    def _told(self, directory: Directory, changes: _Changes, watches: Iterator[Watch]) -> bool:
        """Tell the watches that are left; False where the slice is over before their end."""
        for count, watch in enumerate(watches, 1):
            path = directory.below(watch.directory)
            if path is not None:
                if changes is None:
                    watch.lose()
                else:
                    watch.tell(path, changes)
            if not count % WATCHES_AT_ONCE and self._host.turns.over():
                return False
        return True
