"""NT access control lists and POSIX permissions: what the one says in the words of the other.

Both ways are as Samba's, where the two can say the same; what POSIX cannot say is refused, so that
nobody takes a file for private that is not. To POSIX, each of owner, owning group, named users,
named groups and everybody else gets what the DACL's entries, in their order, come to for them:

    r  FILE_READ_DATA, FILE_LIST_DIRECTORY      w  FILE_WRITE_DATA, FILE_ADD_FILE
    x  FILE_EXECUTE, FILE_TRAVERSE

Entries that a directory hands down are its default ACL. SYSTEM and the groups of BUILTIN are nobody
here: their entries change nothing. From POSIX, users come before groups and these before everybody,
as the kernel asks them, and what a later entry would give beyond the own one is denied first.
"""

import os
import pwd
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from usmbd.protocol.vfs.posix_acl import EXECUTE, READ, WRITE, PosixAcl
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_DELETE_CHILD,
    FILE_EXECUTE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_READ_EA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    SYNCHRONIZE,
)
from usmbd.protocol.wire.access_check import access_check
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    ACCESS_DENIED_ACE_TYPE,
    CONTAINER_INHERIT_ACE,
    INHERIT_ONLY_ACE,
    NO_PROPAGATE_INHERIT_ACE,
    OBJECT_INHERIT_ACE,
    SE_DACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import (
    AUTHENTICATED_USERS,
    CREATOR_GROUP,
    CREATOR_OWNER,
    EVERYONE,
    LOCAL_SYSTEM,
    NETWORK,
    OWNER_RIGHTS,
    Sid,
    unix_gid,
    unix_group,
    unix_uid,
    unix_user,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

_READS: Final = FILE_READ_DATA | FILE_READ_EA | FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
_WRITES: Final = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_EA | FILE_WRITE_ATTRIBUTES
_ALWAYS: Final = FILE_READ_ATTRIBUTES | READ_CONTROL | SYNCHRONIZE
_HANDED_DOWN: Final = OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE

EVERYBODY: Final = frozenset((EVERYONE, AUTHENTICATED_USERS, NETWORK))
"""The SIDs that every user of this server stands for."""

_BUILTIN: Final = 32


# -- from POSIX ------------------------------------------------------------------------------------


def describe(
    uid: int, gid: int, access: PosixAcl, default: PosixAcl | None, *, directory: bool
) -> SecurityDescriptor:
    """Return the descriptor that stands for a file's owner, group and permissions."""
    aces = _entries(unix_user(uid), unix_group(gid), access, directory, 0)
    aces.append(Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_ALL_ACCESS, LOCAL_SYSTEM))
    if default is not None:
        flags = _HANDED_DOWN | INHERIT_ONLY_ACE
        aces += _entries(CREATOR_OWNER, CREATOR_GROUP, default, directory, flags)
    return SecurityDescriptor(
        owner=unix_user(uid), group=unix_group(gid), dacl=Acl(tuple(aces)), control=SE_DACL_PRESENT
    )


def _entries(owner: Sid, group: Sid, acl: PosixAcl, directory: bool, flags: int) -> list[Ace]:
    """Return the ACEs of one ACL, those that deny first."""
    by_group = {group: acl.group} | {unix_group(gid): bits for gid, bits in acl.groups.items()}
    by_user = {owner: acl.owner} | {unix_user(uid): bits for uid, bits in acl.users.items()}
    of_groups = 0
    for bits in by_group.values():
        of_groups |= bits
    owner_rights = _rights(acl.owner, directory) | _READS | _WRITES | DELETE
    if not acl.owner & READ:
        owner_rights &= ~(FILE_READ_DATA | FILE_READ_EA)
    if not acl.owner & WRITE:
        owner_rights &= ~(FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_EA)
    if acl.owner == 7 or (not directory and acl.owner == READ | WRITE):
        owner_rights = FILE_ALL_ACCESS
    aces = _one_kind(by_user, acl.other | of_groups, directory, flags)
    aces = [replace(a, mask=owner_rights) if _allows(a, owner) else a for a in aces]
    aces += _one_kind(by_group, acl.other, directory, flags)
    aces.append(Ace(ACCESS_ALLOWED_ACE_TYPE, flags, _rights(acl.other, directory), EVERYONE))
    return aces


def _allows(ace: Ace, sid: Sid) -> bool:
    """Whether the entry is one that gives to `sid`."""
    return ace.type == ACCESS_ALLOWED_ACE_TYPE and ace.sid == sid


def _one_kind(by_sid: dict[Sid, int], later: int, directory: bool, flags: int) -> list[Ace]:
    """Return the ACEs of users, or of groups; `later` is what entries behind them give."""
    denied = [(sid, _denial(later & ~bits)) for sid, bits in by_sid.items()]
    aces = [Ace(ACCESS_DENIED_ACE_TYPE, flags, mask, sid) for sid, mask in denied if mask]
    allowed = [(sid, _rights(bits, directory)) for sid, bits in by_sid.items()]
    return aces + [Ace(ACCESS_ALLOWED_ACE_TYPE, flags, mask, sid) for sid, mask in allowed]


def _rights(bits: int, directory: bool) -> int:
    """Return the access that three permission bits mean."""
    mask = _ALWAYS
    if bits & READ:
        mask |= _READS
    if bits & WRITE:
        mask |= _WRITES | (FILE_DELETE_CHILD if directory else 0)
    if bits & EXECUTE:
        mask |= FILE_EXECUTE
    return mask


def _denial(bits: int) -> int:
    """Return the access that the lack of permission bits takes."""
    return (
        (FILE_READ_DATA | FILE_READ_EA if bits & READ else 0)
        | (FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_WRITE_EA if bits & WRITE else 0)
        | (FILE_EXECUTE if bits & EXECUTE else 0)
    )


# -- to POSIX --------------------------------------------------------------------------------------


def to_posix(
    descriptor: SecurityDescriptor,
    uid: int,
    gid: int,
    before: PosixAcl,
    *,
    directory: bool,
    exact: bool,
) -> tuple[PosixAcl, PosixAcl | None]:
    """Return the permissions and the default ACL that a DACL comes to, for this owner and group.

    `before` are the permissions now: full access to a file says nothing of executing it. `exact`:
    SmbError(NOT_SUPPORTED) for what POSIX cannot say; else the descriptor itself is asked as well,
    and POSIX must only not give less.
    """
    if descriptor.dacl is None:  # everything to everybody
        return PosixAcl(7, 7, 7) if directory else PosixAcl(6, 6, 6), None
    aces = [ace for ace in descriptor.dacl.aces if ace.mask]
    if exact:
        _check(aces, directory)
    effective = [ace for ace in aces if not ace.flags & INHERIT_ONLY_ACE]
    access = _Principals(effective, unix_user(uid), unix_group(gid), directory, exact).acl()
    if not directory and _full(effective, unix_user(uid), uid):
        access = replace(access, owner=access.owner & ~EXECUTE | before.owner & EXECUTE)
    if not directory:
        return access, None
    down = [replace(ace, flags=0) for ace in aces if ace.flags & _HANDED_DOWN]
    if not down:
        return access, None
    default = _Principals(down, CREATOR_OWNER, CREATOR_GROUP, directory, exact).acl()
    sids = {ace.sid for ace in down}
    # The kernel asks the owner's entry alone of whoever made a file. Without one for the creator
    # it says what the directory's owner gets, as with Samba.
    if CREATOR_OWNER not in sids:
        default = replace(default, owner=default.users.get(uid, default.owner))
    if CREATOR_GROUP not in sids:
        default = replace(default, group=default.groups.get(gid, default.group))
    return access, default


def _check(aces: Iterable[Ace], directory: bool) -> None:
    """Refuse kinds of entries that POSIX does not have."""
    for ace in aces:
        allows = ace.type in (ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE)
        down = ace.flags & _HANDED_DOWN
        # A default ACL is for files and directories alike, and is handed down by both.
        partly = directory and (
            down not in (0, _HANDED_DOWN) or (down and ace.flags & NO_PROPAGATE_INHERIT_ACE)
        )
        if not allows or partly or not _is_known(ace.sid):
            raise SmbError(NtStatus.NOT_SUPPORTED)


def _is_known(sid: Sid) -> bool:
    """Whether it is known whom a SID stands for, be it nobody."""
    return (
        unix_uid(sid) is not None
        or unix_gid(sid) is not None
        or sid in EVERYBODY
        or sid in (CREATOR_OWNER, CREATOR_GROUP, OWNER_RIGHTS, LOCAL_SYSTEM)
        or (sid.authority == 5 and sid.sub_authorities[:1] == (_BUILTIN,))
    )


def _full(aces: Iterable[Ace], owner: Sid, uid: int) -> bool:
    """Whether the owner of a file has all access by his own entry."""
    return any(
        ace.type == ACCESS_ALLOWED_ACE_TYPE
        and ace.sid in (owner, OWNER_RIGHTS)
        and ace.mask & FILE_ALL_ACCESS == FILE_ALL_ACCESS
        for ace in aces
    )


class _Principals:
    """Those whom a list of effective entries names, and what it comes to for each."""

    def __init__(
        self, aces: list[Ace], owner: Sid, group: Sid, directory: bool, exact: bool
    ) -> None:
        """Read for these as owner and owning group."""
        self._descriptor = SecurityDescriptor(owner=owner, group=group, dacl=Acl(tuple(aces)))
        self._aces = aces
        self._owner = owner
        self._group = group
        self._directory = directory
        self._exact = exact

    def acl(self) -> PosixAcl:
        """Return the POSIX ACL; SmbError(NOT_SUPPORTED) when it would give what is denied."""
        sids = {ace.sid for ace in self._aces}
        uids = {uid for sid in sids - {self._owner} if (uid := unix_uid(sid)) is not None}
        gids = {gid for sid in sids - {self._group} if (gid := unix_gid(sid)) is not None}
        by_groups = any(unix_gid(sid) is not None for sid in sids)
        own = unix_uid(self._owner)
        group = self._bits({self._group})
        groups = {gid: self._bits({unix_group(gid)}) for gid in gids}
        if self._exact:
            self._check_denials(
                {self._group: group} | {unix_group(g): b for g, b in groups.items()}
            )
        return PosixAcl(
            self._bits({self._owner, OWNER_RIGHTS, *_groups_of(own, by_groups)}),
            group,
            self._bits(set()),
            {uid: self._bits({unix_user(uid), *_groups_of(uid, by_groups)}) for uid in uids},
            groups,
        )

    def _bits(self, sids: set[Sid]) -> int:
        """Return the permission bits of who stands for these SIDs and for everybody's."""
        try:
            mask = access_check(self._descriptor, sids | EVERYBODY, MAXIMUM_ALLOWED)
        except SmbError:
            return 0
        return self._of(mask)

    def _of(self, mask: int) -> int:
        """Return the permission bits that an access mask needs."""
        reads, writes = FILE_READ_DATA, FILE_WRITE_DATA
        if not self._exact:
            reads |= 0 if self._directory else FILE_EXECUTE  # SMB executes by reading
            writes |= FILE_APPEND_DATA | (FILE_DELETE_CHILD if self._directory else 0)
        bits = (READ if mask & reads else 0) | (WRITE if mask & writes else 0)
        if mask & FILE_EXECUTE or (bits and self._directory and not self._exact):
            bits |= EXECUTE  # NT does not ask for traversal, the kernel does
        return bits

    def _check_denials(self, groups: dict[Sid, int]) -> None:
        """Refuse what one group is denied and another given: POSIX gives it to who is in both."""
        for ace in self._aces:
            if ace.type != ACCESS_DENIED_ACE_TYPE or ace.sid not in groups:
                continue
            denied = self._of(ace.mask)
            if any(bits & denied for sid, bits in groups.items() if sid != ace.sid):
                raise SmbError(NtStatus.NOT_SUPPORTED)


def _groups_of(uid: int | None, wanted: bool) -> frozenset[Sid]:
    """Return the groups of a user, as the system knows them; none when they do not matter."""
    if uid is None or not wanted:
        return frozenset()
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(map(unix_group, os.getgrouplist(user.pw_name, user.pw_gid)))
