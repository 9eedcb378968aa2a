"""The cache of names: exact after every change, bounded, undisturbed by slow directories."""

import os
import threading
from pathlib import Path

import pytest

from usmbd.protocol.vfs import directory_names, pace
from usmbd.protocol.vfs.directory_names import DirectoryNames, read_names
from usmbd.protocol.vfs.pace import LongCallError


@pytest.fixture
def opened(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_PATH)


def test_changes_are_seen(tmp_path: Path, opened: int) -> None:
    names = DirectoryNames()
    (tmp_path / "One").touch()
    assert names.find(opened, "ONE") == "One"
    (tmp_path / "Two").touch()
    assert names.find(opened, "two") == "Two"
    (tmp_path / "Two").rename(tmp_path / "Three")
    assert names.find(opened, "two") is None
    assert names.find(opened, "three") == "Three"
    (tmp_path / "Three").unlink()
    assert names.find(opened, "three") is None


def test_twins(tmp_path: Path, opened: int) -> None:
    names = DirectoryNames()
    (tmp_path / "twin").touch()
    (tmp_path / "TWIN").touch()
    assert names.find(opened, "Twin") in ("twin", "TWIN")
    (tmp_path / "twin").unlink()
    assert names.find(opened, "Twin") == "TWIN"
    (tmp_path / "TWIN").unlink()
    assert names.find(opened, "Twin") is None


@pytest.mark.parametrize("watched", [True, False])
def test_a_directory_is_read_once(
    tmp_path: Path, opened: int, monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    if not watched:
        monkeypatch.setattr(directory_names, "magic", lambda _: 0)
        os.utime(tmp_path, (1, 1))
    names = DirectoryNames()
    reads = []
    monkeypatch.setattr(
        directory_names, "read_names", lambda path: reads.append(path) or read_names(path)
    )
    for index in range(20):
        assert names.find(opened, f"New{index}") is None
        if watched:
            (tmp_path / f"new{index}").touch()
            assert names.find(opened, f"New{index}") == f"new{index}"
    assert len(reads) == 1
    if not watched:
        (tmp_path / "new").touch()
        # Just changed: not to be trusted until its time stamp has settled.
        for _ in range(2):
            assert names.find(opened, "NEW") == "new"
        assert len(reads) == 3


def test_changes_while_the_directory_is_read(
    tmp_path: Path, opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = DirectoryNames()
    (tmp_path / "gone").touch()
    answers = []

    def slow(path: str) -> list[str]:
        found = read_names(path)
        monkeypatch.setattr(directory_names, "read_names", read_names)
        (tmp_path / "Late").touch()
        (tmp_path / "gone").unlink()
        # Another thread asks meanwhile, and is not kept waiting.
        thread = threading.Thread(target=lambda: answers.append(names.find(opened, "LATE")))
        thread.start()
        thread.join(5)
        return found

    monkeypatch.setattr(directory_names, "read_names", slow)
    names.find(opened, "x")
    assert answers == ["Late"]
    assert names.find(opened, "LATE") == "Late"
    assert names.find(opened, "GONE") is None


def test_long_names_take_more_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user could have a million of 255 characters, a gigabyte in each worker."""
    monkeypatch.setattr(directory_names, "BYTES_MAX", 5_000)
    names = DirectoryNames()
    for length in (10, 250):
        for index in range(10):
            folder = tmp_path / f"{length}-{index}"
            folder.mkdir()
            (folder / ("n" * length)).touch()
            fd = os.open(folder, os.O_PATH)
            assert names.find(fd, "N" * length) == "n" * length
            os.close(fd)
        assert names.size <= 5_000
        assert names.watched == (10 if length == 10 else 6)
    for folder in tmp_path.iterdir():
        next(folder.iterdir()).unlink()
        fd = os.open(folder, os.O_PATH)
        assert names.find(fd, "N") is None
        os.close(fd)
    assert names.size == 0


def test_many_changes_are_for_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others have changed meanwhile is up to them; the loop waits for none of it."""
    names = DirectoryNames()
    (tmp_path / "File").touch()
    opened = os.open(tmp_path, os.O_PATH)
    assert names.find(opened, "FILE") == "File"
    for number in range(1500):
        (tmp_path / f"New {number}").touch()
    monkeypatch.setattr(pace._Loop, "thread", threading.get_ident())
    with pytest.raises(LongCallError):
        names.find(opened, "FILE")
    monkeypatch.setattr(pace._Loop, "thread", 0)
    assert names.find(opened, "NEW 1499") == "New 1499"
    monkeypatch.setattr(pace._Loop, "thread", threading.get_ident())
    assert names.find(opened, "NEW 1498") == "New 1498"
    os.close(opened)


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_names, "DIRECTORIES_MAX", 3)
    names = DirectoryNames()
    for index in range(10):
        (tmp_path / f"d{index}").mkdir()
        (tmp_path / f"d{index}" / "Name").touch()
        fd = os.open(tmp_path / f"d{index}", os.O_PATH)
        assert names.find(fd, "NAME") == "Name"
        os.close(fd)
    assert len(names._directories) == len(names._by_watch) == names._count == 3
