"""What holds for any traffic: it arrives whole and in order, it never stalls, it never explodes."""

import struct

from engine_pair import HEADER, Side, allocate, established, pump
from hypothesis import given, settings
from hypothesis import strategies as st

from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.smbdirect.limits import Limits, ProtocolError, Role

LIMITS = st.builds(
    Limits,
    receive_credit_max=st.integers(3, 20),
    send_credit_target=st.integers(1, 30),
    max_send_size=st.integers(128, 1400),
    max_receive_size=st.integers(512, 1400),
)
MESSAGE = st.tuples(st.integers(1, 12_000), st.integers(0, 3), st.integers(0, 99))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["queue"]), st.booleans(), MESSAGE),
        st.tuples(st.sampled_from(["send", "take", "post"]), st.booleans(), st.integers(1, 9)),
        st.tuples(st.sampled_from(["idle"]), st.booleans(), st.just(0)),
    ),
    max_size=60,
)


def content(size: int, cuts: int, seed: int) -> list[bytes]:
    """Make a message of `size` bytes in up to `cuts` + 1 parts."""
    whole = struct.pack("<I", seed) + bytes((seed + i) & 0xFF for i in range(251)) * (size // 251)
    whole = (whole + bytes(251))[:size]
    step = size // (cuts + 1) + 1
    return [whole[start : start + step] for start in range(0, size, step)]


class Checked(Side):
    """A side whose every message is held against the rules for credits."""

    def __init__(self, role: Role, limits: Limits) -> None:
        super().__init__(role, limits)
        self.queued: list[bytes] = []
        self.tokens: list[int] = []
        self.unposted = 0

    def queue(self, size: int, cuts: int, seed: int) -> None:
        """Queue a message and remember it."""
        parts = content(size, cuts, seed)
        self.engine.queue(parts, seed)
        self.queued.append(b"".join(parts))
        self.tokens.append(seed)

    def send(self) -> bytes | None:
        """Take a message and check the credits that it used and gave."""
        before = self.engine.send_credits
        mid_message = self.engine._queue.remaining
        message = super().send()
        if message is not None and before:
            _, granted, _, _, remaining, _, length = HEADER.unpack_from(message)
            assert self.engine.send_credits == before - 1
            assert before > 1 or granted, "the last credit went without a grant"
            assert self.engine.receive_credits <= self.engine.posted_receives
            assert not mid_message or mid_message == length + remaining
        return message


@settings(max_examples=150, deadline=None)
@given(LIMITS, LIMITS, STEPS)
def test_anything_arrives_whole_and_in_order(one: Limits, two: Limits, steps: list) -> None:  # type: ignore[type-arg]
    client, server = Checked(Role.CLIENT, one), Checked(Role.SERVER, two)
    pump(client, server)
    way: dict[int, list[bytes]] = {id(client): [], id(server): []}
    now = 0.0
    for action, left, value in steps:
        side, peer = (client, server) if left else (server, client)
        if action == "queue":
            side.queue(*value)
        elif action == "send":
            for _ in range(value):
                if (message := side.send()) is not None:
                    way[id(peer)].append(message)
        elif action == "take":
            for _ in range(min(value, len(way[id(side)]))):
                side.take(way[id(side)].pop(0), post=False)
                side.unposted += 1
        elif action == "post":
            side.engine.posted(side.unposted)
            side.unposted = 0
        elif not way[id(client)] and not way[id(server)]:
            now = max(now, side.engine.deadline())
            side.now = peer.now = now
            side.engine.tick(now)
            side.engine.posted(side.unposted)
            peer.engine.posted(peer.unposted)
            side.unposted = peer.unposted = 0
            pump(client, server)
    for side in (client, server):
        for message in way[id(side)]:
            side.take(message, post=False)
            side.unposted += 1
    for side in (client, server):
        side.engine.posted(side.unposted)
    pump(client, server)
    assert server.delivered == client.queued
    assert client.delivered == server.queued
    for side in (client, server):
        assert side.engine.queued_bytes == 0
        assert [t for t in side.invalidated if t] == [t for t in side.tokens if t]
        assert side.engine.posted_receives == side.engine.limits.receive_credit_max


def test_a_large_message_each_way_at_once() -> None:
    client, server = Checked(Role.CLIENT, Limits()), Checked(Role.SERVER, Limits())
    pump(client, server)
    for side in (client, server):
        side.queue(1 << 20, 3, 1)
        side.queue(1, 0, 2)
    fragments = -(-(1 << 20) // 1340) + 1
    count = pump(client, server)
    assert client.delivered == server.queued
    assert server.delivered == client.queued
    # Both carry each other's grants: hardly a message is without payload.
    assert count < 2 * fragments + 10


def test_grants_for_a_message_in_one_direction_are_few() -> None:
    client, server = Checked(Role.CLIENT, Limits()), Checked(Role.SERVER, Limits())
    pump(client, server)
    server.queue(1 << 20, 0, 0)
    fragments = -(-(1 << 20) // 1340)
    assert pump(client, server) <= fragments + fragments // 150 + 1


def test_peers_that_ask_for_one_credit_fall_silent() -> None:
    limits = Limits(receive_credit_max=3, send_credit_target=1)
    client, server = Checked(Role.CLIENT, limits), Checked(Role.SERVER, limits)
    assert pump(client, server) < 10
    client.queue(20_000, 0, 0)
    server.queue(20_000, 0, 0)
    assert pump(client, server) < 50
    assert client.delivered == server.queued
    assert server.delivered == client.queued


HEADERS = st.builds(
    lambda fields, tail: HEADER.pack(*fields) + tail,
    st.tuples(
        st.sampled_from([0, 1, 2, 255, 65535]),
        st.sampled_from([0, 1, 255, 65535]),
        st.integers(0, 3),
        st.integers(0, 1),
        st.one_of(st.integers(0, 64), st.sampled_from([1 << 20, 0xFFFFFFFF])),
        st.one_of(st.integers(0, 6).map(lambda n: n * 8), st.integers(0, 0xFFFFFFFF)),
        st.one_of(st.integers(0, 64), st.sampled_from([1 << 20, 0xFFFFFFFF])),
    ),
    st.binary(max_size=80),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(Role)), st.lists(st.one_of(st.binary(max_size=64), HEADERS)))
def test_anything_received_is_accepted_or_refused(role: Role, messages: list[bytes]) -> None:
    side = established(role)
    taken = []

    def counted(size: int) -> memoryview:
        taken.append(size)
        return allocate(size)

    side.engine._reassembly._allocate = counted
    for message in messages:
        remaining = side.engine._reassembly.remaining
        taken.clear()
        try:
            side.take(message)
        except ProtocolError:
            break
        assert sum(taken) <= (0 if remaining else 1 << 20)
        assert len(side.drain()) <= 1
        assert 0 <= side.engine.receive_credits <= side.engine.posted_receives <= 255


@given(st.sampled_from(list(Role)), st.binary(max_size=64))
def test_any_first_message_is_accepted_or_refused(role: Role, message: bytes) -> None:
    engine = Engine(role, Limits(), allocate, 0.0)
    engine.posted(255)
    slot = memoryview(bytearray(1364))
    engine.next_send(slot, 0.0)
    try:
        assert engine.received(memoryview(message), 0.0) is None
    except ProtocolError:
        assert not engine.established
        return
    engine.next_send(slot, 0.0)
    assert engine.established != engine.negotiation_refused
