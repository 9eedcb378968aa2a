"""RDMA clients between the connection manager and the workers, over a librdmacm in memory."""

import asyncio
import errno
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from broker_worker import Worker
from rdma_cm_fake import FakeLibrary

from usmbd.mountd.ipc.settings import ServerConfig
from usmbd.protocol.door import messages as messages_of_door
from usmbd.protocol.state.fair_share import FairShare
from usmbd.protocol.supervisor import broker as broker_module
from usmbd.protocol.supervisor.broker import (
    CONNECTION_BYTES,
    LEAST_CONNECTIONS,
    Broker,
    machine_memory,
    most_connections,
)
from usmbd.protocol.supervisor.clients import Clients
from usmbd.protocol.supervisor.limits import limits
from usmbd.protocol.worker import messages
from usmbd.transport.smbdirect.attributes import State, decode
from usmbd.transport.smbdirect.cm_library import Kind
from usmbd.transport.smbdirect.depths import Depths
from usmbd.transport.smbdirect.fabric.device import LIMITS
from usmbd.transport.smbdirect.limits import Limits

Until = Callable[[Callable[[], object]], None]
GUID = bytes(range(16))


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
    assert brokered.broker._connections[offer.connection].told, "its end is no refusal to be told"
    brokered.end(worker, offer.connection)
    worker, offer, _ = brokered.come("198.51.100.7")
    assert worker is brokered.workers[1]
    claim = messages.RdmaClaim(connection=offer.connection, guid=GUID)
    brokered.broker.says(worker, claim)  # type: ignore[arg-type]
    assert worker.told[-1].granted
    assert not brokered.broker._connections[offer.connection].told


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
    for _ in range(2):
        worker, offer, _ = brokered.come()
        assert worker is not None
        assert brokered.clients.admitted(brokered.config, worker, offer.connection)  # type: ignore[arg-type]
    assert brokered.come()[0] is None
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
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    return [f"{record.__dict__['client']}: {record.getMessage()}" for record in errors]


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


# -- places ----------------------------------------------------------------------------------


def test_strangers_by_rdma_take_no_users_places_and_displace_each_other(
    loop: asyncio.AbstractEventLoop,
) -> None:
    brokered = Brokered(loop, max_connections=2, max_ip_connections=1)
    try:
        brokered.clients.rdma_strangers.capacity = 4
        _, slow, _ = brokered.come("192.0.2.1")
        dismissed = []
        for _ in range(6):
            brokered.come("192.0.2.66")
            for worker in brokered.workers:
                for message in worker.told:
                    if (
                        isinstance(message, messages.Dismiss)
                        and message.connection not in dismissed
                    ):
                        dismissed.append(message.connection)
                        brokered.end(worker, message.connection)
        assert len(dismissed) == 3
        assert slow.connection not in dismissed
        assert len(brokered.clients.rdma_strangers) == 4
        assert brokered.clients.known_total == 0
        worker = next(w for w in brokered.workers if slow.connection in w.clients)
        assert brokered.clients.admitted(brokered.config, worker, slow.connection)  # type: ignore[arg-type]
        assert brokered.clients.known_total == brokered.clients.known("192.0.2.1") == 1
        assert brokered.come("192.0.2.1") == (None, None, ANY)  # `max ip connections`
    finally:
        brokered.close()


def test_an_address_leaves_as_many_connections_as_it_has(brokered: Brokered) -> None:
    """Each pins memory, whoever has logged in on it."""
    places = brokered.broker.places = FairShare(lambda: 8)
    rdma = brokered.clients.rdma_strangers
    mine = [brokered.come("192.0.2.66") for _ in range(6)]
    assert [worker is not None for worker, _, _ in mine] == [True] * 4 + [False] * 2
    assert (places.used, places.refused, len(rdma)) == (4, 2, 4)
    theirs = [brokered.come(f"192.0.2.{number}") for number in range(3)]
    assert all(worker is not None for worker, _, _ in theirs)
    for worker, offer, _ in (*mine[:4], *theirs):
        assert worker is not None
        brokered.end(worker, offer.connection)
        brokered.end(worker, offer.connection)
    assert places.used == 0


def test_connections_have_a_part_of_the_machine() -> None:
    assert most_connections(0) == LEAST_CONNECTIONS
    assert most_connections(64 << 30) == (2 << 30) // CONNECTION_BYTES
    depths = Depths.fit(Limits(), LIMITS)
    size = -(-Limits().max_receive_size // 64) * 64
    assert (depths.receives + depths.sends) * size <= CONNECTION_BYTES
    assert most_connections(machine_memory()) >= LEAST_CONNECTIONS


@pytest.mark.parametrize("places", [None, FairShare(lambda: 8)])
def test_what_is_used_is_shown(brokered: Brokered, places: FairShare | None) -> None:
    if places is not None:
        places.take("a", "a", 3)
    door = messages_of_door.State(places=7, used=0, displaced=0)
    rows = {r.what: r for r in limits(brokered.config, brokered.clients, door, {}, places)}
    assert ("RDMA connections" in rows) == (places is not None)
    if places is not None:
        assert (rows["RDMA connections"].limit, rows["RDMA connections"].used) == (8, 3)
        row = rows["RDMA connections of an address"]
        assert (row.limit, row.used) == (5, 3)
