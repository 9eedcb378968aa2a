"""What administrators have the RPC process ask of mountd: what runs, and what is to change.

Each question says `by` whom it is asked. mountd looks up itself whether he administrates.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from usmbd.mountd.ipc.base import MAX_ROWS, Handle, Message, Name
from usmbd.mountd.ipc.dfs import DfsRequest, DfsResponse
from usmbd.mountd.ipc.messages import ListKind
from usmbd.mountd.ipc.registry import Descriptor, RegistryRequest, RegistryResponse
from usmbd.mountd.ipc.rights import RightsRequest, RightsResponse
from usmbd.mountd.ipc.rows import Row
from usmbd.mountd.ipc.secrets import SecretRequest, SecretValues
from usmbd.mountd.ipc.users import UsersRequest

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
    """A name, a value or a number that cannot be."""
    NO_FOLDER = "no folder"
    FIXED = "fixed"
    """The configuration file says it, which nobody writes but its owner."""
    WRONG_PASSWORD = "wrong password"
    RESTRICTED = "restricted"
    """A password that cannot be one."""
    NO_NTLM = "no NTLM"
    """A wish that NTLM's hashes protect, and `ntlm auth = disabled`."""
    NOT_EMPTY = "not empty"
    VOLATILE = "volatile"
    """A key that stays cannot be in one that does not."""
    END = "end"
    """There is no further one."""
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


Comment = Annotated[str, Meta(max_length=256)]
SharePath = Annotated[str, Meta(min_length=1, max_length=4096)]
Uses = Annotated[int, Meta(ge=0, lt=1 << 31)]


class AddShare(Message):
    """Share a folder, from now on. Answer: `Outcome`."""

    by: Name
    name: Name
    path: SharePath
    """Of this machine."""
    comment: Comment = ""
    max_uses: Uses = 0
    """0: no limit."""
    security: Descriptor = b""
    """Empty: everybody who may log in, as far as the files let him."""


class ChangeShare(Message):
    """Change a share; what is None stays. Answer: `Outcome`."""

    by: Name
    name: Name
    comment: Comment | None = None
    max_uses: Uses | None = None
    security: Descriptor | None = None


class DeleteShare(Message):
    """Share a folder no more. Answer: `Outcome`."""

    by: Name
    name: Name


class SetServerComment(Message):
    """Change what the server says of itself. Answer: `Outcome`."""

    by: Name
    comment: Comment


class Outcome(Message):
    """What became of a wish."""

    result: Result
    generation: int = 0
    """The configuration in which it holds; whoever asked hears of it before this answer."""


AdministrationRequest = (
    ListRunning
    | CloseRunning
    | AddShare
    | ChangeShare
    | DeleteShare
    | SetServerComment
    | DfsRequest
    | RegistryRequest
    | RightsRequest
    | SecretRequest
    | UsersRequest
)
AdministrationResponse = (
    RunningPage | Outcome | DfsResponse | RegistryResponse | RightsResponse | SecretValues
)
