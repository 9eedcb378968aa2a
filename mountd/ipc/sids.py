"""The machine's domain: which SIDs its users and groups have ([MS-DTYP] 2.4.2, [MS-SAMR] 3.1.1.9).

Users of the password file are accounts of the domain, by a RID that their uid gives, as Samba's
algorithmic mapping does it; so no table has to be kept. All others are S-1-22-1-uid and
S-1-22-2-gid, as Samba has them.
"""

import struct
from typing import Annotated, Final

from msgspec import Meta, Struct

RID_BASE: Final = 1000
"""The first RID that is nobody's by rule: those below are Windows' own."""

RID_GUEST: Final = 501
RID_USERS: Final = 513
"""The primary group of all users, called "None" outside a domain ([MS-SAMR] 2.2.1.14)."""

HASHED: Final = 1 << 31
"""From here on RIDs are made from names: of users without a uid of their own."""

UNIX_USER: Final = "S-1-22-1"
UNIX_GROUP: Final = "S-1-22-2"


def pack_sid(sid: str) -> bytes:
    """Return a SID's bytes ([MS-DTYP] 2.4.2.2)."""
    _, _, authority, *subs = sid.split("-")
    return (
        bytes((1, len(subs)))
        + int(authority, 0).to_bytes(6, "big")
        + struct.pack(f"<{len(subs)}I", *map(int, subs))
    )


def user_rid(uid: int) -> int | None:
    """Return the RID of a uid; None for those that are too large to have one."""
    rid = RID_BASE + 2 * uid
    return rid if rid < HASHED else None


def group_rid(gid: int) -> int | None:
    """Return the RID of a gid; None for those that are too large to have one."""
    rid = RID_BASE + 2 * gid + 1
    return rid if rid < HASHED else None


def rid_uid(rid: int) -> int | None:
    """Return the uid that a RID stands for, None where it is no user's."""
    return (rid - RID_BASE) // 2 if RID_BASE <= rid < HASHED and rid % 2 == RID_BASE % 2 else None


def rid_gid(rid: int) -> int | None:
    """Return the gid that a RID stands for, None where it is no group's."""
    return (rid - RID_BASE) // 2 if RID_BASE <= rid < HASHED and rid % 2 != RID_BASE % 2 else None


MAX_RANGES = 1024
"""Ranges of uids that a tree connect is told: users mostly have uids that follow each other."""


class MachineDomain(Struct, array_like=True, frozen=True):
    """The machine's domain, and which uids are users of the password file."""

    sid: Annotated[str, Meta(max_length=64)]
    uids: Annotated[list[tuple[int, int]], Meta(max_length=MAX_RANGES)]
    """The first and the last of each range, in order."""
