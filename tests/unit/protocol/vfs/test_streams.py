"""Named streams and EAs in extended attributes."""

import errno
import os
from pathlib import Path

import pytest

from usmbd.protocol.vfs import ea, xattrs
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.vfs.streams import STREAM_MAX, create_stream, list_streams, open_stream
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Volume(str(tmp_path)).create_file("file")


def test_a_stream_is_kept_as_samba_keeps_it(node: Node, tmp_path: Path) -> None:
    stream = create_stream(node, "Zone.Identifier")
    assert stream.write(b"data", 2) == 4
    assert os.getxattr(tmp_path / "file", "user.DosStream.Zone.Identifier:$DATA") == b"\0\0data\0"
    assert [(s.name, s.size) for s in finish(list_streams(node))] == [("Zone.Identifier", 6)]
    other = open_stream(node, "ZONE.identifier")
    buffers = [bytearray(3), bytearray(9)]
    assert other.read_into(buffers, 0) == 6
    assert bytes(buffers[0]) == b"\0\0d"
    assert other.read_into(buffers, 6) == 0
    other.truncate(3)
    assert stream.stat().size == 3
    assert node.stat().size == 0


def test_case_counts_for_streams_where_it_does_for_files(tmp_path: Path) -> None:
    """`case sensitive`: as with Samba."""
    node = Volume(str(tmp_path), VolumeOptions(case_sensitive=True)).create_file("file")
    stream = create_stream(node, "one")
    with pytest.raises(SmbError) as caught:
        open_stream(node, "ONE")
    assert caught.value.status is NtStatus.OBJECT_NAME_NOT_FOUND
    create_stream(node, "ONE").write(b"1", 0)
    stream.rename("One", replace=False)
    assert [(s.name, s.size) for s in finish(list_streams(node))] == [("ONE", 1), ("One", 0)]


def test_names_of_streams(node: Node) -> None:
    stream = create_stream(node, "one")
    for name in ("one", "ONE"):
        with pytest.raises(SmbError) as caught:
            create_stream(node, name)
        assert caught.value.status == NtStatus.OBJECT_NAME_COLLISION
    create_stream(node, "two").write(b"2", 0)
    with pytest.raises(SmbError):
        stream.rename("TWO", replace=False)
    stream.write(b"1", 0)
    stream.rename("TWO", replace=True)
    assert [(s.name, s.size) for s in finish(list_streams(node))] == [("TWO", 1)]
    stream.rename("two", replace=False)
    assert finish(list_streams(node))[0].name == "two"
    stream.delete()
    with pytest.raises(SmbError) as caught:
        open_stream(node, "two")
    assert caught.value.status == NtStatus.OBJECT_NAME_NOT_FOUND
    with pytest.raises(SmbError) as caught:
        stream.read_into([bytearray(1)], 0)
    assert caught.value.status == NtStatus.FILE_DELETED


@pytest.mark.parametrize("offset", [STREAM_MAX, 2**63, 2**64 - 1])
def test_a_stream_has_an_end(node: Node, offset: int) -> None:
    stream = create_stream(node, "big")
    with pytest.raises(SmbError) as caught:
        stream.write(b"x", offset)
    assert caught.value.status == NtStatus.DISK_FULL
    assert stream.read_into([bytearray(1)], offset) == 0
    with pytest.raises(SmbError):
        stream.truncate(offset + 1)


def test_eas(node: Node, tmp_path: Path) -> None:
    assert finish(ea.list_eas(node, 65536)) == []
    assert finish(ea.total_size(node)) == 0
    finish(ea.set_eas(node, [ExtendedAttribute("Author", b"me")]))
    finish(ea.set_eas(node, [ExtendedAttribute("AUTHOR", b"you")]))
    assert finish(ea.list_eas(node, 65536)) == [ExtendedAttribute("Author", b"you")]
    assert finish(ea.total_size(node)) == 4 + 4 + 6 + 1 + 3
    assert os.getxattr(tmp_path / "file", "user.Author") == b"you"
    finish(ea.set_eas(node, [ExtendedAttribute("author", b"")]))
    assert finish(ea.list_eas(node, 65536)) == []
    finish(ea.set_eas(node, [ExtendedAttribute("nothing", b"")]))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("dosattrib", NtStatus.ACCESS_DENIED),
        ("DosStream.x:$DATA", NtStatus.ACCESS_DENIED),
        ("", NtStatus.INVALID_EA_NAME),
        ("x" * 300, NtStatus.INVALID_EA_NAME),
    ],
)
def test_eas_that_are_refused(node: Node, name: str, status: NtStatus) -> None:
    with pytest.raises(SmbError) as caught:
        finish(ea.set_eas(node, [ExtendedAttribute(name, b"x")]))
    assert caught.value.status == status


def test_chosen_eas(node: Node) -> None:
    finish(ea.set_eas(node, [ExtendedAttribute("One", b"1"), ExtendedAttribute("Two", b"2")]))
    wanted = memoryview(b"\0\0\0\0\x03TWO\0")
    assert finish(ea.choose(node, wanted, 65536)) == [ExtendedAttribute("Two", b"2")]
    wanted = memoryview(b"\0\0\0\0\x02no\0")
    assert finish(ea.choose(node, wanted, 65536)) == [ExtendedAttribute("no", b"")]


def test_a_list_is_written_whole_or_not_at_all(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(ea.set_eas(node, [ExtendedAttribute("Old", b"1"), ExtendedAttribute("Gone", b"2")]))
    change = [
        ExtendedAttribute("old", b"changed"),
        ExtendedAttribute("gone", b""),
        ExtendedAttribute("new", b"x"),
        ExtendedAttribute("last", b"y"),
    ]
    put = xattrs.put

    def full(node: Node, name: str, value: bytes, flags: int = 0) -> None:
        if name == "user.last":
            raise OSError(errno.ENOSPC, "full")
        put(node, name, value, flags)

    monkeypatch.setattr(xattrs, "put", full)
    with pytest.raises(SmbError) as caught:
        finish(ea.set_eas(node, change))
    assert caught.value.status == NtStatus.EA_TOO_LARGE
    found = {each.name: each.value for each in finish(ea.list_eas(node, 65536))}
    assert found == {"Old": b"1", "Gone": b"2"}


def test_a_file_has_64_kb_of_eas_at_most(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document counts 5 bytes, the name and the value; nothing is written beyond."""
    kept: dict[str, bytes] = {}
    monkeypatch.setattr(xattrs, "names", lambda node: list(kept))
    monkeypatch.setattr(xattrs, "get", lambda node, name: kept[name])
    monkeypatch.setattr(xattrs, "put", lambda node, name, value: kept.update({name: value}))
    eas = [ExtendedAttribute(f"n{number:02}", bytes(16376)) for number in range(3)]
    finish(ea.set_eas(node, eas))
    rest = 65531 - 3 * (5 + 3 + 16376) - (5 + 4)
    with pytest.raises(SmbError) as caught:
        finish(ea.set_eas(node, [ExtendedAttribute("more", bytes(rest + 1))]))
    assert caught.value.status == NtStatus.EA_TOO_LARGE
    assert "user.more" not in kept
    finish(ea.set_eas(node, [ExtendedAttribute("more", bytes(rest))]))
    finish(ea.set_eas(node, [ExtendedAttribute("n00", b"less")]))  # for which there is room


def test_the_work_grows_with_the_list_alone(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """8,000 entries for 500 EAs: all are listed once, each is read once, none is written."""
    calls: dict[str, int] = {"names": 0, "get": 0, "put": 0}
    there = [f"user.e{number}" for number in range(500)]

    def names(node: Node) -> list[str]:
        calls["names"] += 1
        return there

    def get(node: Node, name: str) -> bytes:
        calls["get"] += 1
        return b"1"

    monkeypatch.setattr(xattrs, "names", names)
    monkeypatch.setattr(xattrs, "get", get)
    entries = [ExtendedAttribute(f"no{number % 50}", b"") for number in range(8000)]
    steps = sum(1 for _ in ea.set_eas(node, entries))
    assert calls == {"names": 1, "get": 500, "put": 0}
    assert steps >= 8500 // 32 - 2


def test_what_replacing_a_file_removes(node: Node) -> None:
    for eas in (False, True):
        create_stream(node, "stream")
        finish(ea.set_eas(node, [ExtendedAttribute("author", b"me")]))
        xattrs.clear_eas_and_streams(node, eas=eas)
        assert finish(list_streams(node)) == []
        assert bool(finish(ea.list_eas(node, 65536))) is not eas
    assert xattrs.names(node) == ["user.DOSATTRIB"]
