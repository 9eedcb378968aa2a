"""Samba's password files: what is taken, left out, refused; passdb.tdb by Samba's own tools."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.cli import adduser
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.passdb import parse_ends, parse_smbpasswd, read_passdb
from usmbd.mountd.users import load_users

NO_LM = "X" * 32


def line(name: str, password: str, flags: str = "U          ", uid: int = 1000) -> str:
    return f"{name}:{uid}:{NO_LM}:{nt_hash(password).hex().upper()}:[{flags}]:LCT-60000000:\n"


TEXT = (
    "# a comment\n"
    + line("alice", "secret")
    + line("bob", "hidden", "UX         ", 4294967295)
    + line("gone", "x", "DU         ")
    + line("locked", "x", "UL         ")
    + line("pc$", "x", "W          ")
    + line("a,b", "x")
    + line("empty", "")
    + f"none:1:{NO_LM}:{NO_LM}:[NU         ]:LCT-0:\n"
    + f"nothing:1:{NO_LM}:NO PASSWORDXXXXXXXXXXXXXXXXXXXXX:[U          ]\n"
)


def test_who_is_taken_and_who_is_not() -> None:
    found = parse_smbpasswd(TEXT, "smbpasswd")
    assert found.hashes == {
        "alice": nt_hash("secret"),
        "bob": nt_hash("hidden"),
        "gone": nt_hash("x"),
    }
    assert found.facts == {
        "alice": AccountFacts(0x60000000),
        "bob": AccountFacts(0x60000000, lasting=True),
        "gone": AccountFacts(0x60000000, disabled=True),
    }
    left_out = dict(each.split(": ", 1) for each in found.left_out)
    assert left_out == {
        "locked": "the account is locked",
        "pc$": "it is the account of a machine or a domain",
        "a,b": "a user name has no ',': nobody could log in by it",
        "empty": "the password is empty",
        "none": "there is no password",
        "nothing": "there is no password",
    }


def test_a_password_that_was_never_changed_has_to_be() -> None:
    text = line("new", "x").replace("LCT-60000000", "LCT-00000000")
    assert parse_smbpasswd(text, "f").facts["new"] == AccountFacts(must_change=True)
    short = text.partition("LCT")[0]
    assert parse_smbpasswd(short, "f").facts["new"] == AccountFacts()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice:AAAA\n", "the line is not NAME:UID:LM:NT"),
        (line("a", "x").replace("[", ""), "are not in brackets"),
        (line("a", "x").replace(":1000:", ":x:"), "the line is not"),
        (line("a", "x") * 2, "occurs twice"),
        (f"a:1:{NO_LM}:12:[U]:\n", "the hash of 'a' is malformed"),
        (f"a:1:{NO_LM}:{'Z' * 32}:[U]:\n", "the hash of 'a' is malformed"),
        (line("a", "x").replace("LCT-6", "LCT-?"), "'a': invalid literal"),
        (line("a", "x").replace("LCT-6", "LCT-F6"), "LCT-F60000000 is no time"),
        (line("n" * 48, "x"), "a user name has 1 to 47 bytes"),
    ],
)
def test_what_is_malformed(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"file:\d+: ") as error:
        parse_smbpasswd(text, "file")
    assert why in str(error.value)


def test_the_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, passwords = tmp_path / "smbpasswd", tmp_path / "pwd.db"
    source.write_text(TEXT)
    files = ["-P", str(passwords)]
    assert adduser.main(["-a", "-p", "older", "bob", *files]) == 0
    assert adduser.main(["--import", str(source), *files]) == 0
    users = load_users(passwords)
    hashes = {"bob": "older", "alice": "secret", "gone": "x"}
    assert users.hashes == {name: nt_hash(password) for name, password in hashes.items()}
    assert users.facts_of("gone") == AccountFacts(0x60000000, disabled=True)
    assert users.facts_of("alice") == AccountFacts(0x60000000)
    said = capsys.readouterr()
    assert "warning: 'gone' has no account on this system" in said.err
    assert "left out: locked: the account is locked" in said.err
    assert "left out: bob: he is there already" in said.err
    assert "2 users added" in said.out
    assert adduser.main(["--import", str(tmp_path / "none"), *files]) == 2
    source.write_text("x\n")
    assert adduser.main(["--import", str(source), *files]) == 2
    for wrong in (["--import", str(source), "alice"], [], ["--import", str(source), "-p", "x"]):
        with pytest.raises(SystemExit):
            adduser.main([*wrong, *files])


def test_when_accounts_end() -> None:
    said = (
        "---------------\nUnix username:        alice\nFull Name:            Kickoff time: x\n"
        "Logoff time:          Wed, 06 Feb 2036 15:06:39 UTC\n"
        "Kickoff time:         Sun, 17 Mar 2030 17:46:40 UTC\n---------------\n"
        "Unix username:        bob\nKickoff time:         Wed, 06 Feb 2036 15:06:39 UTC\n"
        "Unix username:        carol\nKickoff time:         never\n"
    )
    assert parse_ends(said) == {"alice": 1900000000}


def test_passdb_tdb(tmp_path: Path) -> None:
    if shutil.which("pdbedit") is None or os.geteuid():
        pytest.skip("needs pdbedit, and root")
    database = tmp_path / "passdb.tdb"
    config = tmp_path / "smb.conf"
    config.write_text(
        "[global]\n"
        + "".join(
            f"{name} = {tmp_path}\n"
            for name in ("private dir", "lock directory", "state directory", "cache directory")
        )
    )
    command = ["pdbedit", "-s", str(config), "-b", f"tdbsam:{database}"]
    for name, more in (("games", []), ("man", ["-c", "[D]"])):
        subprocess.run(
            [*command, "-a", "-t", "-u", name], input="secret\nsecret\n",
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        if more:
            subprocess.run([*command, "-r", "-u", name, *more], capture_output=True, check=True)
    end = ["-u", "games", "-K", "1900000000"]
    subprocess.run([*command, *end], capture_output=True, check=True)
    found = read_passdb(database)
    assert [found.facts[name].ends for name in ("games", "man")] == [1900000000, 0]
    assert found.hashes == dict.fromkeys(("games", "man"), nt_hash("secret"))
    assert [found.facts[name].disabled for name in ("games", "man")] == [False, True]
    assert all(facts.changed > 1_700_000_000 for facts in found.facts.values())
    database.write_bytes(b"TDB file\n" + bytes(100))
    with pytest.raises(ConfigError, match="pdbedit"):
        read_passdb(database)
