"""Where things lie by default."""

from pathlib import Path

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
