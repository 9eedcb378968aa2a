"""What `make serve` makes of the files that are there."""

from pathlib import Path

import pytest

from usmbd.mountd.cli import quickstart
from usmbd.mountd.config.load import load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "usmbd.conf"
    path.write_text(f"[global]\nstate directory = {tmp_path}/run\n[share]\npath = {tmp_path}\n")
    return path


def test_a_share_and_a_port_go_into_a_copy(file: Path, tmp_path: Path) -> None:
    before = file.read_text()
    copy = quickstart.with_options(file, Path("/tmp"), 4461)
    assert file.read_text() == before
    settings = load(copy)
    assert (settings.server.tcp_port, settings.server.state_directory) == (
        4461,
        f"{tmp_path}/run-4461",
    )
    assert settings.shares["share"].config.path == "/tmp"
    assert quickstart.with_options(file, None, None) == file


def test_what_was_changed_in_the_copy_stays(file: Path) -> None:
    copy = quickstart.with_options(file, Path("/tmp"), 4461)
    text = copy.read_text().replace("[global]\n", "[global]\nserver signing = mandatory\n")
    copy.write_text(text + "[three]\npath = /tmp\n")
    assert quickstart.with_options(file, Path("/usr"), 4461) == copy
    settings = load(copy)
    assert "server signing = mandatory" in copy.read_text()
    assert set(settings.shares) >= {"share", "three"}
    assert settings.shares["share"].config.path == "/usr"


def test_a_file_is_no_folder(file: Path) -> None:
    with pytest.raises(ValueError, match=r"usmbd\.conf is not a folder"):
        quickstart.run(["--share", str(file)])


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    user = quickstart.account()
    quickstart.prepare_folder(folder, user)
    assert folder.is_dir()
    assert folder.owner() == folder.parent.owner() == user
    assert (folder / "..").resolve().stat().st_mode & 0o777 == 0o755
    folder.chmod(0o700)
    quickstart.prepare_folder(folder, user)  # what is there stays as it is
    assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is not a folder"):
        quickstart.prepare_folder(tmp_path / "file", user)
