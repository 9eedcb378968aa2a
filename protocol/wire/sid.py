"""Security identifiers ([MS-DTYP] 2.4.2), the well-known ones and those of Unix ids."""

import struct
from dataclasses import dataclass
from typing import Self

from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.status import NtStatus, SmbError

#: SubAuthorityCount's maximum ([MS-DTYP] 2.4.2.2).
MAXIMUM_SUB_AUTHORITIES = 15

_SID_HEAD = struct.Struct("<BB")


@dataclass(frozen=True, slots=True)
class Sid:
    """A security identifier ([MS-DTYP] 2.4.2)."""

    authority: int
    sub_authorities: tuple[int, ...]

    @classmethod
    def parse(cls, buffer: Buffer, offset: int = 0) -> Self:
        """Read a SID at `offset`; SmbError(INVALID_SID) when it leaves the buffer."""
        start = offset + 8
        if start > len(buffer):
            raise SmbError(NtStatus.INVALID_SID)
        revision, count = _SID_HEAD.unpack_from(buffer, offset)
        if revision != 1 or count > MAXIMUM_SUB_AUTHORITIES or start + 4 * count > len(buffer):
            raise SmbError(NtStatus.INVALID_SID)
        authority = int.from_bytes(buffer[offset + 2 : start], "big")
        return cls(authority, struct.unpack_from(f"<{count}I", buffer, start))

    @classmethod
    def from_string(cls, text: str) -> Self:
        """Read `S-1-5-21-...` ([MS-DTYP] 2.4.2.1); ValueError when `text` is none."""
        prefix, revision, authority, *rest = text.split("-")
        subs = tuple(int(part) for part in rest)
        value = int(authority, 16 if authority[:2].lower() == "0x" else 10)
        if (
            prefix.upper() != "S"
            or revision != "1"
            or not 0 <= value < 1 << 48
            or len(subs) > MAXIMUM_SUB_AUTHORITIES
            or any(not 0 <= sub <= 0xFFFFFFFF for sub in subs)
        ):
            raise ValueError(f"not a SID: {text!r}")
        return cls(value, subs)

    def pack(self) -> bytes:
        """Return the SID's bytes."""
        count = len(self.sub_authorities)
        head = _SID_HEAD.pack(1, count) + self.authority.to_bytes(6, "big")
        return head + struct.pack(f"<{count}I", *self.sub_authorities)

    @property
    def size(self) -> int:
        """The number of bytes that the SID takes."""
        return 8 + 4 * len(self.sub_authorities)

    def __str__(self) -> str:
        """Return the text form; an authority of 2^32 and above is hexadecimal."""
        high = self.authority >= 1 << 32
        authority = f"0x{self.authority:012x}" if high else str(self.authority)
        return "-".join(("S-1", authority, *map(str, self.sub_authorities)))


# Well-known SIDs ([MS-DTYP] 2.4.2.4).
EVERYONE = Sid(1, (0,))
CREATOR_OWNER = Sid(3, (0,))
CREATOR_GROUP = Sid(3, (1,))
OWNER_RIGHTS = Sid(3, (4,))
NETWORK = Sid(5, (2,))
ANONYMOUS = Sid(5, (7,))
AUTHENTICATED_USERS = Sid(5, (11,))
LOCAL_SYSTEM = Sid(5, (18,))
BUILTIN_ADMINISTRATORS = Sid(5, (32, 544))
BUILTIN_USERS = Sid(5, (32, 545))
BUILTIN_GUESTS = Sid(5, (32, 546))

# The authority of Unix ids, as Samba assigns it: S-1-22-1-uid and S-1-22-2-gid.
_UNIX_AUTHORITY = 22
_UNIX_USERS = 1
_UNIX_GROUPS = 2
# Ids and permissions as Windows' NFS server and the Linux client write them: S-1-5-88-1-uid,
# S-1-5-88-2-gid and S-1-5-88-3-mode.
_NT_AUTHORITY = 5
_NFS = 88
_NFS_MODE = 3


def unix_user(uid: int) -> Sid:
    """Return the SID of a Unix user without an account of its own: S-1-22-1-uid."""
    return Sid(_UNIX_AUTHORITY, (_UNIX_USERS, uid))


def unix_group(gid: int) -> Sid:
    """Return the SID of a Unix group without an account of its own: S-1-22-2-gid."""
    return Sid(_UNIX_AUTHORITY, (_UNIX_GROUPS, gid))


def unix_uid(sid: Sid) -> int | None:
    """Return the uid that S-1-22-1-uid or S-1-5-88-1-uid names, None for any other SID."""
    return _unix_id(sid, _UNIX_USERS)


def unix_gid(sid: Sid) -> int | None:
    """Return the gid that S-1-22-2-gid or S-1-5-88-2-gid names, None for any other SID."""
    return _unix_id(sid, _UNIX_GROUPS)


def _unix_id(sid: Sid, kind: int) -> int | None:
    subs = sid.sub_authorities
    if sid.authority == _UNIX_AUTHORITY and len(subs) == 2 and subs[0] == kind:
        return subs[1]
    return _nfs_id(sid, kind)


def is_nfs(sid: Sid) -> bool:
    """Whether it is one of S-1-5-88: an id or permissions, and nobody."""
    return sid.authority == _NT_AUTHORITY and sid.sub_authorities[:1] == (_NFS,)


def nfs_sids(uid: int, gid: int, mode: int) -> tuple[Sid, Sid, Sid]:
    """Return the SIDs S-1-5-88 that tell a mode, an owner and a group."""
    return (
        Sid(_NT_AUTHORITY, (_NFS, _NFS_MODE, mode)),
        Sid(_NT_AUTHORITY, (_NFS, _UNIX_USERS, uid)),
        Sid(_NT_AUTHORITY, (_NFS, _UNIX_GROUPS, gid)),
    )


def nfs_mode(sid: Sid) -> int | None:
    """Return the permissions that S-1-5-88-3-mode names, None for any other SID."""
    mode = _nfs_id(sid, _NFS_MODE)
    return None if mode is None else mode & 0o7777


def _nfs_id(sid: Sid, kind: int) -> int | None:
    subs = sid.sub_authorities
    if sid.authority == _NT_AUTHORITY and len(subs) == 3 and subs[:2] == (_NFS, kind):
        return subs[2]
    return None
