"""What is said of files that are right: that nobody can log in, where somebody should."""

import dataclasses
from pathlib import Path

import msgspec

from usmbd.mountd.config.load import load
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.remarks import remarks
from usmbd.mountd.users import UserTable


def said(tmp_path: Path, lines: str = "", *, kerberos: bool = False) -> list[str]:
    """Return the remarks of a server without users."""
    config = tmp_path / "usmbd.conf"
    config.write_text(f"[global]\nstate directory = {tmp_path}/run\n{lines}")
    configuration = load(config)
    server = msgspec.structs.replace(configuration.server, kerberos=kerberos)
    configuration = dataclasses.replace(configuration, server=server, warnings=["first"])
    first, *others = remarks(configuration, tmp_path / "pwd.db", UserTable())
    assert first == "first"
    return others


GUESTS = "map to guest = bad user\n[s]\npath = /\nguest ok = "


def test_a_server_that_lets_nobody_in_says_so(tmp_path: Path) -> None:
    passwords = tmp_path / "pwd.db"
    missing = f"{passwords}: there is no such file: nobody can log in until usmbd.adduser has made"
    empty = f"{passwords} has no users: nobody can log in until usmbd.adduser has added one"
    assert said(tmp_path)[0].startswith(missing)
    passwords.touch(mode=0o600)
    assert said(tmp_path) == [empty]
    assert empty in said(tmp_path, f"{GUESTS}no\n")
    assert empty in said(tmp_path, "[s]\npath = /\nguest ok = yes\n")
    assert empty not in said(tmp_path, f"{GUESTS}yes\n")
    assert said(tmp_path, kerberos=True) == []
    assert list(remarks(None, passwords, UserTable())) == [empty]
    assert list(remarks(None, passwords, None)) == []
    assert list(remarks(None, passwords, UserTable({"a": nt_hash("x")}))) == []
