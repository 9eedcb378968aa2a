"""Where the listing of a directory stands, of one open ([MS-FSA] 2.1.5.6.3)."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from usmbd.protocol.effects import Resume, Wait, Waiting
from usmbd.protocol.state.fair_share import Place
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.scan import Describes, Entry, Shows
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.vfs.wildcard import Pattern
from usmbd.protocol.wire.fscc.directory import DirectoryWriter
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection

ENTRIES_AT_ONCE = 16
"""Entries of one step, which cost 20 to 30 us each."""

DESCRIBED_AT_ONCE = 4
"""The same where each file is opened, for macOS: 100 us each."""

DESCRIPTORS = 2
"""A listing has so many, beside its open's, until it is over: one to read by, one to ask by."""


class Enumeration:
    """Where an open's listing stands: the entries still to come, and one that did not fit.

    A client may ask for the next entries before it has the last: requests use it one after the
    other.
    """

    __slots__ = (
        "_again",
        "_at_once",
        "_busy",
        "_entries",
        "_left_over",
        "_over",
        "_place",
        "_waiting",
        "given",
        "pattern",
        "started",
    )

    def __init__(
        self,
        node: Node,
        pattern: Pattern,
        shows: Shows | None = None,
        describes: Describes | None = None,
        skip: int = 0,
        place: Place | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Begin to list a directory; `shows` is asked where unreadable files are hidden.

        `describes` says what macOS is told of a file. `skip` is the FileIndex of the last entry
        that is passed over. `place` is its open's, among the descriptors, where it takes more:
        SmbError(INSUFFICIENT_RESOURCES). `again`: the open had a listing before.
        """
        if place is not None:
            place.take(DESCRIPTORS)
        self._place = place
        self._over = False
        self.pattern = pattern
        self._again = again
        self._at_once = ENTRIES_AT_ONCE if describes is None else DESCRIBED_AT_ONCE
        self._left_over: Entry | None = None
        short = pattern.may_be_short and node.volume.options.made_names
        self._entries: Iterator[Entry | None] = node.scan(
            None if pattern.matches_all else pattern.matches,
            shows,
            describes,
            skip,
            pattern.matches_short if short else None,
        )
        self.given = 0
        """FileIndex of the last entry that was given: its number."""
        self._busy = False
        self._waiting: deque[Resume[None]] = deque()
        self.started = skip > 0

    def take(self) -> Waiting[None]:
        """Wait until no other request uses it; `leave` has to follow."""
        if self._busy:
            yield Wait(self._waiting.append, in_compound=True)
        self._busy = True

    def leave(self, connection: "Connection") -> None:
        """Let the next request use it."""
        self._busy = bool(self._waiting)
        if self._waiting:
            # Not at once: each would be called from within the one before.
            connection.server.turns.later(connection.transport, self._waiting.popleft())
        elif self._over:
            self._close()

    def end(self) -> None:
        """Give the directory back, as soon as no request uses it."""
        self._over = True
        if not self._busy:
            self._close()

    def _close(self) -> None:
        """Close the directory."""
        self._entries = iter(())
        place, self._place = self._place, None
        if place is not None:
            place.give_back(DESCRIPTORS)

    def fill(self, writer: DirectoryWriter, single: bool) -> Steps[None]:
        """Put entries into `writer` until it is full, or one if only one is asked for; in steps.

        SmbError NO_SUCH_FILE at the start of the open's first listing if that is empty,
        NO_MORE_FILES at the end of any, INFO_LENGTH_MISMATCH if not even one entry fits.
        """
        left_over, self._left_over = self._left_over, None
        for entry in self._entries if left_over is None else chain((left_over,), self._entries):
            if entry is None:
                yield
                continue
            if not writer.add(*entry):
                self._left_over = entry
                break
            self.given = entry[3]
            if single:
                break
            if not writer.count % self._at_once:
                yield
        else:
            self._over = True
        first, self.started = not self.started, True
        if writer.count:
            return
        if self._left_over is not None:
            raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
        no_such_file = first and not self._again
        raise SmbError(NtStatus.NO_SUCH_FILE if no_such_file else NtStatus.NO_MORE_FILES)
