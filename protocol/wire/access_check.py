"""Who may do what: the access check and the inheritance of ACEs ([MS-DTYP] 2.5.3).

A token is the set of SIDs that an authenticated user stands for: his own, his groups',
Everyone, Authenticated Users or Anonymous, Network.
"""

from collections.abc import Container, Iterator
from dataclasses import replace

from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    FILE_ALL_ACCESS,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    WRITE_DAC,
    map_generic,
)
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    ACCESS_DENIED_ACE_TYPE,
    ACCESS_DENIED_CALLBACK_ACE_TYPE,
    CONTAINER_INHERIT_ACE,
    INHERIT_ONLY_ACE,
    INHERITED_ACE,
    NO_PROPAGATE_INHERIT_ACE,
    OBJECT_INHERIT_ACE,
    SE_DACL_AUTO_INHERITED,
    SE_DACL_PRESENT,
    SE_SACL_AUTO_INHERITED,
    SE_SACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import CREATOR_GROUP, CREATOR_OWNER, LOCAL_SYSTEM, OWNER_RIGHTS, Sid
from usmbd.protocol.wire.status import NtStatus, SmbError

# A conditional deny whose condition we cannot evaluate counts as met, a conditional allow as
# not met ([MS-DTYP] 2.4.4.17.5): the safe side of both. Object ACEs mean nothing on a file.
_DENYING = frozenset({ACCESS_DENIED_ACE_TYPE, ACCESS_DENIED_CALLBACK_ACE_TYPE})

_INHERITANCE = (
    OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE | NO_PROPAGATE_INHERIT_ACE | INHERIT_ONLY_ACE
)


def access_check(
    descriptor: SecurityDescriptor,
    token: Container[Sid],
    desired: int,
    *,
    privileged: int = 0,
) -> int:
    """Return the rights granted for `desired` ([MS-DTYP] 2.5.3.2).

    Generic rights are mapped, MAXIMUM_ALLOWED becomes all that the DACL allows. `privileged`
    are rights that the user has whatever the DACL says: ACCESS_SYSTEM_SECURITY, WRITE_OWNER.
    Raises SmbError(ACCESS_DENIED), SmbError(PRIVILEGE_NOT_HELD) for the SACL alone.
    """
    desired = map_generic(desired)
    wanted = desired & ~MAXIMUM_ALLOWED
    if wanted & ACCESS_SYSTEM_SECURITY & ~privileged:
        raise SmbError(NtStatus.PRIVILEGE_NOT_HELD)
    allowed = _allowed(descriptor, token)
    if wanted & ~(allowed | privileged):
        raise SmbError(NtStatus.ACCESS_DENIED)
    if desired & MAXIMUM_ALLOWED:
        wanted |= allowed
    if not wanted:
        raise SmbError(NtStatus.ACCESS_DENIED)
    return wanted


def _allowed(descriptor: SecurityDescriptor, token: Container[Sid]) -> int:
    """Return every right that the DACL gives `token`.

    The first ACE that names a right decides it: checking the rights one request at a time, as
    the document does, comes to the same.
    """
    if descriptor.dacl is None:
        return FILE_ALL_ACCESS
    aces = [ace for ace in descriptor.dacl.aces if not ace.flags & INHERIT_ONLY_ACE]
    is_owner = descriptor.owner is not None and descriptor.owner in token
    # ACEs for OWNER RIGHTS take the place of what an owner may do otherwise.
    implied = is_owner and all(ace.sid != OWNER_RIGHTS for ace in aces)
    allowed = READ_CONTROL | WRITE_DAC if implied else 0
    denied = 0
    for ace in aces:
        if not (ace.sid in token or (is_owner and ace.sid == OWNER_RIGHTS)):
            continue
        if ace.type == ACCESS_ALLOWED_ACE_TYPE:
            allowed |= map_generic(ace.mask) & ~denied
        elif ace.type in _DENYING:
            denied |= map_generic(ace.mask) & ~allowed
    return allowed & FILE_ALL_ACCESS


def inherit(
    parent: SecurityDescriptor,
    owner: Sid,
    group: Sid,
    *,
    is_directory: bool,
    creator: SecurityDescriptor | None = None,
) -> SecurityDescriptor:
    """Return the descriptor of a new file or directory in `parent` ([MS-DTYP] 2.5.3.4.1).

    `creator` is the descriptor that came with the CREATE, of which every part that is there is
    taken as it is. Otherwise the ACL holds what `parent` hands down; a DACL of which nothing is
    handed down gives the owner and the system all access, as a token's default DACL does. ACEs
    are marked as inherited when the parent's own ACL is kept so.
    Raises SmbError(INVALID_ACL) when the ACEs grow past an ACL's 64 KiB.
    """
    new = SecurityDescriptor(owner=owner, group=group)
    if creator is not None:
        new = replace(new, owner=creator.owner or owner, group=creator.group or group)
    creator_control = creator.control if creator is not None else 0
    if creator is not None and creator_control & SE_DACL_PRESENT:
        dacl, control = creator.dacl, creator_control & ~SE_SACL_PRESENT
    else:
        control = SE_DACL_PRESENT | parent.control & SE_DACL_AUTO_INHERITED
        mark = INHERITED_ACE if control & SE_DACL_AUTO_INHERITED else 0
        dacl = _inherit_acl(parent.dacl, new, is_directory, mark)
        if dacl is None:
            dacl, control = _default_dacl(new), SE_DACL_PRESENT
    if creator is not None and creator_control & SE_SACL_PRESENT:
        sacl, control = creator.sacl, control | SE_SACL_PRESENT
    else:
        mark = INHERITED_ACE if parent.control & SE_SACL_AUTO_INHERITED else 0
        sacl = _inherit_acl(parent.sacl, new, is_directory, mark)
        if sacl is not None:
            control |= SE_SACL_PRESENT | parent.control & SE_SACL_AUTO_INHERITED
    return replace(new, dacl=dacl, sacl=sacl, control=control)


def _default_dacl(new: SecurityDescriptor) -> Acl:
    """Return the DACL of an object that inherits none: the owner's and the system's."""
    sids = (sid for sid in (new.owner, LOCAL_SYSTEM) if sid is not None)
    return Acl(tuple(Ace(ACCESS_ALLOWED_ACE_TYPE, 0, FILE_ALL_ACCESS, sid) for sid in sids))


def _inherit_acl(
    acl: Acl | None, new: SecurityDescriptor, is_directory: bool, mark: int
) -> Acl | None:
    """Return the ACL of the ACEs that `acl` hands down, each once; None without any.

    The creator's own entry and one that names him come to the same, as do one that is set and one
    that is inherited: smbd leaves the second out, too.
    """
    if acl is None:
        return None
    aces = tuple(
        dict.fromkeys(
            inherited
            for ace in acl.aces
            for inherited in _inherit_ace(ace, new, is_directory, mark)
        )
    )
    return replace(acl, aces=aces) if aces else None


def _inherit_ace(ace: Ace, new: SecurityDescriptor, is_directory: bool, mark: int) -> Iterator[Ace]:
    """Yield what becomes of `ace` in a new object ([MS-DTYP] 2.5.3.4.4).

    A file takes an OBJECT_INHERIT ACE as an effective one. A directory takes a
    CONTAINER_INHERIT ACE as an effective one that it hands down further; an ACE for files only
    passes through it without effect. An ACE that means another thing in each object (the
    creator, generic rights) is split: what it means here, and the original to hand down.
    """
    flags = ace.flags & ~(_INHERITANCE | INHERITED_ACE) | mark
    further = 0
    if is_directory and not ace.flags & NO_PROPAGATE_INHERIT_ACE:
        further = ace.flags & (OBJECT_INHERIT_ACE | CONTAINER_INHERIT_ACE)
    if ace.flags & (CONTAINER_INHERIT_ACE if is_directory else OBJECT_INHERIT_ACE):
        here = replace(ace, flags=flags, sid=_creator(ace.sid, new), mask=map_generic(ace.mask))
        if (here.sid, here.mask) == (ace.sid, ace.mask):
            yield replace(here, flags=flags | further)
            return
        yield here
    if further:
        yield replace(ace, flags=flags | further | INHERIT_ONLY_ACE)


def _creator(sid: Sid, new: SecurityDescriptor) -> Sid:
    """Return whom `sid` means in `new`: the creator SIDs stand for its owner and group."""
    if sid == CREATOR_OWNER and new.owner is not None:
        return new.owner
    if sid == CREATOR_GROUP and new.group is not None:
        return new.group
    return sid
