"""mountd as a process: ready, asked, reloaded, ended; with a stand-in for the RPC process."""

import gc
import logging
import os
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from mountd_helpers import FakeAccounts, login
from served_mountd import Mountd, Rpc, until

from usmbd.mountd import daemon as module
from usmbd.mountd import lockfile, service
from usmbd.mountd.admin.registered import Registered
from usmbd.mountd.admin.registry import HIVES
from usmbd.mountd.admin.registry_store import RegistryStore
from usmbd.mountd.config.load import load
from usmbd.mountd.daemon import LATEST_TELL_SECONDS, TELL_SECONDS, Daemon
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import mountd_client
from usmbd.mountd.ipc.directory import SECRETS_DIRECTORY
from usmbd.mountd.ipc.messages import (
    MOUNTD_SOCKET,
    RPC_SOCKET,
    ConfigReloaded,
    Failed,
    LoginResponse,
    LoginStatus,
    ServerConfigRequest,
    ServerConfigResponse,
    ShareConfigRequest,
    ShareConfigResponse,
)
from usmbd.mountd.machine_sid import FILE_NAME
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.users import edit_users


@pytest.fixture
def mountd(state: Path, monkeypatch: pytest.MonkeyPatch) -> Mountd:
    monkeypatch.setattr(module, "RpcProcess", Rpc)
    monkeypatch.setattr(service, "Accounts", FakeAccounts)
    return Mountd(state)


def test_it_answers_from_when_it_is_ready_to_its_end(
    mountd: Mountd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "usmbd.conn")
    gc.collect()  # what earlier tests have left is not to be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))

    def talk(client: BlockingClient[Any]) -> None:
        answer = client.request(ServerConfigRequest())
        assert isinstance(answer, ServerConfigResponse)
        assert answer.config.workgroup == "TEAM"
        assert lockfile.running(mountd.state) == os.getpid()
        assert Rpc.made.calls == ["start"]
        assert Rpc.made.listener.getsockname() == str(mountd.state / RPC_SOCKET)

    mountd.serve(talk)
    assert Rpc.made.calls == ["start", "stop"]
    assert Rpc.made.listener.fileno() == -1
    assert lockfile.running(mountd.state) is None
    assert len(os.listdir("/proc/self/fd")) == before
    assert mountd.state.stat().st_mode & 0o777 == 0o700
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"mountd serves {mountd.state}", "mountd ends"], "nobody's end is an error"


def test_an_interrupt_ends_it_too(mountd: Mountd) -> None:
    mountd.serve(lambda client: client.request(ServerConfigRequest()), signal.SIGINT)
    assert Rpc.made.calls == ["start", "stop"]


def test_whoever_started_it_may_have_gone(mountd: Mountd) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    def end() -> None:
        until(lambda: (mountd.state / MOUNTD_SOCKET).exists())
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    mountd.daemon.run(writer)
    thread.join()


def test_a_second_one_is_refused(mountd: Mountd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockfile, "PATIENCE", 0.0)

    def talk(_client: BlockingClient[Any]) -> None:
        other = Daemon(load(mountd.file), mountd.passwords)
        with pytest.raises(lockfile.AlreadyRunningError):
            other.run(None)

    mountd.serve(talk)


def test_one_request_s_fault_is_its_own(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = mountd.daemon._service.handle

    def handle(client: Any, message: Any, now: float) -> Any:
        if isinstance(message, ShareConfigRequest):
            raise KeyError(message.name)
        return real(client, message, now)

    monkeypatch.setattr(mountd.daemon._service, "handle", handle)

    def talk(client: BlockingClient[Any]) -> None:
        assert client.request(ShareConfigRequest("data")) == Failed("KeyError")
        assert isinstance(client.request(ServerConfigRequest()), ServerConfigResponse)

    mountd.serve(talk)
    assert "a ShareConfigRequest failed" in caplog.text


def test_an_answer_that_is_too_long_is_a_failure(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mountd.daemon._service, "handle", lambda *_: (Failed("x" * (1 << 18)), 0.0))

    def talk(client: BlockingClient[Any]) -> None:
        assert client.request(ServerConfigRequest()) == Failed("the answer is too long")

    mountd.serve(talk)


def answers(client: BlockingClient[Any], count: int) -> list[Any]:
    """Log in so often with a wrong password, at once; return the answers as they come."""
    for _ in range(count):
        client.send(login("alice", "wrong"))
    found = []
    for _ in range(count):
        handle, answer = mountd_client().decode(client._socket.recv(1 << 18))
        assert isinstance(answer, LoginResponse)
        assert answer.status is not LoginStatus.OK
        found.append(handle)
    return found


def test_a_delayed_answer_keeps_nobody_waiting(mountd: Mountd) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        for _ in range(4):
            client.send(login("alice", "wrong"))
        last = client.send(ServerConfigRequest())
        handles = []
        for _ in range(5):
            handles.append(mountd_client().decode(client._socket.recv(1 << 18))[0])
        assert handles.index(last) < handles.index(4), "the fourth login waits"
        assert mountd.daemon._delayed == 0

    mountd.serve(talk)


def test_more_delayed_answers_than_can_wait_are_sent_at_once(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DELAYED", 1)

    def talk(client: BlockingClient[Any]) -> None:
        # the first that has to wait does, those after it do not
        assert answers(client, 6) == [1, 2, 3, 5, 6, 4]

    mountd.serve(talk)


def test_a_login_that_waits_is_looked_at_again_after_a_reload(mountd: Mountd) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        for _ in range(4):
            client.send(login("alice", "wrong"))
        for _ in range(3):
            client._socket.recv(1 << 18)
        edit_users(mountd.passwords, lambda hashes: hashes.update(alice=nt_hash("wrong")))
        os.kill(os.getpid(), signal.SIGHUP)
        found = {}
        for _ in range(2):
            handle, answer = mountd_client().decode(client._socket.recv(1 << 18))
            found[handle] = answer
        assert isinstance(found[0], ConfigReloaded)
        assert found[4].status is LoginStatus.OK, "the password is right now"

    mountd.serve(talk)


def test_a_reload_reaches_all(mountd: Mountd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "usmbd.conn")

    def talk(client: BlockingClient[Any]) -> None:
        client.request(ServerConfigRequest())
        begun = Rpc.made.begin()
        mountd.configure("workgroup = OTHERS\n[more]\npath = /srv")
        os.kill(os.getpid(), signal.SIGHUP)
        handle, told = mountd_client().decode(client._socket.recv(1 << 18))
        assert handle == 0
        assert isinstance(told, ConfigReloaded)
        answer = client.request(ServerConfigRequest())
        assert answer.config.workgroup == "OTHERS"
        until(lambda: Rpc.made.told)
        assert b"more" in b"".join(Rpc.made.told)
        assert b"more" in Rpc.made.begin()
        assert b"more" not in begun

    mountd.serve(talk)
    assert "configuration read, generation" in caplog.text


def test_a_reload_warns_of_what_is_new(mountd: Mountd, caplog: pytest.LogCaptureFixture) -> None:
    def warned() -> list[str]:
        told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        caplog.clear()
        return [each.partition(": ")[2] for each in told]

    def talk(client: BlockingClient[Any]) -> None:
        client.request(ServerConfigRequest())
        assert warned() == []
        for more, new in (("/no/one", ["/no/one"]), ("/no/one", []), ("/no/two", ["/no/two"])):
            generation = mountd.daemon._service.generation
            mountd.configure(f"[more]\npath = {more}")
            os.kill(os.getpid(), signal.SIGHUP)
            until(lambda before=generation: mountd.daemon._service.generation > before)
            client.request(ServerConfigRequest())
            assert warned() == [f"[more]: {each} is not a directory (now)" for each in new]

    mountd.daemon.set_up_log()
    caplog.clear()
    mountd.serve(talk)


def test_a_wrong_file_changes_nothing(mountd: Mountd, caplog: pytest.LogCaptureFixture) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        client.request(ServerConfigRequest())
        mountd.configure("workers = none")
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: "the new configuration is not used" in caplog.text)
        answer = client.request(ServerConfigRequest())
        assert answer.config.workgroup == "TEAM"
        assert isinstance(client.request(ShareConfigRequest("data")), ShareConfigResponse)

    mountd.serve(talk)


def test_whom_an_administrator_locks_out_is_so_whatever_else_is_wrong(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 1000.0)

    def talk(client: BlockingClient[Any]) -> None:
        client.request(ServerConfigRequest())
        mountd.configure("workers = none")
        edit_users(mountd.passwords, lambda hashes: hashes.update(alice=nt_hash("other")))
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: "configuration read, generation" in caplog.text)
        assert client.request(ServerConfigRequest()).config.workgroup == "TEAM"
        assert mountd.daemon._service._authenticator.users.hashes["alice"] == nt_hash("other")

    caplog.set_level(logging.INFO, "usmbd.conn")
    mountd.serve(talk)


def test_nothing_is_read_when_it_has_ended(
    mountd: Mountd, caplog: pytest.LogCaptureFixture
) -> None:
    """A reload is due a second after a password was changed; the registry may be closed by then."""

    def talk(client: BlockingClient[Any]) -> None:
        client.request(ServerConfigRequest())

    mountd.serve(talk)
    caplog.clear()
    mountd.daemon._reload(mountd.daemon._service.reload)
    mountd.daemon._read_files()
    assert not caplog.records


@pytest.mark.parametrize(("wanted", "least", "level"), [(0, 0, 0), (0, 3, 3), (2, 0, 2), (3, 1, 3)])
def test_verbose_outlasts_the_file(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch, wanted: int, least: int, level: int
) -> None:
    said: list[tuple[str, int]] = []
    monkeypatch.setattr(
        module.logs, "set_up", lambda process, level, *, as_json: said.append((process, level))
    )
    mountd.configure(f"log level = {wanted}")
    Daemon(load(mountd.file), mountd.passwords, least_log_level=least).set_up_log()
    assert said == [("mountd", level)]


def test_what_has_to_be_known_of_the_file_is_in_the_log(
    mountd: Mountd, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.logs, "set_up", lambda *_, **__: None)
    mountd.configure("printing = cups")
    Daemon(load(mountd.file), mountd.passwords).set_up_log()
    assert "printing" in caplog.text


def test_a_client_that_sends_nonsense_is_told_of(
    mountd: Mountd, caplog: pytest.LogCaptureFixture
) -> None:
    def talk(client: BlockingClient[Any]) -> None:
        client._socket.send(b"nonsense")
        assert client._socket.recv(10) == b""

    mountd.serve(talk)
    assert "a client of mountd was closed: it sent a bad message" in caplog.text


def test_what_outlives_a_boot_is_in_the_data_directory(mountd: Mountd) -> None:
    data = mountd.state.parent / "data"
    mountd.configure(f"data directory = {data}")
    mountd.daemon = Daemon(load(mountd.file), mountd.passwords)
    mountd.serve(lambda client: None)
    sid = (data / FILE_NAME).read_text().strip()
    assert mountd.daemon._service.machine_sid == sid
    assert not (mountd.state / FILE_NAME).exists()


def test_an_earlier_registry_moves_to_where_no_worker_sees_it(mountd: Mountd) -> None:
    mountd.serve(lambda client: None)
    data = Path(mountd.daemon._service.configuration.server.data_directory)
    registry = data / SECRETS_DIRECTORY / "registry.db"
    kept = registry.read_bytes()
    assert stat.S_IMODE(registry.stat().st_mode) == 0o600
    registry.rename(data / "registry.db")
    mountd.daemon = Daemon(load(mountd.file), mountd.passwords)
    mountd.serve(lambda client: None)
    assert registry.read_bytes() == kept
    assert not (data / "registry.db").exists()


def test_a_registry_s_share_that_is_no_good_place_is_told_of_at_the_start(
    mountd: Mountd, caplog: pytest.LogCaptureFixture
) -> None:
    mountd.serve(lambda client: None)
    data = Path(mountd.daemon._service.configuration.server.data_directory)
    store = RegistryStore(data / SECRETS_DIRECTORY / "registry.db", HIVES)
    Registered(store).put("reg", {"path": str(mountd.passwords.parent)})
    store.close()
    mountd.daemon = Daemon(load(mountd.file), mountd.passwords)
    mountd.daemon.set_up_log()
    mountd.serve(lambda client: None)
    assert caplog.text.count("lies in the share reg, ") == 2  # the state directory, too


def test_of_several_changes_of_passwords_the_last_is_told(
    mountd: Mountd, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loop:
        """A clock, and what is to happen."""

        now = 0.0
        due: ClassVar[dict[int, float]] = {}

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, call: Callable[[], None]) -> Any:
            number = len(self.due)
            self.due[number] = when
            return SimpleNamespace(cancel=lambda: self.due.update({number: -1.0}))

    daemon = mountd.daemon
    loop = Loop()
    monkeypatch.setattr(daemon, "_loop", loop, raising=False)
    for _ in range(20):
        daemon._tell_of_users()
        loop.now += 0.4
    pending = [when for when in loop.due.values() if when >= 0]
    assert pending == [LATEST_TELL_SECONDS]
    told: list[object] = []
    monkeypatch.setattr(daemon, "_reload", told.append)
    daemon._tell()
    assert told == [daemon._service.reread_users]
    daemon._tell_of_users()
    assert max(loop.due.values()) == loop.now + TELL_SECONDS
