"""What goes with a directory that holds nothing but vetoed names (`delete veto files`)."""

import os
from pathlib import Path

import pytest
from mounting import mounted

from usmbd.protocol.vfs import directory_entry, emptiness, pace
from usmbd.protocol.vfs.emptiness import LEVELS, NAMES_AT_ONCE
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.vfs.pace import LongCallError, this_is_the_loop
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.fixture
def node(tmp_path: Path) -> Node:
    (tmp_path / "folder").mkdir()
    options = VolumeOptions(veto=lambda name: name.startswith("._"), deletes_vetoed=True)
    return Volume(str(tmp_path), options).lookup("folder")


def refused(node: Node) -> NtStatus:
    """Return why the directory is not deleted."""
    with pytest.raises(SmbError) as error:
        directory_entry.unlink(node)
    return error.value.status


def test_what_was_saved_meanwhile_stays(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a local program, behind the look at what is there."""
    (tmp_path / "folder/._file").touch()
    look = emptiness.is_empty

    def late(node: Node) -> bool:
        found = look(node)
        (tmp_path / "folder/file").write_bytes(b"data")
        return found

    monkeypatch.setattr(directory_entry, "is_empty", late)
    assert refused(node) is NtStatus.DIRECTORY_NOT_EMPTY
    assert (tmp_path / "folder/file").read_bytes() == b"data"


def test_all_below_a_vetoed_folder_goes_so_deep(node: Node, tmp_path: Path) -> None:
    """As with Samba, whatever its name; a link's target stays."""
    path = tmp_path / "folder/._deep"
    path.mkdir()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    (path / "link").symlink_to(tmp_path / "kept")
    for _ in range(LEVELS):
        path /= "d"
        path.mkdir()
    assert refused(node) is NtStatus.DIRECTORY_NOT_EMPTY
    path.rmdir()
    directory_entry.unlink(node)
    assert not (tmp_path / "folder").exists()
    assert (tmp_path / "kept/file").exists()


@pytest.mark.parametrize("same", [False, True], ids=["another file system", "the same"])
def test_what_is_mounted_there_stays(node: Node, tmp_path: Path, same: bool) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    place = tmp_path / "folder/._other/below"
    place.mkdir(parents=True)
    with mounted(place, again=precious if same else None):
        (place / "file").touch()
        assert refused(node) is NtStatus.SHARING_VIOLATION
        assert (place / "file").exists()
    directory_entry.unlink(node)
    assert not (tmp_path / "folder").exists()
    assert (precious / "file").exists() is same


def test_more_than_so_many_entries_are_not_removed_at_once(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Directories and what is in them count; what is left goes when it is asked for again."""
    monkeypatch.setattr(emptiness, "ENTRIES", 10)
    path = tmp_path / "folder"
    (path / "._deep").mkdir()
    for number in range(12):
        (path / f"._deep/{number}").touch()
    assert emptiness.is_empty(node)
    assert refused(node) is NtStatus.DIRECTORY_NOT_EMPTY
    assert len(os.listdir(path / "._deep")) == 12 - 9
    directory_entry.unlink(node)
    assert not path.exists()


def test_who_holds_more_names_than_so_many_is_not_empty(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emptiness, "ENTRIES", 10)
    for number in range(11):
        (tmp_path / f"folder/._{number}").touch()
    assert not emptiness.is_empty(node)
    assert refused(node) is NtStatus.DIRECTORY_NOT_EMPTY
    (tmp_path / "folder/._0").unlink()
    directory_entry.unlink(node)
    assert not (tmp_path / "folder").exists()


def test_it_does_not_hold_the_loop(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has gone when it turns out to be long."""
    monkeypatch.setattr(pace._Loop, "thread", 0)
    this_is_the_loop()
    for number in range(NAMES_AT_ONCE):
        (tmp_path / f"folder/._{number}").touch()
    assert emptiness.is_empty(node)
    with pytest.raises(LongCallError):
        directory_entry.unlink(node)
    (tmp_path / "folder/._more").touch()
    with pytest.raises(LongCallError):
        emptiness.is_empty(node)
    assert len(os.listdir(tmp_path / "folder")) == NAMES_AT_ONCE + 1
