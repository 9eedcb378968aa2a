"""Named streams and EAs in extended attributes."""

import os
from pathlib import Path

import pytest

from usmbd.protocol.vfs import ea, xattrs
from usmbd.protocol.vfs.node import Node
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
    assert [(s.name, s.size) for s in list_streams(node)] == [("Zone.Identifier", 6)]
    other = open_stream(node, "ZONE.identifier")
    buffers = [bytearray(3), bytearray(9)]
    assert other.read_into(buffers, 0) == 6
    assert bytes(buffers[0]) == b"\0\0d"
    assert other.read_into(buffers, 6) == 0
    other.truncate(3)
    assert stream.stat().size == 3
    assert node.stat().size == 0


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
    assert [(s.name, s.size) for s in list_streams(node)] == [("TWO", 1)]
    stream.rename("two", replace=False)
    assert list_streams(node)[0].name == "two"
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
    assert ea.list_eas(node) == []
    assert ea.total_size(node) == 0
    ea.put(node, "Author", b"me")
    ea.put(node, "AUTHOR", b"you")
    assert ea.list_eas(node) == [ExtendedAttribute("Author", b"you")]
    assert ea.total_size(node) == 4 + 4 + 6 + 1 + 3
    assert os.getxattr(tmp_path / "file", "user.Author") == b"you"
    ea.put(node, "author", b"")
    assert ea.list_eas(node) == []
    ea.put(node, "nothing", b"")


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
        ea.put(node, name, b"x")
    assert caught.value.status == status


def test_chosen_eas(node: Node) -> None:
    ea.set_eas(node, [ExtendedAttribute("One", b"1"), ExtendedAttribute("Two", b"2")])
    wanted = memoryview(b"\0\0\0\0\x03TWO\0")
    assert ea.choose(ea.list_eas(node), wanted) == [ExtendedAttribute("Two", b"2")]
    wanted = memoryview(b"\0\0\0\0\x02no\0")
    assert ea.choose(ea.list_eas(node), wanted) == [ExtendedAttribute("no", b"")]


def test_what_replacing_a_file_removes(node: Node) -> None:
    for eas in (False, True):
        create_stream(node, "stream")
        ea.put(node, "author", b"me")
        xattrs.clear_eas_and_streams(node, eas=eas)
        assert list_streams(node) == []
        assert bool(ea.list_eas(node)) is not eas
    assert xattrs.names(node) == ["user.DOSATTRIB"]
