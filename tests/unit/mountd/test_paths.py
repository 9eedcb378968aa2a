"""Where things lie by default."""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd import paths


def test_root_uses_the_system_s_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    found = (paths.config_directory(), paths.state_directory(), paths.data_directory())
    assert found == (Path("/etc/usmbd"), Path("/run/usmbd"), Path("/var/lib/usmbd"))


def test_others_use_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "/c")
    monkeypatch.setenv("XDG_STATE_HOME", "relative is not allowed")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert paths.config_directory() == Path("/c/usmbd")
    assert paths.data_directory() == tmp_path / ".local/state/usmbd"
    assert paths.state_directory() == paths.data_directory() / "run"


def test_files_of_ksmbd_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "config_directory", lambda: tmp_path)
    assert paths.config_file().name == "usmbd.conf"
    (tmp_path / "ksmbd.conf").touch()
    (tmp_path / "ksmbdpwd.db").touch()
    assert (paths.config_file().name, paths.password_file().name) == ("ksmbd.conf", "ksmbdpwd.db")
    (tmp_path / "usmbd.yaml").touch()
    assert paths.config_file().name == "usmbd.yaml"


def test_directories_are_asked_for_in_one_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with contextlib.closing(paths.Directories()) as directories:
        found = [directories.has(str(path)) for path in (tmp_path, tmp_path / "none") * 20]
        assert threading.active_count() == before + 1
    assert found == [True, False] * 20


def test_what_hangs_holds_nobody_up_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends = threading.Event()
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: real(path) or ends.wait())
    monkeypatch.setattr(paths, "ANSWER_SECONDS", 0.05)
    asked = 0

    def start(*arguments: Any, **more: Any) -> threading.Thread:
        nonlocal asked
        asked += 1
        return Thread(*arguments, **more)

    Thread = threading.Thread
    monkeypatch.setattr(threading, "Thread", start)
    with contextlib.closing(paths.Directories()) as directories:
        assert directories.has("/hangs") is None
        assert directories.has(str(tmp_path)) is True
        assert [directories.has("/hangs") for _ in range(100)] == [None] * 100
        assert directories.has(str(tmp_path)) is None  # nobody is asked any more
    assert asked == paths.SILENCES
    ends.set()
