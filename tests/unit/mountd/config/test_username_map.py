"""`username map`: lines, the last that fits, and whom a login lets in."""

from pathlib import Path

import pytest
from mountd_helpers import FakeAccounts, login

from usmbd.mountd.config.load import load
from usmbd.mountd.config.username_map import UsernameMap, parse
from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.mountd.login import Authenticator
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import UserTable

TEXT = """# comment
; another
root = Administrator admin
alice = "Alice Liddell" "DOM\\alice" @staff
!bob = robert "bob the builder"
guest = robert *
"""


def read(tmp_path: Path, text: str = TEXT) -> UsernameMap:
    path = tmp_path / "map"
    path.write_text(text)
    return UsernameMap(path)


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("ADMINISTRATOR", "guest"),  # the last line that fits, as with Samba
        ("Robert", "bob"),  # but nothing after a `!`
        ("bob the builder", "bob"),
        ("anybody", "guest"),
    ],
)
def test_the_last_line_that_fits(tmp_path: Path, name: str, account: str) -> None:
    assert read(tmp_path).account(name, lambda *_: False) == account


def test_without_a_wildcard_names_stay(tmp_path: Path) -> None:
    names = read(tmp_path, TEXT.replace(" *", ""))
    staff = FakeAccounts().is_member
    for name, account in {
        "admin": "root",
        "alice liddell": "alice",
        "dom\\ALICE": "alice",
        "alice": "alice",
        "carol": "carol",
        "robert": "bob",
    }.items():
        assert names.account(name, staff) == account


@pytest.mark.parametrize("line", ["alice", "= x", "alice =", 'alice = "x'])
def test_lines_that_say_nothing_are_left_out(tmp_path: Path, line: str) -> None:
    """Smbd passes over them."""
    names = read(tmp_path, f"# first\n{line}\nbob = robert\n")
    assert names.account("robert", lambda *_: False) == "bob"
    (warning,) = names.warnings
    assert "map:2: " in warning
    assert warning.endswith(": it is left out")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("alice = fred, barney", ("fred", "barney")),
        ("alice = fred ; barney,wilma\tdino", ("fred", "barney", "wilma", "dino")),
        ('alice = "fred, the first" barney', ("fred, the first", "barney")),
        ("alice = o'brien 'fred flint'", ("o'brien", "'fred", "flint'")),
        ("alice = fred \\\n  barney", ("fred", "barney")),
        ("alice = DOM\\fred", ("DOM\\fred",)),
    ],
)
def test_names_are_parted_as_with_samba(tmp_path: Path, line: str, names: tuple[str, ...]) -> None:
    """Tried with smbd 4.17, which takes lines and lists as in its configuration file."""
    (rule,) = parse(tmp_path, f"{line}\n", [])
    assert (rule.account, rule.names) == ("alice", names)


def test_who_logs_in_as_whom(tmp_path: Path) -> None:
    read(tmp_path, 'alice = "Alice Liddell"\n')
    config = load(tmp_path / "e.conf", f"[global]\nusername map = {tmp_path}/map\n")
    users = UserTable({"alice": nt_hash("secret")})
    one = Authenticator(users, config.server, FakeAccounts(), names=config.username_map)
    answer = one.login(login("alice liddell", "secret"))
    assert (answer.status, answer.user, answer.uid) == (LoginStatus.OK, "alice", 1001)
    assert one.login(login("alice liddell", "wrong")).status is LoginStatus.BAD_PASSWORD
    assert one.login(login("lorina", "secret")).status is LoginStatus.BAD_USER


def test_a_login_reads_what_the_file_says_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As by smbd, without a reload; and only where it is another."""
    path = tmp_path / "map"
    config = load(tmp_path / "e.conf", f"[global]\nusername map = {path}\n")
    assert "there is no" in config.warnings[0]
    users = UserTable({"alice": nt_hash("secret"), "bob": nt_hash("hidden")})
    one = Authenticator(users, config.server, FakeAccounts(), names=config.username_map)
    assert one.login(login("boss", "secret")).status is LoginStatus.BAD_USER
    for text, password in (("alice = boss\n", "secret"), ("nonsense\nbob = boss\n", "hidden")):
        path.write_text(text)
        assert one.login(login("boss", password)).status is LoginStatus.OK
    assert [record.message for record in caplog.records] == [
        f"{path}:1: the line is not ACCOUNT = NAME NAME ...: it is left out"
    ]
    path.unlink()
    assert one.login(login("boss", "hidden")).status is LoginStatus.BAD_USER


def test_an_unchanged_file_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = read(tmp_path)
    monkeypatch.setattr("usmbd.mountd.config.username_map.read_text", None)
    assert names.account("admin", lambda *_: False) == "guest"


def test_a_file_that_is_wrong_stops_no_start(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"x\nalice = \xff\n")
    config = load(tmp_path / "e.conf", f"[global]\nusername map = {tmp_path}/bad\n")
    (warning,) = config.warnings
    assert warning == f"{tmp_path}/bad:2: the text is not UTF-8: names stay as they are"
    assert config.username_map.account("alice", lambda *_: False) == "alice"
