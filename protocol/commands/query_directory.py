"""SMB2 QUERY_DIRECTORY ([MS-SMB2] 3.3.5.18)."""

from collections import deque
from collections.abc import Iterator
from itertools import chain

from usmbd.protocol.commands.request import Answer, Handling, Request, Resume, Sliced, Wait
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.sequence import check_charge
from usmbd.protocol.vfs.scan import Entry
from usmbd.protocol.vfs.wildcard import Pattern
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.body import parse_body
from usmbd.protocol.wire.fscc.directory import FIXED_SIZES, DirectoryWriter
from usmbd.protocol.wire.query_directory import (
    SMB2_REOPEN,
    SMB2_RESTART_SCANS,
    SMB2_RETURN_SINGLE_ENTRY,
    QueryDirectoryRequest,
    build_query_directory_response,
    search_pattern,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

ENTRIES_AT_ONCE = 16
"""Entries of one step, which cost 20 to 30 us each."""


class Enumeration:
    """Where an open's listing stands: the entries still to come, and one that did not fit.

    A client may ask for the next entries before it has the last: requests use it one after the
    other.
    """

    __slots__ = ("_busy", "_entries", "_held", "_waiting", "pattern", "started")

    def __init__(self, open_: Open, pattern: Pattern) -> None:
        """Begin to list the open's directory."""
        self.pattern = pattern
        self._held: Entry | None = None
        self._entries: Iterator[Entry | None] = _entries(open_, pattern)
        self._busy = False
        self._waiting: deque[Resume] = deque()
        self.started = False

    def take(self) -> Iterator[Wait]:
        """Wait until no other request uses it; `leave` has to follow."""
        if self._busy:
            yield Wait(self._waiting.append, in_compound=True)
        self._busy = True

    def leave(self, request: Request) -> None:
        """Let the next request use it."""
        self._busy = bool(self._waiting)
        if self._waiting:
            # Not at once: each would be called from within the one before.
            connection = request.connection
            connection.server.turns.later(connection.transport, self._waiting.popleft())

    def fill(self, writer: DirectoryWriter, single: bool) -> Iterator[None]:
        """Put entries into `writer` until it is full, or one if only one is asked for; in steps.

        SmbError NO_SUCH_FILE at the start of an empty listing, NO_MORE_FILES at its end,
        INFO_LENGTH_MISMATCH if not even one entry fits.
        """
        held, self._held = self._held, None
        for entry in self._entries if held is None else chain((held,), self._entries):
            if entry is None:
                yield
                continue
            if not writer.add(*entry):
                self._held = entry
                break
            if single:
                break
            if not writer.count % ENTRIES_AT_ONCE:
                yield
        first, self.started = not self.started, True
        if writer.count:
            return
        if self._held is not None:
            raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
        raise SmbError(NtStatus.NO_SUCH_FILE if first else NtStatus.NO_MORE_FILES)


def _entries(open_: Open, pattern: Pattern) -> Iterator[Entry | None]:
    """Return the listing of the open's directory, with pauses."""
    return open_.node.scan(None if pattern.matches_all else pattern.matches)


def query_directory(request: Request) -> Answer | Handling:
    """Return the next entries of a directory."""
    body = parse_body(QueryDirectoryRequest, request.message)
    connection, open_ = request.connection, request.open
    minimum = FIXED_SIZES.get(body.file_information_class)
    if open_.pipe is not None or not open_.node.is_directory or open_.stream is not None:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if minimum is None:
        raise SmbError(NtStatus.INVALID_INFO_CLASS)
    if body.output_buffer_length > connection.max_transact_size:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if connection.supports_multi_credit:
        check_charge(request.header.credit_charge, body.output_buffer_length)
    if body.output_buffer_length < minimum:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
    text = search_pattern(request.message, body)
    if not text or "\\" in text or "/" in text:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    open_.require(FILE_LIST_DIRECTORY)
    restart = body.flags & (SMB2_REOPEN | SMB2_RESTART_SCANS)
    # SMB2_INDEX_SPECIFIED is passed over: no file system here has stable indexes (3.3.5.18).
    if open_.enumeration is None or restart:
        # A new pattern counts with the restart ([MS-FSA] 2.1.5.6.3).
        open_.enumeration = Enumeration(open_, Pattern(text))
    return _list(request, body)


def _list(request: Request, body: QueryDirectoryRequest) -> Handling:
    """Fill a buffer with entries."""
    open_ = request.open
    enumeration: Enumeration = open_.enumeration
    writer = DirectoryWriter(body.file_information_class, body.output_buffer_length)
    single = bool(body.flags & SMB2_RETURN_SINGLE_ENTRY)
    open_.in_use += 1  # a CLOSE does not overtake
    try:
        yield from enumeration.take()
        try:
            if open_.tree.closed:  # meanwhile
                raise SmbError(NtStatus.FILE_CLOSED)
            yield Sliced(enumeration.fill, writer, single)
        finally:
            enumeration.leave(request)
    finally:
        open_.release()
    return list(build_query_directory_response(writer.finish()))
