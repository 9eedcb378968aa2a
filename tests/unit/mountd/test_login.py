"""Logins: who gets in, as whom."""

import pytest
from mountd_helpers import FakeAccounts, login

from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.mountd.ipc.settings import MapToGuest, ServerConfig
from usmbd.mountd.login import Authenticator
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import UserTable


def authenticator(**server: object) -> Authenticator:
    users = UserTable({"alice": nt_hash("secret"), "ghost": nt_hash("boo"), "open": nt_hash("")})
    return Authenticator(users, ServerConfig(**server), FakeAccounts())  # type: ignore[arg-type]


def test_the_right_password_gives_the_account_and_a_key() -> None:
    answer = authenticator().login(login("ALICE", "secret"))
    assert (answer.status, answer.user) == (LoginStatus.OK, "alice")
    assert (answer.uid, answer.gid, answer.groups) == (1001, 101, [101, 500])
    assert len(answer.session_base_key) == 16


@pytest.mark.parametrize(
    ("user", "password", "mapping", "status"),
    [
        ("alice", "wrong", MapToGuest.NEVER, LoginStatus.BAD_PASSWORD),
        ("nobody", "", MapToGuest.NEVER, LoginStatus.BAD_USER),
        # Of a file that ksmbd wrote: an empty password lets nobody in.
        ("open", "", MapToGuest.NEVER, LoginStatus.BAD_PASSWORD),
        ("alice", "wrong", MapToGuest.BAD_USER, LoginStatus.BAD_PASSWORD),
        ("stranger", "x", MapToGuest.BAD_USER, LoginStatus.GUEST),
        ("alice", "wrong", MapToGuest.BAD_PASSWORD, LoginStatus.GUEST),
        ("stranger", "x", MapToGuest.BAD_PASSWORD, LoginStatus.GUEST),
        ("", "", MapToGuest.NEVER, LoginStatus.ANONYMOUS),
    ],
)
def test_the_others(user: str, password: str, mapping: MapToGuest, status: LoginStatus) -> None:
    answer = authenticator(map_to_guest=mapping).login(login(user, password))
    assert answer.status is status
    assert answer.session_base_key == b""
    if status in (LoginStatus.GUEST, LoginStatus.ANONYMOUS):
        assert answer.uid == 65534


def test_guests_are_the_guest_account() -> None:
    answer = authenticator(map_to_guest=MapToGuest.BAD_USER, guest_account="alice").login(
        login("stranger", "x")
    )
    assert (answer.status, answer.user, answer.uid) == (LoginStatus.GUEST, "alice", 1001)


def test_a_user_without_an_account_never_gets_root_s_ids() -> None:
    answer = authenticator(guest_account="root").login(login("ghost", "boo"))
    assert (answer.status, answer.user) == (LoginStatus.OK, "ghost")
    assert (answer.uid, answer.gid, answer.groups) == (65534, 65534, [65534])
