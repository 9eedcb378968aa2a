"""EAs as attributes of files: all or none, sizes as the documents count them, what is no EA."""

import errno
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from usmbd.protocol.vfs import ea, xattrs
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Keep attributes in memory, where there is room for more than a file system gives."""
    kept: dict[str, bytes] = {}

    def get(_node: Node, name: str) -> bytes:
        if name not in kept:
            raise OSError(errno.ENODATA, "no such attribute")
        return kept[name]

    def remove(_node: Node, name: str) -> None:
        get(_node, name)
        del kept[name]

    monkeypatch.setattr(ea.xattrs, "names", lambda _node: list(kept))
    monkeypatch.setattr(ea.xattrs, "get", get)
    monkeypatch.setattr(ea.xattrs, "put", lambda _node, name, value: kept.update({name: value}))
    monkeypatch.setattr(ea.xattrs, "remove", remove)
    return kept


def attributes(path: Path) -> dict[str, bytes]:
    return {
        name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")
    }


def put(node: Node, *eas: tuple[str, bytes]) -> None:
    finish(ea.set_eas(node, [ExtendedAttribute(*each) for each in eas]))


def refused(node: Node, *eas: ExtendedAttribute) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        finish(ea.set_eas(node, eas))
    return caught.value.status


def listed(node: Node, limit: int = 1 << 20) -> dict[str, bytes]:
    return {each.name: each.value for each in finish(ea.list_eas(node, limit))}


def chosen(node: Node, *names: bytes, limit: int = 1 << 20) -> list[ExtendedAttribute]:
    """Ask for EAs by a FILE_GET_EA_INFORMATION chain."""
    entries = [struct.pack("<B", len(name)) + name + b"\0" for name in names]
    chain = b""
    for each in entries[:-1]:
        padded = each + bytes(-(len(each) + 4) % 4)
        chain += struct.pack("<I", len(padded) + 4) + padded
    chain += bytes(4) + entries[-1]
    return finish(ea.choose(node, memoryview(chain), limit))


def pauses(steps: Any) -> int:
    """Return how often a call lets others have their turn."""
    return sum(1 for _ in steps)


# -- written ---------------------------------------------------------------------------------


def test_an_ea_is_an_attribute_of_user(node: Node, path: Path) -> None:
    put(node, ("One", b"1"), ("two", b"22"))
    assert attributes(path) == {"user.One": b"1", "user.two": b"22"}
    assert listed(node) == {"One": b"1", "two": b"22"}


def test_a_name_is_found_in_any_case_and_keeps_its_own(node: Node, path: Path) -> None:
    put(node, ("One", b"1"))
    put(node, ("ONE", b"2"))
    assert attributes(path) == {"user.One": b"2"}
    assert chosen(node, b"oNe") == [ExtendedAttribute("One", b"2")]


def test_an_empty_value_removes_it(node: Node, path: Path) -> None:
    put(node, ("One", b"1"), ("two", b"2"))
    put(node, ("ONE", b""), ("missing", b""))
    assert attributes(path) == {"user.two": b"2"}


def test_of_several_for_one_name_the_last_counts(node: Node, path: Path) -> None:
    put(node, ("a", b"1"), ("A", b"2"), ("b", b"1"), ("B", b""))
    assert list(attributes(path).values()) == [b"2"]


def test_all_or_none(node: Node, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(node, ("old", b"before"), ("gone", b"there"))
    real, left = xattrs.put, [2]

    def put_some(node: Node, name: str, value: bytes, flags: int = 0) -> None:
        if name == "user.new2" and left:
            left.clear()
            raise OSError(errno.ENOSPC, "no room")
        real(node, name, value, flags)

    monkeypatch.setattr(ea.xattrs, "put", put_some)
    wanted = [("new1", b"1"), ("old", b"after"), ("gone", b""), ("new2", b"2")]
    status = refused(node, *(ExtendedAttribute(*each) for each in wanted))
    assert status is NtStatus.EA_TOO_LARGE
    assert attributes(path) == {"user.old": b"before", "user.gone": b"there"}


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.E2BIG, NtStatus.EA_TOO_LARGE),
        (errno.ENOSPC, NtStatus.EA_TOO_LARGE),
        (errno.ENOTSUP, NtStatus.EAS_NOT_SUPPORTED),
    ],
)
def test_what_the_file_system_says(
    node: Node, number: int, status: NtStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(ea.xattrs, "put", fail)
    assert refused(node, ExtendedAttribute("a", b"1")) is status


def test_another_error_of_the_file_system_is_its_own(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "a bad disk")

    monkeypatch.setattr(ea.xattrs, "put", fail)
    with pytest.raises(OSError, match="a bad disk"):
        put(node, ("a", b"1"))


def test_what_another_removed_meanwhile_is_removed(
    node: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(node, ("a", b"1"))
    real = xattrs.remove

    def remove(node: Node, name: str) -> None:
        os.removexattr(path, name)
        real(node, name)

    monkeypatch.setattr(ea.xattrs, "remove", remove)
    put(node, ("a", b""))
    assert attributes(path) == {}


# -- refused ---------------------------------------------------------------------------------


def test_a_name_fits_into_an_attribute_s(node: Node, stored: dict[str, bytes]) -> None:
    put(node, ("x" * 250, b"1"))
    assert list(stored) == ["user." + "x" * 250]
    for name in ("x" * 251, "ä" * 126, "", "a\0b"):
        assert refused(node, ExtendedAttribute(name, b"1")) is NtStatus.INVALID_EA_NAME


def test_a_needed_ea_cannot_be_kept(node: Node, path: Path) -> None:
    status = refused(node, ExtendedAttribute("b", b"1"), ExtendedAttribute("a", b"1", 0x80))
    assert status is NtStatus.INVALID_EA_FLAG
    assert attributes(path) == {}


@pytest.mark.parametrize(
    "name",
    [
        "DOSATTRIB",
        "dosattrib",
        "NTACL",
        "SAMBA_PAI",
        "DosAttrib",
        "SmbReparse",
        "DosStream.x:$DATA",
    ],
)
def test_what_servers_keep_for_themselves_is_no_ea(node: Node, path: Path, name: str) -> None:
    assert refused(node, ExtendedAttribute(name, b"1")) is NtStatus.ACCESS_DENIED
    os.setxattr(path, f"user.{name}", b"theirs")
    os.setxattr(path, "user.ours", b"1")
    assert listed(node) == {"ours": b"1"}
    assert chosen(node, name.encode().replace(b":", b".")) == [
        ExtendedAttribute(name.replace(":", "."), b"")
    ]


def test_all_of_a_file_s_eas_have_64_kib_less_5(node: Node, stored: dict[str, bytes]) -> None:
    """[MS-FSA] 2.1.5.15.5; an entry counts five bytes beside its name and value."""
    room = 0x10000 - 5 - (5 + 1 + 10)
    put(node, ("a", bytes(10)), ("b", bytes(room - 6)))
    assert refused(node, ExtendedAttribute("b", bytes(room - 5))) is NtStatus.EA_TOO_LARGE
    assert refused(node, ExtendedAttribute("c", b"1")) is NtStatus.EA_TOO_LARGE
    put(node, ("B", b""), ("c", bytes(room - 6)))  # what is replaced or removed gives its room
    assert sorted(stored) == ["user.a", "user.c"]
    put(node, ("C", bytes(room - 6)))
    assert refused(node, ExtendedAttribute("C", bytes(room - 5))) is NtStatus.EA_TOO_LARGE


def test_a_share_without_eas(path: Path) -> None:
    os.setxattr(path, "user.a", b"1")
    options = VolumeOptions(ea_support=False)
    with Volume(str(path.parent), options).lookup("file") as node:
        assert refused(node, ExtendedAttribute("b", b"1")) is NtStatus.EAS_NOT_SUPPORTED
        assert listed(node) == {}
        assert finish(ea.total_size(node)) == 0


# -- read ------------------------------------------------------------------------------------


def test_easize_counts_as_os2_did(node: Node) -> None:
    """[MS-FSA] 2.1.5.12.10: four bytes for the list, five for each entry, names and values."""
    assert finish(ea.total_size(node)) == 0
    put(node, ("abc", b"12"))
    assert finish(ea.total_size(node)) == 4 + 5 + 3 + 2
    put(node, ("de", b"3456"))
    assert finish(ea.total_size(node)) == 4 + (5 + 3 + 2) + (5 + 2 + 4)


def test_a_name_that_is_missing_is_answered_with_nothing(node: Node) -> None:
    put(node, ("b", b"2"), ("a", b"1"))
    assert chosen(node, b"a", b"X", b"B") == [
        ExtendedAttribute("a", b"1"),
        ExtendedAttribute("X", b""),
        ExtendedAttribute("b", b"2"),
    ]


def test_a_list_ends_with_the_first_that_has_no_room(node: Node, stored: dict[str, bytes]) -> None:
    for name in "abc":
        stored[f"user.{name}"] = bytes(4)  # ten bytes each
    assert list(listed(node, limit=20)) == ["a", "b", "c"]
    assert list(listed(node, limit=19)) == ["a", "b"]
    assert list(listed(node, limit=0)) == ["a"]
    assert [each.name for each in chosen(node, b"a", b"b", b"c", limit=10)] == ["a", "b"]
    assert [each.name for each in chosen(node, b"a", b"b", b"c", limit=9)] == ["a"]
    assert [each.name for each in chosen(node, b"X", b"Y", b"Z", limit=11)] == ["X", "Y"]


def test_a_value_of_another_program_s_that_no_answer_can_have(
    node: Node, stored: dict[str, bytes]
) -> None:
    stored["user.large"] = bytes(0x10000)
    stored["user.long"] = bytes(0xFFFF)
    assert list(listed(node)) == ["long"]
    assert chosen(node, b"large", b"long")[0] == ExtendedAttribute("large", b"")
    assert len(chosen(node, b"long")[0].value) == 0xFFFF
    assert finish(ea.total_size(node)) == 4 + 5 + 4 + 0xFFFF


def test_what_is_removed_between_the_list_and_the_look(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ea.xattrs, "names", lambda _node: ["user.gone"])
    assert listed(node) == {}
    assert finish(ea.total_size(node)) == 0
    assert chosen(node, b"gone") == [ExtendedAttribute("gone", b"")]
    monkeypatch.setattr(ea.xattrs, "put", lambda *_: None)
    put(node, ("gone", b"1"))


def test_another_error_of_a_look_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "a bad disk")

    monkeypatch.setattr(ea.xattrs, "names", lambda _node: ["user.a"])
    monkeypatch.setattr(ea.xattrs, "get", fail)
    with pytest.raises(OSError, match="a bad disk"):
        listed(node)


# -- in steps --------------------------------------------------------------------------------


def test_others_have_their_turn_after_32_eas(node: Node, stored: dict[str, bytes]) -> None:
    stored.update({f"user.{number}": b"1" for number in range(64)})
    assert pauses(ea.list_eas(node, 1 << 20)) == 2
    assert pauses(ea.total_size(node)) == 2
    wanted = [ExtendedAttribute(f"n{number}", b"1") for number in range(32)]
    # what is there, what is wanted, what is written
    assert pauses(ea.set_eas(node, wanted)) == 2 + 1 + 1
    assert pauses(ea.set_eas(node, wanted[:31])) == 3


def test_a_list_may_be_read_as_it_comes(node: Node, path: Path) -> None:
    def some() -> Iterable[ExtendedAttribute]:
        yield ExtendedAttribute("a", b"1")
        raise SmbError(NtStatus.EA_LIST_INCONSISTENT)

    with pytest.raises(SmbError):
        finish(ea.set_eas(node, some()))
    assert attributes(path) == {}, "nothing is written before the list is known"


# -- replaced files --------------------------------------------------------------------------


def test_what_replacing_a_file_takes_with_it(node: Node, path: Path) -> None:
    """[MS-FSA] 2.1.5.1.2: a superseded file loses EAs and streams, an overwritten one streams."""
    there = {
        "user.ea": b"1",
        "user.DosStream.s:$DATA": b"2",
        "user.DOSATTRIB": b"3",
    }
    for name, value in there.items():
        os.setxattr(path, name, value)
    xattrs.clear_eas_and_streams(node, eas=False)
    assert set(attributes(path)) == {"user.ea", "user.DOSATTRIB"}
    os.setxattr(path, "user.DosStream.s:$DATA", b"2")
    xattrs.clear_eas_and_streams(node)
    assert set(attributes(path)) == {"user.DOSATTRIB"}


def test_an_attribute_that_goes_meanwhile_is_gone(
    node: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.setxattr(path, "user.a", b"1")
    monkeypatch.setattr(xattrs, "names", lambda _node: ["user.missing", "user.a"])
    xattrs.clear_eas_and_streams(node)
    assert attributes(path) == {}

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "a bad disk")

    monkeypatch.setattr(xattrs, "remove", fail)
    with pytest.raises(OSError, match="a bad disk"):
        xattrs.clear_eas_and_streams(node)


def test_a_file_system_without_attributes_has_none(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> Any:
        def listxattr(*_: object) -> list[str]:
            raise OSError(number, os.strerror(number))

        return listxattr

    monkeypatch.setattr(os, "listxattr", fail(errno.ENOTSUP))
    assert xattrs.names(node) == []
    monkeypatch.setattr(os, "listxattr", fail(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        xattrs.names(node)


def test_a_read_only_share_changes_no_attribute(path: Path) -> None:
    with Volume(str(path.parent), VolumeOptions(read_only=True)).lookup("file") as node:
        for change in (
            lambda: xattrs.put(node, "user.a", b"1"),
            lambda: xattrs.remove(node, "user.a"),
        ):
            with pytest.raises(SmbError) as caught:
                change()
            assert caught.value.status is NtStatus.ACCESS_DENIED
    assert attributes(path) == {}


# -- listings --------------------------------------------------------------------------------


def told(volume: Volume, name: str = "file") -> int:
    """Return EaSize of a listing's entry."""
    with volume.lookup("") as root:
        return next(entry[2].ea_size for entry in root.scan() if entry and entry[0] == name)


def test_a_listing_says_what_the_open_file_says(
    volume: Volume, node: Node, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By both system calls, with a list of names that does not fit at once, too."""
    assert told(volume) == 0
    node.set_attributes(0x22)
    assert told(volume) == 0
    put(node, ("one", b"1"), ("two", b"22"))
    os.setxattr(path, "user.DosStream.s:$DATA", b"12345")
    assert told(volume) == finish(ea.total_size(node)) == 4 + 5 + 3 + 1 + 5 + 3 + 2
    put(node, *((f"{n}" * 90, b"x") for n in range(10, 20)))
    assert told(volume) == finish(ea.total_size(node)) > 1800
    monkeypatch.setattr(ea.kernel, "listxattr_at", ea.kernel._listxattr_by_proc)
    assert told(volume) == finish(ea.total_size(node))


def test_a_listing_counts_no_eas_where_the_share_has_none(path: Path, node: Node) -> None:
    put(node, ("one", b"1"))
    assert told(Volume(str(path.parent), VolumeOptions(ea_support=False))) == 0


def test_a_link_that_is_not_followed_has_no_eas(path: Path, node: Node) -> None:
    put(node, ("one", b"1"))
    (path.parent / "link").symlink_to("file")
    assert told(Volume(str(path.parent), VolumeOptions(follow_symlinks=False)), "link") == 0


def test_a_listing_pauses_where_a_file_has_many(node: Node, volume: Volume) -> None:
    put(node, *((f"{n}", b"x") for n in range(70)))
    with volume.lookup("") as root:
        assert sum(entry is None for entry in root.scan()) == 2
