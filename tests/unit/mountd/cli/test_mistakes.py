"""What the tools say of mistakes: at once, where they are, and before they ask for more."""

import errno
import io
import os
import time
from pathlib import Path
from types import ModuleType

import pytest

from usmbd.mountd import lockfile, paths
from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.cli import addshare, adduser, common, control, mountd
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import load_users

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return the options that name a configuration and its password file."""
    (tmp_path / "usmbd.conf").write_text(
        f"[global]\nstate directory = {tmp_path}/state\n[data]\npath = /tmp\n"
    )
    return ["-C", str(tmp_path / "usmbd.conf"), "-P", str(tmp_path / "pwd.db")]


def test_who_is_locked_out_is_so_whatever_else_is_wrong(files: list[str], capsys: Capture) -> None:
    assert adduser.main(["-p", "x", "nobody", *files]) == 0
    with open(files[1], "a", encoding="utf-8") as config:
        config.write("guest onyl = 1\nraed only = yes\n")
    capsys.readouterr()
    assert adduser.main(["--disable", "nobody", *files]) == 0
    said = capsys.readouterr().err
    assert f"warning: {files[1]}:5: 'guest onyl' is not a parameter" in said
    assert "and 1 more: see usmbd.control --check" in said
    assert load_users(Path(files[3])).facts_of("nobody").disabled
    assert adduser.main(["-d", "nobody", *files]) == 0
    assert "whether a share names him cannot be told" in capsys.readouterr().err
    assert not load_users(Path(files[3])).hashes


@pytest.mark.parametrize("action", ["-u", "-d"])
def test_nobody_is_asked_for_the_password_of_who_is_not_there(
    files: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(adduser, "ask_password", lambda: pytest.fail("asked"))
    assert adduser.main([action, "ghost", *files]) == 1
    assert "there is no user 'ghost'" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr("sys.stdin", io.StringIO("secret\n"))
    assert adduser.main(["-a", "nobody", *files]) == 0
    monkeypatch.setattr(adduser, "ask_password", lambda: pytest.fail("asked"))
    assert adduser.main(["-a", "nobody", *files]) == 1
    assert "the user 'nobody' is there already" in capsys.readouterr().err


def test_the_form_of_a_day_is_told(files: list[str], capsys: Capture) -> None:
    assert adduser.main(["-p", "x", "nobody", *files]) == 0
    for text in ("31.12.2027", "soon", "1969-01-01", "9999-12-31"):
        with pytest.raises(SystemExit) as ended:
            adduser.main(["--ends", text, "nobody", *files])
        assert ended.value.code == 2
        assert f"{text} is no day like 2027-12-31" in capsys.readouterr().err
    assert adduser.main(["--ends", "2020-01-01", "nobody", *files]) == 0
    assert "that day is over: 'nobody' is let in no more" in capsys.readouterr().err
    assert load_users(Path(files[3])).facts_of("nobody").ends < time.time()
    assert adduser.main(["--ends", "never", "nobody", *files]) == 0
    assert capsys.readouterr().err.count("warning") == 0
    assert load_users(Path(files[3])).facts_of("nobody") == AccountFacts(
        changed=load_users(Path(files[3])).facts_of("nobody").changed
    )


@pytest.mark.parametrize(
    "options",
    [["-o", "path /x", "new"], ["-o", "path = /x", "a/b"], ["-o", "path = /x", "x" * 64]],
)
def test_what_is_no_option_and_no_share_is_a_wrong_command_line(
    files: list[str], options: list[str]
) -> None:
    before = Path(files[1]).read_text()
    with pytest.raises(SystemExit) as ended:
        addshare.main([*options, *files])
    assert ended.value.code == 2
    assert Path(files[1]).read_text() == before


def test_a_wrong_value_is_the_option_s(files: list[str], capsys: Capture) -> None:
    """Its line is none of the file, which is as it was."""
    before = Path(files[1]).read_text()
    wrong = ["-o", "path = /x", "-o", "read only = maybe", "-o", "create mask = 9"]
    assert addshare.main([*wrong, "new", *files]) == 2
    said = capsys.readouterr().err
    assert "the option: read only = maybe" in said
    assert "the option: create mask = 9" in said
    assert Path(files[1]).read_text() == before
    Path(files[1]).write_text(before + "guest onyl = 1\n")
    assert addshare.main([*wrong, "new", *files]) == 2
    assert f"{files[1]}:5: 'guest onyl' is not a parameter" in capsys.readouterr().err


def test_an_update_without_anything_is_none(
    files: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert addshare.main(["-u", "data", *files]) == 1
    assert "nothing is said that 'data' is to have" in capsys.readouterr().err


def test_the_check_says_what_the_server_would(files: list[str], capsys: Capture) -> None:
    """Without passwords, and without the keytab, nobody could log in."""
    keytab = "ntlm auth = disabled\nkerberos method = dedicated keytab\n"
    text = Path(files[1]).read_text()
    Path(files[1]).write_text(
        text.replace("[data]", f"{keytab}dedicated keytab file = /no/such.keytab\n[data]")
    )
    assert control.main(["--check", *files]) == 2
    assert "nobody could log in: Kerberos is not offered" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["-a"], ["-u"], ["-d"], []])
def test_a_name_is_one_in_any_case(files: list[str], capsys: Capture, action: list[str]) -> None:
    """A second spelling would keep out all who log in by a third."""
    assert adduser.main(["-p", "x", "games", *files]) == 0
    password = [] if action == ["-d"] else ["-p", "y"]
    assert adduser.main([*action, *password, "Games", *files]) == 1
    assert "the user 'games' is there: logins find him in any case" in capsys.readouterr().err
    assert load_users(Path(files[3])).hashes == {"games": nt_hash("x")}


def test_a_file_to_import_that_is_not_there_is_a_wrong_file(
    files: list[str], capsys: Capture
) -> None:
    assert adduser.main(["--import", "/nonexist", *files]) == 2
    assert capsys.readouterr().err == "/nonexist: there is no such file\n"
    assert not Path(files[3]).exists()


def test_a_running_server_s_users_are_not_thrown_away(
    files: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose file is gone: a new one would have the one user who is added."""
    passwords = Path(files[3])
    monkeypatch.setattr(adduser.lockfile, "running", lambda directory: 4711)
    assert adduser.main(["-p", "x", "nobody", *files]) == 0  # the first user of all
    passwords.unlink()
    capsys.readouterr()
    assert adduser.main(["-a", "-p", "x", "root", *files]) == 1
    said = capsys.readouterr().err
    assert f"{passwords} is gone, and the server (process 4711) goes on with its users" in said
    assert not passwords.exists()
    Path(f"{passwords}.lock").unlink()
    assert adduser.main(["-a", "-p", "x", "root", *files]) == 0


@pytest.mark.parametrize("tool", [mountd, control])
def test_a_check_says_why_users_share_nothing(
    tool: ModuleType, files: list[str], capsys: Capture
) -> None:
    """By the command that makes the folder, and by what is wrong with a file in it."""
    config, folder = Path(files[1]), Path(files[1]).parent / "user shares"
    text = config.read_text()
    config.write_text(
        f"[global]\nusershare max shares = 9\nusershare path = {folder}\n"
        + text[len("[global]\n") :]
    )
    assert tool.main(["--check", *files[:2]]) == 0
    how = f"it is not there (install -d -m 1770 -g GROUP '{folder}')"
    assert f"warning: {folder}: {how}: no usershares\n" in capsys.readouterr().err
    folder.mkdir()
    folder.chmod(0o1770)
    (folder / "music").write_text("nothing\n")
    assert tool.main(["--check", *files[:2]]) == 0
    assert f"warning: {folder}: the file 'music' makes no share: " in capsys.readouterr().err


def test_a_check_says_how_a_configuration_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(paths, "config_file", lambda: tmp_path / "usmbd.conf")
    assert control.main(["--check"]) == 2
    assert "No such file or directory: `make serve` makes one" in capsys.readouterr().err


def test_what_connections_have_after_a_reload_alone_is_told(
    files: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said in `global`: mountd is told, but who asked for signing has none yet."""
    monkeypatch.setattr(common, "say_whether_told", lambda *_, **__: 0)
    change = ["-u", "-o", "server signing = mandatory", "global", *files]
    assert addshare.main(change) == 0
    assert capsys.readouterr().err == ""  # no server runs
    monkeypatch.setattr(lockfile, "supervisor", lambda directory: 4711)
    assert addshare.main(change) == 0
    assert capsys.readouterr().err == f"connections have it after usmbd.control -C {files[1]} -r\n"
    assert addshare.main(["-u", "-o", "comment = x", "data", *files]) == 0
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_told_with_the_file(
    files: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the file stays as it was."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = Path(files[1]).read_text()
    assert addshare.main(["-a", "more", "-o", "path = /usr", *files]) == 1
    assert capsys.readouterr().err == f"{files[1]}: No space left on device\n"
    assert adduser.main(["-a", "-p", "x", "nobody", *files]) == 1
    assert f"{files[3]}: No space left on device\n" in capsys.readouterr().err
    assert Path(files[1]).read_text() == before
    assert not Path(files[3]).exists()
