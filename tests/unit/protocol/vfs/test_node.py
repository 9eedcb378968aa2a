"""Data, times, attributes and names of an open file."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from usmbd.protocol.vfs import directory_entry, short_names, xattrs
from usmbd.protocol.vfs.emptiness import is_empty
from usmbd.protocol.vfs.extents import allocated_ranges, copy, zero
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.smb_stat import smb_stat_for
from usmbd.protocol.vfs.steps import finish
from usmbd.protocol.vfs.streams import create_stream
from usmbd.protocol.vfs.volume import Volume, VolumeOptions
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_SPARSE_FILE,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(str(tmp_path))


@pytest.fixture
def node(volume: Volume) -> Node:
    return volume.create_file("file")


def refused(call: object, *arguments: object, **named: object) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.status


def test_data(node: Node) -> None:
    assert node.write(b"hello world", 3) == 11
    buffers = [bytearray(4), bytearray(20)]
    assert node.read_into(buffers, 0) == 14
    assert bytes(buffers[0]) == b"\0\0\0h"
    assert node.read_nowait_into([bytearray(4)], 10) == 4
    assert node.read_into([bytearray(4)], 100) == 0
    assert node.read_into([bytearray(4)], 2**64 - 1) == 0
    with pytest.raises(OSError, match="large") as caught:
        node.write(b"x", 2**63 - 1)
    assert caught.value.errno == errno.EFBIG
    node.truncate(5)
    assert node.stat().size == 5
    node.flush()


def test_reopen_for_data(volume: Volume, node: Node) -> None:
    with volume.lookup("file") as other:
        other.open_data(read=False, write=True)
        assert (other.readable, other.writable) == (False, True)
        other.write(b"x", 0)
        with pytest.raises(OSError, match="Bad file"):
            other.read_into([bytearray(1)], 0)
    with volume.lookup("file") as other:
        os.rename(
            Path(volume.resolver.root_path) / "file", Path(volume.resolver.root_path) / "moved"
        )
        other.open_data(read=True, write=False)
        assert other.read_into([bytearray(1)], 0) == 1


def test_allocation(node: Node) -> None:
    node.allocate(1 << 20)
    assert node.stat().size == 0
    assert node.last_stat.allocation >= 1 << 20
    node.write(bytes(5000), 0)
    node.allocate(1000)
    assert node.stat().size == 1000


def test_a_block_of_extended_attributes_is_no_room_for_data(node: Node) -> None:
    os.setxattr(f"/proc/self/fd/{node.fd}", "user.large", bytes(3000))  # more than an inode holds
    assert node.stat().allocation == 0
    node.allocate(1000)
    assert node.stat().allocation >= 1000
    node.write(b"x", 0)
    assert node.stat().allocation >= 4096


@pytest.mark.parametrize(
    ("size", "blocks", "allocation"),
    [
        (0, 0, 0),
        (0, 8, 0),  # attributes
        (0, 2, 0),  # of a file system with small blocks
        (0, 16, 8192),  # reserved
        (1, 8, 4096),
        (1, 16, 4096),
        (4096, 8, 4096),
        (4097, 16, 8192),
        (4097, 24, 8192),
        (4097, 32, 16384),
        (1 << 20, 8, 4096),  # holes
        (1 << 20, 2056, 1 << 20),
    ],
)
def test_what_counts_as_allocation(size: int, blocks: int, allocation: int) -> None:
    times = (0, 0, 0, 0, 0, 0, 0, 0)
    statx = (0, 4096, 1, 0, 0, 0o100644, 7, size, blocks, *times, 8, 1)
    assert smb_stat_for(VolumeOptions())(statx, None, "file", -1).allocation == allocation


def test_attributes_and_times(volume: Volume, node: Node) -> None:
    node.set_attributes(FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_ARCHIVE)
    moment = from_ns(1_600_000_000_123_456_700)
    node.set_times(creation=moment, access=moment + 1, write=moment + 2)
    facts = node.stat()
    assert facts.attributes == FILE_ATTRIBUTE_READONLY | FILE_ATTRIBUTE_ARCHIVE
    times = facts.creation_time, facts.last_access_time, facts.last_write_time
    assert times == (moment, moment + 1, moment + 2)
    assert abs(facts.change_time - from_ns(time.time_ns())) < 10 * 10_000_000
    with volume.lookup("FILE") as other:
        assert other.last_stat == facts
        other.set_times(write=moment)
        assert other.stat().last_access_time == moment + 1
        assert other.last_stat.last_write_time == moment
    node.set_sparse(True)
    node.set_attributes(FILE_ATTRIBUTE_NORMAL)
    assert node.stat().attributes == FILE_ATTRIBUTE_SPARSE_FILE
    assert node.last_stat.creation_time == moment


def test_a_change_time_that_was_set_stays_until_the_file_is_changed(
    volume: Volume, node: Node, tmp_path: Path
) -> None:
    moment = from_ns(1_600_000_000_123_456_700)
    node.set_times(write=moment, change=moment + 1)
    created = node.stat().creation_time
    assert (node.last_stat.last_write_time, node.last_stat.change_time) == (moment, moment + 1)
    with volume.lookup("file") as other:
        assert other.last_stat.change_time == moment + 1
    with volume.lookup("") as root:
        root.open_data(read=True, write=False)
        (entry,) = [found for found in root.scan() if found is not None and found[0] == "file"]
    assert entry[2].change_time == moment + 1
    time.sleep(0.12)
    os.chmod(tmp_path / "file", 0o600)
    assert abs(node.stat().change_time - from_ns(time.time_ns())) < 60 * 10_000_000
    node.set_times(change=moment)
    assert (node.stat().change_time, node.last_stat.creation_time) == (moment, created)
    time.sleep(0.12)
    node.set_attributes(FILE_ATTRIBUTE_ARCHIVE)
    assert node.stat().change_time != moment


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node.write(b"x", 0),
        lambda node: node.truncate(7),
        lambda node: node.set_mode(0o600),
        lambda node: node.set_owner(os.getuid(), -1),
        lambda node: node.set_attributes(FILE_ATTRIBUTE_ARCHIVE),
        lambda node: directory_entry.rename(node, "other", False),
        lambda node: directory_entry.link(node, "other", False),
        lambda node: create_stream(node, "stream"),
        lambda node: xattrs.remove(node, "user.removed"),
    ],
)
def test_what_the_server_changes_is_seen_at_once(
    node: Node, change: Callable[[Node], object]
) -> None:
    """However soon it comes after the change time that a client has set."""
    moment = from_ns(1_600_000_000_123_456_700)
    xattrs.put(node, "user.removed", b"x")
    node.set_times(write=moment, change=moment)
    assert node.stat().change_time == moment
    change(node)
    assert abs(node.stat().change_time - from_ns(time.time_ns())) < 60 * 10_000_000


def test_a_name_that_goes_is_a_change(volume: Volume, node: Node) -> None:
    directory_entry.link(node, "other", False)
    node.stat()
    moment = from_ns(1_600_000_000_123_456_700)
    node.set_times(change=moment)
    directory_entry.unlink(node)
    with volume.lookup("other") as other:
        assert other.last_stat.change_time != moment


def test_a_time_before_1970(node: Node) -> None:
    node.set_times(write=from_ns(-1_500_000_000))
    assert node.stat().last_write_time == from_ns(-1_500_000_000)


def test_birth_time_without_attribute(tmp_path: Path) -> None:
    before = from_ns(time.time_ns() - 50_000_000)
    (tmp_path / "plain").touch()
    os.utime(tmp_path / "plain", (0, 0))
    with Volume(str(tmp_path)).lookup("plain") as node:
        created = node.last_stat.creation_time
    # The oldest of the other times where the file system keeps no birth time.
    assert created >= before or created == from_ns(0)


def test_rename(volume: Volume, node: Node, tmp_path: Path) -> None:
    (tmp_path / "Dir").mkdir()
    (tmp_path / "Dir" / "Taken").write_bytes(b"old")
    directory_entry.rename(node, "dir/new", replace=False)
    assert node.path == "Dir/new"
    assert (tmp_path / "Dir" / "new").exists()
    assert (
        refused(directory_entry.rename, node, "Dir/TAKEN", replace=False)
        == NtStatus.OBJECT_NAME_COLLISION
    )
    directory_entry.rename(node, "Dir/TAKEN", replace=True)
    assert os.listdir(tmp_path / "Dir") == ["TAKEN"]
    assert (
        refused(directory_entry.rename, node, "none/x", replace=False)
        == NtStatus.OBJECT_PATH_NOT_FOUND
    )
    assert refused(directory_entry.rename, node, "dir", replace=True) == NtStatus.ACCESS_DENIED


def test_rename_to_another_case(volume: Volume, node: Node, tmp_path: Path) -> None:
    directory_entry.rename(node, "FILE", replace=False)
    assert os.listdir(tmp_path) == ["FILE"]
    directory_entry.rename(node, "FILE", replace=False)
    with volume.lookup("file") as other:
        assert other.path == "FILE"


def test_rename_of_a_directory_keeps_open_files(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    inner = volume.create_file("a/inner")
    with volume.lookup("A") as directory:
        directory_entry.rename(directory, "b", replace=False)
    assert directory_entry.current_path(inner) == "b/inner"
    directory_entry.rename(inner, "b/renamed", replace=False)
    assert os.listdir(tmp_path / "b") == ["renamed"]
    directory_entry.unlink(inner)
    assert not os.listdir(tmp_path / "b")
    with volume.lookup("b") as directory:
        with pytest.raises(OSError, match="Invalid"):
            directory_entry.rename(directory, "b/c", replace=False)
        directory_entry.unlink(directory)


def test_rename_onto_another_name_of_the_same_file(
    volume: Volume, node: Node, tmp_path: Path
) -> None:
    directory_entry.link(node, "second", replace=False)
    directory_entry.rename(node, "second", replace=True)
    assert os.listdir(tmp_path) == ["second"]


def test_link(volume: Volume, node: Node, tmp_path: Path) -> None:
    (tmp_path / "Taken").write_bytes(b"old")
    directory_entry.link(node, "second", replace=False)
    assert node.stat().nlink == 2
    assert (
        refused(directory_entry.link, node, "taken", replace=False)
        == NtStatus.OBJECT_NAME_COLLISION
    )
    directory_entry.link(node, "taken", replace=True)
    assert sorted(os.listdir(tmp_path)) == ["file", "second", "taken"]
    assert node.stat().nlink == 3


def test_unlink_never_removes_another_file(volume: Volume, node: Node, tmp_path: Path) -> None:
    (tmp_path / "file").rename(tmp_path / "elsewhere")
    (tmp_path / "file").write_bytes(b"another")
    directory_entry.unlink(node)
    assert os.listdir(tmp_path) == ["file"]
    assert refused(directory_entry.unlink, node) == NtStatus.FILE_DELETED
    assert refused(directory_entry.current_path, node) == NtStatus.FILE_DELETED


def test_unlink_of_a_link_leaves_its_target(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    with volume.lookup("link") as node:
        directory_entry.unlink(node)
    assert os.listdir(tmp_path) == ["target"]


def test_unlink_directory(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    with volume.lookup("full") as node:
        assert refused(directory_entry.unlink, node) == NtStatus.DIRECTORY_NOT_EMPTY
        assert not is_empty(node)
        with directory_entry.parent(node) as parent:
            assert parent.path == ""
        (tmp_path / "full" / "x").rmdir()
        assert is_empty(node)
        directory_entry.unlink(node)
    assert not os.listdir(tmp_path)


def test_scan(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_bytes(b"12")
    (tmp_path / "sub" / "b.doc").touch()
    (tmp_path / "sub" / "bad:name").touch()
    (tmp_path / "sub" / "lost").touch()
    (tmp_path / "sub" / "link").symlink_to("a.txt")
    (tmp_path / "sub" / "broken").symlink_to("nothing")
    volume = Volume(str(tmp_path), VolumeOptions(veto=lambda name: name == "lost"))
    with volume.lookup("sub") as node:
        node.open_data(read=True, write=False)
        found = {name: facts for name, _, facts, _ in node.scan()}
        assert list(found)[:2] == [".", ".."]
        assert set(found) == {".", "..", "a.txt", "b.doc", "link", "broken", "bad\uf022name"}
        assert found["broken"].reparse_tag == IO_REPARSE_TAG_SYMLINK
        assert found["a.txt"].size == found["link"].size == 2
        assert found["."].ino == node.last_stat.ino
        assert [name for name, *_ in node.scan(lambda name: name.endswith(".doc"))] == ["b.doc"]
        with volume.lookup("sub/a.txt") as file:
            assert file.stat() == found["a.txt"]


def short_name_of(volume: Volume, path: str) -> str:
    with volume.lookup(path) as node:
        return directory_entry.short_name(node)


def test_short_names(tmp_path: Path) -> None:
    for name in ("A long name.html", "odd:name", "CON", "README.TXT"):
        (tmp_path / name).touch()
    volume = Volume(str(tmp_path), VolumeOptions(lists_short_names=True))
    short = short_name_of(volume, "A long name.html")
    assert len(short) == 12
    assert short.endswith(".HTM")
    assert short_name_of(volume, "README.TXT") == "README.TXT"
    assert short_name_of(volume, "") == ""
    for path in ("A long name.html", "odd:name", "CON"):
        with volume.lookup(short_name_of(volume, path).lower()) as node:
            assert node.path == path
    with volume.lookup("") as root:
        listed = {name: short for name, short, *_ in root.scan()}
    assert listed["A long name.html"] == short
    assert listed["odd\uf022name"]
    assert listed["README.TXT"] == listed["."] == ""
    with Volume(str(tmp_path)).lookup("") as root:
        assert not any(short for _, short, *_ in root.scan())
    none = Volume(str(tmp_path), VolumeOptions(made_names=False))
    assert short_name_of(none, "A long name.html") == ""
    with pytest.raises(SmbError):
        none.lookup(short)


def test_a_short_name_that_another_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first long name", "second long name"):
        (tmp_path / name).touch()
    volume = Volume(str(tmp_path))
    taken = short_name_of(volume, "second long name")
    (tmp_path / taken).touch()
    assert short_name_of(volume, "second long name") == ""
    with volume.lookup(taken) as node:
        assert node.path == taken
    (tmp_path / taken).unlink()
    # Two names with one hash: the first has it, the other goes without.
    monkeypatch.setattr(short_names.zlib, "crc32", lambda _: 7)
    monkeypatch.setattr(short_names, "_NOT_PLAIN", re.compile("."))
    other = tmp_path / "other"
    other.mkdir()
    names = ("first long name", "further long name")
    for name in names:
        (other / name).touch()
    volume = Volume(str(other))
    shorts = [short_name_of(volume, name) for name in names]
    assert shorts[0]
    assert not shorts[1]


def test_ranges(volume: Volume, node: Node) -> None:
    node.write(b"x" * 65536, 0)
    node.write(b"y" * 65536, 1 << 20)
    ranges = finish(allocated_ranges(node, 0, 1 << 30, 10))
    assert ranges in ([(0, 65536), (1 << 20, 65536)], [(0, (1 << 20) + 65536)])
    zero(node, 0, 4096)
    buffer = bytearray(4097)
    node.read_into([buffer], 0)
    assert bytes(buffer) == bytes(4096) + b"x"
    with volume.create_file("copy") as target:
        assert copy(node, 1 << 20, target, 10, 1 << 20) == 65536
        assert target.stat().size == 65546
    assert copy(node, 4096, node, 4097, 1000) == 1000
    node.read_into([buffer], 4096)
    assert bytes(buffer[:1001]) == b"x" * 1001
