"""What one peer can take: memory of messages that never end, of replies; the loop's time."""

from collections.abc import Callable, Hashable

import pytest
from engine_pair import data, request
from meter import Meter
from smbdirect.client import RawClient
from smbdirect.network import Network

from usmbd.protocol.state.memory import CLIENT_SHARE, LEAST_POOL, ConnectionMemory, Memory
from usmbd.protocol.state.standing import Standing
from usmbd.transport.smbdirect.backlog import HELD_OVERHEAD
from usmbd.transport.smbdirect.batches import BATCH
from usmbd.transport.smbdirect.connection import SmbDirectTransport, State
from usmbd.transport.smbdirect.kept import UNMETERED_SIZE
from usmbd.transport.smbdirect.limits import Limits
from usmbd.transport.smbdirect.provider import Completion
from usmbd.transport.turns import LARGE_MESSAGE, SLICE
from usmbd.transport.turns import Turns as EqualTurns

from .conftest import Upper

PAYLOAD = 1000
MESSAGE = 1 << 20


class Peer:
    """A raw client, the server's side of its connection, and its meter."""

    def __init__(self, network: Network) -> None:
        """Negotiate."""
        self.network = network
        self.client = RawClient(network.client_device)
        self.transport: SmbDirectTransport = network.connect(self.client)
        self.upper = Upper()
        self.transport.start(self.upper)
        self.client.post(request())
        network.pump()
        self.meter = self.transport.meter = Meter()

    def begin(self, size: int) -> None:
        """Send the first fragment of a message of `size` bytes."""
        self.post(data(bytes(PAYLOAD), remaining=size - PAYLOAD, granted=10))

    def post(self, message: bytes) -> None:
        """Send a message."""
        self.client.post(message)
        self.network.pump()


@pytest.fixture
def peer(network: Network) -> Peer:
    return Peer(network)


def test_a_message_that_never_ends_counts_until_its_connection_ends(peer: Peer) -> None:
    assert peer.transport.progress is None
    peer.begin(MESSAGE)
    assert peer.meter.kept == MESSAGE
    before = peer.transport.progress
    assert before is not None
    left = MESSAGE - PAYLOAD
    for _ in range(UNMETERED_SIZE // PAYLOAD + 1):
        left -= PAYLOAD
        peer.post(data(bytes(PAYLOAD), remaining=left))
    assert peer.transport.progress != before
    assert peer.meter.kept == MESSAGE
    peer.transport.close("it keeps memory that others wait for")
    assert peer.meter.kept == 0
    assert peer.transport.progress is None


def test_a_whole_message_counts_no_more(peer: Peer) -> None:
    left = 2 * UNMETERED_SIZE
    peer.begin(left)
    left -= PAYLOAD
    while left:
        assert peer.meter.kept == 2 * UNMETERED_SIZE
        part = min(left, PAYLOAD)
        left -= part
        peer.post(data(bytes(part), remaining=left))
    assert peer.meter.kept == 0
    assert [len(message) for message in peer.upper.messages] == [2 * UNMETERED_SIZE]


def test_a_message_without_room_ends_its_connection(peer: Peer) -> None:
    peer.meter.limit = MESSAGE - 1
    peer.begin(UNMETERED_SIZE)
    assert peer.meter.kept == 0, "as most messages are, too small to count"
    peer.post(data(bytes(PAYLOAD), remaining=UNMETERED_SIZE - 2 * PAYLOAD))
    assert peer.transport.state is State.OPEN
    other = Peer(peer.network)
    other.meter.limit = MESSAGE - 1
    other.begin(MESSAGE)
    assert other.upper.lost == ["it begins a message that there is no memory for"]
    assert other.meter.kept == 0
    other = Peer(peer.network)
    other.upper.message_limit = MESSAGE - 1
    other.meter.limit = 0
    other.begin(MESSAGE)
    assert other.upper.lost == [f"a message of {MESSAGE} bytes, where {MESSAGE - 1} are allowed"]


def test_replies_that_are_not_taken_count(peer: Peer) -> None:
    peer.upper.on_message = lambda message: peer.transport.send([bytes(UNMETERED_SIZE + 1)])
    peer.post(data(b"x"))
    assert peer.meter.kept == peer.transport.engine.queued_bytes > UNMETERED_SIZE
    assert peer.transport.progress is not None
    for _ in range(4):
        peer.post(data(granted=50))
    assert peer.meter.kept == 0
    assert peer.transport.progress is None


def test_what_is_kept_moves_to_another_meter(peer: Peer) -> None:
    """The upper layer knows the connection only after its first message."""
    first = peer.meter
    peer.begin(MESSAGE)
    second = peer.transport.meter = Meter()
    peer.client.close()
    peer.network.pump()
    assert (first.kept, second.kept) == (0, 0)
    assert second.most == 0


class Turns:
    """A slice that is over at each look."""

    def __init__(self) -> None:
        """Begin without work."""
        self.looks = 0
        self.waiting: list[tuple[Hashable, Callable[[], None]]] = []

    clock = staticmethod(lambda: 1.0)

    def over(self, began: float = 0.0) -> bool:
        """Count a look."""
        self.looks += 1
        return True

    def later(self, owner: Hashable, work: Callable[[], None]) -> None:
        """Keep work for the test."""
        self.waiting.append((owner, work))


def test_a_flood_of_requests_gives_way_to_others(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns()
    monkeypatch.setattr(network, "turns", turns)
    peer = Peer(network)
    requests = 7
    for number in range(requests):
        peer.client.post(data(bytes([number])))
    network.pump()
    served = [len(peer.upper.messages)]
    while turns.waiting:
        ((owner, work),) = turns.waiting
        turns.waiting.clear()
        assert owner is peer.transport
        work()
        network.pump()
        served.append(len(peer.upper.messages))
    assert served == [2, 3, 4, 5, 6, 7, 7]  # and a turn that finds nothing
    assert [message[0] for message in peer.upper.messages] == list(range(requests))
    assert peer.meter.kept == 0
    assert turns.looks == requests - 1


def test_what_comes_to_who_waits_for_a_turn_is_taken_in_the_next(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To take it costs time as well, which others have had to wait for."""
    monkeypatch.setattr(network, "turns", Turns())
    peer = Peer(network)
    taken: list[int] = []
    poll = peer.transport.queue_pair.poll

    def count(limit: int) -> list[Completion]:
        found = poll(limit)
        taken.append(sum(not completion.id & 1 for completion in found))
        return found

    monkeypatch.setattr(peer.transport.queue_pair, "poll", count)
    requests = 2 * BATCH + 1
    for number in range(requests):
        peer.client.post(data(bytes([number])))
    turns = []
    while network.loop.turn():
        turns.append(sum(taken))
        taken.clear()
    assert max(turns) == BATCH
    assert len(turns) > 1


def test_requests_within_a_turn_are_served_at_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns()
    monkeypatch.setattr(turns, "over", lambda began: False)
    monkeypatch.setattr(network, "turns", turns)
    peer = Peer(network)
    for number in range(7):
        peer.client.post(data(bytes([number])))
    found = []
    while network.loop.turn():
        found.append(len(peer.upper.messages))
    assert max(found) == 7
    assert len({count for count in found if count}) == 1, found  # all of them in one turn
    assert not turns.waiting


@pytest.mark.parametrize("requests", [1, 2, 5])
def test_the_clock_is_read_once_for_what_comes_together(
    network: Network, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    """For the protocol's times and for the slice; after each but the first that is served, too."""
    looks: list[float] = []

    def clock() -> float:
        looks.append(network.loop.now)
        return looks[-1]

    monkeypatch.setattr(network, "turns", EqualTurns(network.loop, clock))
    monkeypatch.setattr(network.loop, "time", clock)
    peer = Peer(network)
    looks.clear()
    for _ in range(requests):
        peer.client.post(data(b"request"))
    while network.loop.turn():
        pass
    assert len(peer.upper.messages) == requests
    assert len(looks) == requests


@pytest.mark.parametrize("requests", [5, 14, 20, 40])
def test_a_flood_has_one_slice_of_each_turn(
    network: Network, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    """What is taken up again, and what has come meanwhile, share it: by a clock of the requests."""
    now = [1.0]
    monkeypatch.setattr(network, "turns", EqualTurns(network.loop, lambda: now[0]))
    peer = Peer(network)
    step = SLICE / 10

    def serve(_: object) -> None:
        now[0] += step

    peer.upper.on_message = serve
    posted, served = 0, []
    for _ in range(12):
        for _ in range(min(requests, 60 - posted + sum(served))):
            peer.client.post(data(b"request"))
            posted += 1
        network.loop.turn()
        served.append(len(peer.upper.messages) - sum(served))
        peer.client.pump()
    assert sum(served) >= 50
    assert max(served) <= SLICE / step + 1, "the last goes over"


@pytest.mark.parametrize("size", [LARGE_MESSAGE - 1, LARGE_MESSAGE])
def test_a_large_message_begins_while_the_slice_lasts(
    network: Network, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Else by rotation, as by TCP: to check one may take some of it, and many may have come."""
    turns = Turns()
    over = False
    monkeypatch.setattr(turns, "over", lambda *_: over)
    monkeypatch.setattr(network, "turns", turns)
    peer = Peer(network)
    left = size - PAYLOAD
    peer.meter.limit = size + HELD_OVERHEAD
    peer.begin(size)
    while left > PAYLOAD:
        left -= PAYLOAD
        peer.post(data(bytes(PAYLOAD), remaining=left))
    over = True
    peer.client.post(data(bytes(left)))
    for _ in range(4):
        network.loop.turn()
    rounds = 0
    while turns.waiting:
        assert peer.upper.messages == []
        owner, work = turns.waiting.pop()
        assert owner is peer.transport
        assert not turns.waiting
        work()
        rounds += 1
    assert rounds == (2 if size == LARGE_MESSAGE else 0), "its last fragment, and the message"
    assert [len(message) for message in peer.upper.messages] == [size]
    network.pump()
    assert peer.meter.kept == 0
    assert peer.transport.state is State.OPEN


def test_fragments_of_large_messages_share_one_slice(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of however many connections: by a clock of the fragments."""
    now = [1.0]
    monkeypatch.setattr(network, "turns", EqualTurns(network.loop, lambda: now[0]))
    peers = [Peer(network) for _ in range(6)]
    step, taken = SLICE / 2 / 60, []

    def clocked(peer: Peer) -> None:
        poll = peer.transport.queue_pair.poll

        def count(limit: int) -> list[Completion]:
            found = poll(limit)
            fragments = sum(not completion.id & 1 for completion in found)
            now[0] += step * fragments
            taken.append(fragments)
            return found

        monkeypatch.setattr(peer.transport.queue_pair, "poll", count)

    left = MESSAGE - PAYLOAD
    for peer in peers:
        clocked(peer)
        peer.begin(MESSAGE)
    for _ in range(60):
        left -= PAYLOAD
        for peer in peers:
            peer.client.post(data(bytes(PAYLOAD), remaining=left))
    turns = []
    taken.clear()
    while network.loop.turn():
        turns.append(sum(taken))
        taken.clear()
    assert sum(turns) == 6 * 60
    assert max(turns) <= 3 * 60, turns
    assert {peer.transport.engine.missing_bytes for peer in peers} == {left}


def test_who_waits_for_a_turn_may_end(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns()
    monkeypatch.setattr(network, "turns", turns)
    peer = Peer(network)
    for number in range(4):
        peer.client.post(data(bytes([number])))
    network.pump()
    peer.client.close()
    network.pump()
    turns.waiting.pop()[1]()
    assert len(peer.upper.messages) == 2
    assert peer.meter.kept == 0


def test_many_connections_of_one_client_that_begin_messages() -> None:
    """Together they have what one client may keep of a worker's memory, and the others end."""
    network = Network(Limits(max_fragmented_size=8 * MESSAGE))
    memory = Memory(10**6, lambda work: None)
    peers = []
    for _ in range(20):
        peer = Peer(network)
        kept = peer.transport.meter = ConnectionMemory(memory, "192.0.2.66")
        kept.rise(Standing.USER)
        peer.begin(8 * MESSAGE)
        peers.append(peer)
    assert memory.pools[Standing.USER].used == 24 * MESSAGE < LEAST_POOL // CLIENT_SHARE
    assert [bool(peer.upper.lost) for peer in peers] == [False] * 3 + [True] * 17
    network.close()
    assert memory.pools[Standing.USER].used == 0
