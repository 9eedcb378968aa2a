"""SIDs and security descriptors against Samba's bytes, impacket's decoder and hostile input."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from impacket.ldap.ldaptypes import SR_SECURITY_DESCRIPTOR

from usmbd.protocol.wire import security
from usmbd.protocol.wire.access import FILE_ALL_ACCESS, GENERIC_ALL
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    GROUP_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
)
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import (
    BUILTIN_ADMINISTRATORS,
    EVERYONE,
    Sid,
    unix_gid,
    unix_group,
    unix_uid,
    unix_user,
)
from usmbd.protocol.wire.status import NtStatus, SmbError

# Made by python3-samba 4.17 from the SDDL
# O:S-1-22-1-1000G:S-1-22-2-1001D:P(A;OICI;0x001f01ff;;;S-1-22-1-1000)(D;;0x2;;;WD)
SAMBA = bytes.fromhex(
    "0100049014000000240000000000000034000000010200000000001601000000e8030000"
    "010200000000001602000000e9030000040034000200000000031800ff011f0001020000"
    "0000001601000000e80300000100140002000000010100000000000100000000"
)
DESCRIPTOR = SecurityDescriptor(
    owner=unix_user(1000),
    group=unix_group(1001),
    dacl=Acl(
        (
            Ace(security.ACCESS_ALLOWED_ACE_TYPE, 3, FILE_ALL_ACCESS, unix_user(1000)),
            Ace(security.ACCESS_DENIED_ACE_TYPE, 0, 2, EVERYONE),
        ),
        revision=security.ACL_REVISION_DS,
    ),
    control=0x9004,
)


def refused(data: bytes) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        SecurityDescriptor.parse(data)
    return caught.value.status


def test_samba_descriptor() -> None:
    assert SecurityDescriptor.parse(SAMBA) == DESCRIPTOR
    assert DESCRIPTOR.pack() == SAMBA


def test_an_independent_decoder_reads_ours() -> None:
    decoded: Any = SR_SECURITY_DESCRIPTOR(data=DESCRIPTOR.pack())
    assert decoded["OwnerSid"].formatCanonical() == "S-1-22-1-1000"
    assert decoded["GroupSid"].formatCanonical() == "S-1-22-2-1001"
    first, second = decoded["Dacl"].aces
    assert first["Ace"]["Mask"]["Mask"] == FILE_ALL_ACCESS
    assert first["AceFlags"] == 3
    assert second["TypeName"] == "ACCESS_DENIED_ACE"
    assert second["Ace"]["Sid"].formatCanonical() == "S-1-1-0"


@pytest.mark.parametrize(
    "text", ["S-1-0-0", "S-1-5-32-544", "S-1-5-21-1-2-4294967295-500", "S-1-0x010000000000-7"]
)
def test_sid_text(text: str) -> None:
    sid = Sid.from_string(text)
    assert str(sid) == text
    assert Sid.parse(sid.pack()) == sid
    assert len(sid.pack()) == sid.size


@pytest.mark.parametrize(
    "text", ["", "S-1", "X-1-5-1", "S-2-5-1", "S-1-5-x", "S-1-5-4294967296", "S-1-5" + "-1" * 16]
)
def test_bad_sid_text(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Sid.from_string(text)


def test_sid_bounds() -> None:
    for count in (0, 1, 15):
        data = struct.pack("<BB", 1, count) + (5).to_bytes(6, "big") + bytes(4 * count)
        assert Sid.parse(data) == Sid(5, (0,) * count)
    for data in (
        b"",
        b"\x01\x01\0\0\0\0\0",
        b"\x02\x00\0\0\0\0\0\x05",
        b"\x01\x10\0\0\0\0\0\x05" + bytes(64),
        b"\x01\xff\0\0\0\0\0\x05" + bytes(1020),
        b"\x01\x02\0\0\0\0\0\x05" + bytes(7),
    ):
        with pytest.raises(SmbError) as caught:
            Sid.parse(data)
        assert caught.value.status == NtStatus.INVALID_SID


def test_unix_sids() -> None:
    assert str(unix_user(1000)) == "S-1-22-1-1000"
    assert unix_uid(unix_user(1000)) == 1000
    assert unix_gid(unix_user(1000)) is None
    assert unix_gid(unix_group(5)) == 5
    assert unix_uid(BUILTIN_ADMINISTRATORS) is None


def head(control: int, owner: int = 0, group: int = 0, sacl: int = 0, dacl: int = 0) -> bytes:
    return struct.pack("<BBHIIII", 1, 0, control, owner, group, sacl, dacl)


def acl(count: int, body: bytes, *, size: int | None = None, revision: int = 2) -> bytes:
    length = 8 + len(body) if size is None else size
    return struct.pack("<BBHHH", revision, 0, length, count, 0) + body


ACE = Ace(0, 0, 1, EVERYONE).pack()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", NtStatus.INVALID_SECURITY_DESCR),
        (head(0)[:19], NtStatus.INVALID_SECURITY_DESCR),
        (b"\x02" + head(0)[1:], NtStatus.INVALID_SECURITY_DESCR),
        (head(0, owner=4), NtStatus.INVALID_SECURITY_DESCR),
        (head(0, owner=19) + bytes(8), NtStatus.INVALID_SECURITY_DESCR),
        (head(0, owner=20), NtStatus.INVALID_SECURITY_DESCR),
        (head(0, owner=0xFFFFFFFF), NtStatus.INVALID_SECURITY_DESCR),
        (head(0, group=20) + b"\x01\x05" + bytes(10), NtStatus.INVALID_SID),
        (head(4, dacl=20) + acl(0, b"")[:7], NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(0, b"", size=9), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(0, b"", size=0xFFFF), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(0, b"", revision=1), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(0, b"", revision=5), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(2, ACE), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(0xFFFF, ACE), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, ACE, size=8), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, ACE[:2] + b"\0\0" + ACE[4:]), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, ACE[:2] + b"\x15\0" + ACE[4:] + b"\0"), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, ACE[:2] + b"\xff\xff" + ACE[4:]), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, ACE[:2] + b"\x10\0" + ACE[4:]), NtStatus.INVALID_SID),
        (head(4, dacl=20) + acl(1, b"\x04" + ACE[1:]), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, b"\xff" + ACE[1:]), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, b"\x05\0\x08\0\x01\0\0\0"), NtStatus.INVALID_ACL),
        (head(4, dacl=20) + acl(1, b"\x05\0\x0c\0\x01\0\0\0\x03\0\0\0"), NtStatus.INVALID_SID),
    ],
)
def test_hostile_descriptors(data: bytes, status: NtStatus) -> None:
    assert refused(data) == status


@given(st.binary(max_size=200), st.integers(0, len(SAMBA)))
def test_anything_parses_or_is_refused(noise: bytes, at: int) -> None:
    for data in (noise, SAMBA[:at] + noise, SAMBA[:at] + noise + SAMBA[at + len(noise) :]):
        try:
            descriptor = SecurityDescriptor.parse(data)
        except SmbError:
            continue
        assert SecurityDescriptor.parse(descriptor.pack()).dacl == descriptor.dacl


def test_null_dacl_is_not_an_empty_one() -> None:
    null = SecurityDescriptor(control=security.SE_DACL_PRESENT)
    assert null.pack() == head(0x8004)
    assert SecurityDescriptor.parse(null.pack()).dacl is None
    empty = SecurityDescriptor(dacl=Acl())
    assert empty.pack() == head(0x8004, dacl=20) + acl(0, b"")
    assert SecurityDescriptor.parse(empty.pack()).dacl == Acl()
    # An offset without its control bit is no DACL.
    assert SecurityDescriptor.parse(head(0x8000, dacl=20) + acl(0, b"")).dacl is None


def test_unusual_aces_survive() -> None:
    conditional = Ace(0x09, 0, 1, EVERYONE, application_data=b"artx" + bytes(8))
    with_guid = Ace(0x05, 0, 1, EVERYONE, object_part=b"\x01\0\0\0" + bytes(range(16)))
    original = Acl((conditional, with_guid), revision=4)
    assert Acl.parse(original.pack()) == original


def test_an_acl_past_64_kib_is_refused() -> None:
    full = Acl((Ace(0, 0, 1, EVERYONE),) * 3276)
    assert len(full.pack()) == 65528
    with pytest.raises(SmbError) as caught:
        Acl((*full.aces, full.aces[0])).pack()
    assert caught.value.status == NtStatus.INVALID_ACL
    with pytest.raises(SmbError):
        Ace(9, 0, 1, EVERYONE, application_data=bytes(65536)).pack()


def test_select() -> None:
    owner = DESCRIPTOR.select(OWNER_SECURITY_INFORMATION)
    assert owner == SecurityDescriptor(owner=unix_user(1000))
    dacl = DESCRIPTOR.select(DACL_SECURITY_INFORMATION)
    assert dacl.owner is None
    assert dacl.dacl == DESCRIPTOR.dacl
    assert dacl.control & security.SE_DACL_PROTECTED


def test_with_parts() -> None:
    inheritance = security.SE_DACL_AUTO_INHERIT_REQ | security.SE_DACL_AUTO_INHERITED
    new = SecurityDescriptor(
        owner=unix_user(7),
        group=unix_group(7),
        dacl=Acl((Ace(0, 0, GENERIC_ALL, EVERYONE),)),
        control=security.SE_DACL_PRESENT | inheritance,
    )
    changed = DESCRIPTOR.with_parts(new, DACL_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION)
    assert changed.owner == unix_user(1000)
    assert changed.group == unix_group(7)
    assert changed.dacl == Acl((Ace(0, 0, FILE_ALL_ACCESS, EVERYONE),))
    assert changed.control & 0xFFF == security.SE_DACL_AUTO_INHERITED | security.SE_DACL_PRESENT
    assert not changed.control & security.SE_DACL_PROTECTED


def test_a_dacl_that_is_named_but_not_sent_becomes_a_null_dacl() -> None:
    changed = DESCRIPTOR.with_parts(SecurityDescriptor(), DACL_SECURITY_INFORMATION)
    assert changed.dacl is None
    assert changed.control & security.SE_DACL_PRESENT
    assert changed.owner == DESCRIPTOR.owner
    stays = DESCRIPTOR.with_parts(SecurityDescriptor(), OWNER_SECURITY_INFORMATION)
    assert stays == DESCRIPTOR


def test_parts_are_those_that_are_there() -> None:
    assert SecurityDescriptor().parts == 0
    assert SecurityDescriptor(owner=unix_user(7)).parts == OWNER_SECURITY_INFORMATION
    null_dacl = SecurityDescriptor(control=security.SE_DACL_PRESENT)
    assert null_dacl.parts == DACL_SECURITY_INFORMATION


@pytest.mark.parametrize("revision", [2, 3, 4])
def test_revisions_of_a_list(revision: int) -> None:
    """Smbcacls sends 3 with `-S`; it is kept as it came."""
    sent = head(4, dacl=20) + acl(0, b"", revision=revision)
    descriptor = SecurityDescriptor.parse(memoryview(sent))
    assert descriptor.dacl == Acl((), revision)
