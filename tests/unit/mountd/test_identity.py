"""Accounts of the system, as root and as anyone else."""

import grp
import os

import pytest

from usmbd.mountd.identity import NOBODY, Account, Accounts


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> Accounts:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return Accounts()


def test_root_maps_users_to_their_accounts(as_root: Accounts) -> None:
    root = as_root.find("root")
    assert root is not None
    assert (root.uid, root.gid) == (0, 0)
    assert 0 in root.groups
    for name in ("no such user", "", "a\0b", "\ud800"):
        assert as_root.find(name) is None
        assert as_root.find_group(name) is None
        assert not as_root.is_member(name, "root")


def test_the_guest_is_never_root(as_root: Accounts) -> None:
    assert as_root.guest("root") == NOBODY
    assert as_root.guest("no such user") == NOBODY


def test_anyone_else_maps_everybody_to_himself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    account = Accounts().find("whoever")
    assert account is not None
    assert (account.name, account.uid, account.gid) == ("whoever", 1234, os.getegid())


def test_groups_are_asked_of_the_system(as_root: Accounts) -> None:
    assert as_root.is_member("root", "root")
    assert not as_root.is_member("root", "no such group")


def test_a_forced_group_becomes_the_first() -> None:
    assert Account("a", 1, 2, (2, 3)).with_group(3) == Account("a", 1, 3, (3, 2))


def test_a_group_has_the_name_that_the_system_gives_it(as_root: Accounts) -> None:
    assert as_root.group_name(0) == grp.getgrgid(0).gr_name
    known = {entry.gr_gid for entry in grp.getgrall()}
    nobodys = next(gid for gid in range(3_000_000_000, 3_000_010_000) if gid not in known)
    assert as_root.group_name(nobodys) == ""
