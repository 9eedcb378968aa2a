"""What all tools share: errors as a line and an exit status."""

from pathlib import Path

import pytest

from usmbd.mountd.cli import common
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.codec import CodecError
from usmbd.mountd.lockfile import AlreadyRunningError


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError("a.conf", 3, "no such thing"), 2, "a.conf:3: no such thing"),
        (AlreadyRunningError("another mountd"), 1, "another mountd"),
        (CodecError("too long"), 1, "too long"),
        (ValueError("no such user"), 1, "no such user"),
        (OSError(13, "Permission denied", "/etc/x"), 1, "/etc/x: Permission denied"),
        (OSError(13, "Permission denied"), 1, "Permission denied"),
        (OSError("just a text"), 1, "just a text"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_a_line_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_arguments: list[str]) -> int:
        raise error

    assert common.run(fail, []) == status
    assert capsys.readouterr().err.strip() == said


def test_arguments_are_the_process_s_unless_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []

    def note(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    monkeypatch.setattr("sys.argv", ["tool", "-v"])
    assert common.run(note, None) == 7
    assert common.run(note, ["-x"]) == 7
    assert common.run(note, []) == 7
    assert seen == [["-v"], ["-x"], []]


def test_where_the_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common.paths, "config_file", lambda: Path("/etc/usmbd/usmbd.conf"))
    monkeypatch.setattr(
        common.paths, "password_file", lambda folder=Path("/etc/usmbd"): folder / "pwd.db"
    )
    parser = common.parser("tool", "Does something.")

    def files(*words: str) -> tuple[Path, Path]:
        return common.files(parser.parse_args(list(words)))

    assert files() == (Path("/etc/usmbd/usmbd.conf"), Path("/etc/usmbd/pwd.db"))
    assert files("-C", "a.conf") == (tmp_path / "a.conf", tmp_path / "pwd.db")
    assert files("-P", "users") == (Path("/etc/usmbd/usmbd.conf"), tmp_path / "users")
    assert files("-C", "/x/a.conf", "-P", "users") == (Path("/x/a.conf"), tmp_path / "users")


def test_why_a_server_was_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "usmbd.conf"
    common.say_whether_told(None, config, verbose=False)
    assert capsys.readouterr().err == f"{config} cannot be read: no server was told\n"
    monkeypatch.setattr(common.lockfile, "tell_to_reload", lambda directory: False)
    monkeypatch.setattr(common.lockfile, "running", lambda directory: 7)
    common.say_whether_told(tmp_path, config, verbose=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"the server in {tmp_path} belongs to another user and was not told")
