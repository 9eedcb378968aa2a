r"""Referrals of DFS: where a path is served ([MS-DFSC] 2.2).

Paths begin with one backslash here: `\server\share\link`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from usmbd.protocol.wire.base import Wire, bytes16, u16, u32
from usmbd.protocol.wire.names import encode
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

REFERRAL_SERVERS: Final = 0x00000001
"""ReferralHeaderFlags R: the targets are DFS roots."""
STORAGE_SERVERS: Final = 0x00000002
"""S: the targets can be used without a further referral."""
TARGET_FAILBACK: Final = 0x00000004
"""T: the client goes back to a better target as soon as it is there."""

TARGET_SET_BOUNDARY: Final = 0x0004
"""ReferralEntryFlags of version 4: the first of those that cost the same."""

ROOT_TARGETS, LINK_TARGETS = 1, 0
"""ServerType."""

SITE_NAME: Final = 0x0001
"""RequestFlags of the Ex form: a site's name follows."""

MAX_VERSION: Final = 4

_NUL: Final = b"\0\0"


class ReferralRequest(Wire, size=2):
    """REQ_GET_DFS_REFERRAL ([MS-DFSC] 2.2.2), before RequestFileName."""

    max_referral_level: u16


class ReferralRequestEx(Wire, size=8):
    """REQ_GET_DFS_REFERRAL_EX ([MS-DFSC] 2.2.3), before RequestData."""

    max_referral_level: u16
    request_flags: u16
    request_data_length: u32


class ReferralResponse(Wire, size=8):
    """RESP_GET_DFS_REFERRAL ([MS-DFSC] 2.2.4), before the entries."""

    path_consumed: u16
    number_of_referrals: u16
    referral_header_flags: u32


class ReferralV1(Wire, size=8):
    """DFS_REFERRAL_V1 ([MS-DFSC] 2.2.5.1), before ShareName."""

    version_number: u16 = 1
    size: u16
    server_type: u16
    referral_entry_flags: u16 = 0


class ReferralV2(Wire, size=22):
    """DFS_REFERRAL_V2 ([MS-DFSC] 2.2.5.2)."""

    version_number: u16 = 2
    size: u16 = 22
    server_type: u16
    referral_entry_flags: u16 = 0
    proximity: u32 = 0
    time_to_live: u32
    dfs_path_offset: u16
    dfs_alternate_path_offset: u16
    network_address_offset: u16


class ReferralV3(Wire, size=34):
    """DFS_REFERRAL_V3 and V4, not of a name list ([MS-DFSC] 2.2.5.3.1, 2.2.5.4)."""

    version_number: u16
    size: u16 = 34
    server_type: u16
    referral_entry_flags: u16 = 0
    time_to_live: u32
    dfs_path_offset: u16
    dfs_alternate_path_offset: u16
    network_address_offset: u16
    service_site_guid: bytes16 = bytes(16)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for; `site` is where it says that it is, "" when it does not."""

    max_level: int
    path: str
    site: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """One place where the path is served; with `begins_set` it costs more than the one before."""

    address: str
    begins_set: bool = False


def parse_request(data: memoryview) -> Asked:
    """Read REQ_GET_DFS_REFERRAL; MalformedError."""
    request = ReferralRequest.parse(data)
    return Asked(request.max_referral_level, _text(data[ReferralRequest.SIZE :]))


def parse_request_ex(data: memoryview) -> Asked:
    """Read REQ_GET_DFS_REFERRAL_EX; MalformedError."""
    request = ReferralRequestEx.parse(data)
    rest = data[ReferralRequestEx.SIZE :]
    if request.request_data_length > len(rest):
        raise MalformedError("the request's data are not there")
    rest = rest[: request.request_data_length]
    path, rest = _counted(rest)
    site = _counted(rest)[0] if request.request_flags & SITE_NAME else ""
    return Asked(request.max_referral_level, path, site)


def _counted(data: memoryview) -> tuple[str, memoryview]:
    """Read a string behind its length in bytes; return it and what follows."""
    length = int.from_bytes(data[:2], "little")
    if len(data) < 2 + length:
        raise MalformedError("a string is not there")
    return _text(data[2 : 2 + length]), data[2 + length :]


def _text(data: memoryview) -> str:
    """Read UTF-16 up to its NUL, which may be missing."""
    if len(data) % 2:
        data = data[:-1]
    return bytes(data).decode("utf-16-le", "surrogatepass").partition("\0")[0]


def build_response(
    version: int,
    consumed: str,
    path: str,
    targets: Sequence[Target],
    flags: int,
    *,
    server_type: int,
    time_to_live: int,
) -> bytes:
    """Return RESP_GET_DFS_REFERRAL for what the targets stand for.

    That is the prefix `consumed` of the path as the client wrote it, behind which it goes on, and
    `path` as it is told. SmbError(INVALID_PARAMETER) for a version that there is not.
    """
    head = ReferralResponse(
        path_consumed=len(encode(consumed)),
        number_of_referrals=len(targets),
        referral_header_flags=flags,
    ).pack()
    if version == 1:
        return head + b"".join(_entry_v1(target, server_type) for target in targets)
    if not 2 <= version <= MAX_VERSION:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    size = ReferralV2.SIZE if version == 2 else ReferralV3.SIZE
    strings = encode(path) + _NUL
    entries = []
    for index, target in enumerate(targets):
        start = (len(targets) - index) * size  # of the strings, from this entry
        address = start + len(strings)
        strings += encode(target.address) + _NUL
        if start + len(strings) > 0xFFFF:
            raise SmbError(NtStatus.INSUFFICIENT_RESOURCES)
        if version == 2:
            entry = ReferralV2(
                server_type=server_type,
                time_to_live=time_to_live,
                dfs_path_offset=start,
                dfs_alternate_path_offset=start,
                network_address_offset=address,
            ).pack()
        else:
            boundary = TARGET_SET_BOUNDARY if version == 4 and target.begins_set else 0
            entry = ReferralV3(
                version_number=version,
                server_type=server_type,
                referral_entry_flags=boundary,
                time_to_live=time_to_live,
                dfs_path_offset=start,
                dfs_alternate_path_offset=start,
                network_address_offset=address,
            ).pack()
        entries.append(entry)
    return head + b"".join(entries) + strings


def _entry_v1(target: Target, server_type: int) -> bytes:
    """Return DFS_REFERRAL_V1, which holds its string."""
    name = encode(target.address) + _NUL
    return ReferralV1(size=ReferralV1.SIZE + len(name), server_type=server_type).pack() + name
