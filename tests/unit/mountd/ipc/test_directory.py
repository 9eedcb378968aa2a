"""The state directory is its owner's alone, whatever it was before."""

import os
import stat
from pathlib import Path

import pytest

from usmbd.mountd.ipc.directory import prepare_directories, prepare_directory


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o750, 0o2755, 0o600])
def test_one_that_others_could_enter_is_closed(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    prepare_directory(tmp_path)
    assert tmp_path.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722, 0o1777])
def test_one_that_others_could_write_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(PermissionError, match="others can write in it"):
        prepare_directory(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(PermissionError, match="another user"):
        prepare_directory(tmp_path)


def test_secrets_have_a_place_in_both_directories(tmp_path: Path) -> None:
    state, data = tmp_path / "run", tmp_path / "a" / "lib"
    prepare_directories(state, data)
    for folder in (state, state / "secrets", data, data / "secrets"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_without_a_data_directory_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    prepare_directories(tmp_path / "run", tmp_path / "file" / "data")
    assert (tmp_path / "run" / "secrets").is_dir()
