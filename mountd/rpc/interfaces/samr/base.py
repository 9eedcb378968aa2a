"""What the calls of SAM have in common: the interface, rights, and what is open."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from usmbd.mountd.ipc.accounts import (
    Account,
    Standing,
)
from usmbd.mountd.rpc.access import Access
from usmbd.mountd.rpc.calls import Calls
from usmbd.mountd.rpc.translate import (
    BUILTIN_SID,
)

CALLS = Calls(UUID("12345778-1234-abcd-ef00-0123456789ac"), 1)
"""[MS-SAMR] 1.9."""

SERVER: Final = Access(0x000F003F, 0x00020010, 0x0002000E, 0x00020021, everybody=0x00020031)
DOMAIN: Final = Access(0x000F07FF, 0x00020084, 0x0002047A, 0x00020301, everybody=0x00020385)
GROUP: Final = Access(0x000F001F, 0x00020010, 0x0002000E, 0x00020001, everybody=0x00020011)
ALIAS: Final = Access(0x000F001F, 0x00020004, 0x00020013, 0x00020008, everybody=0x0002000C)
USER: Final = Access(0x000F07FF, 0x0002031A, 0x00020044, 0x00020041, everybody=0x0002035B)
"""All, read, write and execute by [MS-SAMR] 2.2.1.3 to 2.2.1.7; everybody reads, as with Samba."""

SERVER_ENUMERATE, SERVER_LOOKUP = 0x10, 0x20
DOMAIN_READ_PASSWORD, DOMAIN_READ_OTHER, DOMAIN_MEMBERSHIP = 0x01, 0x04, 0x80
DOMAIN_LIST, DOMAIN_LOOKUP = 0x100, 0x200
GROUP_READ, GROUP_LIST = 0x01, 0x10
ALIAS_LIST, ALIAS_READ = 0x04, 0x08
USER_READ_GENERAL, USER_READ_LOGON, USER_READ_ACCOUNT = 0x01, 0x08, 0x10
USER_LIST_GROUPS = 0x100

MAX_NAMES: Final = 1000
"""Names or RIDs in one call ([MS-SAMR] 3.1.5.11.2)."""

ENTRY_SIZE: Final = 32
"""Bytes that one account of a list counts against the client's limit, beside its name."""

MAX_ENTRIES: Final = 1024
"""Accounts in one answer of a list, whatever the client takes: some 64 KiB."""

FIRST_GROUP: Final = 1000
"""Groups of the system below are its own: no aliases."""

NO_GROUP_ID: Final = 65534
"""`nogroup`: of files whose group has no number here."""

NORMAL: Final = 0x00000010
NO_EXPIRY: Final = 0x00000200
DISABLED: Final = 0x00000001
"""USER_NORMAL_ACCOUNT, USER_DONT_EXPIRE_PASSWORD, USER_ACCOUNT_DISABLED ([MS-SAMR] 2.2.1.12)."""


def control_of(standing: Standing) -> int:
    """Return what UserAccountControl says of an account."""
    lasts = not standing.must_change and (standing.lasting or not standing.expires)
    return NORMAL | NO_EXPIRY * lasts | DISABLED * standing.disabled


MEMBER: Final = 0x00000007
"""Mandatory, enabled by default, enabled ([MS-SAMR] 2.2.1.10)."""

FIELDS: Final = 0x00FFFFFF
"""All of UserAll but what is secret ([MS-SAMR] 2.2.1.8)."""

SERVER_ENABLED: Final = 1
PRIMARY: Final = 3
"""DomainServerEnabled, DomainServerRolePrimary ([MS-SAMR] 2.2.4.3, 2.2.4.4)."""

MIN_PASSWORD: Final = 1
"""Characters of a password: none has no password."""


@dataclass(frozen=True, slots=True)
class Server:
    """The open server."""

    granted: int


@dataclass(frozen=True, slots=True)
class Domain:
    """An open domain: the machine's, or BUILTIN."""

    name: str
    sid: str
    granted: int

    @property
    def builtin(self) -> bool:
        """Whether it is BUILTIN."""
        return self.sid == BUILTIN_SID


@dataclass(frozen=True, slots=True)
class OpenUser:
    """An open user."""

    account: Account
    rid: int
    granted: int


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """The open group of all users."""

    granted: int


@dataclass(frozen=True, slots=True)
class OpenAlias:
    """An open alias, of BUILTIN or a group of the system."""

    rid: int
    name: str
    comment: str
    gid: int | None
    granted: int
