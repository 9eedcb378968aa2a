"""A client that does not take its replies: it stops being served, and goes on when it does."""

from typing import Any

import pytest
from engine_pair import HEADER, data, request
from meter import Meter
from smbdirect.client import RawClient
from smbdirect.network import Network

from usmbd.transport.smbdirect import backlog, connection
from usmbd.transport.smbdirect.backlog import HIGH_WATER, LEAST_POSTED
from usmbd.transport.smbdirect.connection import State
from usmbd.transport.smbdirect.limits import MIN_FRAGMENTED_SIZE, Limits

from .conftest import Link, Upper, pattern

REPLY = 1 << 16
SERVED = HIGH_WATER // REPLY


class Greedy:
    """A raw client that asks for 64 KiB with each message and grants credits when told to."""

    def __init__(self, network: Network) -> None:
        """Negotiate."""
        self.network = network
        self.client = RawClient(network.client_device)
        self.transport = network.connect(self.client)
        self.queue_pair: Any = self.transport.queue_pair
        self.upper = Upper()
        self.upper.on_message = lambda message: self.transport.send([bytes(message[:1]) * REPLY])
        self.transport.start(self.upper)
        self.client.post(request(fragmented=MIN_FRAGMENTED_SIZE))
        network.pump()
        self.credits = 254
        self.replies: list[int] = []
        self._part = 0
        self.take()

    def take(self) -> int:
        """Look at what has arrived: the first byte of each reply is kept; return how much."""
        count = len(self.client.messages)
        while self.client.messages:
            message = self.client.messages.popleft()
            if len(message) == 32:
                continue
            _, granted, _, _, remaining, _, length = HEADER.unpack_from(message)
            self.credits += granted
            self._part += length
            if length and not remaining:
                assert self._part == REPLY
                self.replies.append(message[24])
                self._part = 0
        return count

    def ask(self, number: int, granted: int = 0, padding: int = 0) -> None:
        """Send one request."""
        assert self.credits > 0
        self.credits -= 1
        self.client.post(data(bytes([number]) + bytes(padding), granted=granted))
        self.network.pump()
        self.take()

    def grant(self, credits: int) -> int:
        """Let the server send; return how many messages came."""
        assert self.credits > 0
        self.credits -= 1
        self.client.post(data(granted=credits))
        self.network.pump()
        return self.take()


def test_requests_wait_while_replies_do_not_go(network: Network) -> None:
    greedy = Greedy(network)
    for number in range(100):
        greedy.ask(number)
    assert len(greedy.upper.messages) == SERVED
    assert greedy.transport.engine.queued_bytes == HIGH_WATER
    assert greedy.queue_pair.posted_receives == 255 - (100 - SERVED)
    while len(greedy.replies) < 100:
        assert greedy.grant(250)
        assert greedy.transport.engine.queued_bytes <= HIGH_WATER
    assert greedy.replies == list(range(100))
    assert [message[0] for message in greedy.upper.messages] == list(range(100))
    assert greedy.queue_pair.posted_receives == 255


def test_who_uses_all_credits_while_stopped_gets_going_again(network: Network) -> None:
    greedy = Greedy(network)
    asked = 0
    while greedy.credits > 1:
        greedy.ask(asked % 251)
        asked += 1
    assert len(greedy.upper.messages) == SERVED
    # Its last credit grants, and with each fragment it gets one to grant and ask with.
    for _ in range(100):
        greedy.ask(asked % 251, granted=1, padding=1300)
        asked += 1
        assert greedy.credits
    # As many as it has credits for, and one to grant with our last.
    engine = greedy.transport.engine
    assert greedy.queue_pair.posted_receives <= max(LEAST_POSTED, engine.receive_credits + 1)
    assert engine.receive_credits < 20
    assert len(greedy.upper.messages) == SERVED
    while len(greedy.replies) < asked:
        assert greedy.grant(250)
    assert greedy.replies == [number % 251 for number in range(asked)]


@pytest.mark.parametrize("receives", [3, 4, 5, 20, 255])
def test_a_client_that_grants_late_gets_all_replies(network: Network, receives: int) -> None:
    link = Link(network, Limits(receive_credit_max=receives)).start()
    link.upper.on_message = lambda message: link.transport.send([bytes(message) * (1 << 16)])
    for number in range(20):
        link.client.send([bytes([number])])
    link.client.pump()
    for number in range(20, 60):  # its grants travel with requests
        network.loop.pump()
        link.client.send([bytes([number])])
        link.client.pump()
    network.pump()
    assert [message[0] for message in link.client.delivered] == list(range(60))


def test_a_stopped_client_that_goes_leaves_nothing(network: Network) -> None:
    greedy = Greedy(network)
    for number in range(50):
        greedy.ask(number)
    greedy.client.close()
    network.pump()
    assert len(greedy.upper.lost) == 1
    assert len(greedy.upper.messages) == SERVED
    assert greedy.transport.state is State.FINISHED


def test_a_held_request_may_end_the_connection(network: Network) -> None:
    greedy = Greedy(network)
    for number in range(50):
        greedy.ask(number)
    greedy.upper.on_message = lambda message: greedy.transport.close("that one")
    while greedy.transport.state is State.OPEN:
        greedy.grant(250)
    network.advance(1.0)
    assert len(greedy.upper.messages) == SERVED + 1
    assert greedy.upper.lost == ["that one"]


def test_requests_wait_while_transfers_go_on(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backlog, connection):
        monkeypatch.setattr(module, "TRANSFERS_HIGH", 40_000)
    monkeypatch.setattr(backlog, "TRANSFERS_LOW", 20_000)
    region = link.client.register(pattern(10_000))
    done = []

    def fetch(message: memoryview) -> None:
        number, view = bytes(message), link.transport.buffer(10_000)

        def answer(error: OSError | None) -> None:
            done.append(error)
            link.transport.send([number, view])

        link.transport.read_remote(view, [region.remote()], answer)

    link.upper.on_message = fetch
    queue_pair: Any = link.transport.queue_pair
    queue_pair.withhold()
    for number in range(20):
        link.client.send([b"%d" % number])
    # Receives are withheld as well: let them through, not the reads.
    while not link.upper.messages:
        link.network.pump()
        queue_pair.release(1)
    link.network.until(lambda: queue_pair.release(20) or len(link.upper.messages) >= 4)
    assert len(link.upper.messages) < 20
    queue_pair.release()
    link.network.pump()
    assert done == [None] * 20
    assert link.client.delivered == [b"%d" % n + pattern(10_000) for n in range(20)]


def test_who_only_asks_while_stopped_is_lost(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "HELD_HIGH", 1 << 19)
    greedy = Greedy(network)
    # One credit for each message keeps both sides sending, and the replies never get fewer.
    for number in range(10_000):
        if greedy.transport.state is not State.OPEN:
            break
        greedy.ask(number % 251, granted=1, padding=1300)
    assert greedy.upper.lost == ["it goes on asking and does not take its answers"]
    assert greedy.transport.state is State.FINISHED


def test_requests_wait_while_the_meter_is_full(network: Network) -> None:
    """They are held meanwhile, which counts, and does not keep itself from being served."""
    greedy = Greedy(network)
    meter = greedy.transport.meter = Meter()
    greedy.upper.on_message = lambda message: setattr(meter, "full", True)
    for number in range(3):
        greedy.ask(number)
    assert [message[0] for message in greedy.upper.messages] == [0]
    assert meter.kept > 0
    greedy.upper.on_message = lambda message: None
    meter.full = False
    meter.feed()
    assert [message[0] for message in greedy.upper.messages] == [0, 1, 2]
    assert meter.kept == 0


def test_who_goes_on_asking_without_room_is_lost(network: Network) -> None:
    greedy = Greedy(network)
    meter = greedy.transport.meter = Meter()
    meter.full, meter.limit = True, 0
    greedy.ask(1)
    greedy.ask(2)
    assert greedy.upper.lost == ["it goes on asking and does not take its answers"]
    assert meter.kept == 0
