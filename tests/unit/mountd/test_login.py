"""Logins: who gets in, as whom."""

import impacket.ntlm as impacket
import pytest
from mountd_helpers import FakeAccounts, login

from usmbd.mountd.ipc.messages import LoginRequest, LoginStatus
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


def version_1(password: str, client_challenge: bytes = b"") -> LoginRequest:
    """Build alice's proof by NTLMv1."""
    flags = impacket.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY if client_challenge else 0
    challenge = b"12345678"
    response, _, _ = impacket.computeResponseNTLMv1(
        flags, challenge, client_challenge, b"", "", "alice", password
    )
    return LoginRequest(
        "alice", "", "", challenge, response, "192.0.2.1", client_challenge=client_challenge
    )


@pytest.mark.parametrize("client_challenge", [b"", b"c" * 8])
def test_version_1_is_taken_where_it_is_permitted_alone(client_challenge: bytes) -> None:
    right, wrong = (version_1(word, client_challenge) for word in ("secret", "guess"))
    assert authenticator().login(right).status is LoginStatus.BAD_PASSWORD
    permitting = authenticator(ntlmv1=True)
    answer = permitting.login(right)
    assert (answer.status, answer.user) == (LoginStatus.OK, "alice")
    assert len(answer.session_base_key) == 16
    assert permitting.login(wrong).status is LoginStatus.BAD_PASSWORD
    right.client_challenge = b"d" * 8
    assert permitting.login(right).status is LoginStatus.BAD_PASSWORD


def test_a_proof_of_version_2_that_fails_is_not_tried_as_version_1() -> None:
    permitting = authenticator(ntlmv1=True)
    assert permitting.login(login("alice", "secret")).status is LoginStatus.OK
    cut, longer = version_1("secret"), version_1("secret")
    cut.nt_response, longer.nt_response = cut.nt_response[:23], longer.nt_response + bytes(40)
    for request in (login("alice", "guess"), cut, longer):
        assert permitting.login(request).status is LoginStatus.BAD_PASSWORD
