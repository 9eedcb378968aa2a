"""Shares that users of the machine make (`net usershare`): what a file may say, and who may."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mountd_helpers import FakeAccounts, tree
from served_mountd import SECONDS, Mountd, Rpc, until

from usmbd.mountd import daemon as daemon_module
from usmbd.mountd import service as service_module
from usmbd.mountd import usershare_watch, usershares
from usmbd.mountd.config.configuration import Configuration
from usmbd.mountd.config.load import load
from usmbd.mountd.errors import ConfigError
from usmbd.mountd.homes import find_share
from usmbd.mountd.ipc.client import BlockingClient
from usmbd.mountd.ipc.codec import mountd_client
from usmbd.mountd.ipc.messages import (
    MOUNTD_SOCKET,
    ServerConfigRequest,
    TreeConnectResponse,
    TreeStatus,
)
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.service import Service
from usmbd.mountd.users import edit_users, load_users
from usmbd.mountd.usershares import with_usershares

EVERYONE = "S-1-1-0"


class Machine:
    """A folder of usershares, a folder to share, and a configuration."""

    def __init__(self, path: Path) -> None:
        """Make them, for a user whose server it is."""
        self.path = path
        self.folder = path / "usershares"
        self.shared = path / "shared"
        self.folder.mkdir()
        self.folder.chmod(0o1770)
        self.shared.mkdir()

    def write(self, name: str = "public", text: str | None = None, **said: str) -> Path:
        """Write a file as `net usershare add` does, or other things into it."""
        lines = {
            "path": str(self.shared),
            "comment": "",
            "usershare_acl": f"{EVERYONE}:F",
            "guest_ok": "n",
            "sharename": name,
        } | said
        file = self.folder / name.lower()
        body = "#VERSION 2\n" + "".join(f"{key}={value}\n" for key, value in lines.items())
        file.write_text(body if text is None else text)
        file.chmod(0o644)
        return file

    def text(self, more: str = "", shares: str = "") -> str:
        """Return a configuration with usershares."""
        rules = f"usershare path = {self.folder}\nusershare max shares = 3\n"
        state = f"state directory = {self.path}/run\n"
        return f"[global]\n{state}{rules}{more}\n{shares}"

    def read(self, more: str = "", shares: str = "") -> Configuration:
        """Return what holds."""
        file = self.path / "usmbd.conf"
        file.write_text(self.text(more, shares))
        return with_usershares(load(file))

    def service(self, more: str = "") -> Service:
        """Return mountd's service, with a user."""
        passwords = self.path / "pwd.db"
        edit_users(passwords, lambda hashes: hashes.update(alice=nt_hash("secret")))
        service = Service(self.read(more), passwords, FakeAccounts())
        service.use(service.configuration)
        return service


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def connect(service: Service, share: str, **who: Any) -> TreeConnectResponse:
    answer, _ = service.handle("worker", tree(share, **who), 0.0)
    assert isinstance(answer, TreeConnectResponse)
    return answer


def test_what_net_usershare_writes_is_a_share(machine: Machine) -> None:
    machine.write("My Files", comment='"50%u; a, b"')
    share = machine.read().find_share("MY FILES")
    assert share is not None
    assert (share.config.name, share.config.path) == ("My Files", str(machine.shared))
    assert (share.config.comment, share.config.read_only) == ("50%u; a, b", False)
    assert not share.config.guest_ok
    assert share.config.usershare


@pytest.mark.parametrize(
    ("acl", "status", "writable"),
    [
        (f"{EVERYONE}:F", TreeStatus.OK, True),
        (f"{EVERYONE}:f,", TreeStatus.OK, True),
        (f"{EVERYONE}:R", TreeStatus.OK, False),
        ("", TreeStatus.OK, False),
        (f"{EVERYONE}:D", TreeStatus.INVALID_USER, False),
        ("S-1-5-21-1-2-3-1000:F", TreeStatus.INVALID_USER, False),
        (f"S-1-5-21-1-2-3-1000:F,{EVERYONE}:R", TreeStatus.OK, False),
    ],
)
def test_who_may_use_it(machine: Machine, acl: str, status: TreeStatus, writable: bool) -> None:
    machine.write(usershare_acl=acl)
    answer = connect(machine.service(), "public")
    assert (answer.status, answer.writable) == (status, writable)


@pytest.mark.parametrize(("allowed", "said", "status"), [
    ("yes", "y", TreeStatus.OK),
    ("yes", "n", TreeStatus.INVALID_USER),
    ("no", "y", TreeStatus.INVALID_USER),
])  # fmt: skip
def test_guests(machine: Machine, allowed: str, said: str, status: TreeStatus) -> None:
    """They come where the file lets them, and the administrator lets it."""
    machine.write(guest_ok=said)
    service = machine.service(f"usershare allow guests = {allowed}\n")
    assert connect(service, "public", user="", guest=True).status is status


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"text": ""}, "version"),
        ({"text": "#VERSION 3\npath=/\n"}, "version"),
        (
            {"text": "#VERSION 2\npath=/\ncomment=\nusershare_acl=\n"},
            "line 5 does not say guest_ok",
        ),
        ({"text": "#VERSION 1\ncomment=\npath=/\n"}, "line 2 does not say path"),
        ({"text": "#VERSION 2\n" + "x" * 20000}, "larger than"),
        ({"sharename": "other"}, "named as another share"),
        ({"path": "shared"}, "no absolute path"),
        ({"path": "/no/such/folder"}, "is no folder"),
        ({"path": "/etc/passwd"}, "is no folder"),
        ({"comment": "a\tb"}, "control characters"),
        ({"usershare_acl": "Everyone:F"}, "is no SID"),
        ({"usershare_acl": f"{EVERYONE}:X"}, "is no SID"),
        ({"usershare_acl": "S-1-5-99999999999:F"}, "is no SID"),
        ({"usershare_acl": "S-1-5-9999999999:F"}, "too large"),
    ],
)
def test_what_makes_no_share(machine: Machine, said: dict[str, Any], why: str) -> None:
    machine.write(**said)
    found = machine.read()
    assert found.find_share("public") is None
    (told,) = [each for each in found.warnings if "makes no share" in each]
    assert why in told


def test_names_that_no_share_can_have(machine: Machine) -> None:
    for name in ("a*b", "global", "homes", "ipc$", "printers", ":tmp123"):
        machine.write(name, sharename=name)
        found = machine.read()
        assert not found.usershares, name
        (machine.folder / name).unlink()


def test_only_files_that_not_everybody_may_write(machine: Machine) -> None:
    file = machine.write()
    file.chmod(0o646)
    assert not machine.read().usershares
    file.chmod(0o644)
    assert machine.read().usershares
    file.rename(machine.path / "elsewhere")
    file.symlink_to(machine.path / "elsewhere")
    assert not machine.read().usershares
    file.unlink()
    os.mkfifo(file)
    assert not machine.read().usershares


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_that_is_not_to_be_trusted(machine: Machine, mode: int) -> None:
    machine.write()
    machine.folder.chmod(mode)
    found = machine.read()
    assert not found.usershares
    assert any("sticky bit" in each for each in found.warnings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_who_may_share_what(machine: Machine) -> None:
    """His own folders, unless the administrator says otherwise; root whatever he likes."""
    file = machine.write()
    os.chown(file, 31001, 31001)
    assert not machine.read().usershares
    assert machine.read("usershare owner only = no\n").usershares
    os.chown(machine.shared, 31001, 31001)
    assert machine.read().usershares
    os.chown(file, 0, 0)
    assert machine.read().usershares
    os.chown(machine.folder, 31001, 31001)
    assert not machine.read().usershares


def test_lists_of_places(machine: Machine) -> None:
    outside = machine.path / "shared-not"
    outside.mkdir()
    (machine.shared / "link").symlink_to(outside)
    allow = f"usershare prefix allow list = {machine.shared} /nowhere\n"
    deny = f"usershare prefix deny list = {machine.shared}/den\n"
    (machine.shared / "denied").mkdir()
    for rules, path, served in (
        (allow, "", True),
        (allow, "/../shared-not", False),
        (allow, "-not", False),
        (allow, "/link", False),
        (deny, "", True),
        (deny, "/denied", False),
        (deny, "/../shared/denied", False),
    ):
        machine.write(path=f"{machine.shared}{path}")
        assert bool(machine.read(rules).usershares) is served, (rules, path)


def test_no_more_than_there_may_be(machine: Machine) -> None:
    for number in range(5):
        machine.write(f"s{number}")
    found = machine.read()
    assert set(found.usershares) == {"s0", "s1", "s2"}
    assert any("usershare max shares = 3" in each for each in found.warnings)


def test_what_is_temporary_is_not_all_looked_at(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write thousands of such files has the server look at a few."""
    for number in range(200):
        (machine.folder / f":tmp{number:03}").touch()
    rules = machine.read().base
    assert rules is not None
    assert rules.rules is not None
    looked: list[str] = []
    scandir = os.scandir

    @contextlib.contextmanager
    def noted(path: str) -> Iterator[Iterator["os.DirEntry[str]"]]:
        with scandir(path) as entries:
            yield (looked.append(entry.name) or entry for entry in entries)

    monkeypatch.setattr(os, "scandir", noted)
    usershares.version(rules.rules)
    assert 0 < len(looked) < 10


@pytest.mark.parametrize("said", ["available = no", "-valid = no", "printable = yes"])
def test_no_user_takes_the_name_of_what_is_not_served_now(machine: Machine, said: str) -> None:
    """Whoever goes on to connect by it would give a user what was meant for the administrator's."""
    machine.write("Data")
    found = machine.read(shares=f"[data]\npath = {machine.path}\n{said}\n")
    assert found.find_share("data") is None
    assert any("the configuration has a section [Data]" in each for each in found.warnings)


def test_the_administrators_words_come_first(machine: Machine) -> None:
    """His shares keep their names, and users their homes."""
    machine.write("data", path=str(machine.shared))
    machine.write("alice", path=str(machine.shared))
    found = machine.read(shares="[data]\npath = /srv\n[homes]\n")
    data = found.find_share("data")
    assert data is not None
    assert data.config.path == "/srv"
    passwords = machine.path / "pwd.db"
    edit_users(passwords, lambda hashes: hashes.update(alice=nt_hash("secret")))
    accounts, users = FakeAccounts(), load_users(passwords)
    home = find_share(found, "alice", "alice", users, accounts)
    assert home is not None
    assert home.config.path == accounts.home("alice")
    alone = find_share(machine.read(), "alice", "alice", users, accounts)
    assert alone is not None
    assert alone.config.path == str(machine.shared)


def test_a_template(machine: Machine) -> None:
    """What it says holds for each, but what the file says; it is no share itself."""
    machine.write(comment="mine")
    template = "[users]\n-valid = no\npath = /srv\ncomment = x\nread only = yes\nveto files = /a/\n"
    found = machine.read("usershare template share = users\n", template)
    share = found.find_share("public")
    assert share is not None
    assert share.config.veto_files == ["a"]
    assert (share.config.comment, share.config.read_only) == ("mine", False)
    assert found.find_share("users") is None
    with pytest.raises(ConfigError, match=r"there is no section \[none\]"):
        machine.read("usershare template share = none\n")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("usershare allow guests = yes", True),
        ("usershare max shares = 0\nusershare allow guests = yes", False),
        ("", False),
    ],
)
def test_they_have_to_be_wanted(tmp_path: Path, said: str, told: bool) -> None:
    found = load(tmp_path / "smb.conf", f"[global]\n{said}\n")
    assert any("usershare max shares = 100" in each for each in found.warnings) is told
    assert found.base is not None
    assert found.base.rules is None


def test_they_come_and_go_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects finds what is there then; the RPC process hears of it, too."""
    monkeypatch.setattr(daemon_module, "RpcProcess", Rpc)
    monkeypatch.setattr(service_module, "Accounts", FakeAccounts)
    machine = Machine(tmp_path)
    mountd = Mountd(tmp_path)
    rules = f"usershare path = {machine.folder}\nusershare max shares = 9\n"
    mountd.configure(rules)
    mountd.daemon = daemon_module.Daemon(load(mountd.file), mountd.passwords)
    status: Callable[[BlockingClient[Any]], TreeStatus] = lambda client: (  # noqa: E731
        client.request(tree("public")).status
    )

    def talk(client: BlockingClient[Any]) -> None:
        client.request(ServerConfigRequest())
        assert status(client) is TreeStatus.NO_SHARE
        file = machine.write()
        assert status(client) is TreeStatus.OK
        until(lambda: b"public" in Rpc.made.told[-1])
        machine.write(usershare_acl=f"{EVERYONE}:D")  # in place: seen by who looks ever again
        until(lambda: status(client) is TreeStatus.INVALID_USER)
        file.unlink()
        assert status(client) is TreeStatus.NO_SHARE

    mountd.serve(talk)


def test_who_goes_while_the_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends while its tree connect waits is not counted as connected."""
    monkeypatch.setattr(daemon_module, "RpcProcess", Rpc)
    monkeypatch.setattr(service_module, "Accounts", FakeAccounts)
    machine = Machine(tmp_path)
    mountd = Mountd(tmp_path)
    mountd.configure(f"usershare path = {machine.folder}\nusershare max shares = 9\n")
    mountd.daemon = daemon_module.Daemon(load(mountd.file), mountd.passwords)
    begun, go_on, gone = threading.Event(), threading.Event(), threading.Event()

    def slowly(before: Configuration) -> Configuration:
        begun.set()
        assert go_on.wait(SECONDS)
        return with_usershares(before)

    def talk(client: BlockingClient[Any]) -> None:
        service = mountd.daemon._service
        client.request(ServerConfigRequest())
        assert client.request(tree("data")).status is TreeStatus.OK
        monkeypatch.setattr(usershare_watch, "with_usershares", slowly)
        other = BlockingClient[Any](mountd.state / MOUNTD_SOCKET, mountd_client(), SECONDS)
        machine.write()
        assert begun.wait(SECONDS)
        monkeypatch.setattr(service, "worker_gone", lambda _: gone.set())
        other.send(tree("data", session_id=77))
        other.close()
        assert gone.wait(SECONDS)
        go_on.set()
        assert client.request(tree("public", tree_id=2)).status is TreeStatus.OK
        assert service.trees.count("data") == 1

    mountd.serve(talk)


def test_what_cannot_be_used_keeps_nobody_waiting(machine: Machine) -> None:
    configuration, waited = machine.read(), asyncio.Event()
    machine.write()

    class Host:
        def __init__(self) -> None:
            self.configuration = configuration

        def complete(self, made: Configuration) -> Configuration:
            raise ConfigError("smb.conf", 0, "nobody could log in")

    async def main() -> None:
        watch = usershare_watch.UsershareWatch(Host(), lambda found: None)
        assert watch.first(waited.set)
        await asyncio.wait_for(waited.wait(), SECONDS)

    asyncio.run(main())
