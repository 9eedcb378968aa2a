"""Look-up and creation in a share's tree, on real files."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.resolve import Parent
from usmbd.protocol.vfs.volume import Volume, VolumeOptions, _creation_status
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    IO_REPARSE_TAG_LX_FIFO,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.status import NtStatus, SmbError


def status_of_lookup(volume: Volume, path: str) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        volume.lookup(path)
    return caught.value.status


def status_of_creation(volume: Volume, path: str, parent: Parent) -> NtStatus:
    """Return why no file is made in the directory that a look-up has kept."""
    with pytest.raises(SmbError) as caught:
        volume.create_file(path, parent=parent)
    return caught.value.status


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    (tmp_path / "Dir" / "Sub").mkdir(parents=True)
    (tmp_path / "Dir" / "Sub" / "File.TXT").write_bytes(b"hello")
    (tmp_path / "Dir" / "Straße").write_bytes(b"")
    (tmp_path / "Dir" / "ÄÖÜ").write_bytes(b"")
    return Volume(str(tmp_path))


def test_lookup_exact(volume: Volume) -> None:
    with volume.lookup("Dir/Sub/File.TXT") as node:
        assert node.path == "Dir/Sub/File.TXT"
        assert not node.is_directory
        assert node.last_stat.size == 5
        assert node.last_stat.attributes == FILE_ATTRIBUTE_NORMAL
    with volume.lookup("") as root:
        assert root.is_directory
        assert root.last_stat.attributes == FILE_ATTRIBUTE_DIRECTORY


@pytest.mark.parametrize("path", ["dir/sub/file.txt", "DIR/SUB/FILE.TXT", "Dir/Sub/file.TXT"])
def test_lookup_in_another_case(volume: Volume, path: str) -> None:
    with volume.lookup(path) as node:
        assert node.path == "Dir/Sub/File.TXT"


def test_lookup_beyond_ascii(volume: Volume) -> None:
    with volume.lookup("dir/äöü") as node:
        assert node.path == "Dir/ÄÖÜ"
    # Windows' table maps one character to one: sharp s is not SS.
    assert status_of_lookup(volume, "Dir/STRASSE") == NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", NtStatus.OBJECT_NAME_NOT_FOUND),
        ("Dir/Sub/nothing", NtStatus.OBJECT_NAME_NOT_FOUND),
        ("nothing/File.TXT", NtStatus.OBJECT_PATH_NOT_FOUND),
        ("dir/nothing/File.TXT", NtStatus.OBJECT_PATH_NOT_FOUND),
        ("Dir/Sub/File.TXT/x", NtStatus.OBJECT_PATH_NOT_FOUND),
        ("dir/sub/FILE.txt/x", NtStatus.OBJECT_PATH_NOT_FOUND),
        ("x" * 300, NtStatus.OBJECT_NAME_INVALID),
        ("a/" * 3000 + "b", NtStatus.OBJECT_NAME_INVALID),
        ("\ud800", NtStatus.OBJECT_NAME_INVALID),
        ("../x", NtStatus.ACCESS_DENIED),
    ],
)
def test_lookup_of_nothing(volume: Volume, path: str, status: NtStatus) -> None:
    assert status_of_lookup(volume, path) == status


def test_case_sensitive_share(tmp_path: Path) -> None:
    (tmp_path / "Name").touch()
    volume = Volume(str(tmp_path), VolumeOptions(case_sensitive=True))
    assert status_of_lookup(volume, "name") == NtStatus.OBJECT_NAME_NOT_FOUND
    assert status_of_lookup(volume, "no/name") == NtStatus.OBJECT_PATH_NOT_FOUND


def test_the_exact_name_comes_first(tmp_path: Path) -> None:
    for name in ("readme", "README", "ReadMe"):
        (tmp_path / name).touch()
    volume = Volume(str(tmp_path))
    for name in ("readme", "README", "ReadMe"):
        with volume.lookup(name) as node:
            assert node.path == name


def test_a_look_up_in_another_case_sees_changes_at_once(volume: Volume, tmp_path: Path) -> None:
    assert status_of_lookup(volume, "dir/LATER") == NtStatus.OBJECT_NAME_NOT_FOUND
    (tmp_path / "Dir" / "later").touch()
    with volume.lookup("dir/LATER") as node:
        assert node.path == "Dir/later"
    (tmp_path / "Dir" / "later").rename(tmp_path / "Dir" / "LaTeR2")
    assert status_of_lookup(volume, "dir/LATER") == NtStatus.OBJECT_NAME_NOT_FOUND
    with volume.lookup("dir/later2") as node:
        assert node.path == "Dir/LaTeR2"


def test_create_file(volume: Volume, tmp_path: Path) -> None:
    with volume.create_file("dir/New.txt", FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_ARCHIVE) as node:
        assert node.path == "Dir/New.txt"
        assert node.readable
        assert node.writable
        assert node.write(b"data", 0) == 4
        created = node.last_stat.creation_time
    with volume.lookup("Dir/New.txt") as node:
        assert node.last_stat.attributes == FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_ARCHIVE
        assert node.last_stat.creation_time == created
        assert node.last_stat.size == 4
    with pytest.raises(SmbError) as caught:
        volume.create_file("Dir/New.txt")
    assert caught.value.status == NtStatus.OBJECT_NAME_COLLISION
    with pytest.raises(SmbError) as caught:
        volume.create_file("Dir/none/New.txt")
    assert caught.value.status == NtStatus.OBJECT_PATH_NOT_FOUND


def test_create_directory(volume: Volume, tmp_path: Path) -> None:
    with volume.create_directory("dir/sub/New", FILE_ATTRIBUTE_HIDDEN) as node:
        assert node.path == "Dir/Sub/New"
        assert node.is_directory
        expected = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_DIRECTORY
        assert node.last_stat.attributes == expected
        assert node.stat().attributes == expected
    with pytest.raises(SmbError) as caught:
        volume.create_directory("Dir/Sub/New")
    assert caught.value.status == NtStatus.OBJECT_NAME_COLLISION


def test_modes_follow_the_masks(tmp_path: Path) -> None:
    options = VolumeOptions(
        create_mask=0o640,
        force_create_mode=0o001,
        directory_mask=0o750,
        store_dos_attributes=False,
    )
    volume = Volume(str(tmp_path), options)
    before = os.umask(0)
    try:
        volume.create_file("f").close()
        volume.create_file("r", FILE_ATTRIBUTE_READONLY).close()
        volume.create_directory("d").close()
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o7777 == 0o641
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o750
    assert not os.listxattr(tmp_path / "f")
    with volume.lookup("r") as node:
        assert node.last_stat.attributes == FILE_ATTRIBUTE_READONLY
        node.set_attributes(0)
        assert node.stat().attributes == FILE_ATTRIBUTE_NORMAL


@pytest.mark.parametrize(
    ("mask", "force", "expected"),
    [
        (0o2775, 0o2775, 0o2775),
        (0o755, 0o2775, 0o2775),
        (0o3770, 0o3770, 0o3770),
        (0o755, 0o1000, 0o1755),
        (0o755, 0o6000, 0o6755),
        (0o7755, 0, 0o755),  # a mask only takes away
    ],
)
def test_special_bits_of_a_directory(tmp_path: Path, mask: int, force: int, expected: int) -> None:
    options = VolumeOptions(directory_mask=mask, force_directory_mode=force)
    before = os.umask(0)
    try:
        Volume(str(tmp_path), options).create_directory("d").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == expected


def test_special_bits_keep_what_the_parent_hands_down(tmp_path: Path) -> None:
    tmp_path.chmod(0o2755)
    options = VolumeOptions(force_directory_mode=0o1000)
    before = os.umask(0)
    try:
        Volume(str(tmp_path), options).create_directory("d").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o3755


def test_a_directory_does_not_replace_a_file(volume: Volume, tmp_path: Path) -> None:
    for directory, target in (("Dir/Sub", "Dir/Straße"), ("Dir/Sub", "dir/STRAßE")):
        with volume.lookup(directory) as node, pytest.raises(SmbError) as caught:
            directory_entry.rename(node, target, True)
        assert caught.value.status == NtStatus.OBJECT_NAME_COLLISION
    assert (tmp_path / "Dir" / "Sub").is_dir()
    assert (tmp_path / "Dir" / "Straße").is_file()


def test_links(tmp_path: Path) -> None:
    share, outside = tmp_path / "share", tmp_path / "outside"
    (share / "real").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").touch()
    (share / "real" / "file").touch()
    (share / "relative").symlink_to("real/file")
    (share / "absolute").symlink_to(share / "real")
    (share / "away").symlink_to(outside)
    (share / "up").symlink_to("../outside/secret")
    (share / "nowhere").symlink_to("nothing")
    (share / "round").symlink_to("round")
    volume = Volume(str(share))
    with volume.lookup("relative") as node:
        assert node.path == "relative"
        assert node.is_regular
    with volume.lookup("absolute/file") as node:
        assert node.is_regular
    for path in ("away/secret", "up", "nowhere", "round", "AWAY/secret"):
        assert status_of_lookup(volume, path) == NtStatus.ACCESS_DENIED, path
    with volume.lookup("up", open_reparse_point=True) as node:
        assert node.last_stat.reparse_tag == IO_REPARSE_TAG_SYMLINK
        assert node.last_stat.attributes & FILE_ATTRIBUTE_REPARSE_POINT
    strict = Volume(str(share), VolumeOptions(follow_symlinks=False))
    for path in ("relative", "absolute/file", "away/secret"):
        assert status_of_lookup(strict, path) == NtStatus.ACCESS_DENIED, path


def test_special_files_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    volume = Volume(str(tmp_path))
    with volume.lookup("fifo") as node:
        assert node.last_stat.reparse_tag == IO_REPARSE_TAG_LX_FIFO
        with pytest.raises(SmbError) as caught:
            node.open_data(read=True, write=False)
        assert caught.value.status == NtStatus.ACCESS_DENIED


def test_veto_and_read_only(tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "x").touch()
    volume = Volume(str(tmp_path), VolumeOptions(veto=lambda name: name == "lost", read_only=True))
    assert status_of_lookup(volume, "lost") == NtStatus.OBJECT_NAME_NOT_FOUND
    assert status_of_lookup(volume, "lost/x") == NtStatus.OBJECT_PATH_NOT_FOUND
    with pytest.raises(SmbError) as caught:
        volume.create_file("new")
    assert caught.value.status == NtStatus.ACCESS_DENIED


def test_fs_info(volume: Volume) -> None:
    facts = volume.fs_info()
    assert facts.total >= facts.free >= facts.available
    assert facts.name_max == 255


@pytest.mark.parametrize("swap", ["link", "file"])
def test_what_takes_a_new_directory_s_place_at_once_is_not_opened(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    """A link would lead out of the share, a file would pass for a directory."""
    outside = tmp_path / "outside"
    outside.mkdir()
    real = os.mkdir

    def mkdir(name: bytes, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        if swap == "link":
            os.symlink(outside, name, dir_fd=dir_fd)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=dir_fd))

    with monkeypatch.context() as patched:
        patched.setattr(os, "mkdir", mkdir)
        with pytest.raises(SmbError) as refused:
            volume.create_directory("new")
    assert refused.value.status is NtStatus.FILE_DELETED


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOENT, NtStatus.OBJECT_PATH_NOT_FOUND),
        (errno.ENOTDIR, NtStatus.OBJECT_PATH_NOT_FOUND),
        (errno.EXDEV, NtStatus.ACCESS_DENIED),  # the way would lead out of the share
        (errno.EEXIST, NtStatus.OBJECT_NAME_COLLISION),
        (errno.ENOSPC, NtStatus.DISK_FULL),
    ],
)
def test_why_nothing_was_made(number: int, status: NtStatus) -> None:
    assert _creation_status(number) is status


def missing(volume: Volume, path: str) -> Parent:
    """Return the directory that a look-up has kept where a name is missing."""
    kept: list[Parent] = []
    with pytest.raises(SmbError) as caught:
        volume.lookup(path, keep=kept.append)
    assert caught.value.status is NtStatus.OBJECT_NAME_NOT_FOUND
    return kept.pop()


@pytest.mark.parametrize("make", [Volume.create_file, Volume.create_directory])
def test_what_is_made_is_made_where_it_was_missing(
    tmp_path: Path, make: Callable[..., Node]
) -> None:
    """Whatever another has put in the place of its directory meanwhile."""
    share, outside = tmp_path / "share", tmp_path / "outside"
    (share / "Folder").mkdir(parents=True)
    outside.mkdir()
    volume = Volume(str(share))
    parent = missing(volume, "folder/new")
    (share / "Folder").rename(share / "moved")
    (share / "folder").symlink_to(outside)
    make(volume, "folder/new", parent=parent).close()
    assert os.listdir(share / "moved") == ["new"]
    assert os.listdir(outside) == []
    assert parent.fd == -1


def test_a_directory_that_has_gone_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    volume = Volume(str(tmp_path))
    parent = missing(volume, "folder/new")
    (tmp_path / "folder").rmdir()
    assert status_of_creation(volume, "folder/new", parent) is NtStatus.OBJECT_PATH_NOT_FOUND
    assert parent.fd == -1


def test_a_name_that_comes_after_the_look_up_collides(tmp_path: Path) -> None:
    volume = Volume(str(tmp_path))
    parent = missing(volume, "new")
    (tmp_path / "new").touch()
    assert status_of_creation(volume, "new", parent) is NtStatus.OBJECT_NAME_COLLISION


def test_a_missing_directory_on_the_way_keeps_none(tmp_path: Path) -> None:
    kept: list[Parent] = []
    with pytest.raises(SmbError) as caught:
        Volume(str(tmp_path)).lookup("folder/new", keep=kept.append)
    assert caught.value.status is NtStatus.OBJECT_PATH_NOT_FOUND
    assert not kept
