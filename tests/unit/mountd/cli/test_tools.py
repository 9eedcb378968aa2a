"""The tools, run in this process: files, messages, exit codes."""

import dataclasses
import datetime
import io
import json
import os
from pathlib import Path
from types import ModuleType

import pytest

from usmbd.mountd import lockfile
from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.cli import addshare, adduser, control, mountd
from usmbd.mountd.config.load import load
from usmbd.mountd.ipc.messages import ControlRows, OpenRow, SessionRow
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import load_users


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    config = tmp_path / "usmbd.conf"
    config.write_text(f"[global]\nstate directory = {tmp_path}/state\n[data]\npath = /usr\n")
    return ["-C", str(config), "-P", str(tmp_path / "pwd.db")]


def test_check_prints_the_settings(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert mountd.main(["--check", "-p", "1445", *files[:2]]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["tcp_port"] == 1445
    assert settings["state_directory"].endswith("/state")


def test_check_names_the_line(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(files[1])
    config.write_text("[data]\npath = /usr\nread onyl = no\n")
    Path(files[3]).touch()
    assert mountd.main(["--check", *files]) == 2
    message = "'read onyl' is not a parameter; did you mean 'read only'?"
    assert capsys.readouterr().err == f"{config}:3: {message}\n"


def test_check_reads_the_passwords_too(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[3]).write_text("alice\n")
    assert mountd.main(["--check", *files]) == 2
    assert capsys.readouterr().err.startswith(f"{files[3]}:1: ")


def test_a_user_whom_nobody_could_add_is_changed_and_removed(files: list[str]) -> None:
    for name in ("#@bob", r"W\x"):
        assert adduser.main(["-p", "x", name, *files]) == 1
    passwords = Path(files[3])
    assert not passwords.exists()
    passwords.write_text("W\\x:iEb36u6PsRetBr3YMLdYbA==\n")
    assert adduser.main(["-u", "-p", "new", r"W\x", *files]) == 0
    assert load_users(passwords).hashes == {r"W\x": nt_hash("new")}
    assert adduser.main(["-d", r"W\x", *files]) == 0


def test_the_end_of_a_piped_line_is_none_of_the_password(
    files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for piped, password in (("one\r\n", "one"), ("one\n", "one"), ("a\rb", "a\rb")):
        monkeypatch.setattr("sys.stdin", io.StringIO(piped, newline="\n"))
        assert adduser.main(["alice", *files]) == 0
        assert load_users(Path(files[3])).hashes["alice"] == nt_hash(password)


def test_an_option_that_ends_with_a_backslash(files: list[str]) -> None:
    text = Path(files[1]).read_text()
    options = ["-o", "comment = ends with \\", "-o", "path = /tmp"]
    assert addshare.main([*options, "new", *files]) == 0
    config = load(Path(files[1])).shares["new"].config
    assert (config.comment, config.path) == ("ends with \\", "/tmp")
    assert Path(files[1]).read_text().startswith(text)


@pytest.mark.parametrize("option", ["-C", "-P"])
@pytest.mark.parametrize(
    ("tool", "rest"),
    [
        (adduser, ["-p", "x", "carol"]),
        (adduser, ["-u", "-p", "x", "carol"]),
        (addshare, ["-o", "path = /tmp", "carol"]),
        (control, ["--check"]),
        (mountd, ["--check"]),
    ],
)
def test_a_folder_is_no_file(
    tmp_path: Path,
    tool: ModuleType,
    rest: list[str],
    option: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both are named, so that none of the machine's own files is ever touched."""
    folder = tmp_path / "etc"
    folder.mkdir()
    named = {
        "-C": str(tmp_path / "usmbd.conf"),
        "-P": str(tmp_path / "pwd.db"),
        option: str(folder),
    }
    Path(tmp_path / "usmbd.conf").write_text("[a]\npath = /tmp\n")
    assert tool.main([word for pair in named.items() for word in pair] + rest) == 2
    assert capsys.readouterr().err == f"{folder}: it is a folder; {option} names a file\n"
    assert sorted(os.listdir(tmp_path)) == ["etc", "usmbd.conf"]


def test_an_account_is_changed_without_its_password(files: list[str]) -> None:
    def facts() -> AccountFacts:
        users = load_users(Path(files[3]))
        assert users.hashes == {"alice": nt_hash("one")}
        return dataclasses.replace(users.facts_of("alice"), changed=0)

    assert adduser.main(["-a", "-p", "one", "--must-change", "alice", *files]) == 0
    assert facts() == AccountFacts(must_change=True)
    assert adduser.main(["--disable", "--lasting", "yes", "alice", *files]) == 0
    assert facts() == AccountFacts(must_change=True, disabled=True, lasting=True)
    ends = int(datetime.datetime(2027, 12, 31).timestamp())
    assert adduser.main(["-u", "--enable", "--ends", "2027-12-31", "alice", *files]) == 0
    assert facts() == AccountFacts(must_change=True, lasting=True, ends=ends)
    assert adduser.main(["--ends", "never", "--lasting", "no", "alice", *files]) == 0
    assert adduser.main(["-p", "one", "alice", *files]) == 0
    assert facts() == AccountFacts()
    assert adduser.main(["--disable", "bob", *files]) == 1


def test_users_come_change_and_go(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Path(files[3])
    assert adduser.main(["-a", "-p", "one", "alice", *files]) == 0
    assert adduser.main(["-a", "-p", "two", "alice", *files]) == 1
    assert load_users(passwords).hashes == {"alice": nt_hash("one")}
    assert adduser.main(["-p", "two", "alice", *files]) == 0
    assert load_users(passwords).hashes == {"alice": nt_hash("two")}
    monkeypatch.setattr("sys.stdin", io.StringIO("three\n"))
    assert adduser.main(["-u", "alice", *files]) == 0
    assert load_users(passwords).hashes == {"alice": nt_hash("three")}
    assert adduser.main(["-d", "bob", *files]) == 1
    assert adduser.main(["-d", "alice", *files]) == 0
    assert len(load_users(passwords)) == 0


def test_a_user_in_use_stays(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(files[1])
    config.write_text(config.read_text() + "valid users = Alice\n")
    adduser.main(["-p", "x", "alice", *files])
    capsys.readouterr()
    assert adduser.main(["-d", "alice", *files]) == 1
    assert capsys.readouterr().err == "the user 'alice' is named in data\n"


def test_shares_come_change_and_go(files: list[str]) -> None:
    config = Path(files[1])
    config.chmod(0o640)
    assert addshare.main(["-a", "-o", "path = /usr", "new", *files]) == 0
    assert addshare.main(["-a", "-o", "path = /usr", "NEW", *files]) == 1
    assert addshare.main(["-o", "writable = yes", "-o", "comment = c", "new", *files]) == 0
    share = load(config).find_share("new")
    assert share is not None
    assert (share.config.read_only, share.config.comment) == (False, "c")
    assert addshare.main(["-d", "new", *files]) == 0
    assert load(config).find_share("new") is None
    assert addshare.main(["-u", "-o", "comment = c", "new", *files]) == 1
    assert addshare.main(["-d", "global", *files]) == 1
    assert config.stat().st_mode & 0o777 == 0o640


def test_a_change_that_the_server_could_not_read_is_not_written(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(files[1]).read_text()
    assert addshare.main(["-o", "path = relative", "new", *files]) == 2
    assert addshare.main(["-o", "nonsense = 1", "new", *files]) == 2
    assert addshare.main(["-o", "comment = no path", "new", *files]) == 2
    assert Path(files[1]).read_text() == before
    assert "the share [new] has no path" in capsys.readouterr().err


def test_a_share_keeps_its_path_in_whatever_case_it_is_named(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert addshare.main(["-o", "path = /tmp", "Music", *files]) == 0
    before = Path(files[1]).read_text()
    assert addshare.main(["-o", "path =", "MUSIC", *files]) == 2
    assert Path(files[1]).read_text() == before
    assert "the share [MUSIC] has no path" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["copy = global", "include = other.conf"])
def test_what_stands_for_other_lines_is_not_written(
    files: list[str], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """It was said to be a part of the line before it."""
    before = Path(files[1]).read_text()
    assert addshare.main(["-o", "path = /tmp", "-o", option, "Music", *files]) == 2
    assert f"{option}: it stands for other lines" in capsys.readouterr().err
    assert Path(files[1]).read_text() == before


def test_an_included_share_is_not_edited_here(files: list[str]) -> None:
    config = Path(files[1])
    (config.parent / "more.conf").write_text("[more]\npath = /usr\n")
    config.write_text(config.read_text() + "include = more.conf\n")
    assert addshare.main(["-d", "more", *files]) == 1
    assert addshare.main(["-o", "comment = x", "more", *files]) == 1


def test_control_without_a_server(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("-l", "-r", "-s", "-c"):
        assert control.main([option, *files]) == 1
        assert capsys.readouterr().err.startswith("no server runs in ")


def test_control_shows_tables(capsys: pytest.CaptureFixture[str]) -> None:
    session = SessionRow(7, "alice", "192.0.2.1", 0, "3.1.1", "GMAC", "", 1, 2, 60, 5, ["a", "b"])
    rows = ControlRows([session, OpenRow(1, 7, "alice", 0, "a", "x y", 0x12019F, 7, "RWH", 0)])
    lines = control.table(control.show(rows, as_json=False))
    assert lines[0].split()[:3] == ["session_id", "user", "client_address"]
    assert lines[1].split()[-2:] == ["a,b", "no"]
    assert lines[1].split()[6] == "-"  # no column is empty: the words of a line can be counted
    assert lines[2] == ""
    assert lines[3].split()[0] == "open_id"
    assert lines[0].split()[9:11] == ["age_s", "idle_s"]
    assert lines[4].split()[7:9] == ["0x12019f", "0x7"]
    assert control.show(rows, as_json=True) == []
    assert json.loads(capsys.readouterr().out.splitlines()[1])["path"] == "x y"


# -- what newcomers meet ---------------------------------------------------------------------------


def test_control_checks_the_files_as_testparm_does(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(files[1])
    config.write_text(
        "[global]\nserver signing = required\nlog file = /l\nread only = no\ndeadtime = 3\n"
        "min protocol = SMB3\n[homes]\nvalid users = %S\n"
        '[data]\npath = /usr\ncreate mode = 600\nveto files = /a/b*/\nwrite list = "a b" c\n'
    )
    assert control.main(["--check", *files[:2]]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        f"# {config}",
        "[global]",
        "\tdeadtime = 3",
        "\tserver min protocol = SMB3_11",
        "\tserver signing = mandatory",
        "\tread only = no",
        "",
        "[homes]",
        "\tvalid users = %S",
        "",
        "[data]",
        "\tpath = /usr",
        "\tveto files = /a/b*/",
        "\tcreate mask = 0600",
        '\twrite list = "a b" c',
    ]
    assert f"warning: {config}:3: without effect: 'log file'" in output.err
    assert "nobody can log in until usmbd.adduser has made it" in output.err


def test_what_the_check_prints_is_a_configuration_of_the_same_meaning(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(files[1])
    config.write_text(
        config.read_text() + "veto files = /x y/z/\nvalid users = @staff, bob\nguest ok = yes\n"
    )
    assert control.main(["--check", "-v", *files[:2]]) == 0
    printed = capsys.readouterr().out
    assert "\tsmb2 max credits = 8192\n" in printed
    again = load(config, printed)
    assert (again.server, again.shares) == (load(config).server, load(config).shares)


def test_a_check_names_what_is_wrong_with_both_files(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_text("[global]\nworkers = -1\n[a]\npath = x\n")
    Path(files[3]).write_text("alice\n")
    assert control.main(["--check", *files]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        f"{files[1]}:2: workers = -1: -1 is not between 1 and 256",
        f"{files[1]}:4: path = x: 'x' is not an absolute path",
        f"{files[3]}:1: the line is not NAME:HASH",
    ]


@pytest.mark.parametrize("tool", [mountd, control])
def test_a_password_file_that_is_named_has_to_be_there(
    tool: ModuleType, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.main(["--check", *files]) == 2
    why = "there is no such file: put it back, or make one by usmbd.adduser"
    assert capsys.readouterr().err == f"{files[3]}: {why}\n"


@pytest.mark.parametrize(
    ("tool", "options"),
    [
        (control, ["-r", "--off"]),
        (control, ["-d", "smb", "--json"]),
        (control, ["--check", "-l"]),
        (control, ["--check", "--json"]),
        (adduser, ["-d", "-p", "x", "alice"]),
        (adduser, ["-d", "--disable", "alice"]),
        (adduser, ["--ends", "2107-01-01", "alice"]),
        (adduser, ["--enable", "--import", "file"]),
        (addshare, ["-d", "-o", "path = /usr", "data"]),
        (mountd, ["--check", "-n"]),
    ],
)
def test_options_that_do_not_fit_together(
    tool: ModuleType, options: list[str], files: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        tool.main([*options, *files])
    assert caught.value.code == 2


def test_an_empty_password_is_refused(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in (["-p", ""], []):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
        assert adduser.main([*options, "alice", *files]) == 1
        assert "an empty password" in capsys.readouterr().err
    assert not Path(files[3]).exists()


def test_the_tools_say_when_no_server_was_told(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = Path(files[1]).parent / "state"
    for tool, options in ((adduser, ["-p", "x", "nobody"]), (addshare, ["-o", "path=/tmp", "n"])):
        assert tool.main([*options, *files]) == 0
        message = f"no server runs in {state}: it counts from the next start on\n"
        assert capsys.readouterr().err.endswith(message)
    monkeypatch.setattr("usmbd.mountd.lockfile.tell_to_reload", lambda directory: True)
    capsys.readouterr()
    assert adduser.main(["-p", "y", "nobody", *files]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert "was told" not in quiet.out
    assert adduser.main(["-v", "-p", "z", "nobody", *files]) == 0
    assert capsys.readouterr().out.endswith("the server was told\n")


def test_the_help_recommends_a_password_that_no_process_list_shows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        adduser.main(["-h"])
    assert "list of processes" in " ".join(capsys.readouterr().out.split())


def serving(directory: Path, config: Path) -> int:
    """Be a mountd, for the tools; return the descriptor that is its lock."""
    directory.mkdir(exist_ok=True)
    return lockfile.acquire(directory, config)


def test_the_server_of_other_files_is_left_alone(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Path] = []
    monkeypatch.setattr("usmbd.mountd.lockfile.tell_to_reload", told.append)
    config = Path(files[1])
    lock = serving(config.parent / "state", Path("/etc/usmbd/usmbd.conf"))
    assert control.main(["-s", *files]) == 1
    assert "-C /etc/usmbd/usmbd.conf means it" in capsys.readouterr().err
    assert adduser.main(["-p", "x", "nobody", *files]) == 0
    assert capsys.readouterr().err.endswith("it was not told\n")
    assert told == []
    os.close(lock)
    lock = serving(config.parent / "state", config)
    assert adduser.main(["-p", "y", "nobody", *files]) == 0
    assert told == [config.parent / "state"]
    os.close(lock)


@pytest.mark.parametrize("action", ["--list", "--shutdown", "--debug=all"])
def test_a_mistake_in_the_file_keeps_nobody_from_its_server(
    action: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(files[1])
    place = tmp_path / "place"
    config.write_text(f"[global]\nstate directory = {place}\ntcp port = x\n[s]\nread only = ys\n")
    assert control.main([action, *files]) == 1
    said = capsys.readouterr().err
    assert "'ys' is neither yes nor no" in said
    assert f"no server runs in {place}" in said
    assert control.main(["--reload", *files]) == 2


def test_a_state_directory_in_use_is_not_changed(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(files[1])
    lock = serving(config.parent / "state", config)
    before = config.read_text()
    assert addshare.main(["-u", "-o", "state directory = /run/other", "global", *files]) == 1
    assert "end it first" in capsys.readouterr().err
    assert config.read_text() == before
    os.close(lock)


def test_a_path_that_may_be_mistyped_is_told(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, database = tmp_path / "typo.conf", tmp_path / "typo" / "x.db"
    assert adduser.main(["-C", str(config), "-p", "x", "nobody"]) == 2
    assert f"{config}: there is no such file" in capsys.readouterr().err
    assert adduser.main([*files[:2], "-P", str(database), "-p", "x", "nobody"]) == 1
    assert f"{database}: there is no folder {database.parent}" in capsys.readouterr().err
    assert not database.parent.exists()
    database.parent.mkdir()
    assert adduser.main([*files[:2], "-P", str(database), "-p", "x", "nobody"]) == 0
    assert f"{database} is made" in capsys.readouterr().err
    assert addshare.main(["-C", str(config), "-o", "path = /tmp", "new"]) == 0
    assert f"{config} is made" in capsys.readouterr().err
    away = tmp_path / "away" / "new.conf"
    assert addshare.main(["-C", str(away), "-o", "path = /tmp", "new"]) == 1
    assert not away.parent.exists()


def test_addshare_tells_what_the_change_brings(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = Path(files[1])
    config.write_text(f"[global]\nprinting = bsd\n{config.read_text()}")
    assert addshare.main(["-o", "path = /not/there", "new", *files]) == 0
    said = capsys.readouterr().err
    assert "printing" not in said
    assert "/not/there is not a directory (now)" in said
    around = Path(files[3]).parent
    for share in ("around", "again"):
        assert addshare.main(["-o", f"path = {around}", share, *files]) == 0
        said = capsys.readouterr().err
        assert f"the password file, {files[3]}, lies in the share {share}, {around}" in said
        assert f"share {'again' if share == 'around' else 'around'}," not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="to give files away needs root")
def test_what_root_changes_stays_its_owners(files: list[str]) -> None:
    config, database = Path(files[1]), Path(files[3])
    for path in (config, config.parent):
        os.chown(path, 1234, 1235)
    assert adduser.main(["-p", "x", "nobody", *files]) == 0
    assert addshare.main(["-o", "path = /tmp", "new", *files]) == 0
    for path in (config, database, Path(f"{database}.lock"), Path(f"{config}.lock")):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235), path
