"""Random traffic of one or two clients, with faults or without: order, completion, nothing left.

What happens is drawn from a seed, so a failure happens again by its test's name. Requests of every
kind meet small pools, short queues, few credits, withheld completions and, in half of the runs,
one fault. Without one every request has to be served and answered in its order, and each answer
has to come after its data; with one everybody has to be told once.
"""

import random
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from smbdirect.network import Network

from usmbd.transport.base import RemoteBuffer
from usmbd.transport.smbdirect import backlog, connection
from usmbd.transport.smbdirect.connection import State
from usmbd.transport.smbdirect.fabric.device import LIMITS
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.posted_work import PINNED
from usmbd.transport.smbdirect.provider import DeviceError, RegistrationError, Status
from usmbd.transport.smbdirect.registered_memory import LARGEST

from .conftest import Link, pattern

SEEDS = range(120)
STEPS = 250
SOURCE = pattern(1 << 19)
SIZES = (1, 100, 4096, 4097, 30_000, 65_535, 65_536, 65_537, 131_072, 300_000)
KINDS = ("echo", "whole", "whole", "cut", "parts", "write", "late", "several")
NUMBER = struct.Struct("<I")


def content(number: int, size: int) -> bytes:
    """Return the data of a request."""
    return SOURCE[number % 200 : number % 200 + size]


class Peer:
    """One client, its requests by number, and the upper layer that serves them."""

    def __init__(self, network: Network, rng: random.Random, limits: Limits, reads: int) -> None:
        """Connect."""
        self.rng = rng
        self.link = Link(network, limits, reads=reads)
        self.link.upper.on_message = self.serve
        self.link.start()
        self.requests: list[tuple[str, int, Any]] = []  # kind, size, region
        self.served = 0
        self.answers: list[int] = []
        self.checked = 0
        self.reads: dict[int, list[OSError | None]] = {}
        self.later: list[Callable[[], None]] = []
        self.fault: Callable[[], None] | None = None

    def ask(self) -> None:
        """Send a request of a random kind and size."""
        client = self.link.client
        if client.closed:
            return
        number, kind, size = len(self.requests), self.rng.choice(KINDS), self.rng.choice(SIZES)
        region = None
        if kind not in ("echo", "several"):
            region = client.register(content(number, size) if kind == "write" else size)
        self.requests.append((kind, size, region))
        client.send([NUMBER.pack(number) + bytes(size if kind == "echo" else 0)])

    def answer(self, number: int, payload: bytes = b"", invalidate: int = 0) -> None:
        """Send one answer."""
        self.answers.append(number)
        self.link.transport.send([NUMBER.pack(number) + payload], invalidate)

    def memory(self, size: int) -> memoryview:
        """Return memory of the pool, or other."""
        if self.rng.random() < 0.7:
            return self.link.transport.buffer(size)
        return memoryview(bytearray(size))

    def serve(self, message: memoryview) -> None:
        """Take a request."""
        (number,) = NUMBER.unpack_from(message)
        assert number == self.served, "requests are out of order"
        self.served += 1
        kind, size, region = self.requests[number]
        if self.fault is not None:
            fault, self.fault = self.fault, None
            fault()
        elif kind == "echo":
            self.answer(number, bytes(message[NUMBER.size :]))
        elif kind == "several":
            for _ in range(self.rng.randrange(1, 4)):
                self.answer(number)
        elif kind == "write":
            self.fetch(number, size, region.remote())
        elif kind == "late":
            self.later.append(lambda: self.deliver(number, kind, size, region))
        else:
            self.deliver(number, kind, size, region)

    def fetch(self, number: int, size: int, remote: RemoteBuffer) -> None:
        """Read the client's data, and answer then or later."""
        view = self.memory(size)
        told = self.reads[number] = []

        def done(error: OSError | None) -> None:
            told.append(error)
            if error is not None:
                return
            assert view == content(number, size)
            if self.rng.random() < 0.2:
                self.later.append(lambda: self.answer(number))
            else:
                self.answer(number)

        self.link.transport.read_remote(view, [remote], done)

    def deliver(self, number: int, kind: str, size: int, region: Any) -> None:
        """Write the data of a READ, as one piece or cut on either side, and answer."""
        data = content(number, size)
        remote = [region.remote()]
        if kind == "cut":
            cuts = sorted(self.rng.randrange(size + 1) for _ in range(self.rng.randrange(60)))
            edges = [0, *cuts, size]
            remote = [region.remote(a, b - a) for a, b in pairwise(edges)]
        length = self.rng.choice([700, 5000, 65_536]) if kind == "parts" else size
        length = max(length, size // 50)
        views = []
        for start in range(0, size, length):
            view = self.memory(min(length, size - start))
            view[:] = data[start : start + length]
            views.append(view)
        self.link.transport.write_remote(views, remote)
        self.answer(number, b"", region.remote().token if self.rng.random() < 0.5 else 0)

    def check(self) -> None:
        """Look at what has arrived: in order, and behind its data."""
        for message in self.link.client.delivered[self.checked :]:
            (number,) = NUMBER.unpack_from(message)
            assert number == self.answers[self.checked]
            self.checked += 1
            kind, size, region = self.requests[number]
            if region is not None and kind != "write" and not self.link.client.closed:
                assert region.data == content(number, size), "an answer before its data"

    @property
    def complete(self) -> bool:
        """Return whether all requests are served and all answers there."""
        answered = self.checked == len(self.answers)
        return self.served == len(self.requests) and answered and not self.later

    def check_rest(self) -> None:
        """Look at what a connection at rest keeps: its last answers' slots and a little memory."""
        transport = self.link.transport
        assert transport.state is State.OPEN, self.link.upper.lost
        assert self.complete, (self.served, len(self.requests), self.checked, len(self.answers))
        assert all(told == [None] for told in self.reads.values())
        order, work = transport._send_order, transport._work
        assert (len(order.waiting), order.writing_bytes, order.queued_bytes) == (0, 0, 0)
        assert not transport._stopped
        assert not transport._withheld
        slots = sum(isinstance(entry, int) for entry in work.posted)
        assert transport._sends.free + slots == len(transport._sends)
        assert (work.reads, work.writes) == (0, len(work.posted) - slots)
        assert transport._transfers.under_way == work.transferring < PINNED


def no_room(*_: object, **__: object) -> None:
    """Refuse work as a device does."""
    raise DeviceError("no room")


def fail_somehow(peer: Peer, rng: random.Random, patch: pytest.MonkeyPatch) -> None:
    """Let one thing go wrong."""
    transport, client = peer.link.transport, peer.link.client
    pair: Any = transport.queue_pair

    def raises() -> None:
        if rng.random() < 0.5:
            transport.send([b"an answer of a handler that fails"])
        raise RuntimeError("a fault of the upper layer")

    faults: list[Callable[[], object]] = [
        lambda: transport.close("enough"),
        lambda: transport.disconnected("gone"),
        client.close,
        lambda: client.close(tell=False),
        pair.fail,
        lambda: pair.fail_next(rng.choice(list(Status)[1:]), rng.randrange(5)),
        lambda: setattr(peer, "fault", raises),
        lambda: setattr(peer, "fault", lambda: transport.close("enough")),
        lambda: patch.setattr(
            pair,
            rng.choice(["post_send", "post_write", "post_read", "submit", "post_receive"]),
            no_room,
        ),
    ]
    if not pair.closed:
        rng.choice(faults)()


def hoard(network: Network, least: int, held: list[memoryview]) -> None:
    """Take all of the pool, in slices of at least so many bytes."""
    for size in (LARGEST, 1 << 20, 1 << 16, 4096):
        with suppress(RegistrationError):
            while size >= least:
                held.append(network.pool.take(size))


def moves(
    network: Network, peer: Peer, rng: random.Random, held: list[memoryview]
) -> list[Callable[[], object]]:
    """Return what may happen next, the likely more than once."""
    fabric, loop = network.fabric, network.loop
    pair: Any = peer.link.transport.queue_pair
    later = peer.later
    return [
        *[peer.ask] * 6,
        *[lambda: fabric.step(rng.choice([1, 5, 50]))] * 2,
        *[loop.turn] * 2,
        peer.link.client.pump,
        lambda: later and later.pop(rng.randrange(len(later)))(),
        lambda: hoard(network, rng.choice([4096, 1 << 16, 1 << 20, LARGEST]), held),
        held.clear,
        lambda: loop.advance(rng.choice([0.001, 0.005, 0.02]), loop.turn),
        lambda: pair.closed or pair.withhold(),
        lambda: pair.closed or pair.release(rng.choice([1, 5, None])),
    ]


def drawn(rng: random.Random, patch: pytest.MonkeyPatch) -> tuple[Network, list[Peer]]:
    """Make a network with random limits, and its clients."""
    if rng.random() < 0.5:
        high = rng.choice([100_000, 400_000, 2_000_000])
        patch.setattr(connection, "TRANSFERS_HIGH", high)
        patch.setattr(backlog, "TRANSFERS_HIGH", high)
        patch.setattr(backlog, "TRANSFERS_LOW", PINNED + 5000)
    if rng.random() < 0.5:
        patch.setattr(backlog, "HIGH_WATER", 150_000)
        patch.setattr(backlog, "LOW_WATER", 50_000)
    device = LIMITS
    if rng.random() < 0.4:
        device = replace(
            LIMITS,
            max_queue_pair_work_requests=rng.choice([16, 20, 40, 100]),
            max_send_segments=rng.choice([1, 2, 4]),
            max_initiator_depth=rng.choice([1, 4]),
            exposes_read_sinks=rng.random() < 0.3,
        )
    theirs = Limits(
        receive_credit_max=rng.choice([3, 4, 10, 60]),
        send_credit_target=rng.choice([1, 2, 20, 255]),
    )
    ours = Limits(
        receive_credit_max=rng.choice([3, 5, 30, 255]), send_credit_target=rng.choice([1, 3, 253])
    )
    network = Network(ours, device=device, pool_limit=LARGEST)
    depth = min(device.max_initiator_depth, rng.choice([1, 4]))
    return network, [Peer(network, rng, theirs, depth) for _ in range(rng.choice([1, 1, 2]))]


@pytest.mark.parametrize("seed", SEEDS)
def test_stress(
    seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(100)  # a traceback that is kept keeps memory
    rng = random.Random(seed)
    network, peers = drawn(rng, monkeypatch)
    fabric, loop = network.fabric, network.loop
    faulty_step = rng.randrange(STEPS) if rng.random() < 0.5 else -1
    held: list[memoryview] = []
    fabric.pause()
    for step in range(STEPS):
        peer = rng.choice(peers)
        rng.choice(moves(network, peer, rng, held))()
        for one in peers:
            one.check()
        if step == faulty_step:
            fail_somehow(peer, rng, monkeypatch)
    held.clear()
    fabric.resume()
    for peer in peers:
        pair: Any = peer.link.transport.queue_pair
        if not pair.closed:
            pair.release()
    for _ in range(400):
        moved = network.pump()
        for peer in peers:
            while peer.later:
                peer.later.pop(0)()
                moved += 1
            peer.check()
        loop.advance(0.006, network.pump)
        gone = [peer.link.transport.state is not State.OPEN for peer in peers]
        if not moved and all(a or peer.complete for a, peer in zip(gone, peers, strict=True)):
            break
    if faulty_step < 0:
        for peer in peers:
            peer.check_rest()
    network.close()
    for peer in peers:
        assert len(peer.link.upper.lost) == 1
        assert all(len(told) == 1 for told in peer.reads.values())
        assert not peer.link.transport._work.posted
