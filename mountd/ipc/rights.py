"""What the RPC process asks mountd of rights that administrators have given ([MS-LSAD] 3.1.1.3).

Each question says `by` whom it is asked. Rights that follow from the configuration are not here.
"""

from typing import Annotated

from msgspec import Meta, field

from usmbd.mountd.ipc.base import Message, Name

MAX_RIGHTS = 64
"""Rights of one account: [MS-LSAD] 3.1.1.2 has some 45."""

PAGE_ACCOUNTS = 128
"""Accounts in one answer."""

DISK_OPERATOR = "SeDiskOperatorPrivilege"
"""Samba's privilege to add, change and delete shares."""

SECURITY = "SeSecurityPrivilege"
"""Who holds it sees and sets SACLs."""

HELD = {
    "S-1-5-32-544": (
        SECURITY,
        "SeTakeOwnershipPrivilege",
        "SeBackupPrivilege",
        "SeRestorePrivilege",
        DISK_OPERATOR,
    ),
    "S-1-1-0": ("SeNetworkLogonRight",),
}
"""Who holds which by the configuration: administrators act as root, and whoever has a password may
log in. Others hold what administrators have given them."""

REVOCABLE = frozenset({SECURITY})
"""What can be taken from administrators all the same."""

Sid = Annotated[str, Meta(pattern=r"^S-1-[0-9A-Fa-fx-]{1,190}$")]
Right = Annotated[str, Meta(min_length=1, max_length=64)]
Rights = Annotated[list[Right], Meta(max_length=MAX_RIGHTS)]


class ListGiven(Message):
    """Which accounts have been given rights, from the `start`th on? Answer: `GivenPage`."""

    by: Name
    start: Annotated[int, Meta(ge=0)] = 0


class GivenPage(Message):
    """A part of that."""

    accounts: Annotated[list[tuple[Sid, Rights]], Meta(max_length=PAGE_ACCOUNTS)]
    total: int
    taken: Rights = field(default_factory=list)
    """What administrators do not hold any more of that which they do by the configuration."""


class MakeAccount(Message):
    """Have an account that may be given rights. Answer: `Outcome`."""

    by: Name
    sid: Sid


class DeleteAccount(Message):
    """Take such an account away, with what it was given. Answer: `Outcome`."""

    by: Name
    sid: Sid


class GiveRights(Message):
    """Give rights to an account, which is made when it is new. Answer: `Outcome`."""

    by: Name
    sid: Sid
    rights: Rights


class TakeRights(Message):
    """Take rights from an account. Answer: `Outcome`."""

    by: Name
    sid: Sid
    rights: Rights
    every: bool = False
    """All that it has."""
    keep: bool = False
    """It stays when it has none left; otherwise it goes."""


class AskGiven(Message):
    """Has who asks been given this right, himself or by a group of his? Answer: `Outcome`."""

    by: Name
    right: Right


RightsRequest = ListGiven | MakeAccount | DeleteAccount | GiveRights | TakeRights | AskGiven
RightsResponse = GivenPage
