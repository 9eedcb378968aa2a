"""Names that SMB cannot say: each has one spelling, and the spelling leads back to it alone."""

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usmbd.protocol.vfs.spelling import is_odd, shown, to_disk, to_wire

# Pieces that are odd alone or together, as bytes on disk and as characters on the wire.
STAND_INS = [
    *("\uef80", "\uefc3", "\uefa9", "\uf001", "\uf022", "\uf026", "\uf028", "\uf029"),
    *("\uf043", "\uf061", "\uf07f"),
]
ON_DISK = [
    *(b"a", b"B", b":", b"?", b"|", b"\\", b"*", b'"', b"<", b".", b" ", b"\x01", b"\x1f"),
    *(b"CON", b"aux", b".c", b"com", b"LPT", b"1", b"\xc2\xb9"),
    *(b"\xff", b"\x80", b"\xc3", b"\xa9", b"\xc3\xa9", "\uf078".encode()),
    *(character.encode() for character in STAND_INS),
]
ON_WIRE = ["a", ".", " ", "ON", "CON", "é", "\udc80", "\udcc3", "\ud800", "\uf078", *STAND_INS]

UNSAYABLE = re.compile(r'[\x00-\x1f"*/:<>?\\|\ud800-\udfff]|[. ]\Z')
RESERVED = re.compile(r"(?ai:con|prn|aux|nul|com[1-9¹²³]|lpt[1-9¹²³]) *(?:\.|\Z)")


@pytest.mark.parametrize(
    ("disk", "wire"),
    [
        ("12:30 meeting.txt", "12\uf02230 meeting.txt"),
        ('"*:<>?\\|', "\uf020\uf021\uf022\uf023\uf024\uf025\uf026\uf027"),
        ("tab\tline\n\x1f", "tab\uf009line\uf00a\uf01f"),
        ("Jr.", "Jr\uf029"),
        ("a. b..", "a. b.\uf029"),
        ("sp  ", "sp \uf028"),
        ("CON", "\uf043ON"),
        ("aux.c", "\uf061ux.c"),
        ("nul .tar.gz", "\uf06eul .tar.gz"),
        ("com1.", "\uf063om1\uf029"),
        ("LPT\xb9", "\uf04cPT\xb9"),
        ("caf\udce9", "caf\uefe9"),
        ("plain", "plain"),
        ("console", "console"),
        ("com10", "com10"),
        (".con", ".con"),
        ("Größe", "Größe"),
    ],
)
def test_the_spelling_of_a_name(disk: str, wire: str) -> None:
    assert to_wire(disk) == wire
    assert to_disk(wire) == disk
    assert is_odd(disk) == (disk != wire)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(ON_DISK), min_size=1, max_size=7).map(b"".join))
def test_every_name_has_a_spelling_that_leads_back(name: bytes) -> None:
    disk = os.fsdecode(name)
    if disk in (".", ".."):
        return
    wire = to_wire(disk)
    assert to_disk(wire) == disk
    assert not UNSAYABLE.search(wire)
    assert not RESERVED.match(wire)
    assert len(wire.encode("utf-16-le")) // 2 <= len(name), "it may be longer than a name can be"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(ON_WIRE), min_size=1, max_size=7).map("".join))
def test_what_a_client_writes_becomes_nothing_that_it_could_not_have(wire: str) -> None:
    disk = to_disk(wire)
    if disk != wire:
        assert disk not in ("", ".", "..")
        assert not {"/", "\0"} & set(disk)
        assert os.fsdecode(os.fsencode(disk)) == disk


@pytest.mark.parametrize(
    "wire",
    [
        "\uf029",
        ".\uf029",
        "\uefc3\uefa9",
        "a\uf028b",
        "\uf043at",
        "x\uf043ON",
        "a\uf07fb",
        "\uf078",
    ],
)
def test_what_stands_for_nothing_is_meant_literally(wire: str) -> None:
    assert to_disk(wire) == wire


def test_a_stored_stand_in_keeps_its_look_unless_that_is_taken() -> None:
    # As a Mac's file is stored by Samba.
    assert shown("a\uf022b", lambda _: False) == "a\uf022b"
    taken = shown("a\uf022b", {"a:b"}.__contains__)
    assert taken not in ("a\uf022b", "a:b")
    assert to_disk(taken) == "a\uf022b"
    # Half of it stored and half not: no other name may look the same.
    names = ["a:?", "a\uf022?", "a:\uf025", "a\uf022\uf025"]
    assert len({shown(name, names.__contains__) for name in names}) == 4
