"""What a dead worker's promises to delete come to."""

import os
from pathlib import Path

import pytest

from usmbd.protocol.state import leftovers
from usmbd.protocol.state.durable import seen
from usmbd.protocol.state.store.base import Doomed
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.vfs import kernel

STREAM = "user.DosStream.Note:$DATA"
OWN = os.getuid(), os.getgid(), *os.getgroups()
"""Who runs the test."""


def doomed(path: Path, stream: str = "") -> Doomed:
    facts = path.lstat()
    return Doomed(file_key(facts.st_dev, facts.st_ino, stream), str(path), user=OWN)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"data")
    return path


def test_the_file_goes(file: Path) -> None:
    leftovers.delete(doomed(file))
    assert not file.exists()
    leftovers.delete(Doomed(bytes(16), str(file), user=OWN))


def test_nothing_goes_of_which_nobody_knows_who_may(file: Path) -> None:
    leftovers.delete(doomed(file)._replace(user=()))
    assert file.exists()


def test_an_empty_directory_goes_and_a_full_one_stays(tmp_path: Path, file: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    leftovers.delete(doomed(empty))
    leftovers.delete(doomed(tmp_path))
    assert not empty.exists()
    assert file.exists()


def test_another_file_of_that_name_stays(tmp_path: Path, file: Path) -> None:
    promised = doomed(file)
    file.rename(tmp_path / "renamed")
    file.write_bytes(b"new")
    leftovers.delete(promised)
    assert file.read_bytes() == b"new"
    assert (tmp_path / "renamed").exists()


def test_without_births_only_what_nobody_has_changed_goes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new file may have both inode and name, as on ext3 and NFS."""
    real = kernel.statx_fd

    def statx_fd(fd: int) -> kernel.StatxTuple:
        found = real(fd)
        return (*found[:11], 0, 0, *found[13:])

    monkeypatch.setattr(kernel, "statx_fd", statx_fd)
    with file.open() as opened:
        was = seen(real(opened.fileno()))
    promised = doomed(file)._replace(birth=(0, 0))
    for known in ((), (*was[:-1], was[-1] + 1)):
        leftovers.delete(promised._replace(seen=known))
        assert file.exists()
    leftovers.delete(promised._replace(seen=was))
    assert not file.exists()


def test_a_link_is_not_followed(tmp_path: Path, file: Path) -> None:
    promised = doomed(file)
    file.rename(tmp_path / "renamed")
    file.symlink_to("renamed")
    leftovers.delete(promised)
    assert (tmp_path / "renamed").exists()


def test_no_link_on_the_way_is_followed_as_root(tmp_path: Path) -> None:
    """Whoever may rename a folder puts one there, and root has the file by another name."""
    mine, archive = tmp_path / "mine", tmp_path / "archive"
    mine.mkdir()
    archive.mkdir(0o755)
    (mine / "report").write_bytes(b"data")
    promised = doomed(mine / "report")._replace(user=(1000, 1000, 1000))
    os.link(mine / "report", archive / "report")
    mine.rename(tmp_path / "away")
    mine.symlink_to("archive")
    leftovers.delete(promised)
    assert (archive / "report").exists()  # the user may follow it, and may not delete there
    leftovers.delete(promised._replace(user=OWN))
    assert not (archive / "report").exists()


def test_a_stream_goes_without_its_file(file: Path) -> None:
    os.setxattr(file, STREAM, b"\0")
    os.setxattr(file, "user.other", b"x")
    leftovers.delete(doomed(file, "NOTE"))
    assert os.listxattr(file) == ["user.other"]
    assert file.read_bytes() == b"data"


def test_of_two_streams_whose_case_counts_the_one_goes_that_was_to(file: Path) -> None:
    for name in ("NOTE", "Note", "note"):
        os.setxattr(file, f"user.DosStream.{name}:$DATA", b"\0")
    facts = file.lstat()
    key = file_key(facts.st_dev, facts.st_ino, "NOTE", exact=True)
    leftovers.delete(Doomed(key, str(file), user=OWN))
    assert sorted(os.listxattr(file)) == ["user.DosStream.Note:$DATA", "user.DosStream.note:$DATA"]
