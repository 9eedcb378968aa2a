"""What mountd answers to its workers."""

import io
from pathlib import Path

import pytest
from mountd_helpers import FakeAccounts, login, tree

from usmbd.mountd.config.load import load
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.ipc.messages import (
    AnonymousRequest,
    HeldTree,
    LoginResponse,
    LoginStatus,
    Logout,
    MountdRequest,
    ServerConfigRequest,
    ServerConfigResponse,
    ShareConfigRequest,
    ShareConfigResponse,
    TreeConnectResponse,
    TreeDisconnect,
    TreesHeld,
    TreeStatus,
)
from usmbd.mountd.log import Log
from usmbd.mountd.md4 import nt_hash
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
    return Service(load(config), passwords, Log(3, stream=io.StringIO()), FakeAccounts())


def connect(service: Service, worker: str, tree_id: int) -> TreeStatus:
    answer, _ = service.handle(worker, tree("DATA", tree_id=tree_id), 0.0)
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
    messages: list[MountdRequest] = [TreeDisconnect(1, 1), Logout(1)]
    for message in messages:
        assert service.handle("w1", message, 0.0) == (None, 0.0)
        assert connect(service, "w2", 9) is TreeStatus.OK
        service.handle("w2", TreeDisconnect(1, 9), 0.0)
        assert connect(service, "w1", 1) is TreeStatus.OK
    service.worker_gone("w1")
    held = TreesHeld([HeldTree(5, 1, "data"), HeldTree(5, 2, "data")])
    assert service.handle("w3", held, 0.0) == (None, 0.0)
    assert connect(service, "w1", 1) is TreeStatus.TOO_MANY_CONNECTIONS


def test_anonymous(service: Service) -> None:
    answer, _ = service.handle("w", AnonymousRequest("192.0.2.1"), 0.0)
    assert isinstance(answer, LoginResponse)
    assert answer.status is LoginStatus.ANONYMOUS


def test_a_reload_takes_effect_or_nothing_does(service: Service) -> None:
    path = service.configuration.path
    path.write_text("[data]\npath = /srv\nnonsense = 1\n")
    with pytest.raises(ConfigError):
        service.reload()
    assert service.configuration.find_share("gone") is not None
    path.write_text("[data]\npath = /srv\n")
    edit_users(path.parent / "pwd.db", lambda hashes: hashes.update(bob=nt_hash("b")))
    message = service.reload()
    assert (message.generation, message.removed_shares) == (2, ["gone"])
    answer, _ = service.handle("w", login("bob", "b"), 0.0)
    assert isinstance(answer, LoginResponse)
    assert answer.status is LoginStatus.OK
