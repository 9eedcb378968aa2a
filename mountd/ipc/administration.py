"""What administrators have the RPC process ask of mountd: what runs, and what is to change.

Each question says `by` whom it is asked. mountd looks up itself whether he administrates.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from usmbd.mountd.ipc.base import MAX_ROWS, Handle, Message, Name
from usmbd.mountd.ipc.messages import ListKind
from usmbd.mountd.ipc.rows import Row

MAX_CLOSED = 1024
"""Sessions or opens that one message closes."""

PAGE_ROWS = 128
"""Rows of one answer: a row has at most a few hundred bytes."""


class Result(StrEnum):
    """What became of a wish; each interface has its own numbers for these."""

    DONE = "done"
    DENIED = "denied"
    NOT_FOUND = "not found"
    EXISTS = "exists"
    INVALID = "invalid"
    FAILED = "failed"
    """mountd could not; its log says why."""


class ListRunning(Message):
    """List sessions, connections or opens of all workers. Answer: `RunningPage` or `Outcome`."""

    by: Name
    kinds: Annotated[list[ListKind], Meta(min_length=1, max_length=len(ListKind))]
    start: Annotated[int, Meta(ge=0)] = 0
    list: Annotated[int, Meta(ge=0)] = 0
    """The number that the first page told; the list stays as it was then."""


class RunningPage(Message):
    """A part of a list."""

    rows: Annotated[list[Row], Meta(max_length=MAX_ROWS)]
    total: int
    list: int


class CloseRunning(Message):
    """End sessions, and close opens: (session, open). Answer: `Outcome`."""

    by: Name
    sessions: Annotated[list[Handle], Meta(max_length=MAX_CLOSED)]
    opens: Annotated[list[tuple[Handle, Handle]], Meta(max_length=MAX_CLOSED)]


class Outcome(Message):
    """What became of a wish."""

    result: Result


AdministrationRequest = ListRunning | CloseRunning
AdministrationResponse = RunningPage | Outcome
