"""NT ACLs and POSIX permissions: each says what the other said, or it is refused."""

import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from usmbd.protocol.vfs import acl, posix_acl
from usmbd.protocol.vfs.acl_mapping import EVERYBODY, describe, to_posix
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.posix_acl import PosixAcl
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    FILE_ALL_ACCESS,
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
)
from usmbd.protocol.wire.access_check import access_check
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import (
    CREATOR_GROUP,
    CREATOR_OWNER,
    EVERYONE,
    LOCAL_SYSTEM,
    Sid,
    unix_group,
    unix_user,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

OWNER, GROUP, MAN, STAFF = 40001, 40002, 40003, 40004
READ, WRITE, MODIFY = 0x001200A9, 0x00100116, 0x001301BF
STRANGER = Sid(5, (21, 1, 2, 3, 500))
NOTHING = PosixAcl(0, 0, 0)

bits = st.integers(0, 7)
acls = st.builds(
    PosixAcl,
    bits,
    bits,
    bits,
    st.dictionaries(st.sampled_from([MAN, MAN + 10]), bits),
    st.dictionaries(st.sampled_from([STAFF, STAFF + 10]), bits),
)


def descriptor(*aces: tuple[int, int, Sid, int]) -> SecurityDescriptor:
    """Return a descriptor of (type, mask, SID, flags)."""
    packed = tuple(Ace(kind, flags, mask, sid) for kind, mask, sid, flags in aces)
    return SecurityDescriptor(dacl=Acl(packed), control=4)


def posix(
    found: SecurityDescriptor,
    before: PosixAcl = NOTHING,
    *,
    directory: bool = False,
    exact: bool = True,
) -> tuple[PosixAcl, PosixAcl | None]:
    return to_posix(found, OWNER, GROUP, before, directory=directory, exact=exact)


def is_sayable(found: PosixAcl) -> bool:
    """Whether no group lacks what everybody else and another group have.

    Who is in both has it of the kernel, and not by NT's rules.
    """
    groups = [found.group, *found.groups.values()]
    return not any(
        found.other & ~one & other
        for i, one in enumerate(groups)
        for other in groups[:i] + groups[i + 1 :]
    )


@given(acls, st.booleans())
def test_what_is_told_can_be_set_and_changes_nothing(found: PosixAcl, directory: bool) -> None:
    assume(is_sayable(found))
    told = describe(OWNER, GROUP, found, None, directory=directory)
    assert posix(told, found, directory=directory) == (found, None)


@given(acls, acls)
def test_what_is_handed_down_as_well(found: PosixAcl, default: PosixAcl) -> None:
    assume(is_sayable(found) and is_sayable(default))
    told = describe(OWNER, GROUP, found, default, directory=True)
    assert posix(told, found, directory=True) == (found, default)


@given(acls)
def test_what_is_told_is_what_the_kernel_gives(found: PosixAcl) -> None:
    """[acl(5)]: the user's own entry decides; else the groups' together; else the rest."""
    assume(is_sayable(found))
    told = describe(OWNER, GROUP, found, None, directory=True)
    rights = {4: FILE_READ_DATA, 2: FILE_WRITE_DATA, 1: FILE_EXECUTE}
    staff, staff_too = found.groups.get(STAFF), found.groups.get(STAFF + 10)
    of_groups = [bits for bits in (found.group, staff, staff_too) if bits is not None]
    people = [
        ({unix_user(OWNER), unix_group(GROUP)}, found.owner),
        ({unix_user(1), unix_group(GROUP)}, found.group),
        ({unix_user(1)}, found.other),
    ]
    people += [({unix_user(uid), unix_group(GROUP)}, own) for uid, own in found.users.items()]
    if staff is not None and staff_too is not None:
        groups = {unix_group(gid) for gid in (GROUP, STAFF, STAFF + 10)}
        union = of_groups[0] | of_groups[1] | of_groups[2]
        people.append(({unix_user(1)} | groups, union))
    for token, expected in people:
        try:
            mask = access_check(told, token | EVERYBODY, MAXIMUM_ALLOWED)
        except SmbError:
            mask = 0
        assert sum(bit for bit, right in rights.items() if mask & right) == expected


@given(acls)
def test_the_kernels_form(found: PosixAcl) -> None:
    assert PosixAcl.parse(found.pack()) == found


def test_the_mask_counts() -> None:
    raw = bytes.fromhex("02000000 0100 0600 ffffffff 0200 0700 439c0000 0400 0600 ffffffff")
    raw += bytes.fromhex("1000 0400 ffffffff 2000 0000 ffffffff")
    assert PosixAcl.parse(raw) == PosixAcl(6, 4, 0, {40003: 4})


ALLOW, DENY = 0, 1
BOTH = 3


@pytest.mark.parametrize(
    ("aces", "expected"),
    [
        ([], PosixAcl(0, 0, 0)),
        ([(ALLOW, FILE_ALL_ACCESS, unix_user(OWNER), 0)], PosixAcl(6, 0, 0)),
        (
            [(ALLOW, FILE_ALL_ACCESS, unix_user(OWNER), 0), (ALLOW, MODIFY, unix_user(MAN), 0)],
            PosixAcl(6, 0, 0, {MAN: 7}),
        ),
        ([(ALLOW, READ, EVERYONE, 0)], PosixAcl(5, 5, 5)),
        ([(ALLOW, READ, unix_user(OWNER), 0)], PosixAcl(5, 0, 0)),
        (
            [(DENY, WRITE, unix_user(MAN), 0), (ALLOW, READ | WRITE, EVERYONE, 0)],
            PosixAcl(7, 7, 7, {MAN: 5}),
        ),
        (
            [(ALLOW, READ, unix_group(GROUP), 0), (ALLOW, WRITE, unix_group(STAFF), 0)],
            PosixAcl(0, 5, 0, {}, {STAFF: 2}),
        ),
        ([(ALLOW, FILE_ALL_ACCESS, LOCAL_SYSTEM, 0), (ALLOW, 0, STRANGER, 0)], PosixAcl(0, 0, 0)),
        ([(ALLOW, 0x80000000, EVERYONE, 0)], PosixAcl(4, 4, 4)),
    ],
)
def test_what_a_dacl_comes_to(aces: list[tuple[int, int, Sid, int]], expected: PosixAcl) -> None:
    before = PosixAcl(6, 4, 4)
    assert posix(descriptor(*aces), before) == (expected, None)


def test_no_dacl_is_everything_to_everybody() -> None:
    found = SecurityDescriptor(dacl=None, control=4)
    assert posix(found) == (PosixAcl(6, 6, 6), None)
    assert posix(found, directory=True) == (PosixAcl(7, 7, 7), None)


@pytest.mark.parametrize(
    ("ace", "directory"),
    [
        ((ALLOW, READ, STRANGER, 0), False),
        ((2, READ, EVERYONE, 0), False),
        ((9, READ, EVERYONE, 0), False),
        ((ALLOW, READ, unix_user(MAN), 1), True),
        ((ALLOW, READ, unix_user(MAN), 2), True),
        ((ALLOW, READ, unix_user(MAN), BOTH | 4), True),
    ],
)
def test_what_posix_cannot_say_is_refused(ace: tuple[int, int, Sid, int], directory: bool) -> None:
    with pytest.raises(SmbError) as caught:
        posix(descriptor(ace), directory=directory)
    assert caught.value.status is NtStatus.NOT_SUPPORTED
    posix(descriptor(ace), directory=directory, exact=False)


def test_a_group_that_is_denied_what_another_has_is_refused() -> None:
    found = descriptor(
        (DENY, WRITE, unix_group(STAFF), 0), (ALLOW, READ | WRITE, unix_group(GROUP), 0)
    )
    with pytest.raises(SmbError):
        posix(found)


def test_a_stored_descriptor_never_gets_less_beneath() -> None:
    append = descriptor((ALLOW, FILE_APPEND_DATA, EVERYONE, 0))
    assert posix(append)[0].other == 0
    assert posix(append, exact=False)[0].other == 2
    assert posix(append, directory=True, exact=False)[0].other == 3


def test_entries_for_the_creator_are_handed_down_alone() -> None:
    found = descriptor(
        (ALLOW, FILE_ALL_ACCESS, unix_user(OWNER), 0),
        (ALLOW, FILE_ALL_ACCESS, CREATOR_OWNER, BOTH | 8),
        (ALLOW, READ, unix_user(MAN), BOTH),
    )
    access, default = posix(found, directory=True)
    assert access == PosixAcl(7, 0, 0, {MAN: 5})
    assert default == PosixAcl(7, 0, 0, {MAN: 5})


def test_a_file_hands_nothing_down() -> None:
    found = descriptor((ALLOW, READ, EVERYONE, BOTH))
    assert posix(found, directory=False, exact=False) == (PosixAcl(5, 5, 5), None)


def test_a_default_without_the_creators_is_for_the_directory_s_owner_and_group() -> None:
    """As Samba says it; with them it is for whoever makes a file."""
    mine = (
        (ALLOW, FILE_ALL_ACCESS, unix_user(OWNER), BOTH),
        (ALLOW, READ, unix_group(GROUP), BOTH),
    )
    _, default = posix(descriptor(*mine), directory=True)
    assert default is not None
    assert (default.owner, default.group) == (7, 5)
    creators = ((ALLOW, READ, CREATOR_OWNER, BOTH | 8), (ALLOW, WRITE, CREATOR_GROUP, BOTH | 8))
    _, default = posix(descriptor(*mine, *creators), directory=True)
    assert default is not None
    assert (default.owner, default.group) == (5, 2)
    assert (default.users, default.groups) == ({OWNER: 7}, {GROUP: 5})


# -- on disk ---------------------------------------------------------------------------------------

PARTS = OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(str(tmp_path))


def test_a_grant_and_its_end(volume: Volume, tmp_path: Path) -> None:
    me = os.geteuid()
    (tmp_path / "file").touch(0o644)
    (tmp_path / "file").chmod(0o2644)
    given = descriptor(
        (ALLOW, FILE_ALL_ACCESS, unix_user(me), 0), (ALLOW, MODIFY, unix_user(MAN), 0)
    )
    alone = descriptor((ALLOW, FILE_ALL_ACCESS, unix_user(me), 0))
    with volume.lookup("file") as node:
        for new, mode, users in ((given, 0o2670, {MAN: 7}), (alone, 0o2600, {})):
            acl.change(node, new, DACL_SECURITY_INFORMATION, stored=False)
            assert node.stat().mode & 0o7777 == mode
            assert posix_acl.read_access(node).users == users
            told = acl.load(node, stored=False)
            acl.change(node, told, PARTS, stored=False)
            assert acl.load(node, stored=False) == told


def test_a_directory_hands_its_entries_down(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    given = descriptor(
        (ALLOW, FILE_ALL_ACCESS, unix_user(os.geteuid()), BOTH), (ALLOW, READ, unix_user(MAN), BOTH)
    )
    with volume.lookup("dir") as node:
        acl.change(node, given, DACL_SECURITY_INFORMATION, stored=False)
        assert (
            acl.load(node, stored=False).dacl
            == describe(
                os.geteuid(),
                node.stat().gid,
                PosixAcl(7, 0, 0, {MAN: 5}),
                PosixAcl(7, 0, 0, {os.geteuid(): 7, MAN: 5}),
                directory=True,
            ).dacl
        )
    (tmp_path / "dir" / "new").touch()
    with volume.lookup("dir/new") as new:
        assert posix_acl.read_access(new).users[MAN] == 4


@pytest.mark.parametrize(
    ("new", "part", "status"),
    [
        (SecurityDescriptor(owner=STRANGER), 1, NtStatus.INVALID_OWNER),
        (SecurityDescriptor(group=STRANGER), 2, NtStatus.INVALID_PRIMARY_GROUP),
        (descriptor((ALLOW, READ, STRANGER, 0)), 4, NtStatus.NOT_SUPPORTED),
    ],
)
def test_refusals_change_nothing(
    volume: Volume, tmp_path: Path, new: SecurityDescriptor, part: int, status: NtStatus
) -> None:
    (tmp_path / "file").touch(0o644)
    before = (tmp_path / "file").stat()
    with volume.lookup("file") as node, pytest.raises(SmbError) as caught:
        acl.change(node, new, part, stored=False)
    assert caught.value.status is status
    assert (tmp_path / "file").stat() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="security.NTACL is root's")
def test_a_stored_descriptor_goes_with_the_permissions(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    given = descriptor(
        (ALLOW, FILE_ALL_ACCESS, unix_user(0), 0),
        (ALLOW, MODIFY, unix_user(MAN), 0),
        (ALLOW, READ, STRANGER, 0),
    )
    man = Identity(MAN, MAN)
    with volume.lookup("file") as node:
        acl.change(node, given, DACL_SECURITY_INFORMATION, stored=True)
        assert posix_acl.read_access(node).users == {MAN: 7}
        found = acl.load(node, stored=True)
        assert found.dacl is not None
        assert STRANGER in {ace.sid for ace in found.dacl.aces}
        assert acl.maximal_access(node, man) & MODIFY == MODIFY
        # Somebody changes the mode on the server: what was stored is not true any more.
        (tmp_path / "file").chmod(0o604)
        found = acl.load(node, stored=True)
        assert found.dacl is not None
        assert STRANGER not in {ace.sid for ace in found.dacl.aces}
