"""Whether RDMA is served, on which devices and addresses, over a librdmacm in memory."""

import asyncio
import errno
from collections.abc import Callable, Iterator

import pytest
from broker_worker import Worker
from rdma_cm_fake import FakeLibrary

from usmbd.mountd.ipc.settings import Rdma as Wanted
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor import rdma_service as rdma_module
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.supervisor.rdma_service import RdmaService
from usmbd.protocol.worker import messages
from usmbd.transport.smbdirect.discovery import Found, FoundPort
from usmbd.transport.smbdirect.provider import LinkType

Until = Callable[[Callable[[], object]], None]
GUID = bytes(range(16))


def port(link: LinkType = LinkType.ROCE, active: bool = True, *interfaces: str) -> FoundPort:
    """Return a port of 25 Gbit/s."""
    return FoundPort(1, link, active, 25_000_000_000, interfaces or ("eth0",))


class Serving:
    """The supervisor's side of RDMA with fake devices, addresses and a library in memory."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, patch: pytest.MonkeyPatch, *found: Found
    ) -> None:
        """Have these devices."""
        self.loop = loop
        self.library = FakeLibrary()
        self.workers = {n: Worker(n) for n in (0, 1)}
        self.config = ServerConfig()
        self.rdma = RdmaService(
            lambda: self.config,
            Clients(self.workers),  # type: ignore[arg-type]
            self.workers,  # type: ignore[arg-type]
            self.library.functions,
        )
        patch.setattr(rdma_module.discovery, "devices", lambda **_: list(found))
        patch.setattr(
            rdma_module.interfaces,
            "addresses",
            lambda: [
                (name, rdma_module.interfaces.ip_address(address))
                for name, address in (
                    ("lo", "127.0.0.1"),
                    ("eth0", "192.0.2.1"),
                    ("eth0", "2001:db8::1"),
                    ("eth1", "198.51.100.1"),
                )
            ],
        )
        patch.setattr(rdma_module.interfaces, "carriers", lambda name: [name])

    def start(self) -> None:
        """Start as the supervisor does."""

        async def prepare() -> None:
            self.rdma.prepare()

        self.loop.run_until_complete(prepare())
        for worker in self.workers.values():
            self.rdma.tell(worker)  # type: ignore[arg-type]
            assert worker.told == []  # or it would give its devices back
        self.rdma.serve()

    @property
    def listening(self) -> list[str]:
        """Return where it listens."""
        return self.rdma._broker.manager.listening if self.rdma._broker else []

    def close(self) -> None:
        """End."""
        self.rdma.close()
        self.library.close()


@pytest.fixture
def serving(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Serving]]:
    made: list[Serving] = []

    def make(*found: Found) -> Serving:
        made.append(Serving(loop, monkeypatch, *found))
        return made[-1]

    yield make
    for one in made:
        one.close()


FAKE0 = Found("fake0", (port(),))


def test_one_device(serving: Callable[..., Serving]) -> None:
    server = serving(FAKE0)
    server.start()
    assert server.rdma.reason == ""
    assert server.listening == ["0.0.0.0:445", "[::]:445"]
    told = server.workers[1].told[-1]
    assert told == messages.RdmaServed(devices=["fake0"], reason="")
    eth0, eth1 = server.rdma.rows()
    assert (eth0.interface, eth0.device, eth0.rdma, eth0.port) == ("eth0", "fake0", True, 445)
    assert eth0.addresses == ["192.0.2.1", "2001:db8::1"]
    assert (eth0.link, eth0.speed) == ("RoCE", 25_000)
    assert not eth1.rdma
    assert "on no RDMA device" in eth1.reason


@pytest.mark.parametrize(
    ("found", "setting", "reason"),
    [
        ([], Wanted.AUTO, "there is no RDMA device"),
        ([FAKE0], Wanted.NO, "rdma = no"),
    ],
)
def test_why_it_is_not_in_use(
    serving: Callable[..., Serving], found: list[Found], setting: Wanted, reason: str
) -> None:
    server = serving(*found)
    server.config = ServerConfig(rdma=setting)
    server.start()
    assert server.rdma.reason.startswith(reason)
    assert server.rdma.devices == []
    assert all(row.reason.startswith(reason) for row in server.rdma.rows())
    assert server.workers[0].told[-1].devices == []


def test_a_taken_port_leaves_tcp_alone(serving: Callable[..., Serving]) -> None:
    server = serving(FAKE0)
    server.library.refuse["listen"] = errno.EADDRINUSE
    server.start()
    assert "Address already in use" in server.rdma.reason
    assert server.library.ids == {}


def test_no_worker_can_use_the_device(serving: Callable[..., Serving]) -> None:
    server = serving(FAKE0, Found("fake1", (port(LinkType.ROCE, True, "eth1"),)))
    for worker in server.workers.values():
        worker.rdma = {"fake0": "RLIMIT_MEMLOCK", "fake1": ""}
    server.start()
    assert server.rdma.reason == ""
    assert server.workers[0].told[-1].devices == ["fake1"]
    eth0, eth1 = server.rdma.rows()
    assert (eth0.rdma, eth0.reason, eth1.rdma) == (False, "RLIMIT_MEMLOCK", True)
    for worker in server.workers.values():
        worker.rdma = {}
    server.rdma.serve()
    assert "no worker has opened it" in server.rdma.reason


def test_a_device_that_one_worker_cannot_use_serves_nobody(
    serving: Callable[..., Serving], caplog: pytest.LogCaptureFixture
) -> None:
    server = serving(FAKE0, Found("fake1", (port(LinkType.ROCE, True, "eth1"),)))
    for worker in server.workers.values():
        worker.rdma = {"fake0": "", "fake1": ""}
    server.workers[1].rdma = {"fake0": "RLIMIT_MEMLOCK", "fake1": ""}
    server.start()
    # A client with a channel by TCP in worker 1 would be sent there for ever.
    assert server.workers[0].told[-1].devices == ["fake1"]
    assert "RDMA device fake0 is not used: RLIMIT_MEMLOCK" in caplog.text
    server.workers[1].rdma = {"fake0": "", "fake1": "no room"}  # started again
    server.rdma.tell(server.workers[1])  # type: ignore[arg-type]
    assert "RDMA device fake1: worker 1 has none: no room" in caplog.text


def test_iwarp_listens_on_its_own_port_too(
    serving: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On each of its addresses only where it cannot on all at once."""
    monkeypatch.setattr(rdma_module, "_addresses_of", lambda usable: ["192.0.2.9"])
    server = serving(Found("fake0", (port(LinkType.IWARP),)))
    server.start()
    assert server.listening == [
        *("0.0.0.0:445", "[::]:445"),
        *("0.0.0.0:5445", "[::]:5445"),
    ]
    assert server.rdma.rows()[0].port == 5445


def test_only_the_configured_interfaces(serving: Callable[..., Serving]) -> None:
    server = serving(FAKE0)
    server.config = ServerConfig(
        interfaces=["192.0.2.1", "2001:db8::1"], bind_interfaces_only=True, tcp_port=4445
    )
    server.start()
    assert server.listening == ["192.0.2.1:4445", "[2001:db8::1]:4445"]


def test_addresses_that_come_and_go(
    serving: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(FAKE0)
    server.config = ServerConfig(interfaces=["eth0"], bind_interfaces_only=True)
    present: list[str] = []
    monkeypatch.setattr(
        rdma_module.interfaces,
        "addresses",
        lambda: [("eth0", rdma_module.interfaces.ip_address(text)) for text in present],
    )
    server.start()
    told = server.workers[0].told
    # The device is kept for the address that may come, and nobody is told of RDMA.
    assert (told[-1].devices, told[-1].addresses) == (["fake0"], [])
    assert "no address" in told[-1].reason
    present += ["192.0.2.1", "192.0.2.2"]
    server.rdma.follow()
    assert server.listening == ["192.0.2.1:445", "192.0.2.2:445"]
    assert (told[-1].reason, told[-1].addresses) == ("", ["192.0.2.1", "192.0.2.2"])
    assert server.rdma.reason == ""
    present.remove("192.0.2.1")
    server.rdma.follow()
    assert server.listening == ["192.0.2.2:445"]
    assert told[-1].addresses == ["192.0.2.2"]
    count = len(told)
    server.rdma.follow()
    assert len(told) == count  # nothing changed


def test_all_addresses_need_no_following(serving: Callable[..., Serving]) -> None:
    server = serving(FAKE0)
    server.start()
    server.rdma.follow()
    assert server.listening == ["0.0.0.0:445", "[::]:445"]
    assert server.workers[0].told[-1].addresses is None


def test_ports_and_devices_that_are_not_served(
    serving: Callable[..., Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving(FAKE0)
    server.start()
    down = Found("fake0", (port(LinkType.ROCE, False, "eth0"),))
    late = Found("late0", (port(LinkType.ROCE, True, "eth1"),))
    bare = Found("bare0", (FoundPort(1, LinkType.INFINIBAND, True, 0, ()),))
    monkeypatch.setattr(rdma_module.discovery, "devices", lambda: [down, late, bare])
    assert [row.reason for row in server.rdma.rows()] == [
        "the device's port is down",
        "the device came after the server's start",
        "the device came after the server's start",
    ]
    assert server.rdma.rows()[2].interface == ""
