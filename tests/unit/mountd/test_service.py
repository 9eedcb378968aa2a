"""What mountd answers to its workers."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mountd_helpers import FakeAccounts, answered, login, tree

from usmbd.mountd.config.load import load
from usmbd.mountd.credentials import KEY_NAME, Credentials, load_key
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.accounts import AskReadable
from usmbd.mountd.ipc.messages import (
    AbsentUserRequest,
    AnonymousRequest,
    ConfigReloaded,
    HeldTree,
    LimitRow,
    LimitsRequest,
    LimitsResponse,
    LoginResponse,
    LoginStatus,
    Logout,
    MountdRequest,
    ServerConfigRequest,
    ServerConfigResponse,
    SessionRequest,
    SessionResponse,
    ShareConfigRequest,
    ShareConfigResponse,
    TreeConnectResponse,
    TreeDisconnect,
    TreesHeld,
    TreeStatus,
)
from usmbd.mountd.ipc.settings import MapToGuest
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.readable import readable
from usmbd.mountd.service import Service
from usmbd.mountd.users import edit_users

CONFIG = (
    "[global]\nworkgroup = TEAM\n[data]\npath = /srv\nmax connections = 2\n[gone]\npath = /srv\n"
)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    config = tmp_path / "usmbd.conf"
    config.write_text(CONFIG)
    passwords = tmp_path / "pwd.db"
    edit_users(passwords, lambda hashes: hashes.update(alice=nt_hash("secret")))
    return Service(load(config), passwords, FakeAccounts())


def connect(service: Service, worker: str, session_id: int, tree_id: int = 1) -> TreeStatus:
    answer, _ = service.handle(worker, tree("DATA", session_id=session_id, tree_id=tree_id), 0.0)
    assert isinstance(answer, TreeConnectResponse)
    return answer.status


def test_settings_are_told(service: Service) -> None:
    answer, _ = service.handle("w", ServerConfigRequest(), 0.0)
    assert isinstance(answer, ServerConfigResponse)
    assert answer.config.workgroup == "TEAM"
    answer, _ = service.handle("w", ShareConfigRequest("DATA"), 0.0)
    assert isinstance(answer, ShareConfigResponse)
    assert answer.share is not None
    assert answer.share.path == "/srv"
    assert service.handle("w", ShareConfigRequest("none"), 0.0)[0] == ShareConfigResponse(None)


def test_failures_delay_the_answers_right_or_wrong(service: Service) -> None:
    for _ in range(3):
        answer, delay = service.handle("w", login("alice", "wrong"), 0.0)
        assert answer == LoginResponse(LoginStatus.BAD_PASSWORD)
        assert delay == 0.0
    assert service.handle("w", login("alice", "wrong"), 0.0)[1] == 0.25
    answer, delay = service.handle("w", login("alice", "secret"), 0.0)
    assert isinstance(answer, LoginResponse)
    assert (answer.status, delay) == (LoginStatus.OK, 0.75)
    assert service.handle("w", login("alice", "secret"), 1.0)[1] == 0.0


@pytest.mark.parametrize("name", ["alice", "ALICE", "aLiCe", "al\u0131ce"])
def test_all_names_of_a_user_count_as_one(service: Service, name: str) -> None:
    """And what finds nobody, or another, counts for itself."""
    for number in range(8):
        service.handle("w", login(("alice", "Alice", "ALICE")[number % 3], "wrong"), 0.0)
    slowed = service.handle("w", login(name, "wrong"), 0.0)[1] > 0
    assert slowed == (name.casefold() == "alice")


def test_users_that_differ_in_case_alone_do_not_help_each_other(
    service: Service, tmp_path: Path
) -> None:
    """Who has one of them does not forget the failures of the other by his own success."""
    edit_users(tmp_path / "pwd.db", lambda hashes: hashes.update(Alice=nt_hash("mine")))
    service.reload()
    for _ in range(4):
        service.handle("w", login("alice", "wrong"), 0.0)
        answer, _ = service.handle("w", login("Alice", "mine"), 0.0)
        assert isinstance(answer, LoginResponse)
        assert answer.status is LoginStatus.OK
    assert service.handle("w", login("alice", "wrong"), 0.0)[1] > 0
    service.handle("w", login("ALICE", "wrong"), 0.0)  # finds neither
    assert service.handle("w", login("Alice", "mine"), 0.0)[1] == 0.0


def test_guesses_count_where_they_are_let_in_as_guests(tmp_path: Path) -> None:
    config = tmp_path / "usmbd.conf"
    config.write_text("[global]\nmap to guest = bad password\n")
    edit_users(tmp_path / "pwd.db", lambda hashes: hashes.update(alice=nt_hash("secret")))
    service = Service(load(config), tmp_path / "pwd.db", FakeAccounts())
    for _ in range(8):
        answer, _ = service.handle("w", login("alice", "wrong"), 0.0)
        assert isinstance(answer, LoginResponse)
        assert answer.status is LoginStatus.GUEST
        assert service.handle("w", login("somebody", "x"), 0.0)[1] == 0.0
    assert service.handle("w", login("alice", "secret"), 0.0)[1] > 0


def test_nobody_comes_by_a_password_where_kerberos_alone_is_taken(service: Service) -> None:
    """The engine does not ask then; DCE/RPC's bind does, and brings no guest in either."""
    # `ntlm auth = disabled`, which wants a keytab
    server = msgspec.structs.replace(
        service.configuration.server, ntlm=False, map_to_guest=MapToGuest.BAD_USER
    )
    service.configuration = dataclasses.replace(service.configuration, server=server)
    for user, password in (("alice", "secret"), ("alice", "wrong"), ("nobody else", "")):
        answer, _ = service.handle("w", login(user, password), 0.0)
        assert answer == LoginResponse(LoginStatus.REFUSED)


def test_a_flood_is_refused_unseen(service: Service) -> None:
    answers = [service.handle("w", login("alice", "wrong"), 0.0) for _ in range(100)]
    refused = [a for a, _ in answers if a == LoginResponse(LoginStatus.TOO_MANY)]
    assert len(refused) > 85


def test_connections_of_a_share_are_limited_and_given_back(service: Service) -> None:
    assert [connect(service, "w1", n) for n in (1, 2, 3)] == [
        TreeStatus.OK,
        TreeStatus.OK,
        TreeStatus.TOO_MANY_CONNECTIONS,
    ]
    for number in range(2, 200):
        assert connect(service, "w1", 1, number) is TreeStatus.OK, "one session counts once"
    for number in range(2, 200):
        service.handle("w1", TreeDisconnect(1, number), 0.0)
    messages: list[MountdRequest] = [TreeDisconnect(1, 1), Logout(1)]
    for message in messages:
        assert service.handle("w1", message, 0.0) == (None, 0.0)
        assert connect(service, "w2", 9) is TreeStatus.OK
        service.handle("w2", TreeDisconnect(9, 1), 0.0)
        assert connect(service, "w1", 1) is TreeStatus.OK
    service.worker_gone("w1")
    held = TreesHeld([HeldTree(5, 1, "data", True), HeldTree(6, 1, "data", True)])
    assert service.handle("w3", held, 0.0) == (None, 0.0)
    assert connect(service, "w1", 1) is TreeStatus.TOO_MANY_CONNECTIONS


def test_guests_get_a_part_of_a_share_s_connections(service: Service) -> None:
    path = service.configuration.path
    share = "[public]\npath = /srv\nguest ok = yes\nmax connections = "
    path.write_text(path.read_text() + share + "4\n")
    service.reload()

    def public(session_id: int, **options: Any) -> TreeStatus:
        question = tree("public", session_id=session_id, **options)
        answer, _ = service.handle("w", question, 0.0)
        assert isinstance(answer, TreeConnectResponse)
        return answer.status

    got = [public(n, guest=n % 2 == 0, anonymous=n % 2 == 1) for n in range(10, 13)]
    assert got == [TreeStatus.OK, TreeStatus.OK, TreeStatus.TOO_MANY_CONNECTIONS]
    got = [public(n) for n in range(3)]
    assert got == [TreeStatus.OK, TreeStatus.OK, TreeStatus.TOO_MANY_CONNECTIONS]
    service.worker_gone("w")
    held = TreesHeld([HeldTree(n, 1, "public", False) for n in (1, 2)])
    service.handle("w", held, 0.0)
    assert public(3, guest=True) is TreeStatus.TOO_MANY_CONNECTIONS
    assert public(4) is TreeStatus.OK
    service.worker_gone("w")
    path.write_text(path.read_text().replace("connections = 4", "connections = 1"))
    service.reload()
    assert public(1, guest=True) is TreeStatus.OK


def test_anonymous(service: Service) -> None:
    answer, _ = service.handle("w", AnonymousRequest("192.0.2.1"), 0.0)
    assert isinstance(answer, LoginResponse)
    assert answer.status is LoginStatus.ANONYMOUS


def test_a_reload_takes_effect_or_nothing_does(service: Service) -> None:
    path = service.configuration.path
    path.write_text("[data]\npath = /srv\nread only = maybe\n")
    with pytest.raises(ConfigError):
        service.reload()
    assert service.configuration.find_share("gone") is not None
    path.write_text("[data]\npath = /srv\n")
    edit_users(path.parent / "pwd.db", lambda hashes: hashes.update(bob=nt_hash("b")))
    assert service.reload() == ConfigReloaded(2)
    answer, _ = service.handle("w", login("bob", "b"), 0.0)
    assert isinstance(answer, LoginResponse)
    assert answer.status is LoginStatus.OK


# -- what is connected while the files change ------------------------------------------------------


def log_in(service: Service, user: str, password: str) -> LoginResponse:
    answer, _ = service.handle("w", login(user, password), 0.0)
    assert isinstance(answer, LoginResponse)
    return answer


def goes_on(service: Service, request: SessionRequest) -> bool:
    answer, _ = service.handle("w", request, 0.0)
    assert isinstance(answer, SessionResponse)
    return answer.valid


def change_users(service: Service, **hashes: bytes) -> None:
    def change(known: dict[str, bytes]) -> None:
        known.clear()
        known.update(hashes)

    edit_users(service.configuration.path.parent / "pwd.db", change)
    service.reload()


def test_a_session_goes_on_as_long_as_its_password_is_good(service: Service) -> None:
    answer = log_in(service, "alice", "secret")
    request = SessionRequest("alice", answer.credential)
    assert answer.credential
    change_users(service, alice=nt_hash("secret"), bob=nt_hash("b"))
    assert service.handle("w", request, 0.0)[0] == SessionResponse(
        True, 1001, 101, [101, 500], answer.credential
    )
    change_users(service, alice=nt_hash("another"))
    assert not goes_on(service, request)
    assert not goes_on(service, SessionRequest("alice", 0))
    assert goes_on(service, SessionRequest("alice", log_in(service, "alice", "another").credential))
    change_users(service, bob=nt_hash("b"))
    assert not goes_on(service, request)


def test_a_password_that_was_changed_while_no_mountd_ran(service: Service, tmp_path: Path) -> None:
    """Another mountd with the same key knows who came by which password."""
    key = load_key(tmp_path)
    service.remember_by(key)
    request = SessionRequest("alice", log_in(service, "alice", "secret").credential)
    passwords = tmp_path / "pwd.db"
    for changed in (False, True):
        if changed:
            edit_users(passwords, lambda hashes: hashes.update(alice=nt_hash("another")))
        next_one = Service(service.configuration, passwords, FakeAccounts())
        assert not goes_on(next_one, request)  # by a key of its own
        next_one.remember_by(load_key(tmp_path))
        assert goes_on(next_one, request) is not changed


def test_the_key_is_kept_to_oneself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key, path = load_key(tmp_path), tmp_path / KEY_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path) == key
    path.write_bytes(b"short")
    assert load_key(tmp_path) not in (key, b"short")
    assert "it is made anew" in caplog.text
    assert [p.name for p in tmp_path.iterdir()] == [KEY_NAME]


def test_numbers_of_passwords() -> None:
    """A user's, and no other's."""
    credentials, digest = Credentials(), nt_hash("secret")
    number = credentials.number("alice", digest)
    assert 0 < number < 1 << 63
    assert credentials.number("alice", digest) == number
    assert number not in (
        credentials.number("bob", digest),
        credentials.number("alice", nt_hash("x")),
        Credentials().number("alice", digest),
    )


def test_a_password_file_that_vanishes_ends_no_session(service: Service) -> None:
    (service.configuration.path.parent / "pwd.db").unlink()
    with pytest.raises(ConfigError, match="there is no such file"):
        service.reload()
    assert log_in(service, "alice", "secret").status is LoginStatus.OK


def test_guests_go_on_as_long_as_there_may_be_any(service: Service) -> None:
    guest = SessionRequest("nobody", guest=True)
    assert not goes_on(service, guest)
    assert goes_on(service, SessionRequest("", anonymous=True))
    path = service.configuration.path
    path.write_text("[global]\nmap to guest = bad user\n" + CONFIG)
    service.reload()
    assert goes_on(service, guest)


def absent(service: Service, share: str = "data", user: str = "alice") -> TreeConnectResponse:
    answer, delay = service.handle("w", AbsentUserRequest(share, user), 0.0)
    assert isinstance(answer, TreeConnectResponse)
    assert not delay
    return answer


def test_what_somebody_may_do_who_is_not_connected(service: Service) -> None:
    """Now, from wherever and with whichever password he came; he takes nobody's place."""
    path = service.configuration.path
    assert [connect(service, "w", n) for n in (1, 2)] == [TreeStatus.OK] * 2  # of two
    path.write_text(CONFIG.replace("[data]", "hosts deny = ALL\n[data]\nread only = no"))
    service.reload()
    change_users(service, alice=nt_hash("another"))
    answer = absent(service)
    assert (answer.status, answer.writable, answer.uid) == (TreeStatus.OK, True, 1001)
    assert answer.share is not None
    assert answer.share.path == "/srv"
    assert service.trees.count("data") == 2
    path.write_text(CONFIG.replace("[data]", "[data]\nread list = alice\nread only = no"))
    service.reload()
    assert (absent(service).status, absent(service).writable) == (TreeStatus.OK, False)
    path.write_text(CONFIG.replace("[data]", "[data]\ninvalid users = alice"))
    service.reload()
    assert absent(service).status is TreeStatus.INVALID_USER
    assert absent(service, "none").status is TreeStatus.NO_SHARE
    path.write_text(CONFIG)
    change_users(service, bob=nt_hash("b"))
    assert absent(service).status is TreeStatus.NO_USER
    assert absent(service, user="Bob").status is TreeStatus.NO_USER


def test_who_may_not_go_on_may_be_there_still(service: Service) -> None:
    """By another password: his rights have not ended with the session."""
    request = SessionRequest("alice", 1)
    assert service.handle("w", request, 0.0)[0] == SessionResponse(valid=False, known=True)
    change_users(service, bob=nt_hash("b"))
    assert service.handle("w", request, 0.0)[0] == SessionResponse(valid=False)


def test_a_tree_that_is_asked_for_again_counts_once(service: Service) -> None:
    assert [connect(service, "w", n) for n in (1, 2, 1, 2, 3)] == [
        TreeStatus.OK,
        TreeStatus.OK,
        TreeStatus.OK,
        TreeStatus.OK,
        TreeStatus.TOO_MANY_CONNECTIONS,
    ]


def test_a_login_that_has_waited_is_checked_anew(service: Service) -> None:
    request = login("alice", "secret")
    assert log_in(service, "alice", "secret").status is LoginStatus.OK
    change_users(service, bob=nt_hash("b"))
    assert service.login_again(request).status is LoginStatus.BAD_USER


def test_limits(service: Service) -> None:
    for tree_id, session_id in enumerate((1, 1, 2), 1):
        assert connect(service, "worker", session_id, tree_id=tree_id) is TreeStatus.OK
    service.process_limits = lambda: [LimitRow("mountd", "more", 3, 1)]
    answer, _ = service.handle("tool", LimitsRequest(), 0.0)
    assert isinstance(answer, LimitsResponse)
    rows = {row.what: row for row in answer.rows}
    assert rows["sessions of the share data"].used == 2
    assert rows["accounts and addresses that failed"].used == 0
    assert rows["more"].used == 1


def test_who_may_read_which_share(service: Service) -> None:
    """What lists leave out for `access based share enum`: hosts do not count, as with smbd."""
    text = (
        "[open]\npath = /srv\nguest ok = yes\n[hers]\npath = /srv\nvalid users = alice\n"
        "[far]\npath = /srv\nhosts deny = ALL\n"
    )
    service.configuration.path.write_text(text)
    service.reload()
    names = ["open", "hers", "far", "none"]
    for user, guest, expected in (
        ("alice", False, [True, True, True, False]),
        ("bob", False, [True, False, True, False]),
        ("bob", True, [True, False, False, False]),
    ):
        asked = AskReadable(names, user, guest, False, "192.0.2.1")
        assert answered(readable(asked, service)).readable == expected
