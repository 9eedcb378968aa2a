"""Calls that turn out to be long: they stop on the loop before they have done much."""

import os
import threading
from pathlib import Path
from typing import Final

import pytest

from usmbd.protocol.vfs import directory_names, pace
from usmbd.protocol.vfs.directory_names import NAMES_AT_ONCE, DirectoryNames
from usmbd.protocol.vfs.names import PATH_MAX, parse_path
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.vfs.pace import LongCallError, this_is_the_loop
from usmbd.protocol.vfs.resolve import STEPS_AT_ONCE, Resolver
from usmbd.protocol.vfs.short_names import short_name
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.status import NtStatus, SmbError

RULES: Final = {"case_sensitive": False, "cross_mounts": True, "made_names": True}


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's thread be an event loop's."""
    monkeypatch.setattr(pace._Loop, "thread", 0)
    this_is_the_loop()


@pytest.fixture
def large(tmp_path: Path) -> int:
    """Return a directory with more names than a loop reads."""
    for number in range(NAMES_AT_ONCE + 200):
        os.mknod(f"{tmp_path}/a long name {number}.text")
    return os.open(tmp_path, os.O_PATH)


def elsewhere(call: object) -> object:
    """Call on another thread."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(call()))  # type: ignore[operator]
    thread.start()
    thread.join(30)
    return found[0]


def test_a_large_directory_is_read_on_threads_alone(loop: None, large: int) -> None:
    names = DirectoryNames()
    with pytest.raises(LongCallError):
        names.find(large, "NONE")
    assert not names._loading
    assert elsewhere(lambda: names.find(large, "A LONG NAME 7.TEXT")) == "a long name 7.text"
    assert names.find(large, "A LONG NAME 8.TEXT") == "a long name 8.text"  # it is known now


def test_8_3_names_are_worked_out_once_and_on_threads(
    loop: None, large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes and goes afterwards costs itself alone."""
    worked_out: list[str] = []

    def counted(name: str) -> str:
        worked_out.append(name)
        return short_name(name)

    monkeypatch.setattr(directory_names, "short_name", counted)
    names = DirectoryNames()
    elsewhere(lambda: names.find(large, "none"))
    wanted = short_name("a long name 3.text")
    with pytest.raises(LongCallError):
        names.find_short(large, wanted)
    assert elsewhere(lambda: names.find_short(large, wanted)) == "a long name 3.text"
    assert len(worked_out) == NAMES_AT_ONCE + 200
    for number in range(10):
        (tmp_path / f"one more of them {number}").touch()
        (tmp_path / f"a long name {number + 3}.text").unlink()
        new = short_name(f"one more of them {number}")
        assert names.find_short(large, new) == f"one more of them {number}"
    assert names.find_short(large, wanted) is None
    assert len(worked_out) == NAMES_AT_ONCE + 200 + 20


def test_of_entries_with_one_8_3_name_the_first_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they come in another order, and when the first goes."""
    monkeypatch.setattr(directory_names, "short_name", lambda name: "SAME~1")
    fd = os.open(tmp_path, os.O_PATH)
    names = DirectoryNames()
    for found, change in (
        (None, None),
        ("b", "b"),
        ("b", "c"),
        ("a", "a"),
    ):
        if change:
            (tmp_path / change).touch()
        assert names.find_short(fd, "SAME~1") == found
    (tmp_path / "a").unlink()
    assert names.find_short(fd, "SAME~1") == "b"


def test_a_deep_path_in_another_case_is_walked_on_threads_alone(loop: None, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["dd"] * (STEPS_AT_ONCE + 1))
    deep.mkdir(parents=True)
    resolver = Resolver(str(tmp_path), **RULES, follow_symlinks=False)
    path = "/".join(["DD"] * (STEPS_AT_ONCE + 1))
    with pytest.raises(LongCallError):
        resolver.open_directory(path)
    fd, found = elsewhere(lambda: resolver.open_directory(path))  # type: ignore[misc]
    os.close(fd)
    assert found == path.lower()


def test_a_link_out_of_its_directory_is_followed_in_a_walk(tmp_path: Path) -> None:
    """Steps begin where the walk is; this one leads back and stays in the share."""
    (tmp_path / "Here" / "In").mkdir(parents=True)
    (tmp_path / "There" / "End").mkdir(parents=True)
    (tmp_path / "Here" / "In" / "Link").symlink_to("../../There")
    (tmp_path / "Here" / "In" / "Out").symlink_to("../../../")
    resolver = Resolver(str(tmp_path), **RULES, follow_symlinks=True)
    fd, found = resolver.open_directory("here/in/link/end")
    assert os.readlink(f"/proc/self/fd/{fd}") == str(tmp_path / "There" / "End")
    os.close(fd)
    assert found == "Here/In/Link/End"
    with pytest.raises(SmbError) as caught:
        resolver.open_directory("here/in/out/end")
    assert caught.value.status == NtStatus.ACCESS_DENIED


def test_a_path_beyond_what_the_kernel_takes_is_not_looked_at() -> None:
    with pytest.raises(SmbError) as caught:
        parse_path("a\\" * PATH_MAX + "b")
    assert caught.value.status == NtStatus.OBJECT_NAME_INVALID
    assert parse_path("a\\" * (PATH_MAX // 2 - 1) + "b")[1] is None


def test_a_listing_on_the_loop_goes_on_without_short_names(
    loop: None, large: int, tmp_path: Path
) -> None:
    """They are worked out on a thread before it; while they change again it tells none."""
    volume = Volume(str(tmp_path), VolumeOptions(lists_short_names=True))
    with volume.lookup("") as root:
        listed = [entry for entry in root.scan() if entry is not None]
        assert len(listed) == NAMES_AT_ONCE + 202
        assert not any(short for _, short, *_ in listed)
        with pytest.raises(LongCallError):
            root.know_short_names()
        elsewhere(root.know_short_names)
        assert any(entry[1] for entry in root.scan() if entry is not None)
