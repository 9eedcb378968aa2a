"""Descriptors of shares and keys: what they grant, how they are read, made and inherited."""

import struct

import pytest
from impacket.ldap.ldaptypes import SR_SECURITY_DESCRIPTOR

from usmbd.mountd.admin import descriptors
from usmbd.mountd.admin.descriptors import Ace, Descriptor, inherited, pack, parse

ALLOW, DENY = 0, 1
ALICE, BOB, STAFF = "S-1-22-1-5", "S-1-22-1-6", "S-1-22-2-50"


@pytest.mark.parametrize(
    ("aces", "sids", "granted"),
    [
        ([], {ALICE}, 0),
        ([(ALLOW, 0, 3, ALICE)], {ALICE}, 3),
        ([(ALLOW, 0, 3, ALICE)], {BOB}, 0),
        ([(ALLOW, 0, 3, ALICE), (ALLOW, 0, 4, STAFF)], {ALICE, STAFF}, 7),
        ([(DENY, 0, 1, STAFF), (ALLOW, 0, 3, ALICE)], {ALICE, STAFF}, 2),
        ([(ALLOW, 0, 3, ALICE), (DENY, 0, 1, STAFF)], {ALICE, STAFF}, 3),  # too late
        ([(DENY, 0, 1, STAFF), (DENY, 0, 2, STAFF), (ALLOW, 0, 7, ALICE)], {ALICE, STAFF}, 4),
        ([(ALLOW, 8, 3, ALICE)], {ALICE}, 0),  # for what is beneath alone
        ([(2, 0, 3, ALICE)], {ALICE}, 0),  # an audit
    ],
)
def test_what_is_granted(
    aces: list[tuple[int, int, int, str]], sids: set[str], granted: int
) -> None:
    """In the order of the entries ([MS-DTYP] 2.5.3.2)."""
    made = tuple(Ace(*ace) for ace in aces)
    assert Descriptor(None, None, made).granted(sids) == granted
    own = Descriptor(ALICE, None, made).granted(sids)
    assert own == granted | (0x60000 if ALICE in sids else 0)  # READ_CONTROL, WRITE_DAC


def test_an_owner_may_be_denied_nothing_of_his() -> None:
    made = Descriptor(ALICE, None, (Ace(DENY, 0, 0x60001, ALICE), Ace(ALLOW, 0, 3, ALICE)))
    assert made.granted({ALICE}) == 0x60002


def test_no_dacl_is_everything() -> None:
    assert Descriptor(None, None, None).granted(set()) == 0xFFFFFFFF


def test_impacket_reads_what_is_made() -> None:
    made = Descriptor(ALICE, STAFF, (Ace(ALLOW, 2, 0x1F01FF, BOB), Ace(DENY, 0, 1, "S-1-1-0")))
    data = pack(made)
    theirs = SR_SECURITY_DESCRIPTOR(data=data)
    assert theirs["OwnerSid"].formatCanonical() == ALICE
    assert theirs["GroupSid"].formatCanonical() == STAFF
    assert theirs["Control"] == 0x8004
    found = [
        (ace["AceType"], ace["AceFlags"], ace["Ace"]["Mask"]["Mask"],
         ace["Ace"]["Sid"].formatCanonical())
        for ace in theirs["Dacl"]["Data"]
    ]  # fmt: skip
    assert found == [(ALLOW, 2, 0x1F01FF, BOB), (DENY, 0, 1, "S-1-1-0")]
    assert theirs["Dacl"]["AclRevision"] == 2
    assert theirs["Dacl"]["AclSize"] == 8 + 24 + 20
    assert len(data) == 20 + 16 + 16 + 52
    assert parse(data) == made


@pytest.mark.parametrize(
    "made",
    [
        Descriptor(None, None, None),
        Descriptor(ALICE, None, None),
        Descriptor(None, STAFF, ()),
        Descriptor("S-1-0x100000000000-7", "S-1-5-21-1-2-3-4", (Ace(ALLOW, 0, 1, ALICE),)),
        Descriptor("S-1-4294967295-1", "S-1-5", ()),
        Descriptor("S-1-5" + "-1" * 15, None, ()),
    ],
)
def test_what_is_made_is_read(made: Descriptor) -> None:
    assert parse(pack(made)) == made


def test_without_a_dacl_it_says_nothing_of_who_may() -> None:
    made = Descriptor(ALICE, None, None)
    assert struct.unpack_from("<H", pack(made, dacl=False), 2) == (0x8000,)
    assert struct.unpack_from("<H", pack(made), 2) == (0x8004,)
    assert parse(pack(made, dacl=False)).dacl is None


def test_every_short_one_is_refused() -> None:
    whole = pack(Descriptor(ALICE, STAFF, (Ace(ALLOW, 0, 1, BOB), Ace(DENY, 0, 1, ALICE))))
    for size in range(len(whole)):
        with pytest.raises(ValueError, match=r"."):
            parse(whole[:size])


DACL = 20  # where it begins without an owner and a group


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"\2", "no self-relative descriptor"),
        (2, b"\4\0", "no self-relative descriptor"),
        (DACL + 2, b"\xff\0", "an ACL that is short"),
        (DACL + 2, b"\x21\0", "an ACL that is short"),
        (DACL + 2, b"\x1f\0", "an entry that is short"),
        (DACL + 4, b"\2\0", "."),
        (DACL + 10, b"\x0f\0", "an entry that is short"),
        (DACL + 10, b"\x19\0", "an entry that is short"),
        (DACL + 16, b"\2", "no SID"),
        (DACL + 17, b"\x10", "no SID"),
    ],
)
def test_what_lies_is_refused(at: int, value: bytes, message: str) -> None:
    data = bytearray(pack(Descriptor(None, None, (Ace(ALLOW, 0, 1, ALICE),))))
    assert len(data) == DACL + 0x20
    data[at : at + len(value)] = value
    with pytest.raises(ValueError, match=message):
        parse(bytes(data))


def test_other_kinds_of_entries_are_left_out() -> None:
    data = bytearray(pack(Descriptor(None, None, (Ace(ALLOW, 0, 1, BOB), Ace(DENY, 0, 2, ALICE)))))
    data[DACL + 8] = 5  # an object's
    assert parse(bytes(data)).dacl == (Ace(DENY, 0, 2, ALICE),)


@pytest.mark.parametrize(
    ("flags", "sid", "found"),
    [
        (0, ALICE, []),
        (1, ALICE, []),  # for values, of which a key's have none
        (2, ALICE, [(0x12, ALICE)]),
        (2 | 8, ALICE, [(0x12, ALICE)]),  # that is for what is beneath, which is here
        (2 | 4, ALICE, [(0x10, ALICE)]),  # and no further
        (2 | 16, ALICE, [(0x12, ALICE)]),
    ],
)
def test_what_a_key_inherits(flags: int, sid: str, found: list[tuple[int, str]]) -> None:
    parent = Descriptor(BOB, STAFF, (Ace(ALLOW, flags, 3, sid), Ace(DENY, 0, 1, BOB)))
    made = inherited(parent, ALICE)
    assert made == Descriptor(ALICE, STAFF, tuple(Ace(ALLOW, f, 3, s) for f, s in found))


def test_a_creator_is_who_made_it() -> None:
    """[MS-DTYP] 2.5.3.4.2: for the key itself, and handed on as it is."""
    creator = descriptors.CREATOR_OWNER
    parent = Descriptor(BOB, None, (Ace(ALLOW, 2, 3, creator), Ace(DENY, 2 | 4, 1, creator)))
    assert inherited(parent, ALICE).dacl == (
        Ace(ALLOW, 0x10, 3, ALICE),
        Ace(ALLOW, 0x10 | 8 | 2, 3, creator),
        Ace(DENY, 0x10, 1, ALICE),
    )


def test_no_dacl_is_inherited_as_none() -> None:
    assert inherited(Descriptor(BOB, STAFF, None), ALICE) == Descriptor(ALICE, STAFF, None)
