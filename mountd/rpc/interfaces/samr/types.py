"""The structures of SAM ([MS-SAMR] 2.2)."""

from typing import Annotated, Any

from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U8,
    U16,
    U32,
    U64,
    Array,
    Bytes,
    Counted,
    CountedBytes,
    Octets,
    Type,
    UnicodeString,
    Union,
    Unique,
    VaryingArray,
    structure,
)

Time = Annotated[bytes, Bytes(8, 4)]
"""OLD_LARGE_INTEGER ([MS-SAMR] 2.2.2.2): 8 octets, aligned as its halves are."""

NEVER = b"\xff\xff\xff\xff\xff\xff\xff\x7f"
"""The time that never comes."""

ZERO = bytes(8)

FOREVER = b"\0\0\0\0\0\0\0\x80"
"""A span without an end, as MaxPasswordAge where no password expires: of Windows and Samba."""
NO_LOGOFF = FOREVER
"""ForceLogoff of a domain that forces nobody to log off ([MS-SAMR] 3.1.1.5)."""


@structure
class Entry:
    """SAMPR_RID_ENUMERATION ([MS-SAMR] 2.2.3.9)."""

    rid: U32
    name: UnicodeString


@structure
class Entries:
    """SAMPR_ENUMERATION_BUFFER ([MS-SAMR] 2.2.3.10)."""

    entries: Annotated[list[Entry] | None, Counted(ndr.of(Entry))]


EntriesPointer = Annotated[Entries | None, Unique(ndr.of(Entries))]


@structure
class Numbers:
    """SAMPR_ULONG_ARRAY ([MS-SAMR] 2.2.7.4)."""

    numbers: Annotated[list[int] | None, Counted(ndr.UINT32)]


@structure
class Strings:
    """SAMPR_RETURNED_USTRING_ARRAY ([MS-SAMR] 2.2.7.7)."""

    strings: Annotated[list[str] | None, Counted(ndr.UNICODE_STRING)]


VaryingNames = Annotated[list[str], VaryingArray(ndr.UNICODE_STRING)]
VaryingNumbers = Annotated[list[int], VaryingArray(ndr.UINT32)]


# --- domains --------------------------------------------------------------------------------------


@structure
class DomainPassword:
    """DOMAIN_PASSWORD_INFORMATION ([MS-SAMR] 2.2.4.5)."""

    min_length: U16
    history: U16
    properties: U32
    max_age: Time
    min_age: Time


@structure
class DomainGeneral:
    """SAMPR_DOMAIN_GENERAL_INFORMATION ([MS-SAMR] 2.2.4.10)."""

    force_logoff: Time
    oem: UnicodeString
    name: UnicodeString
    replica: UnicodeString
    modified: Time
    state: U32
    role: U32
    uas_compatible: U32
    users: U32
    groups: U32
    aliases: U32


@structure
class OneTime:
    """DOMAIN_LOGOFF_INFORMATION ([MS-SAMR] 2.2.4.6)."""

    time: Time


@structure
class OneText:
    """SAMPR_DOMAIN_NAME_INFORMATION ([MS-SAMR] 2.2.4.12) and others of one string."""

    text: UnicodeString


@structure
class OneNumber:
    """DOMAIN_SERVER_ROLE_INFORMATION ([MS-SAMR] 2.2.4.7) and others of one number."""

    number: U32


@structure
class DomainModified:
    """DOMAIN_MODIFIED_INFORMATION ([MS-SAMR] 2.2.4.8)."""

    modified: Time
    created: Time


@structure
class DomainGeneral2:
    """SAMPR_DOMAIN_GENERAL_INFORMATION2 ([MS-SAMR] 2.2.4.11)."""

    general: DomainGeneral
    lockout_duration: U64
    lockout_window: U64
    lockout_threshold: U16


@structure
class DomainLockout:
    """SAMPR_DOMAIN_LOCKOUT_INFORMATION ([MS-SAMR] 2.2.4.15)."""

    lockout_duration: U64
    lockout_window: U64
    lockout_threshold: U16


@structure
class DomainModified2:
    """DOMAIN_MODIFIED_INFORMATION2 ([MS-SAMR] 2.2.4.9)."""

    modified: Time
    created: Time
    promoted: Time


def _union(levels: dict[int, type[Any]]) -> Union:
    """Return the union of these structures by level."""
    arms: dict[int, Type | None] = {level: ndr.of(made) for level, made in levels.items()}
    return Union(ndr.Enumeration(), arms)


DOMAIN = _union(
    {
        1: DomainPassword,
        2: DomainGeneral,
        3: OneTime,
        4: OneText,
        5: OneText,
        6: OneText,
        7: OneNumber,
        8: DomainModified,
        9: OneNumber,
        11: DomainGeneral2,
        12: DomainLockout,
        13: DomainModified2,
    }
)
"""SAMPR_DOMAIN_INFO_BUFFER ([MS-SAMR] 2.2.4.17)."""

DomainPointer = Annotated[tuple[int, Any] | None, Unique(DOMAIN)]


@structure
class PasswordRules:
    """USER_DOMAIN_PASSWORD_INFORMATION ([MS-SAMR] 2.2.9.1)."""

    min_length: U16
    properties: U32


# --- groups and aliases ---------------------------------------------------------------------------


@structure
class Member:
    """GROUP_MEMBERSHIP ([MS-SAMR] 2.2.7.13)."""

    rid: U32
    attributes: U32


@structure
class Memberships:
    """SAMPR_GET_GROUPS_BUFFER ([MS-SAMR] 2.2.7.12)."""

    groups: Annotated[list[Member] | None, Counted(ndr.of(Member))]


MembershipsPointer = Annotated[Memberships | None, Unique(ndr.of(Memberships))]


@structure
class Members:
    """SAMPR_GET_MEMBERS_BUFFER ([MS-SAMR] 2.2.7.14)."""

    count: U32
    rids: Annotated[list[int] | None, Unique(Array(ndr.UINT32))]
    attributes: Annotated[list[int] | None, Unique(Array(ndr.UINT32))]


MembersPointer = Annotated[Members | None, Unique(ndr.of(Members))]


@structure
class GroupGeneral:
    """SAMPR_GROUP_GENERAL_INFORMATION ([MS-SAMR] 2.2.5.4)."""

    name: UnicodeString
    attributes: U32
    members: U32
    comment: UnicodeString


GROUP = _union({1: GroupGeneral, 2: OneText, 3: OneNumber, 4: OneText, 5: GroupGeneral})
GroupPointer = Annotated[tuple[int, Any] | None, Unique(GROUP)]


@structure
class AliasGeneral:
    """SAMPR_ALIAS_GENERAL_INFORMATION ([MS-SAMR] 2.2.6.2)."""

    name: UnicodeString
    members: U32
    comment: UnicodeString


ALIAS = _union({1: AliasGeneral, 2: OneText, 3: OneText})
AliasPointer = Annotated[tuple[int, Any] | None, Unique(ALIAS)]


# --- users ----------------------------------------------------------------------------------------


@structure
class LogonHours:
    """SAMPR_LOGON_HOURS ([MS-SAMR] 2.2.6.5): bits of the hours of a week, all 168 of them."""

    units: U16
    bits: Annotated[bytes | None, Unique(Octets(varying=True, maximum=1260))]


ALWAYS = LogonHours(168, b"\xff" * 21)


@structure
class UserGeneral:
    """SAMPR_USER_GENERAL_INFORMATION ([MS-SAMR] 2.2.6.7)."""

    name: UnicodeString
    full_name: UnicodeString
    primary_group: U32
    description: UnicodeString
    comment: UnicodeString


@structure
class UserPreferences:
    """SAMPR_USER_PREFERENCES_INFORMATION ([MS-SAMR] 2.2.6.8)."""

    comment: UnicodeString
    reserved: UnicodeString
    country: U16
    code_page: U16


@structure
class UserLogon:
    """SAMPR_USER_LOGON_INFORMATION ([MS-SAMR] 2.2.6.11)."""

    name: UnicodeString
    full_name: UnicodeString
    rid: U32
    primary_group: U32
    home: UnicodeString
    home_drive: UnicodeString
    script: UnicodeString
    profile: UnicodeString
    workstations: UnicodeString
    last_logon: Time
    last_logoff: Time
    password_set: Time
    password_may: Time
    password_must: Time
    hours: LogonHours
    bad_passwords: U16
    logons: U16
    control: U32


@structure
class UserHours:
    """SAMPR_USER_LOGON_HOURS_INFORMATION ([MS-SAMR] 2.2.6.17)."""

    hours: LogonHours


@structure
class UserAccount:
    """SAMPR_USER_ACCOUNT_INFORMATION ([MS-SAMR] 2.2.6.12)."""

    name: UnicodeString
    full_name: UnicodeString
    rid: U32
    primary_group: U32
    home: UnicodeString
    home_drive: UnicodeString
    script: UnicodeString
    profile: UnicodeString
    description: UnicodeString
    workstations: UnicodeString
    last_logon: Time
    last_logoff: Time
    hours: LogonHours
    bad_passwords: U16
    logons: U16
    password_set: Time
    expires: Time
    control: U32


@structure
class UserNames:
    """SAMPR_USER_NAME_INFORMATION ([MS-SAMR] 2.2.6.15)."""

    name: UnicodeString
    full_name: UnicodeString


@structure
class UserHome:
    """SAMPR_USER_HOME_INFORMATION ([MS-SAMR] 2.2.6.18)."""

    home: UnicodeString
    home_drive: UnicodeString


@structure
class UserParameters:
    """SAMPR_USER_PARAMETERS_INFORMATION ([MS-SAMR] 2.2.6.10)."""

    parameters: Annotated[bytes | None, CountedBytes()]


@structure
class UserAll:
    """SAMPR_USER_ALL_INFORMATION ([MS-SAMR] 2.2.6.6)."""

    last_logon: Time
    last_logoff: Time
    password_set: Time
    expires: Time
    password_may: Time
    password_must: Time
    name: UnicodeString
    full_name: UnicodeString
    home: UnicodeString
    home_drive: UnicodeString
    script: UnicodeString
    profile: UnicodeString
    description: UnicodeString
    workstations: UnicodeString
    comment: UnicodeString
    parameters: Annotated[bytes | None, CountedBytes()]
    lm_hash: Annotated[bytes | None, CountedBytes()]
    nt_hash: Annotated[bytes | None, CountedBytes()]
    private: UnicodeString
    descriptor_size: U32
    descriptor: Annotated[bytes | None, Unique(Octets())]
    rid: U32
    primary_group: U32
    control: U32
    fields: U32
    hours: LogonHours
    bad_passwords: U16
    logons: U16
    country: U16
    code_page: U16
    lm_set: U8
    nt_set: U8
    expired: U8
    private_sensitive: U8


USER = _union(
    {
        1: UserGeneral,
        2: UserPreferences,
        3: UserLogon,
        4: UserHours,
        5: UserAccount,
        6: UserNames,
        7: OneText,
        8: OneText,
        9: OneNumber,
        10: UserHome,
        11: OneText,
        12: OneText,
        13: OneText,
        14: OneText,
        16: OneNumber,
        17: OneTime,
        20: UserParameters,
        21: UserAll,
    }
)
"""SAMPR_USER_INFO_BUFFER ([MS-SAMR] 2.2.6.29), the levels that may be asked for."""

UserPointer = Annotated[tuple[int, Any] | None, Unique(USER)]


# --- display information --------------------------------------------------------------------------


@structure
class DisplayUser:
    """SAMPR_DOMAIN_DISPLAY_USER ([MS-SAMR] 2.2.8.2)."""

    index: U32
    rid: U32
    control: U32
    name: UnicodeString
    comment: UnicodeString
    full_name: UnicodeString


@structure
class DisplayOther:
    """SAMPR_DOMAIN_DISPLAY_MACHINE, SAMPR_DOMAIN_DISPLAY_GROUP ([MS-SAMR] 2.2.8.3, 2.2.8.4)."""

    index: U32
    rid: U32
    control: U32
    name: UnicodeString
    comment: UnicodeString


@structure
class DisplayName:
    """SAMPR_DOMAIN_DISPLAY_OEM_USER, _GROUP ([MS-SAMR] 2.2.8.5, 2.2.8.6)."""

    index: U32
    name: Annotated[bytes | None, CountedBytes()]


_DISPLAYED = {
    1: DisplayUser,
    2: DisplayOther,
    3: DisplayOther,
    4: DisplayName,
    5: DisplayName,
}
DISPLAY = Union(
    ndr.Enumeration(), {level: Counted(ndr.of(made)) for level, made in _DISPLAYED.items()}
)
"""SAMPR_DISPLAY_INFO_BUFFER ([MS-SAMR] 2.2.8.13)."""


@structure
class Revision:
    """SAMPR_REVISION_INFO_V1 ([MS-SAMR] 2.2.7.15)."""

    revision: U32
    features: U32


REVISION = Union(ndr.UINT32, {1: ndr.of(Revision)})
