"""Where and when the server is announced: the processes are pretended."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import cast

import msgspec
import pytest

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.discovery import wsd
from usmbd.protocol.supervisor import discovery as module
from usmbd.protocol.supervisor.discovery import Announcer, Discovery, plan_of
from usmbd.protocol.supervisor.processes import Process, Processes

GUID = bytes(range(16))
ADDRESSES = [
    ("lo", "127.0.0.1"),
    ("lo", "::1"),
    ("eth0", "192.0.2.1"),
    ("eth1", "198.51.100.7"),
    ("eth0", "fe80::1"),
    ("eth0", "2001:db8::1"),
    ("veth7", "fe80::2"),
]
CONFIG = ServerConfig(netbios_name="ARCHIVE", workgroup="OFFICE")


class Pretended(Process):
    """A process that ends when it is told to, or when a test says so."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.plan: dict[str, object] = {}

    def send_signal(self, number: int) -> None:
        """End by it."""
        self.ended(number)


class Starts:
    """Stands in for the processes: what was started, in turn."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Pretended]] = []
        self.fails = 0

    async def start(self, kind: str, *, options: Mapping[str, int]) -> Process:
        """Start one, unless it is to fail."""
        if self.fails:
            self.fails -= 1
            raise OSError(11, "no room")
        process = Pretended(1 << 30)  # no pid of this machine
        process.plan = json.loads(os.read(options["--plan-fd"], 65536))
        self.started.append((kind, process))
        return process

    def running(self) -> dict[str, dict[str, object]]:
        """Return the plans of what runs, each kind once."""
        alive = [(kind, each) for kind, each in self.started if each.returncode is None]
        assert len({kind for kind, _ in alive}) == len(alive)
        return {kind: process.plan for kind, process in alive}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    known = [(name, ip_address(text)) for name, text in ADDRESSES]
    monkeypatch.setattr(module, "addresses", lambda: known)
    monkeypatch.setattr("usmbd.protocol.state.interfaces.addresses", lambda: known)
    monkeypatch.setattr(module, "find_wsdd", lambda: "/sbin/wsdd")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(module, "FIRST_RESTART_SECONDS", 0.0)
    return Starts()


def with_(**more: object) -> ServerConfig:
    return msgspec.structs.replace(CONFIG, **more)


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def announced(starts: Starts, *configs: ServerConfig) -> list[dict[str, dict[str, object]]]:
    """Return what runs for each of these configurations in turn, and nothing after the end."""

    async def run() -> list[dict[str, dict[str, object]]]:
        current = configs[0]
        discovery = Discovery(cast(Processes, starts), lambda: current, GUID)
        discovery.look()  # a reload before the start is over
        await settle()
        assert starts.started == []
        discovery.begin()
        found = []
        for each in configs:
            current = each
            discovery.look()
            await settle()
            found.append(starts.running())
        await discovery.end()
        assert starts.running() == {}
        return found

    return asyncio.run(run())


def test_what_is_announced_where(starts: Starts) -> None:
    plan = plan_of(with_(fruit_model="Xserve", backup_disks=["b"]), GUID)
    assert plan.interfaces == {
        "eth0": ["192.0.2.1", "2001:db8::1", "fe80::1"],
        "eth1": ["198.51.100.7"],
    }
    assert (plan.name, plan.workgroup, plan.port) == ("ARCHIVE", "OFFICE", 445)
    assert (plan.model, plan.backup_disks, plan.everywhere) == ("Xserve", ["b"], True)
    assert plan.uuid == plan_of(CONFIG, GUID).uuid
    assert plan.uuid != plan_of(with_(netbios_name="OTHER"), GUID).uuid


def test_what_is_not_served_is_not_announced(starts: Starts) -> None:
    plan = plan_of(with_(interfaces=["192.0.2.0/24", "lo"], bind_interfaces_only=True), GUID)
    assert (plan.interfaces, plan.everywhere) == ({"eth0": ["192.0.2.1"]}, False)
    # Without `bind interfaces only` the server listens everywhere.
    assert len(plan_of(with_(interfaces=["lo"]), GUID).interfaces) == 2


def test_each_can_be_switched_off_and_on(starts: Starts) -> None:
    both, one, other, none, again = announced(
        starts,
        CONFIG,
        with_(ws_discovery=False),
        with_(multicast_dns_register=False),
        with_(multicast_dns_register=False, ws_discovery=False),
        CONFIG,
    )
    assert [set(each) for each in (both, one, other, none, again)] == [
        {"mdns", "wsd"},
        {"mdns"},
        {"wsd"},
        set(),
        {"mdns", "wsd"},
    ]


def test_explorer_knows_port_445_alone(starts: Starts) -> None:
    (found,) = announced(starts, with_(tcp_port=4450))
    assert set(found) == {"mdns"}
    assert found["mdns"]["port"] == 4450


def test_without_what_it_takes_nothing_is_started(
    starts: Starts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in the way is told, once; nothing is where nothing was asked for."""
    monkeypatch.setattr(module, "find_wsdd", lambda: None)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    caplog.set_level("INFO", "usmbd.conn")
    off = with_(multicast_dns_register=False, ws_discovery=False)
    assert announced(starts, off, CONFIG, CONFIG, with_(tcp_port=4450), off) == [{}] * 5
    assert [record.getMessage() for record in caplog.records] == [
        "not announced by mDNS: there is no library zeroconf"
        f" ({sys.prefix}/bin/pip install zeroconf)",
        "not announced by WS-Discovery: there is no wsdd (apt install wsdd)",
        "not announced by WS-Discovery: Explorer knows port 445 alone",
    ]
    caplog.clear()
    assert announced(starts, with_(ws_discovery=False, backup_disks=["b"])) == [{}]
    assert "macOS does not find the disks of Time Machine without it" in caplog.text


def test_where_it_is_announced_is_told(starts: Starts, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "usmbd.conn")
    announced(starts, CONFIG)
    assert {record.getMessage() for record in caplog.records} == {
        "announced by mDNS at eth0, eth1",
        "announced by WS-Discovery at eth0, eth1",
    }


def test_a_server_of_loopback_is_not_announced(starts: Starts) -> None:
    assert announced(starts, with_(interfaces=["lo"], bind_interfaces_only=True)) == [{}]


def test_another_plan_is_another_process_and_the_same_is_not(starts: Starts) -> None:
    first, same, other = announced(starts, CONFIG, CONFIG, with_(backup_disks=["new"]))
    assert first == same
    assert other["mdns"]["backup_disks"] == ["new"]
    assert len(starts.started) == 4


def test_one_that_ends_is_started_again(starts: Starts) -> None:
    async def run() -> None:
        announcer = Announcer("mdns", cast(Processes, starts))
        starts.fails = 2
        announcer.want(plan_of(CONFIG, GUID))
        await wait_for(lambda: len(starts.started) == 1)
        starts.started[0][1].ended(9)
        await wait_for(lambda: len(starts.started) == 2)
        await announcer.end()
        assert starts.running() == {}

    asyncio.run(run())


def test_plans_that_follow_fast_leave_one_process(starts: Starts) -> None:
    async def run() -> None:
        announcer = Announcer("wsd", cast(Processes, starts))
        for number in range(5):
            announcer.want(plan_of(with_(tcp_port=1000 + number), GUID))
            for _ in range(number):
                await asyncio.sleep(0)
        await wait_for(lambda: starts.running().get("wsd", {}).get("port") == 1004)
        await announcer.end()
        assert starts.running() == {}

    asyncio.run(run())


async def wait_for(condition: Callable[[], object]) -> None:
    """Let the loop run until something is so; a test that hangs is ended by pytest."""
    while not condition():  # noqa: ASYNC110 -- what it waits for sets no event
        await asyncio.sleep(0.001)


def test_wsdd_is_found_by_no_path_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setenv("PATH", "/tmp")
    monkeypatch.setattr(wsd.shutil, "which", lambda name, path: asked.append(path))
    assert wsd.find_wsdd() is None
    assert asked == [wsd.DIRECTORIES]
