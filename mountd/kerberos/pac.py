"""What a domain says of a user in his ticket: the logon information of a PAC ([MS-PAC] 2.5).

Read only where the PAC's signature is right, and bounded all the same: a token has its limit, and a
count that lies is an error of NDR.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import NdrError, Reader
from usmbd.mountd.rpc.ndr.types import (
    U16,
    U32,
    Array,
    Bytes,
    SidPointer,
    UnicodeString,
    Unique,
    structure,
)

FileTime = Annotated[bytes, Bytes(8, 4)]

_COMMON_HEADER: Final = b"\1\x10\x08\0"
"""Version 1, little-endian, 8 bytes ([MS-RPCE] 2.2.6.1)."""
_HEADERS: Final = 16
"""Bytes of the common and the private header."""

MAX_SIDS: Final = 1100
"""Groups of one user: Windows has at most 1,010 in a token ([MS-KILE] 3.3.5.3)."""


@structure
class GroupMembership:
    """GROUP_MEMBERSHIP ([MS-PAC] 2.2.2)."""

    relative_id: U32
    attributes: U32


@structure
class SidAndAttributes:
    """KERB_SID_AND_ATTRIBUTES ([MS-PAC] 2.2.1)."""

    sid: SidPointer
    attributes: U32


Groups = Annotated[list[GroupMembership] | None, Unique(Array(ndr.of(GroupMembership)))]
Sids = Annotated[list[SidAndAttributes] | None, Unique(Array(ndr.of(SidAndAttributes)))]


@structure
class ValidationInfo:
    """KERB_VALIDATION_INFO ([MS-PAC] 2.5)."""

    logon_time: FileTime
    logoff_time: FileTime
    kick_off_time: FileTime
    password_last_set: FileTime
    password_can_change: FileTime
    password_must_change: FileTime
    effective_name: UnicodeString
    full_name: UnicodeString
    logon_script: UnicodeString
    profile_path: UnicodeString
    home_directory: UnicodeString
    home_directory_drive: UnicodeString
    logon_count: U16
    bad_password_count: U16
    user_id: U32
    primary_group_id: U32
    group_count: U32
    group_ids: Groups
    user_flags: U32
    user_session_key: Annotated[bytes, Bytes(16)]
    logon_server: UnicodeString
    logon_domain_name: UnicodeString
    logon_domain_id: SidPointer
    reserved_1: Annotated[bytes, Bytes(8, 4)]
    user_account_control: U32
    sub_auth_status: U32
    last_successful_logon: FileTime
    last_failed_logon: FileTime
    failed_logon_count: U32
    reserved_3: U32
    sid_count: U32
    extra_sids: Sids
    resource_group_domain_sid: SidPointer
    resource_group_count: U32
    resource_group_ids: Groups


@dataclass(frozen=True, slots=True)
class LogonInfo:
    """A user of a domain, by the domain's word."""

    domain: str
    """Its short name."""
    user: str
    """The user's SID."""
    primary_group: str
    groups: tuple[str, ...]
    """The SIDs of his groups, of other domains too, and of local groups."""


def parse_logon_info(data: bytes) -> LogonInfo:
    """Read the logon information as the PAC has it; ValueError when it is malformed."""
    if data[: len(_COMMON_HEADER)] != _COMMON_HEADER:
        raise NdrError("the logon information has no header")
    reader = Reader(data[_HEADERS:])
    if not reader.count():
        raise NdrError("there is no logon information")
    holder: list[ValidationInfo] = [ndr.of(ValidationInfo).null()]
    ndr.of(ValidationInfo).read_into(reader, holder, 0)
    reader.finish()
    info = holder[0]
    if not info.logon_domain_id:
        raise NdrError("the user is of no domain")
    own, local = info.logon_domain_id, info.resource_group_domain_sid
    groups = [f"{own}-{group.relative_id}" for group in info.group_ids or ()]
    groups += [each.sid for each in info.extra_sids or () if each.sid]
    if local:
        groups += [f"{local}-{group.relative_id}" for group in info.resource_group_ids or ()]
    if len(groups) > MAX_SIDS:
        raise NdrError(f"a user of {len(groups)} groups")
    return LogonInfo(
        info.logon_domain_name or "",
        f"{own}-{info.user_id}",
        f"{own}-{info.primary_group_id}",
        tuple(groups),
    )
