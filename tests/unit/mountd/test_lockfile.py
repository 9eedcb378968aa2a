"""One mountd for a state directory: the lock, who is believed to run, who is told to reload."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from usmbd.mountd import lockfile
from usmbd.mountd.lockfile import LOCK_NAME, AlreadyRunningError, acquire, running, tell_to_reload

CONFIG = Path("/etc/usmbd/usmbd.conf")


@pytest.fixture
def held(tmp_path: Path) -> Iterator[int]:
    descriptor = acquire(tmp_path, CONFIG)
    yield descriptor
    os.close(descriptor)


def test_who_has_the_lock_says_who_it_is(tmp_path: Path, held: int) -> None:
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n{CONFIG}"
    assert (tmp_path / LOCK_NAME).stat().st_mode & 0o777 == 0o600
    assert running(tmp_path) == os.getpid()
    assert not os.get_inheritable(held), "a child would keep the lock"


def test_a_longer_number_of_a_predecessor_goes(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("123456789012345\n")
    assert running(tmp_path) is None, "the number counts only while the lock is held"
    os.close(acquire(tmp_path, CONFIG))
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n{CONFIG}"
    assert running(tmp_path) is None


def test_another_mountd_that_stays_is_an_error(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockfile, "PATIENCE", 0.1)
    begin, before = time.monotonic(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(AlreadyRunningError, match=f"another mountd serves {tmp_path}"):
        acquire(tmp_path, CONFIG)
    assert time.monotonic() - begin >= 0.1
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_that_ends_within_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = acquire(tmp_path, CONFIG)
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            os.close(other)

    monkeypatch.setattr(lockfile.time, "sleep", pause)
    os.close(acquire(tmp_path, CONFIG))
    assert len(paused) == 3
    assert all(0 < each < 1 for each in paused)


def test_nobody_runs_where_there_is_no_lock(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    assert not tell_to_reload(tmp_path)


@pytest.mark.parametrize("number", ["", "1\n", "0\n", "-5\n", "ab\n", "12 34\n"])
def test_what_is_no_process_of_a_mountd_is_none(tmp_path: Path, held: int, number: str) -> None:
    """A signal to 1 would go to init, one to 0 or below to a group."""
    (tmp_path / LOCK_NAME).write_text(number)
    before = len(os.listdir("/proc/self/fd"))
    assert running(tmp_path) is None
    assert not tell_to_reload(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_process_2_may_be_a_mountd(tmp_path: Path, held: int) -> None:
    (tmp_path / LOCK_NAME).write_text("2\n")
    assert running(tmp_path) == 2


def test_who_runs_is_told_by_a_hangup(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(lockfile.os, "kill", lambda pid, number: told.append((pid, number)))
    assert tell_to_reload(tmp_path)
    assert told == [(os.getpid(), signal.SIGHUP)]


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_who_cannot_be_told_is_not(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(lockfile.os, "kill", fail)
    assert not tell_to_reload(tmp_path)
