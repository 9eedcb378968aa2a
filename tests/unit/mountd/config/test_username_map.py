"""`username map`: lines, the last that fits, and whom a login lets in."""

from pathlib import Path

import pytest
from mountd_helpers import FakeAccounts, login

from usmbd.mountd.config.load import load
from usmbd.mountd.config.username_map import UsernameMap, load_username_map
from usmbd.mountd.errors import ConfigError
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
    return load_username_map(path)


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
def test_lines_that_say_nothing(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="map:2: "):
        read(tmp_path, f"# first\n{line}\n")


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
    (rule,) = read(tmp_path, f"{line}\n").rules
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


def test_a_file_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    config = load(tmp_path / "e.conf", f"[global]\nusername map = {tmp_path}/none\n")
    assert config.username_map == UsernameMap()
    assert "there is no" in config.warnings[0]
    (tmp_path / "bad").write_text("x\n")
    with pytest.raises(ConfigError, match="bad:1: "):
        load(tmp_path / "e.conf", f"[global]\nusername map = {tmp_path}/bad\n")
