"""Where the listing of a directory stands, of one open ([MS-FSA] 2.1.5.6.3)."""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from usmbd.protocol.effects import Resume, Wait, Waiting
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


class Enumeration:
    """Where an open's listing stands: the entries still to come, and one that did not fit.

    A client may ask for the next entries before it has the last: requests use it one after the
    other.
    """

    __slots__ = (
        "_at_once",
        "_busy",
        "_entries",
        "_left_over",
        "_skip",
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
    ) -> None:
        """Begin to list a directory; `shows` is asked where unreadable files are hidden.

        `describes` says what macOS is told of a file. `skip` is the FileIndex of the last entry
        that is passed over.
        """
        self.pattern = pattern
        self._at_once = ENTRIES_AT_ONCE if describes is None else DESCRIBED_AT_ONCE
        self._left_over: Entry | None = None
        self._entries: Iterator[Entry | None] = node.scan(
            None if pattern.matches_all else pattern.matches, shows, describes
        )
        self._skip = skip
        self.given = 0
        """FileIndex of the last entry that was given: they are counted as they come."""
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

    def fill(self, writer: DirectoryWriter, single: bool) -> Steps[None]:
        """Put entries into `writer` until it is full, or one if only one is asked for; in steps.

        SmbError NO_SUCH_FILE at the start of an empty listing, NO_MORE_FILES at its end,
        INFO_LENGTH_MISMATCH if not even one entry fits.
        """
        left_over, self._left_over = self._left_over, None
        for entry in self._entries if left_over is None else chain((left_over,), self._entries):
            if entry is None:
                yield
                continue
            if self.given < self._skip:
                self.given += 1
                if not self.given % self._at_once:
                    yield
                continue
            if not writer.add(*entry, self.given + 1):
                self._left_over = entry
                break
            self.given += 1
            if single:
                break
            if not writer.count % self._at_once:
                yield
        first, self.started = not self.started, True
        if writer.count:
            return
        if self._left_over is not None:
            raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
        raise SmbError(NtStatus.NO_SUCH_FILE if first else NtStatus.NO_MORE_FILES)
