"""Files of an administrator that are none: they are refused, and nobody waits for a writer."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from usmbd.mountd.config.reading import read_source
from usmbd.mountd.config.source import read_text
from usmbd.mountd.config.username_map import UsernameMap
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.plain_file import check_file, read_file
from usmbd.mountd.users import load_users

WHAT = "it is no file, but a pipe, a socket or a device"


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


MAKERS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "link to a pipe": lambda path: (os.mkfifo(f"{path}-"), path.symlink_to(f"{path}-"))[1],
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.fixture(params=MAKERS)
def odd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make something that is no file."""
    monkeypatch.chdir(tmp_path)
    MAKERS[request.param](Path("odd"))
    return tmp_path / "odd"


def test_the_password_file(odd: Path) -> None:
    with pytest.raises(ConfigError, match=f"odd: {WHAT}"):
        load_users(odd)


def test_the_configuration(odd: Path) -> None:
    with pytest.raises(ConfigError, match=f"odd: {WHAT}"):
        read_text(odd)


def test_what_it_includes(odd: Path) -> None:
    main = odd.parent / "usmbd.conf"
    main.write_text(f"[global]\ninclude = {odd}\n")
    (error,) = read_source(main).errors
    assert str(error) == f"{main}:2: include = {odd}: {WHAT}"


def test_a_username_map(odd: Path) -> None:
    made = UsernameMap(odd)
    made.account("somebody", lambda user, group: False)
    assert made.warnings == [f"{odd}: {WHAT}: names stay as they are"]


def test_what_the_library_would_read(odd: Path) -> None:
    with pytest.raises(OSError, match=WHAT):
        check_file(str(odd))


def test_nothing_may_be_meant() -> None:
    assert read_file(Path("/dev/null"), 10) == b""


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path, 10)


def test_no_more_than_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_file(tmp_path / "file", 10) == b"x" * 10
