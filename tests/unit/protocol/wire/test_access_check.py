"""The access check and the inheritance of ACEs ([MS-DTYP] 2.5.3)."""

from dataclasses import replace

import pytest

from usmbd.protocol.wire import security
from usmbd.protocol.wire.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    FILE_ALL_ACCESS,
    FILE_GENERIC_READ,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    GENERIC_ALL,
    GENERIC_READ,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
)
from usmbd.protocol.wire.access_check import access_check, inherit
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    ACCESS_DENIED_ACE_TYPE,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import (
    CREATOR_GROUP,
    CREATOR_OWNER,
    EVERYONE,
    LOCAL_SYSTEM,
    OWNER_RIGHTS,
    Sid,
    unix_group,
    unix_user,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

ALICE = unix_user(1000)
BOB = unix_user(1001)
STAFF = unix_group(50)
TOKEN = frozenset({ALICE, STAFF, EVERYONE})
OI, CI, NP, IO = 1, 2, 4, 8


def allow(mask: int, sid: Sid, flags: int = 0) -> Ace:
    return Ace(ACCESS_ALLOWED_ACE_TYPE, flags, mask, sid)


def deny(mask: int, sid: Sid, flags: int = 0) -> Ace:
    return Ace(ACCESS_DENIED_ACE_TYPE, flags, mask, sid)


def descriptor(*aces: Ace, owner: Sid = BOB) -> SecurityDescriptor:
    return SecurityDescriptor(owner=owner, group=STAFF, dacl=Acl(aces))


def denied(sd: SecurityDescriptor, desired: int) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        access_check(sd, TOKEN, desired)
    return caught.value.status


def test_rights_add_up_over_aces() -> None:
    sd = descriptor(allow(FILE_READ_DATA, ALICE), allow(FILE_WRITE_DATA, STAFF))
    both = FILE_READ_DATA | FILE_WRITE_DATA
    assert access_check(sd, TOKEN, both) == both
    assert denied(sd, both | DELETE) == NtStatus.ACCESS_DENIED


def test_the_first_ace_that_names_a_right_decides() -> None:
    assert denied(descriptor(deny(1, STAFF), allow(1, ALICE)), 1) == NtStatus.ACCESS_DENIED
    assert access_check(descriptor(allow(1, ALICE), deny(1, STAFF)), TOKEN, 1) == 1


def test_a_deny_for_others_does_not_matter() -> None:
    assert access_check(descriptor(deny(1, BOB), allow(1, EVERYONE)), TOKEN, 1) == 1


def test_generic_rights_are_mapped() -> None:
    sd = descriptor(allow(GENERIC_ALL, ALICE))
    assert access_check(sd, TOKEN, GENERIC_READ) == FILE_GENERIC_READ


def test_maximum_allowed() -> None:
    sd = descriptor(deny(FILE_WRITE_DATA, STAFF), allow(FILE_ALL_ACCESS, EVERYONE))
    expected = FILE_ALL_ACCESS & ~FILE_WRITE_DATA
    assert access_check(sd, TOKEN, MAXIMUM_ALLOWED) == expected
    assert access_check(sd, TOKEN, MAXIMUM_ALLOWED | FILE_READ_DATA) == expected
    assert denied(sd, MAXIMUM_ALLOWED | FILE_WRITE_DATA) == NtStatus.ACCESS_DENIED
    assert denied(descriptor(), MAXIMUM_ALLOWED) == NtStatus.ACCESS_DENIED


def test_null_and_empty_dacls() -> None:
    null = SecurityDescriptor(owner=BOB, control=security.SE_DACL_PRESENT)
    assert access_check(null, TOKEN, MAXIMUM_ALLOWED) == FILE_ALL_ACCESS
    assert denied(descriptor(), FILE_READ_DATA) == NtStatus.ACCESS_DENIED


def test_an_owner_may_always_read_and_write_the_dacl() -> None:
    sd = descriptor(deny(FILE_ALL_ACCESS, EVERYONE), owner=ALICE)
    assert access_check(sd, TOKEN, READ_CONTROL | WRITE_DAC) == READ_CONTROL | WRITE_DAC
    assert access_check(sd, TOKEN, MAXIMUM_ALLOWED) == READ_CONTROL | WRITE_DAC


def test_owner_rights_replace_what_an_owner_may() -> None:
    sd = descriptor(allow(READ_CONTROL, OWNER_RIGHTS), owner=ALICE)
    assert access_check(sd, TOKEN, MAXIMUM_ALLOWED) == READ_CONTROL
    assert denied(sd, WRITE_DAC) == NtStatus.ACCESS_DENIED
    assert denied(descriptor(allow(1, OWNER_RIGHTS)), 1) == NtStatus.ACCESS_DENIED
    passing = descriptor(allow(0, OWNER_RIGHTS, IO | CI), owner=ALICE)
    assert access_check(passing, TOKEN, WRITE_DAC) == WRITE_DAC


def test_inherit_only_aces_have_no_effect() -> None:
    sd = descriptor(deny(1, EVERYONE, IO | OI), allow(1, ALICE))
    assert access_check(sd, TOKEN, 1) == 1


def test_privileges() -> None:
    sd = descriptor(allow(1, ALICE))
    assert denied(sd, ACCESS_SYSTEM_SECURITY) == NtStatus.PRIVILEGE_NOT_HELD
    rights = ACCESS_SYSTEM_SECURITY | WRITE_OWNER
    assert access_check(sd, TOKEN, rights | 1, privileged=rights) == rights | 1
    # A privilege is used when it is asked for by name.
    assert access_check(sd, TOKEN, MAXIMUM_ALLOWED, privileged=rights) == 1


def test_conditional_aces_are_taken_on_the_safe_side() -> None:
    assert denied(descriptor(replace(allow(1, ALICE), type=9)), 1) == NtStatus.ACCESS_DENIED
    sd = descriptor(replace(deny(1, ALICE), type=10), allow(1, ALICE))
    assert denied(sd, 1) == NtStatus.ACCESS_DENIED


# Which flags an ACE of the parent leaves in a file and in a directory; None: no ACE.
@pytest.mark.parametrize(
    ("parent", "file", "directory"),
    [
        (0, None, None),
        (OI, 0, OI | IO),
        (CI, None, CI),
        (OI | CI, 0, OI | CI),
        (NP, None, None),
        (NP | OI, 0, None),
        (NP | CI, None, 0),
        (NP | CI | OI, 0, 0),
        (IO, None, None),
        (IO | OI, 0, OI | IO),
        (IO | CI, None, CI),
        (IO | CI | OI, 0, CI | OI),
        (IO | NP | CI | OI, 0, 0),
    ],
)
def test_inheritance_flags(parent: int, file: int | None, directory: int | None) -> None:
    sd = descriptor(allow(1, STAFF, parent))
    for is_directory, flags in ((False, file), (True, directory)):
        new = inherit(sd, ALICE, STAFF, is_directory=is_directory)
        if flags is None:
            assert new.dacl == Acl(
                (allow(FILE_ALL_ACCESS, ALICE), allow(FILE_ALL_ACCESS, LOCAL_SYSTEM))
            )
        else:
            assert new.dacl == Acl((allow(1, STAFF, flags),))
        assert new.owner == ALICE


def test_the_creator_gets_an_ace_and_hands_the_original_down() -> None:
    sd = descriptor(allow(1, CREATOR_OWNER, OI | CI | IO), allow(2, CREATOR_GROUP, OI | CI | IO))
    file = inherit(sd, ALICE, STAFF, is_directory=False)
    assert file.dacl == Acl((allow(1, ALICE), allow(2, STAFF)))
    directory = inherit(sd, ALICE, STAFF, is_directory=True)
    assert directory.dacl == Acl(
        (
            allow(1, ALICE),
            allow(1, CREATOR_OWNER, OI | CI | IO),
            allow(2, STAFF),
            allow(2, CREATOR_GROUP, OI | CI | IO),
        )
    )


def test_generic_rights_are_mapped_where_they_take_effect() -> None:
    sd = descriptor(allow(GENERIC_READ, STAFF, CI))
    new = inherit(sd, ALICE, STAFF, is_directory=True)
    assert new.dacl == Acl((allow(FILE_GENERIC_READ, STAFF), allow(GENERIC_READ, STAFF, CI | IO)))


def test_inherited_aces_are_marked_when_the_parent_is_kept_so() -> None:
    sd = replace(descriptor(allow(1, STAFF, CI)), control=security.SE_DACL_AUTO_INHERITED)
    new = inherit(sd, ALICE, STAFF, is_directory=True)
    assert new.dacl == Acl((allow(1, STAFF, CI | security.INHERITED_ACE),))
    assert new.control == security.SE_DACL_AUTO_INHERITED | security.SE_DACL_PRESENT


def test_a_creators_descriptor_comes_first() -> None:
    given = SecurityDescriptor(
        group=unix_group(9),
        dacl=Acl(),
        control=security.SE_DACL_PRESENT | security.SE_DACL_PROTECTED,
    )
    new = inherit(descriptor(allow(1, STAFF, CI)), ALICE, STAFF, is_directory=True, creator=given)
    assert (new.owner, new.group, new.dacl) == (ALICE, unix_group(9), Acl())
    assert new.control & security.SE_DACL_PROTECTED
    only_owner = SecurityDescriptor(owner=BOB)
    new = inherit(
        descriptor(allow(1, STAFF, CI)), ALICE, STAFF, is_directory=True, creator=only_owner
    )
    assert (new.owner, new.dacl) == (BOB, Acl((allow(1, STAFF, CI),)))


def test_sacls_are_inherited_too() -> None:
    audit = Ace(security.SYSTEM_AUDIT_ACE_TYPE, CI | security.FAILED_ACCESS_ACE_FLAG, 1, EVERYONE)
    sd = replace(descriptor(), sacl=Acl((audit,)), control=security.SE_SACL_PRESENT)
    new = inherit(sd, ALICE, STAFF, is_directory=True)
    assert new.sacl == Acl((audit,))
    assert new.control & security.SE_SACL_PRESENT
    assert inherit(sd, ALICE, STAFF, is_directory=False).sacl is None


def test_each_ace_is_inherited_once() -> None:
    """The creator's own entry may be there by name as well, and twice in a list that was copied."""
    creator = allow(FILE_ALL_ACCESS, CREATOR_OWNER, CI | OI | IO)
    named = allow(FILE_ALL_ACCESS, ALICE, CI | OI)
    copied = allow(FILE_ALL_ACCESS, ALICE, CI | OI | security.INHERITED_ACE)
    new = inherit(descriptor(creator, named, copied), ALICE, STAFF, is_directory=False)
    assert new.dacl == Acl((allow(FILE_ALL_ACCESS, ALICE),))
