"""Shares in the information levels of the Server Service ([MS-SRVS] 2.2.4.22 to 2.2.4.27)."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

from scapy.layers.msrpce.raw import ms_srvs as idl

from usmbd.mountd.ipc.settings import ShareConfig, ShareType
from usmbd.mountd.rpc.ndr import string

STYPE_DISKTREE = 0x00000000
STYPE_IPC = 0x00000003
STYPE_SPECIAL = 0x80000000

SHI1005_FLAGS_DFS_NONE = 0x00000000
CSC_CACHE_MANUAL_REINT = 0x00000000
SHI1005_FLAGS_ENCRYPT_DATA = 0x00008000
"""Flags of levels 501 and 1005 ([MS-SRVS] 2.2.4.29)."""

SHI_USES_UNLIMITED = 0xFFFFFFFF

FULL_ACCESS = 0x001F01FF
READ_ACCESS = 0x001200A9
"""The access masks of the share's security descriptor: all, and read with execute."""

SE_DACL_PRESENT_SELF_RELATIVE = 0x8004
EVERYONE = bytes.fromhex("010100000000000100000000")
"""S-1-1-0 ([MS-DTYP] 2.4.2.4)."""


def share_type(share: ShareConfig) -> int:
    """Return the STYPE of a share ([MS-SRVS] 2.2.2.4)."""
    return STYPE_IPC | STYPE_SPECIAL if share.type is ShareType.PIPE else STYPE_DISKTREE


def share_flags(share: ShareConfig) -> int:
    """Return the flags of levels 501 and 1005: manual caching, encryption where it is required."""
    return CSC_CACHE_MANUAL_REINT | (SHI1005_FLAGS_ENCRYPT_DATA if share.encryption_required else 0)


def share_path(share: ShareConfig, visible: bool) -> str:
    """Return the share's directory as a path of drive C:, empty when it may not be seen."""
    if not visible or not share.path:
        return ""
    readable = share.path.encode("utf-8", "replace").decode()
    return "C:" + readable.replace("/", "\\")


def share_uses(share: ShareConfig) -> int:
    """Return how many connections the share takes."""
    return share.max_connections or SHI_USES_UNLIMITED


def share_security(share: ShareConfig) -> bytes:
    """Return a self-relative descriptor: everyone may do what the share as a whole allows.

    Who may connect is decided by the configuration, what he may do by the files ([MS-DTYP] 2.4.6).
    """
    access = READ_ACCESS if share.read_only and share.path else FULL_ACCESS
    ace = struct.pack("<BBHI", 0, 0, 8 + len(EVERYONE), access) + EVERYONE
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(ace), 1, 0) + ace
    return struct.pack("<BBHIIII", 1, 0, SE_DACL_PRESENT_SELF_RELATIVE, 0, 0, 0, 20) + acl


def _level_0(share: ShareConfig, visible: bool) -> Any:
    """SHARE_INFO_0: the name."""
    return idl.LPSHARE_INFO_0(shi0_netname=string(share.name))


def _level_1(share: ShareConfig, visible: bool) -> Any:
    """SHARE_INFO_1: name, type, comment."""
    return idl.LPSHARE_INFO_1(
        shi1_netname=string(share.name),
        shi1_type=share_type(share),
        shi1_remark=string(share.comment),
    )


def _level_2(share: ShareConfig, visible: bool) -> Any:
    """SHARE_INFO_2: level 1, limits and path."""
    return idl.LPSHARE_INFO_2(
        shi2_netname=string(share.name),
        shi2_type=share_type(share),
        shi2_remark=string(share.comment),
        shi2_max_uses=share_uses(share),
        shi2_path=string(share_path(share, visible)),
        shi2_passwd=string(""),
    )


def _level_501(share: ShareConfig, visible: bool) -> Any:
    """SHARE_INFO_501: level 1 and the flags."""
    return idl.LPSHARE_INFO_501(
        shi501_netname=string(share.name),
        shi501_type=share_type(share),
        shi501_remark=string(share.comment),
        shi501_flags=share_flags(share),
    )


def _level_502(share: ShareConfig, visible: bool) -> Any:
    """SHARE_INFO_502_I: level 2 and the security descriptor."""
    return idl.LPSHARE_INFO_502_I(
        shi502_netname=string(share.name),
        shi502_type=share_type(share),
        shi502_remark=string(share.comment),
        shi502_max_uses=share_uses(share),
        shi502_path=string(share_path(share, visible)),
        shi502_passwd=string(""),
        shi502_security_descriptor=share_security(share),
    )


def _level_1005(share: ShareConfig, visible: bool) -> Any:
    """SHARE_INFO_1005: the flags alone."""
    return idl.LPSHARE_INFO_1005(shi1005_flags=share_flags(share))


LEVELS: dict[int, Callable[[ShareConfig, bool], Any]] = {
    0: _level_0,
    1: _level_1,
    2: _level_2,
    501: _level_501,
    502: _level_502,
    1005: _level_1005,
}
"""Structure of a share by level; the second argument says whether paths may be seen."""

CONTAINERS: dict[int, type[Any]] = {
    0: idl.SHARE_INFO_0_CONTAINER,
    1: idl.SHARE_INFO_1_CONTAINER,
    2: idl.SHARE_INFO_2_CONTAINER,
    501: idl.SHARE_INFO_501_CONTAINER,
    502: idl.SHARE_INFO_502_CONTAINER,
}
"""The levels that enumerations know, with their containers."""

FIXED_SIZES = {0: 4, 1: 12, 2: 32, 501: 16, 502: 40}
"""Bytes of one element without what its pointers lead to, as NDR 2.0 encodes it."""


def fitting(shares: Sequence[ShareConfig], level: int, limit: int) -> Sequence[ShareConfig]:
    """Return the first shares that fit `limit` bytes of information, and always one.

    A list that never moves on would keep a client asking for ever.
    """
    total = 0
    for index, share in enumerate(shares):
        total += FIXED_SIZES[level] + 2 * (len(share.name) + 1)
        if level:
            total += 2 * (len(share.comment) + 1)
        if level in (2, 502):
            total += 2 * (len(share.path) + 1)
        if level == 502:
            total += len(share_security(share))
        if total > limit and index:
            return shares[:index]
    return shares
