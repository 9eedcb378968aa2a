"""A worker's RDMA: devices that open or not, offers, whose client it is, ends; over the fabric."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from smbdirect.client import Client, RawClient
from smbdirect.step_loop import StepLoop
from smbengine.server import Engine

from usmbd.protocol.state.standing import Standing
from usmbd.protocol.wire.header import Header
from usmbd.protocol.wire.negotiate import NegotiateRequest
from usmbd.protocol.worker import messages
from usmbd.protocol.worker import rdma_connections as module
from usmbd.protocol.worker.rdma_connections import RdmaConnections
from usmbd.transport.smbdirect.attributes import State, decode
from usmbd.transport.smbdirect.connection import LINGER_SECONDS
from usmbd.transport.smbdirect.discovery import Found, FoundPort
from usmbd.transport.smbdirect.fabric.device import Fabric, FabricDevice
from usmbd.transport.smbdirect.fabric.queue_pair import FabricQueuePair
from usmbd.transport.smbdirect.provider import LinkType, Unavailable

GUID = bytes(range(16))
STATES = (State.INIT, State.RTR, State.RTS)


def negotiate() -> bytes:
    """Return an SMB2 NEGOTIATE of 2.0.2."""
    body = NegotiateRequest(dialect_count=1, security_mode=1, capabilities=0, client_guid=GUID)
    header = Header(command=0, credits=1, message_id=0, signature=bytes(16))
    return header.pack() + body.pack() + struct.pack("<H", 0x202)


class Served:
    """A worker's RDMA on a device of a fabric, and clients of it."""

    def __init__(self, engine: Engine) -> None:
        """Open the device."""
        self.fabric = Fabric()
        self.server = engine.server
        self.device = self.fabric.device("fake0")
        self.loop = StepLoop()
        self.said: list[Any] = []
        self.rdma = RdmaConnections(self.server, self.loop, self.said.append, self._open)
        self.clients: list[RawClient] = []

    def _open(self, name: str) -> FabricDevice:
        """Open the one device that there is."""
        if name != "fake0":
            raise Unavailable(f"no device {name}")
        return self.device

    def offer(self, client: RawClient, number: int = 1, *, depth: int = 4) -> Any:
        """Have a client accepted as the supervisor does; return what the worker answered."""
        theirs = client.queue_pair
        attributes = self.fabric.attributes
        states = [attributes(s, theirs.number, reads=200) for s in STATES]
        self.rdma.offered(
            messages.RdmaOffer(
                connection=number,
                device="fake0",
                peer="192.0.2.7",
                local="192.0.2.1",
                read_depth=depth,
                states=[messages.QueuePairState(*state) for state in states],
            )
        )
        answer = self.said[-1]
        if isinstance(answer, messages.RdmaAccept):
            client.disconnect = lambda reason: self.rdma.disconnected(
                messages.RdmaDisconnected(connection=number, reason=reason)
            )
            theirs.modify(*attributes(State.INIT))
            client.post_receives()
            for state in STATES[1:]:
                theirs.modify(*attributes(state, answer.qp_number))
            self.clients.append(client)
        return answer

    def client(self, number: int = 1) -> Client:
        """Let a client come that speaks SMB Direct."""
        client = Client(self.fabric.device("client"))
        self.offer(client, number)
        return client

    def pump(self) -> None:
        """Let all work until nothing moves."""
        while self.loop.pump() + sum(client.pump() for client in self.clients):
            pass

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.advance(seconds, self.pump)

    def close(self) -> None:
        """End all of it; nothing is left."""
        self.rdma.end("the test is over")
        self.pass_time(10.0)
        for client in self.clients:
            client.close()
        self.pump()
        assert not self.rdma.busy
        assert not self.loop.readers
        self.rdma.close()
        assert self.fabric.leaks() == []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    engine = Engine(tmp_path)
    made = Served(engine)
    assert made.rdma.open(["fake0"]) == {"fake0": ""}
    yield made
    made.close()
    engine.close()


def test_devices_that_cannot_be_used_say_why(served: Served) -> None:
    other = RdmaConnections(served.server, served.loop, served.said.append, served._open)
    small = served.fabric.device("small", registration_limit=4096)
    other._open_device = lambda name: small if name == "small" else served._open(name)
    reasons = other.open(["none0", "small"])
    assert reasons["none0"] == "no device none0"
    assert "pass the limit of 4096" in reasons["small"]
    assert small.closed


def test_a_client_is_served_when_it_is_ours(served: Served) -> None:
    client = served.client(7)
    answer = served.said[0]
    assert (answer.connection, answer.read_depth) == (7, 4)
    client.send([negotiate()])
    served.pump()
    assert served.said[1] == messages.RdmaClaim(connection=7, guid=GUID)
    assert not served.server.connections
    assert client.delivered == []
    served.rdma.claimed(messages.RdmaClaimed(connection=7, granted=True))
    served.pump()
    (connection,) = served.server.connections
    assert (connection.transport.peer, connection.transport.local) == ("192.0.2.7", "192.0.2.1")
    assert connection.negotiated
    assert client.delivered[0][:4] == b"\xfeSMB"
    client.close()
    served.pass_time(1.0)
    assert not served.server.connections
    assert served.said[2:] == [messages.Ended(connection=7)]


def test_a_client_of_another_worker_gets_no_answer(served: Served) -> None:
    client = served.client()
    client.send([negotiate()])
    served.pump()
    served.rdma.claimed(messages.RdmaClaimed(connection=1, granted=False))
    served.pass_time(LINGER_SECONDS)
    assert client.delivered == []
    assert served.said[-1] == messages.Ended(connection=1)
    assert not served.server.connections


def test_a_client_that_goes_before_it_is_known(served: Served) -> None:
    client = served.client()
    client.send([negotiate()])
    served.pump()
    client.close()
    served.rdma.claimed(messages.RdmaClaimed(connection=1, granted=True))
    assert not served.server.connections
    served.pass_time(1.0)
    served.rdma.claimed(messages.RdmaClaimed(connection=1, granted=True))
    served.rdma.disconnected(messages.RdmaDisconnected(connection=1, reason="late"))
    assert not served.server.connections
    assert served.said.count(messages.Ended(connection=1)) == 1


def test_a_second_message_before_the_answer_ends_it(served: Served) -> None:
    client = served.client()
    client.send([negotiate()])
    client.send([negotiate()])
    served.pass_time(LINGER_SECONDS)
    assert served.said[-1] == messages.Ended(connection=1)


def test_a_long_first_message_ends_it(served: Served) -> None:
    client = served.client()
    client.send([bytes(messages.FIRST_MESSAGE_LIMIT + 1)])
    served.pass_time(LINGER_SECONDS)
    assert served.said[-1] == messages.Ended(connection=1)


def test_a_silent_client_is_ended(served: Served) -> None:
    served.client()
    served.pump()
    served.pass_time(messages.FIRST_MESSAGE_SECONDS - 1)
    assert not isinstance(served.said[-1], messages.Ended)
    served.pass_time(1 + LINGER_SECONDS)
    told = messages.RdmaRefused(connection=1, reason="no NEGOTIATE")
    assert served.said[1:] == [told, messages.Ended(connection=1)]


def test_reads_are_as_many_as_both_sides_can_and_none_are_ours_to_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[bytes, int]] = []
    modify = FabricQueuePair.modify

    def noted(pair: FabricQueuePair, attributes: bytes, mask: int) -> None:
        changes.append((attributes, mask))
        modify(pair, attributes, mask)

    monkeypatch.setattr(FabricQueuePair, "modify", noted)
    client = RawClient(served.fabric.device("client"))
    assert served.offer(client, depth=200).read_depth == 16
    _, ready_to_receive, ready_to_send = (decode(attributes) for attributes, _ in changes[:3])
    assert ready_to_receive.max_dest_rd_atomic == 0
    assert ready_to_send.max_rd_atomic == 16


def test_an_offer_that_cannot_be_met(served: Served) -> None:
    client = RawClient(served.fabric.device("client"))
    served.rdma.offered(
        messages.RdmaOffer(
            connection=3, device="none0", peer="p", local="l", read_depth=1, states=[]
        )
    )
    refused = messages.RdmaRefused(connection=3, reason="none0 is not open")
    assert served.said == [refused, messages.Ended(connection=3)]
    served.device.registration_limit = served.device.registered_bytes
    assert served.offer(client, 4) == messages.Ended(connection=4)
    served.device.registration_limit = None
    bad = messages.QueuePairState(attributes=bytes(144), mask=1)
    served.rdma.offered(
        messages.RdmaOffer(
            connection=5, device="fake0", peer="p", local="l", read_depth=1, states=[bad] * 3
        )
    )
    served.pump()
    refused = messages.RdmaRefused(connection=5, reason="queue pair 19: RESET to RESET")
    assert served.said[-2:] == [refused, messages.Ended(connection=5)]
    assert served.said[-1] == messages.Ended(connection=5)
    served.pass_time(10.0)
    assert served.said.count(messages.Ended(connection=5)) == 1
    client.close()


def test_only_served_devices_are_kept_and_told(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = (
        FoundPort(1, LinkType.ROCE, True, 25_000_000_000, ("eth0", "eth0.5")),
        FoundPort(2, LinkType.ROCE, False, 25_000_000_000, ("eth1",)),
    )
    other = FoundPort(1, LinkType.ROCE, True, 25_000_000_000, ("eth2",))
    found = [Found("fake0", ports), Found("other0", (other,))]
    monkeypatch.setattr(module.discovery, "devices", lambda: found)
    assert served.rdma.interfaces() == {}
    served.rdma.serve(messages.RdmaServed(devices=["fake0"], reason=""))
    assert served.rdma.interfaces() == {"eth0": 25_000_000_000, "eth0.5": 25_000_000_000}
    served.rdma.serve(messages.RdmaServed(devices=[], reason="no port"))
    assert served.device.closed
    assert (served.rdma.interfaces(), served.rdma.reason) == ({}, "no port")


def test_the_largest_transfer(tmp_path: Path) -> None:
    engine = Engine(tmp_path, max_io_size=1 << 20)
    served = Served(engine)
    try:
        served.rdma.open(["fake0"])
        served.rdma.serve(messages.RdmaServed(devices=["fake0"], reason=""))
        served.client()
        served.pump()
        (one,) = served.rdma._clients.values()
        assert one.transport.max_remote_length == 1 << 20
    finally:
        served.close()
        engine.close()


def test_a_stranger_is_dismissed_and_one_who_has_logged_in_is_not(served: Served) -> None:
    dismiss = messages.Dismiss(
        connection=1, reason="others want to log in", standing=Standing.STRANGER
    )
    for logged_in in (False, True):
        client = served.client()
        client.send([negotiate()])
        served.pump()
        served.rdma.claimed(messages.RdmaClaimed(connection=1, granted=True))
        served.pump()
        (connection,) = served.server.connections
        assert served.rdma.number(connection) == 1
        if logged_in:
            connection.admit(Standing.GUEST)
        served.rdma.dismiss(dismiss)
        assert connection.closed is not logged_in
        client.close()
        served.pass_time(1.0)
        assert served.rdma.number(connection) is None
    served.rdma.dismiss(dismiss)  # it has ended


def test_a_client_that_has_said_nothing_is_dismissed(served: Served) -> None:
    served.client()
    served.pump()
    served.rdma.dismiss(messages.Dismiss(connection=1, reason="others want to log in"))
    served.pass_time(LINGER_SECONDS)
    assert served.said[-1] == messages.Ended(connection=1)


def test_registered_memory_is_shown(served: Served) -> None:
    (row,) = served.rdma.limits()
    assert row.what == "bytes registered with fake0"
    assert row.limit is not None
    assert 0 < row.used <= row.limit
