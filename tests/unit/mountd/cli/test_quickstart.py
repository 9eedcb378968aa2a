"""What `make serve` makes of the files that are there."""

import errno
import getpass
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from usmbd.mountd.cli import quickstart, serve
from usmbd.mountd.cli.quickstart import Login
from usmbd.mountd.config.load import load
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import load_users


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "usmbd.conf"
    path.write_text(f"[global]\nstate directory = {tmp_path}/run\n[share]\npath = {tmp_path}\n")
    return path


def copied(file: Path, share: Path | None, port: int | None) -> Path:
    """Write the copy as `make serve` does."""
    copy, text = quickstart.with_options(file, share, port)
    copy.write_text(text)
    return copy


def test_a_share_and_a_port_go_into_a_copy(file: Path, tmp_path: Path) -> None:
    before = file.read_text()
    copy = copied(file, Path("/tmp"), 4461)
    assert file.read_text() == before
    settings = load(copy)
    assert (settings.server.tcp_port, settings.server.state_directory) == (
        4461,
        f"{tmp_path}/run-4461",
    )
    assert settings.shares["share"].config.path == "/tmp"
    assert quickstart.with_options(file, None, None) == (file, before)


@pytest.mark.parametrize("name", ["Music #1", "a ;b", "100%S", 'a" b', "ends \\", " ", "x%%"])
def test_the_folder_that_is_named_is_the_one_that_is_served(file: Path, name: str) -> None:
    folder = file.parent / name
    folder.mkdir()
    copy = copied(file, folder, None)
    assert load(copy).shares["share"].config.path == str(folder)


@pytest.mark.parametrize("name", ["a\nguest ok = yes", 'a" #b', "\udc80"])
def test_a_folder_that_no_line_names_is_refused(file: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"the option: path = .*line"):
        quickstart.with_options(file, file.parent / name, None)


def test_what_was_changed_in_the_copy_stays(file: Path) -> None:
    copy = copied(file, Path("/tmp"), 4461)
    text = copy.read_text().replace("[global]\n", "[global]\nserver signing = mandatory\n")
    copy.write_text(text + "[three]\npath = /tmp\n")
    assert copied(file, Path("/usr"), 4461) == copy
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


# -- what is missing is made -----------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which all files of a fresh machine would lie."""
    monkeypatch.setattr(quickstart.paths, "config_file", lambda: tmp_path / "etc" / "usmbd.conf")
    monkeypatch.setattr(quickstart.paths, "data_directory", lambda: tmp_path / "lib" / "usmbd")
    return tmp_path


def test_a_configuration_is_made_with_its_folder(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Path, str]] = []
    monkeypatch.setattr(shutil, "chown", lambda path, user: given.append((path, user)))
    for uid, port in ((0, 445), (1000, 4445)):
        given.clear()
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        file = quickstart.prepare_configuration("alice")
        assert file == machine / "etc" / "usmbd.conf"
        settings = load(file)
        assert settings.server.tcp_port == port
        share = settings.shares["share"].config
        assert share.path == str(machine / "lib" / "usmbd" / "share")
        assert not share.read_only
        assert Path(share.path).is_dir()
        assert given == ([(Path(share.path), "alice")] if uid == 0 else [])
        before = file.read_text() + "# mine\n"
        file.write_text(before)
        assert quickstart.prepare_configuration("alice") == file
        assert file.read_text() == before, "what is there stays"
        file.unlink()


def test_root_s_share_can_be_reached_by_others(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "chown", lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    mask = os.umask(0o077)
    try:
        quickstart.prepare_configuration("alice")
    finally:
        os.umask(mask)
    assert (machine / "lib" / "usmbd").stat().st_mode & 0o777 == 0o755


def test_a_user_is_made_with_a_password_that_clients_can_read(tmp_path: Path) -> None:
    database = tmp_path / "pwd.db"
    login = quickstart.prepare_user("alice", database)
    assert len(login.password) == 16
    assert load_users(database).hashes["alice"] == nt_hash(login.password)
    assert login.file == tmp_path / "credentials"
    assert login.file.read_text() == f"username=alice\npassword={login.password}\n"
    assert login.file.stat().st_mode & 0o777 == 0o600
    again = quickstart.prepare_user("alice", database)
    assert again == quickstart.Login("alice", "", login.file)
    assert load_users(database).hashes["alice"] == nt_hash(login.password)
    other = quickstart.prepare_user("bob", database)
    assert other.password not in ("", login.password)
    assert set(load_users(database).hashes) == {"alice", "bob"}


def test_credentials_that_others_could_read_are_closed_first(tmp_path: Path) -> None:
    (tmp_path / "credentials").touch(mode=0o644)
    login = quickstart.prepare_user("alice", tmp_path / "pwd.db")
    assert login.file.stat().st_mode & 0o777 == 0o600


def test_behind_sudo_the_person_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "carol")
    assert quickstart.account() == "carol"
    monkeypatch.delenv("SUDO_USER")
    assert quickstart.account() == "root"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(getpass, "getuser", lambda: "dave")
    assert quickstart.account() == "dave"


def test_a_share_alone_or_a_port_alone(file: Path, tmp_path: Path) -> None:
    by_share = copied(file, Path("/tmp"), None)
    assert by_share == tmp_path / ".usmbd-share.conf"
    settings = load(by_share)
    assert settings.server.tcp_port == 445
    assert settings.server.state_directory == f"{tmp_path}/run"
    assert not settings.shares["share"].config.read_only
    by_port = copied(file, None, 4461)
    assert by_port == tmp_path / ".usmbd-4461.conf"
    assert load(by_port).shares["share"].config.path == str(tmp_path)


def test_a_relative_share_is_the_caller_s(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    copy = copied(file, Path("here"), None)
    assert load(copy).shares["share"].config.path == str(tmp_path / "here")


def said(file: Path, login: quickstart.Login) -> dict[str, str]:
    """Return the lines of the instructions by their first words."""
    text = quickstart.instructions(file, load(file), login)
    assert text.endswith("^C ends the server.\n")
    lines = (line.strip().partition("  ") for line in text.splitlines())
    return {name: rest.strip() for name, _, rest in lines if name}


def test_what_to_type_is_printed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "own_address", lambda: "192.0.2.7")
    login = quickstart.Login("alice", "secret", tmp_path / "credentials")
    lines = said(file, login)
    assert lines["password"] == "secret"
    assert lines["user"] == "alice"
    assert lines["this machine"] == "smbclient -U alice //127.0.0.1/share"
    assert lines["Linux"] == "sudo mount -t cifs //192.0.2.7/share /mnt -o username=alice"
    assert lines["Windows"] == r"net use Z: \\192.0.2.7\share /user:alice"
    assert lines["macOS"] == "open smb://alice@192.0.2.7/share"
    assert lines[f"usmbd serves {tmp_path} as 'share'"] == ""
    assert f"-C {file} -l" in lines["Who is connected"]
    assert said(file, login._replace(password=""))["password"] == "as it was set"


def test_without_shares_it_says_so(file: Path) -> None:
    file.write_text("[global]\n")
    printed = quickstart.instructions(file, load(file), Login("alice", "", file.parent / "none"))
    assert printed.startswith("usmbd serves no folder yet: add a share (below)\n")
    assert "//127.0.0.1/NAME\n" in printed
    assert "usmbd.addshare" in printed


def test_another_port_is_in_every_line(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "own_address", lambda: "192.0.2.7")
    file.write_text(file.read_text().replace("[share]", "tcp port = 4445\n[share]"))
    credentials = tmp_path / "credentials"
    credentials.touch()
    lines = said(file, quickstart.Login("alice", "", credentials))
    assert lines["password"] == f"in {credentials}"
    assert lines["this machine"] == f"smbclient -p 4445 -A {credentials} //127.0.0.1/share"
    assert lines["Linux"].endswith(",port=4445")
    assert lines["Windows"].endswith("/user:alice /tcpport:4445")
    assert lines["macOS"] == "open smb://alice@192.0.2.7:4445/share"
    assert any("older ones know port 445 alone" in line for line in lines)


def test_the_address_is_the_way_out_s(monkeypatch: pytest.MonkeyPatch) -> None:
    class Probe:
        """A socket of which only its address is asked."""

        def __init__(self, family: int, kind: int) -> None:
            assert (family, kind) == (socket.AF_INET, socket.SOCK_DGRAM)

        def __enter__(self) -> "Probe":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def connect(self, address: Any) -> None:
            assert address[0].startswith("192.0.2."), "TEST-NET-1: nobody is disturbed"
            if failing:
                raise OSError("no way")

        def getsockname(self) -> tuple[str, int]:
            return "198.51.100.3", 40000

    failing = False
    monkeypatch.setattr(socket, "socket", Probe)
    assert quickstart.own_address() == "198.51.100.3"
    failing = True
    assert quickstart.own_address() == socket.gethostname()


def test_it_becomes_the_server(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(quickstart.paths, "config_file", lambda: file)
    monkeypatch.setattr(quickstart.paths, "password_file", lambda folder: folder / "pwd.db")
    monkeypatch.setattr(os, "execv", lambda *call: begun.append(call))
    monkeypatch.setenv("HOME", str(tmp_path))
    quickstart.run(["--share", "~/new", "--port", "4461"])
    ((server, words),) = begun
    assert server.name == "usmbd"
    copy = tmp_path / ".usmbd-4461.conf"
    assert words == [str(server), "-C", str(copy), "-P", str(tmp_path / "pwd.db")]
    assert (tmp_path / "new").is_dir()
    assert "4461" in capsys.readouterr().out
    assert quickstart.account() in load_users(tmp_path / "pwd.db").hashes


def test_a_port_that_is_taken_leaves_no_copy(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be served from then on, with what else was asked for in vain."""
    monkeypatch.setattr(quickstart.paths, "config_file", lambda: file)
    monkeypatch.setattr(quickstart.paths, "password_file", lambda folder: folder / "pwd.db")
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match="is taken"):
            quickstart.run(["--share", str(tmp_path), "--port", str(port)])
    assert not list(tmp_path.glob(".usmbd-*"))


def test_without_a_home_it_says_what_to_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not options of the tools, which `make serve` does not have."""

    def refused(user: str) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", "/nonexistent")

    monkeypatch.setattr(quickstart, "prepare_configuration", refused)
    monkeypatch.setattr(os, "geteuid", lambda: 31001)
    with pytest.raises(SystemExit):
        quickstart.main([])
    said = capsys.readouterr().err
    assert said.startswith("/nonexistent: Permission denied: as root (sudo), or SHARE=, HOME=")
    assert "-C" not in said


def test_a_domain_s_account_logs_in_by_its_own_name(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Winbind's `DOMAIN\alice` is alice to clients, and no account of the system by that name."""
    monkeypatch.setattr(shutil, "chown", lambda *_: None)
    share = load(quickstart.prepare_configuration("CORP\\ghost of %d")).shares["share"]
    assert share.access.force_user == "CORP\\ghost of %d"
    assert quickstart.login_name("CORP\\ghost of %d") == "ghost of %d"
    for account in ("root", "CORP\\root"):  # whom the system has
        assert quickstart.as_account(account) == []


def test_an_interrupt_ends_it_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []
    monkeypatch.setattr(quickstart, "main", lambda: begun.append(signal.getsignal(signal.SIGINT)))
    before = signal.getsignal(signal.SIGINT)
    try:
        serve.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert begun == [signal.SIG_DFL]
