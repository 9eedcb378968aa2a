"""Security descriptors of shares and of the registry's keys: read, made, asked for rights.

[MS-DTYP] 2.4.6, 2.5.3.2.
"""

import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from usmbd.mountd.ipc.sids import pack_sid

ACCESS_ALLOWED, ACCESS_DENIED = 0, 1
CONTAINER_INHERIT, NO_PROPAGATE, INHERIT_ONLY, INHERITED = 0x02, 0x04, 0x08, 0x10
SE_DACL_PRESENT, SE_SELF_RELATIVE = 0x0004, 0x8000

EVERYONE, CREATOR_OWNER = "S-1-1-0", "S-1-3-0"
NETWORK, ANONYMOUS, AUTHENTICATED = "S-1-5-2", "S-1-5-7", "S-1-5-11"
ADMINISTRATORS, USERS, GUESTS = "S-1-5-32-544", "S-1-5-32-545", "S-1-5-32-546"
SYSTEM: Final = "S-1-5-18"

READ_CONTROL, WRITE_DAC, WRITE_OWNER = 0x00020000, 0x00040000, 0x00080000


@dataclass(frozen=True, slots=True)
class Ace:
    """An entry that allows or denies."""

    kind: int
    flags: int
    mask: int
    sid: str


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a descriptor says; a DACL of None lets everybody do everything."""

    owner: str | None
    group: str | None
    dacl: tuple[Ace, ...] | None

    def granted(self, sids: Collection[str]) -> int:
        """Return all rights that who has these SIDs has, in the order of the entries."""
        if self.dacl is None:
            return 0xFFFFFFFF
        allowed = denied = 0
        if self.owner in sids:
            allowed = READ_CONTROL | WRITE_DAC
        for ace in self.dacl:
            if ace.flags & INHERIT_ONLY or ace.sid not in sids:
                continue
            if ace.kind == ACCESS_ALLOWED:
                allowed |= ace.mask & ~denied
            elif ace.kind == ACCESS_DENIED:
                denied |= ace.mask & ~allowed
        return allowed


def parse(data: bytes) -> Descriptor:
    """Read a self-relative descriptor; ValueError when it is none."""
    try:
        revision, _, control, owner, group, _, dacl = struct.unpack_from("<BBHIIII", data)
        if revision != 1 or not control & SE_SELF_RELATIVE:
            raise ValueError("no self-relative descriptor")
        aces = None
        if control & SE_DACL_PRESENT and dacl:
            aces = tuple(_aces(data, dacl))
        return Descriptor(
            _sid(data, owner) if owner else None, _sid(data, group) if group else None, aces
        )
    except struct.error as error:
        raise ValueError("a descriptor that is short") from error


def _aces(data: bytes, at: int) -> Iterable[Ace]:
    """Read an ACL; kinds of entries that neither allow nor deny are left out."""
    _, _, size, count, _ = struct.unpack_from("<BBHHH", data, at)
    end = at + size
    if end > len(data):
        raise ValueError("an ACL that is short")
    at += 8
    for _ in range(count):
        kind, flags, length, mask = struct.unpack_from("<BBHI", data, at)
        if length < 16 or at + length > end:
            raise ValueError("an entry that is short")
        if kind in (ACCESS_ALLOWED, ACCESS_DENIED):
            yield Ace(kind, flags, mask, _sid(data, at + 8))
        at += length


def _sid(data: bytes, at: int) -> str:
    revision, count = struct.unpack_from("<BB", data, at)
    if revision != 1 or count > 15:
        raise ValueError("no SID")
    authority = int.from_bytes(data[at + 2 : at + 8], "big")
    subs = struct.unpack_from(f"<{count}I", data, at + 8)
    shown = f"0x{authority:012x}" if authority >= 1 << 32 else str(authority)
    return "-".join(("S-1", shown, *map(str, subs)))


def pack(descriptor: Descriptor, *, dacl: bool = True) -> bytes:
    """Return a self-relative descriptor; without `dacl` it says nothing of who may."""
    owner = pack_sid(descriptor.owner) if descriptor.owner else b""
    group = pack_sid(descriptor.group) if descriptor.group else b""
    acl = b""
    if descriptor.dacl is not None:
        body = b"".join(
            struct.pack("<BBHI", ace.kind, ace.flags, 8 + len(sid), ace.mask) + sid
            for ace, sid in ((ace, pack_sid(ace.sid)) for ace in descriptor.dacl)
        )
        acl = struct.pack("<BBHHH", 2, 0, 8 + len(body), len(descriptor.dacl), 0) + body
    at = 20
    offsets = []
    for part in (owner, group, acl):
        offsets.append(at if part else 0)
        at += len(part)
    control = SE_SELF_RELATIVE | (SE_DACL_PRESENT if dacl else 0)
    head = struct.pack("<BBHIIII", 1, 0, control, offsets[0], offsets[1], 0, offsets[2])
    return head + owner + group + acl


def inherited(parent: Descriptor, owner: str) -> Descriptor:
    """Return what a new key beneath one inherits ([MS-DTYP] 2.5.3.4)."""
    if parent.dacl is None:
        return Descriptor(owner, parent.group, None)
    aces = []
    for ace in parent.dacl:
        if not ace.flags & CONTAINER_INHERIT:
            continue
        flags = 0 if ace.flags & NO_PROPAGATE else CONTAINER_INHERIT
        if ace.sid == CREATOR_OWNER:
            aces.append(Ace(ace.kind, INHERITED, ace.mask, owner))
            if not flags:
                continue
            flags |= INHERIT_ONLY
        aces.append(Ace(ace.kind, flags | INHERITED, ace.mask, ace.sid))
    return Descriptor(owner, parent.group, tuple(aces))
