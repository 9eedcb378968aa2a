"""What the RPC process asks mountd by a SOCK_SEQPACKET pair: who there is, and what he may.

Messages travel in an `Envelope` as those of the other sockets. The RPC process has no rights and
reads no file, so all that it tells of accounts comes by these; no password and no hash does.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from usmbd.mountd.ipc.administration import AdministrationRequest, AdministrationResponse
from usmbd.mountd.ipc.messages import (
    MAX_TICKET_FACTS,
    Address,
    BindTicketRequest,
    BindTicketResponse,
    Failed,
    LoginRequest,
    LoginResponse,
    Message,
    Name,
    SessionRequest,
    SessionResponse,
)
from usmbd.mountd.ipc.users import ChangePassword, Texts

MAX_ASKED = 1024
"""Names or numbers in one question: [MS-LSAT] lets a client look up 1,000 (section 2.2.14)."""

MAX_PAGE = 256
"""Accounts in one answer of a list: with names of 256 characters they fit a message."""

MAX_DESCRIBED = 16
"""Users of whom one asks what is said: the texts of 18 fit a message at worst."""

Id = Annotated[int, Meta(ge=0, lt=1 << 32)]


class Kind(StrEnum):
    """What an account is."""

    USER = "user"
    GROUP = "group"


class Account(Struct, array_like=True, frozen=True):
    """A user or group of the system, or a user of the password file."""

    kind: Kind
    name: Name
    id: Id
    """The uid or gid."""
    gid: Id = 0
    """A user's primary group."""
    full_name: Name = ""
    home: Annotated[str, Meta(max_length=1024)] = ""
    stored: bool = False
    """The password file has him: he can log in."""


Asked = Annotated[list[tuple[Name, Kind | None]], Meta(max_length=MAX_ASKED)]
AskedIds = Annotated[list[tuple[Kind, Id]], Meta(max_length=MAX_ASKED)]
Found = Annotated[list[Account | None], Meta(max_length=MAX_ASKED)]
Page = Annotated[list[Account], Meta(max_length=MAX_PAGE)]


class FindNames(Message):
    """Whose names are these? Users before groups, or one kind alone. Answer: `AccountsFound`."""

    names: Asked


class FindIds(Message):
    """Whose numbers are these? Answer: `AccountsFound`."""

    ids: AskedIds


class ListAccounts(Message):
    """List the users of the password file, or the system's groups, from the `start`th on.

    By name. Answer: `AccountPage`.
    """

    kind: Kind
    start: Annotated[int, Meta(ge=0)] = 0


class ListMembers(Message):
    """The users of the password file that are in a group, from the `start`th on. `AccountPage`."""

    group: Id
    start: Annotated[int, Meta(ge=0)] = 0


class ListGroupsOf(Message):
    """The groups of a user. Answer: `AccountPage`."""

    user: Name


class ListAdministrators(Message):
    """Who administrates the server. Answer: `AccountPage`."""


class AskRights(Message):
    """Ask what a user may do. Answer: `Rights`."""

    user: Name


class Standing(Struct, array_like=True, frozen=True):
    """What a user's account is beside its password; times in seconds since 1970."""

    disabled: bool = False
    lasting: bool = False
    """The password's age does not matter."""
    must_change: bool = False
    changed: int = 0
    """When the password was last changed; 0: nobody knows."""
    expires: int = 0
    """When the password does; 0: never."""
    ends: int = 0
    """When the account does; 0: never."""


class AskStandings(Message):
    """Ask what the accounts of some users are. Answer: `Standings`."""

    users: Annotated[list[Name], Meta(max_length=MAX_ASKED)]


class Standings(Message):
    """The answer, in the order of the question."""

    found: Annotated[list[Standing], Meta(max_length=MAX_ASKED)]


class AskTexts(Message):
    """Ask what is said of some users. Answer: `TextsFound`."""

    users: Annotated[list[Name], Meta(max_length=MAX_DESCRIBED)]


class TextsFound(Message):
    """The answer, in the order of the question."""

    found: Annotated[list[Texts], Meta(max_length=MAX_DESCRIBED)]


class AskUses(Message):
    """By how many sessions is each of these shares used? Answer: `Uses`."""

    shares: Annotated[list[Name], Meta(max_length=MAX_ASKED)]


MAX_DECIDED = 32
"""Shares in one question about rights: each takes 0.1 ms."""


class AskReadable(Message):
    """May this client connect to each of these shares? Answer: `Readable`."""

    shares: Annotated[list[Name], Meta(max_length=MAX_DECIDED)]
    user: Name
    guest: bool
    anonymous: bool
    address: Address
    ticket: Annotated[bytes, Meta(max_length=MAX_TICKET_FACTS)] = b""
    """As `LoginResponse.ticket`."""


class Readable(Message):
    """Whether he may, in the order of the question."""

    readable: Annotated[list[bool], Meta(max_length=MAX_DECIDED)]


class Uses(Message):
    """The numbers of sessions, in the order of the question."""

    counts: Annotated[list[int], Meta(max_length=MAX_ASKED)]


class AccountsFound(Message):
    """The accounts in the order of the question, None where there is none."""

    accounts: Found


class AccountPage(Message):
    """A part of a list."""

    accounts: Page
    total: int
    """How many the whole list has."""


class Rights(Message):
    """What a user may do."""

    administrator: bool


AccountsRequest = (
    FindNames
    | FindIds
    | ListAccounts
    | ListMembers
    | ListGroupsOf
    | ListAdministrators
    | AskRights
    | AskStandings
    | AskTexts
)
DirectoryRequest = (
    AccountsRequest
    | AskUses
    | AskReadable
    | AdministrationRequest
    | ChangePassword
    | LoginRequest
    | BindTicketRequest
    | SessionRequest
)
DirectoryResponse = (
    AccountsFound
    | AccountPage
    | Rights
    | Uses
    | Readable
    | Standings
    | TextsFound
    | AdministrationResponse
    | LoginResponse
    | BindTicketResponse
    | SessionResponse
    | Failed
)
