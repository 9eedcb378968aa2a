"""RDMA clients between the connection manager and the workers, over a librdmacm in memory."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rdma_cm_fake import FakeLibrary

from usmbd.mountd.ipc.settings import Rdma as Wanted
from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.supervisor import broker as broker_module
from usmbd.protocol.supervisor import rdma as rdma_module
from usmbd.protocol.supervisor.broker import Broker
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.supervisor.rdma import Rdma
from usmbd.protocol.worker import messages
from usmbd.transport.smbdirect.attributes import State, decode
from usmbd.transport.smbdirect.cm_library import Kind
from usmbd.transport.smbdirect.discovery import Found, FoundPort
from usmbd.transport.smbdirect.provider import LinkType

Until = Callable[[Callable[[], object]], None]
GUID = bytes(range(16))


class Worker:
    """A worker that remembers what it is told."""

    def __init__(self, number: int) -> None:
        """Have the library's device open."""
        self.number = number
        self.clients: dict[int, tuple[str, bytes]] = {}
        self.rdma = {"fake0": ""}
        self.told: list[Any] = []
        self.ready = SimpleNamespace(is_set=lambda: True)

    def send(self, message: Any) -> None:
        """Be told something."""
        messages.decode_to_worker(messages.encode(message))  # it can travel
        self.told.append(message)


class Brokered:
    """A broker with two workers."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, iwarp: bool = False, **config: Any
    ) -> None:
        """Serve the library's device."""
        self.loop = loop
        self.library = FakeLibrary()
        self.workers = [Worker(0), Worker(1)]
        self.clients = Clients({w.number: w for w in self.workers})  # type: ignore[misc]
        self.config = ServerConfig(**config)
        devices = frozenset(["fake0"] if iwarp else [])
        self.broker = Broker(
            loop, self.clients, lambda: self.config, devices, self.library.functions
        )
        self.broker.devices = frozenset(["fake0"])

    def run(self) -> None:
        """Let the loop take what is there."""
        self.loop.run_until_complete(asyncio.sleep(0.001))

    def come(self, address: str = "192.0.2.7", **what: Any) -> tuple[Worker | None, Any, int]:
        """Let a client come; return its worker, the offer and the C object's address."""
        before = [len(worker.told) for worker in self.workers]
        pointer = self.library.request(address, **what)
        self.run()
        for worker, told in zip(self.workers, before, strict=True):
            if len(worker.told) > told:
                return worker, worker.told[-1], pointer
        return None, None, pointer

    def accept(self, worker: Worker, offer: Any) -> None:
        """Have the worker's queue pair ready."""
        accept = messages.RdmaAccept(connection=offer.connection, qp_number=17, read_depth=8)
        self.broker.says(worker, accept)  # type: ignore[arg-type]

    def close(self) -> None:
        """End all."""
        self.broker.close()
        self.library.close()

    def end(self, worker: Worker, number: int) -> None:
        """Have the worker end a client, as the supervisor does it."""
        self.broker.ended(number)
        self.clients.gone(worker, number)  # type: ignore[arg-type]


@pytest.fixture
def brokered(loop: asyncio.AbstractEventLoop) -> Iterator[Brokered]:
    made = Brokered(loop)
    yield made
    made.broker.close()
    made.library.close()


def test_a_client_from_its_request_to_its_end(brokered: Brokered) -> None:
    worker, offer, pointer = brokered.come(local="192.0.2.1", depth=32)
    assert worker is brokered.workers[0]
    assert (offer.device, offer.peer, offer.local) == ("fake0", "192.0.2.7", "192.0.2.1")
    assert offer.read_depth == 32
    states = [decode(state.attributes).qp_state for state in offer.states]
    assert states == [State.INIT, State.RTR, State.RTS]
    assert worker.clients == {offer.connection: ("192.0.2.7", bytes(16))}
    brokered.accept(worker, offer)
    assert brokered.library.calls[-1] == ("accept", pointer, 17, 8, 0, b"")
    brokered.library.event(pointer, Kind.ESTABLISHED)
    brokered.run()
    assert not brokered.broker._offers
    brokered.library.event(pointer, Kind.DISCONNECTED)
    brokered.run()
    lost = messages.RdmaDisconnected(
        connection=offer.connection, reason="RDMA_CM_EVENT_DISCONNECTED"
    )
    assert worker.told[1:] == [lost]
    assert pointer not in brokered.library.ids
    brokered.end(worker, offer.connection)
    assert worker.clients == {}
    assert brokered.broker._connections == {}


def test_the_worker_ends_a_client(brokered: Brokered) -> None:
    worker, offer, pointer = brokered.come()
    assert worker is not None
    brokered.accept(worker, offer)
    brokered.end(worker, offer.connection)
    assert brokered.library.names()[-2:] == ["disconnect", "destroy_id"]
    brokered.library.event(pointer, Kind.DISCONNECTED)  # it was on its way
    brokered.run()
    assert len(worker.told) == 1


def test_the_worker_cannot_take_a_client(brokered: Brokered) -> None:
    worker, offer, _ = brokered.come()
    assert worker is not None
    brokered.end(worker, offer.connection)
    assert brokered.library.names()[-2:] == ["reject", "destroy_id"]
    assert not brokered.broker._offers


def test_the_address_leads_to_the_worker_that_has_the_client(brokered: Brokered) -> None:
    brokered.clients.came(brokered.workers[1], "192.0.2.7", GUID)  # type: ignore[arg-type]
    worker, _, _ = brokered.come("192.0.2.7")
    assert worker is brokered.workers[1]


def test_a_client_of_another_worker_has_to_come_again(brokered: Brokered) -> None:
    brokered.clients.came(brokered.workers[1], "192.0.2.7", GUID)  # type: ignore[arg-type]
    worker, offer, _ = brokered.come("198.51.100.7")  # its other address
    assert worker is brokered.workers[0]
    brokered.accept(worker, offer)
    claim = messages.RdmaClaim(connection=offer.connection, guid=GUID)
    brokered.broker.says(worker, claim)  # type: ignore[arg-type]
    assert worker.told[-1] == messages.RdmaClaimed(connection=offer.connection, granted=False)
    brokered.end(worker, offer.connection)
    worker, offer, _ = brokered.come("198.51.100.7")
    assert worker is brokered.workers[1]
    claim = messages.RdmaClaim(connection=offer.connection, guid=GUID)
    brokered.broker.says(worker, claim)  # type: ignore[arg-type]
    assert worker.told[-1].granted


def test_a_worker_speaks_for_its_own_clients_alone(brokered: Brokered) -> None:
    worker, offer, _ = brokered.come()
    assert worker is brokered.workers[0]
    brokered.accept(brokered.workers[1], offer)
    assert "accept" not in brokered.library.names()
    brokered.accept(worker, SimpleNamespace(connection=999))
    assert "accept" not in brokered.library.names()


def test_an_accept_that_fails(brokered: Brokered) -> None:
    worker, offer, pointer = brokered.come()
    assert worker is not None
    brokered.library.refuse["accept"] = errno.EINVAL
    brokered.accept(worker, offer)
    assert isinstance(worker.told[-1], messages.RdmaDisconnected)
    assert pointer not in brokered.library.ids
    brokered.accept(worker, offer)  # it was on its way
    assert len(worker.told) == 2


def test_a_request_whose_attributes_cannot_be_had(brokered: Brokered) -> None:
    brokered.library.refuse["init_qp_attr"] = errno.EINVAL
    worker, _, _ = brokered.come()
    assert worker is None
    assert brokered.library.ids == {}


def test_no_worker_has_the_device(brokered: Brokered) -> None:
    for one in brokered.workers:
        one.rdma = {"fake0": "no memory"}
    assert brokered.come()[0] is None
    brokered.workers[1].rdma = {"fake0": ""}
    assert brokered.come()[0] is brokered.workers[1]
    brokered.broker.devices = frozenset()
    assert brokered.come()[0] is None


def test_limits_are_those_of_tcp(loop: asyncio.AbstractEventLoop) -> None:
    brokered = Brokered(loop, max_ip_connections=2)
    assert [brokered.come()[0] is None for _ in range(3)] == [False, False, True]
    assert brokered.come("192.0.2.8")[0] is not None
    brokered.broker.close()
    brokered.library.close()


def test_clients_that_do_not_connect_are_bounded(
    brokered: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "MAXIMUM_OFFERS", 3)
    monkeypatch.setattr(broker_module, "MAXIMUM_OFFERS_OF_ADDRESS", 2)
    worker, offer, pointer = brokered.come()
    assert worker is not None
    assert [brokered.come()[0] is None for _ in range(2)] == [False, True]
    other = "192.0.2.8"
    assert [brokered.come(other)[0] is None for _ in range(2)] == [False, True]
    brokered.accept(worker, offer)
    brokered.library.event(pointer, Kind.ESTABLISHED)
    brokered.run()
    assert brokered.come(other)[0] is not None


def test_clients_that_do_not_connect_are_given_up(
    brokered: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "OFFER_SECONDS", 0.02)
    worker, _, _ = brokered.come()
    assert worker is not None
    while brokered.library.ids:
        brokered.run()
    assert worker.told[-1].reason == "the connection takes too long"
    assert not brokered.broker._offers
    assert brokered.come()[0] is not None


def test_closing_disconnects_all(brokered: Brokered) -> None:
    worker, offer, _ = brokered.come()
    assert worker is not None
    brokered.accept(worker, offer)
    brokered.come()
    brokered.broker.close()
    assert brokered.library.ids == {}
    assert brokered.library.names().count("disconnect") == 1
    assert brokered.library.names().count("reject") == 1


@pytest.mark.parametrize("data", [b"", bytes(8), b"\0\0\0\x20\0\0\0\1", bytes(56)])
def test_iwarp_clients_that_say_their_depths_are_told_ours(
    loop: asyncio.AbstractEventLoop, data: bytes
) -> None:
    brokered = Brokered(loop, iwarp=True)
    worker, offer, pointer = brokered.come(data=data)
    assert worker is not None
    brokered.accept(worker, offer)
    told = b"\0\0\0\0\0\0\0\x08" if len(data) == 8 else b""
    assert brokered.library.calls[-1] == ("accept", pointer, 17, 8, 0, told)
    brokered.close()


# -- what the log says of refused clients ----------------------------------------------------


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged at the level that is always on."""
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


def test_refusals_before_a_worker_is_told(
    brokered: Brokered, caplog: pytest.LogCaptureFixture
) -> None:
    brokered.library.request(verbs=False)
    brokered.library.refuse["init_qp_attr"] = errno.EINVAL
    brokered.come("192.0.2.8")
    brokered.broker.devices = frozenset()
    brokered.come("2001:db8::9")
    brokered.config = ServerConfig(max_connections=1)
    brokered.clients.came(brokered.workers[0], "192.0.2.1", GUID)  # type: ignore[arg-type]
    brokered.come("192.0.2.10")
    assert refusals(caplog) == [
        "192.0.2.7: refused: it has no device",
        "192.0.2.8: refused: attributes for state INIT: Invalid argument",
        "2001:db8::9: refused: no worker serves fake0",
        "192.0.2.10: refused: `max connections` or `max ip connections` is reached",
    ]


def test_refusals_on_the_way_are_told_once(
    brokered: Brokered, caplog: pytest.LogCaptureFixture
) -> None:
    worker, offer, _ = brokered.come("192.0.2.1")  # the queue pair is refused
    assert worker is not None
    said = messages.RdmaRefused(connection=offer.connection, reason="no memory")
    brokered.broker.says(worker, said)  # type: ignore[arg-type]
    brokered.end(worker, offer.connection)
    worker, offer, pointer = brokered.come("192.0.2.2")  # the client gives up
    assert worker is not None
    brokered.library.event(pointer, Kind.REJECTED, 28)
    brokered.run()
    said = messages.RdmaRefused(connection=offer.connection, reason="it echoes that")
    brokered.broker.says(worker, said)  # type: ignore[arg-type]
    brokered.end(worker, offer.connection)
    worker, offer, _ = brokered.come("192.0.2.3")  # the accept is refused
    assert worker is not None
    brokered.library.refuse["accept"] = errno.EINVAL
    brokered.accept(worker, offer)
    worker, offer, _ = brokered.come("192.0.2.4")  # the worker dies
    assert worker is not None
    brokered.end(worker, offer.connection)
    assert refusals(caplog) == [
        "192.0.2.1: refused: no memory",
        "192.0.2.2: refused: RDMA_CM_EVENT_REJECTED (No space left on device)",
        "192.0.2.3: refused: accepting: Invalid argument",
        "192.0.2.4: refused: its worker has ended it",
    ]


def test_a_client_that_was_connected_and_goes_is_not_refused(
    brokered: Brokered, caplog: pytest.LogCaptureFixture
) -> None:
    worker, offer, pointer = brokered.come()
    assert worker is not None
    brokered.accept(worker, offer)
    brokered.library.event(pointer, Kind.ESTABLISHED)
    brokered.library.event(pointer, Kind.DISCONNECTED)
    brokered.run()
    brokered.end(worker, offer.connection)
    assert refusals(caplog) == []


# -- whether RDMA is in use ------------------------------------------------------------------


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
        self.rdma = Rdma(
            lambda: self.config,
            Clients(self.workers),  # type: ignore[arg-type]
            self.workers,  # type: ignore[arg-type]
            self.library.functions,
        )
        patch.setattr(rdma_module.discovery, "devices", lambda: list(found))
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


def test_iwarp_listens_on_its_own_port_too(serving: Callable[..., Serving]) -> None:
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
