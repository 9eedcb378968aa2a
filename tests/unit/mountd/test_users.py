"""The password file: what is read, refused, and how it is replaced."""

import os
from pathlib import Path

import pytest

from usmbd.mountd import users as module
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import (
    UserTable,
    check_user_name,
    edit_users,
    hash_password,
    load_users,
    parse_users,
)


def test_a_file_of_ksmbd_is_read() -> None:
    users = parse_users("alice:iEb36u6PsRetBr3YMLdYbA==\n\nbob:iEb36u6PsRetBr3YMLdYbA==", "f")
    assert users.hashes == {"alice": nt_hash("password"), "bob": nt_hash("password")}


def test_names_are_found_in_any_case_unless_that_is_ambiguous() -> None:
    users = UserTable({"Alice": b"1" * 16, "bob": b"2" * 16, "BOB": b"3" * 16})
    assert users.find("ALICE") == "Alice"
    assert users.find("BOB") == "BOB"
    assert users.find("Bob") is None
    assert users.find("carol") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alice", "f:1: the line is not NAME:HASH"),
        ("a:iEb36u6PsRetBr3YMLdYbA==\na:iEb36u6PsRetBr3YMLdYbA==", "f:2: the user 'a' occurs"),
        ("alice:???", "f:1: the hash of 'alice' is not base64"),
        ("alice:QUJD", "f:1: the hash of 'alice' has 3 bytes"),
        ("x" * 48 + ":iEb36u6PsRetBr3YMLdYbA==", "f:1: a user name has 1 to 47 bytes"),
    ],
)
def test_a_malformed_line_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_users(text, "f")
    assert str(caught.value).startswith(message)


def test_what_is_wrong_with_the_whole_file_names_no_line(tmp_path: Path) -> None:
    path = tmp_path / "pwd.db"
    with pytest.raises(ConfigError, match=f"^{path}: there is no such file"):
        load_users(path, required=True)
    with pytest.raises(ConfigError, match=f"^{tmp_path}: "):
        load_users(tmp_path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=f"^{path}: the file is not UTF-8"):
        load_users(path)
    os.truncate(path, module.MAX_FILE_SIZE + 1)
    with pytest.raises(ConfigError, match=f"^{path}: the file is larger than 16777216 bytes"):
        load_users(path)
    os.truncate(path, 0)
    assert not load_users(path).hashes


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a:b",
        "a\nb",
        " a",
        "ä" * 24,
        "#a",
        "#@a",
        ";a",
        "@g",
        "&g",
        "+g",
        "W\\x",
        "a/b",
        "a,b",
        "a.",
    ],
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="user name"):
        check_user_name(name)


def test_names_that_may_be() -> None:
    for name in ("a", "a b", "a.b", "ä$", "a@b.example", "a#b", "o'neill"):
        assert check_user_name(name) == name


def test_a_file_with_names_that_nobody_gives_any_more_is_read() -> None:
    line = ":iEb36u6PsRetBr3YMLdYbA==\n"
    names = ["W\\x", "a/b", "@g", "a,b", "a."]
    assert list(parse_users("".join(name + line for name in names), "f").hashes) == names


def test_a_password_is_limited() -> None:
    for most in ("x" * 256, "é" * 256, "\U0001f600" * 128):
        assert len(hash_password(most)) == 16
        with pytest.raises(ValueError, match="at most 256 characters, this one 257"):
            hash_password(most + "x")


def test_an_edit_replaces_the_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "pwd.db"
    edit_users(path, lambda hashes: hashes.update(alice=nt_hash("a")))
    before = path.stat().st_ino
    edit_users(path, lambda hashes: hashes.update(bob=nt_hash("b")))
    assert set(load_users(path).hashes) == {"alice", "bob"}
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_edit_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "pwd.db"
    edit_users(path, lambda hashes: hashes.update(alice=nt_hash("a")))
    text = path.read_text()

    def fail(hashes: dict[str, bytes]) -> None:
        hashes.clear()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        edit_users(path, fail)
    assert path.read_text() == text
    assert sorted(os.listdir(tmp_path)) == ["pwd.db", "pwd.db.lock"]


def test_the_file_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.MAX_FILE_SIZE == 16 << 20
    path = tmp_path / "pwd.db"
    edit_users(path, lambda hashes: hashes.update(alice=nt_hash("a")))
    monkeypatch.setattr(module, "MAX_FILE_SIZE", path.stat().st_size)
    assert set(load_users(path).hashes) == {"alice"}
    monkeypatch.setattr(module, "MAX_FILE_SIZE", path.stat().st_size - 1)
    with pytest.raises(ConfigError, match="larger than"):
        load_users(path)


def test_what_was_left_half_written_goes_at_the_next_change(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    left, others = tmp_path / ".users.db.ab3_xyz9", tmp_path / ".users.db.backup"
    left.write_text("alice:")
    others.touch()
    edit_users(path, lambda hashes: hashes.update(alice=nt_hash("x")))
    assert not left.exists()
    assert others.exists()
    assert list(load_users(path).hashes) == ["alice"]


def test_all_malformed_lines_are_told_at_once() -> None:
    known = "bob:iEb36u6PsRetBr3YMLdYbA==\n"
    text = f"alice:???\nfoo\n{known}{known}"
    with pytest.raises(ConfigError) as caught:
        parse_users(text, "pw")
    assert str(caught.value).split("\n") == [
        "pw:1: the hash of 'alice' is not base64",
        "pw:2: the line is not NAME:HASH",
        "pw:4: the user 'bob' occurs twice",
    ]
