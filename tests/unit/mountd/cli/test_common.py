"""What all tools share: errors as a line and an exit status."""

from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd.cli import common
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.codec import CodecError
from usmbd.mountd.ipc.messages import Failed, ReloadRequest, ReloadResponse
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
        (EOFError(), 1, "nothing is typed, and nothing is changed"),
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


class Mountd:
    """A server's mountd that answers this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the one that the tools find."""
        self.answer: Any = ReloadResponse()
        self.closed = 0
        monkeypatch.setattr(common, "BlockingClient", lambda *_: self)

    def request(self, message: object) -> object:
        """Answer, or do not in time."""
        assert message == ReloadRequest()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_a_server_that_does_not_use_the_files_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mountd = Mountd(monkeypatch)

    def told(*, users: bool = False) -> tuple[int, str, str]:
        code = common.say_whether_told(tmp_path, tmp_path / "c", verbose=True, users=users)
        return code, *capsys.readouterr()

    goes_on = f"the server in {tmp_path} goes on with what it had"
    assert told() == (0, "the server was told\n", "")
    mountd.answer = ReloadResponse("users: there is no such file", users=False)
    for users in (True, False):
        assert told(users=users) == (2, "", f"{goes_on}: users: there is no such file\n")
    mountd.answer = ReloadResponse("c:3: wrong", users=True)
    assert told() == (2, "", f"{goes_on}: c:3: wrong\n")
    assert told(users=True) == (0, "", f"warning: {goes_on}, but for its users: c:3: wrong\n")
    for answer, why in ((TimeoutError(), "does not say"), (Failed("too many"), "too many")):
        mountd.answer = answer
        with pytest.raises(ValueError, match=why):
            told()
    assert mountd.closed == 7


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
