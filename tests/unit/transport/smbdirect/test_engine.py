"""Data Transfer messages: credits, answers, keep-alive, what is refused ([MS-SMBD] 3.1.5-3.1.6)."""

import pytest
from engine_pair import HEADER, Side, data, established

from usmbd.transport.smbdirect.limits import Limits, ProtocolError, Role

SMALL = Limits(receive_credit_max=9, send_credit_target=8)


def fields(message: bytes | None) -> tuple[int, ...]:
    """Unpack a header: requested, granted, flags, reserved, remaining, offset, length."""
    assert message is not None
    return HEADER.unpack_from(message)


def test_one_message() -> None:
    side = established()
    side.engine.queue([b"abc", bytearray(b""), memoryview(b"defg")], invalidate=0xABCD)
    assert side.engine.queued_bytes == 7
    (message,) = side.drain()
    assert message == HEADER.pack(255, 1, 0, 0, 0, 24, 7) + bytes(4) + b"abcdefg"
    assert side.invalidated[-1] == 0xABCD
    assert side.engine.queued_bytes == 0
    assert side.engine.send_credits == 254


def test_fragments() -> None:
    side = established()
    whole = bytes(range(256)) * 20
    side.engine.queue([whole[:1], whole[1:3000], whole[3000:]], invalidate=5)
    messages = side.drain()
    remaining = [fields(message)[4] for message in messages]
    assert remaining == [3780, 2440, 1100, 0]
    assert [len(message) for message in messages] == [1364, 1364, 1364, 24 + 1100]
    assert side.invalidated[-4:] == [0, 0, 0, 5]
    assert b"".join(message[24:] for message in messages) == whole


def test_a_full_last_fragment_invalidates() -> None:
    side = established()
    side.engine.queue([bytes(2680)], invalidate=5)
    side.drain()
    assert side.invalidated[-2:] == [0, 5]


def test_what_cannot_be_queued() -> None:
    side = established()
    for parts in ([], [b""], [bytes((1 << 20) + 1)], [bytes(1 << 20), b"x"]):
        with pytest.raises(ValueError, match="the peer takes"):
            side.engine.queue(parts)
    side.engine.queue([memoryview(bytes(1 << 20))])


def test_nothing_is_sent_without_a_credit() -> None:
    side = established(granted=0)
    side.engine.queue([b"x"])
    assert side.send() is None
    side.take(data(granted=2))
    assert side.send() is not None


def test_the_last_credit_grants_from_the_reserve() -> None:
    side = established(limits=SMALL, granted=0)
    side.take(data(granted=3))
    side.engine.queue([bytes(1340 * 4)])
    granted = [fields(message)[1] for message in side.drain()]
    assert granted == [1, 0, 1]
    assert side.engine.receive_credits == side.engine.posted_receives == 9
    assert side.engine.queued_bytes == 1340


def test_the_last_credit_waits_for_a_receive() -> None:
    side = established(limits=SMALL, granted=0)
    side.take(data(granted=1), post=False)
    side.engine.queue([b"x"])
    side.engine.posted_receives -= 1
    assert side.engine.posted_receives == side.engine.receive_credits
    assert side.send() is None
    side.engine.posted(1)
    assert fields(side.send())[1] == 1


def test_empty_grants_come_in_batches() -> None:
    side = established(limits=SMALL)
    sent = []
    for _ in range(5):
        side.take(data(b"x"))
        sent.append(side.drain())
    assert sent == [[], [], [], [], [HEADER.pack(8, 6, 0, 0, 0, 0, 0)]]
    assert side.engine.receive_credits == 8


def test_a_peer_at_a_quarter_is_refilled() -> None:
    side = established()
    sent = []
    for count in range(1, 254):
        side.take(data())
        sent += [(count, fields(message)[1]) for message in side.drain()]
    # One was used by the message that granted to us; 63 are a quarter of 254 and of 255.
    assert sent == [(190, 191)]


def test_a_message_carries_the_grants() -> None:
    side = established()
    for _ in range(20):
        side.take(data(b"x"))
    side.engine.queue([b"answer"])
    assert fields(side.send())[1] == 21


def test_only_posted_receives_are_granted() -> None:
    side = established()
    for _ in range(20):
        side.take(data(b"x"), post=False)
    side.engine.queue([b"answer"])
    assert fields(side.send())[1] == 1
    assert side.engine.receive_credits == side.engine.posted_receives - 1


def test_a_wish_may_change() -> None:
    side = established()
    side.take(data(requested=10))
    assert side.engine.receive_credit_target == 10
    side.engine.queue([b"x"])
    assert fields(side.send())[1] == 0
    side.take(data(requested=300))
    side.engine.queue([b"x"])
    assert side.engine.receive_credits == 251
    assert fields(side.send())[1] == 3


def test_an_overrun_is_noticed() -> None:
    side = established(limits=SMALL)
    for _ in range(7):
        side.take(data())
    assert side.engine.receive_credits == 0
    with pytest.raises(ProtocolError):
        side.take(data())


def test_a_response_is_given_once_and_not_asked_for() -> None:
    side = established()
    side.take(data(flags=1))
    assert side.drain() == [data(granted=2)]


def test_a_response_needs_no_credit_to_grant() -> None:
    side = established(limits=SMALL, granted=2)
    side.take(data(flags=1, requested=1))
    assert side.drain() == [HEADER.pack(8, 0, 0, 0, 0, 0, 0)]


def test_any_message_is_a_response() -> None:
    side = established()
    side.engine.queue([bytes(1340 * 3)])
    assert side.send() is not None
    side.take(data(flags=1))
    assert [fields(message)[4] for message in side.drain()] == [1340, 0]


def test_nothing_comes_between_two_fragments() -> None:
    side = established(limits=SMALL, granted=2)
    side.engine.queue([bytes(1340 * 3)])
    assert len(side.drain()) == 2
    side.now = 120.0
    side.engine.tick(side.now)
    side.take(data(flags=1))
    assert side.drain() == []
    side.take(data(granted=5))
    remaining = [fields(message)[4:] for message in side.drain()]
    assert remaining == [(0, 24, 1340)]


def test_idle_connection_is_asked_and_lives() -> None:
    side = established()
    assert side.engine.deadline() == 120.0
    side.engine.tick(119.9)
    assert side.drain() == []
    side.now = 120.0
    side.engine.tick(side.now)
    assert side.drain() == [data(granted=1, flags=1)]
    assert side.engine.deadline() == 125.0
    side.now = 124.9
    side.engine.tick(side.now)
    side.take(data())
    assert side.engine.deadline() == pytest.approx(244.9)
    side.engine.tick(240.0)
    assert side.drain() == []


def test_a_fragment_can_ask() -> None:
    side = established()
    side.engine.tick(120.0)
    side.engine.queue([b"x"])
    assert [fields(message)[2] for message in side.drain()] == [1]


def test_idle_peer_that_does_not_answer() -> None:
    side = established()
    side.now = 120.0
    side.engine.tick(side.now)
    side.drain()
    side.engine.tick(124.9)
    with pytest.raises(ProtocolError):
        side.engine.tick(125.0)


def test_idle_peer_that_gave_no_credit() -> None:
    side = established(granted=0)
    side.engine.tick(120.0)
    assert side.drain() == []
    with pytest.raises(ProtocolError):
        side.engine.tick(125.0)


@pytest.mark.parametrize(
    "message",
    [
        data()[:19],
        data(b"x" * 1341),
        data(requested=0),
        HEADER.pack(1, 0, 0, 0, 0, 25, 1) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 0, 4, 0),
        HEADER.pack(1, 0, 0, 0, 0, 24, 9) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 0, 24, 0xFFFFFFFF) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 0, 0xFFFFFFF8, 8) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 0, 0, 8) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 0, 16, 8) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 1 << 20, 24, 1) + bytes(12),
        HEADER.pack(1, 0, 0, 0, 0xFFFFFFFF, 0, 0),
    ],
)
@pytest.mark.parametrize("role", list(Role))
def test_what_is_refused(role: Role, message: bytes) -> None:
    side = established(role)
    side.drain()
    with pytest.raises(ProtocolError):
        side.take(message)


def test_what_is_accepted() -> None:
    side = established()
    side.take(HEADER.pack(1, 0, 0xFFFE, 0xFFFF, 0, 32, 3) + bytes(12) + b"abc" + b"redundant")
    side.take(HEADER.pack(1, 0, 0, 0, 0, 24, 0) + b"four")
    side.take(HEADER.pack(1, 0, 0, 0, 5, 0, 0))
    side.take(HEADER.pack(1, 0, 0, 0, 2, 24, 3) + bytes(4) + b"def")
    side.take(HEADER.pack(1, 0, 0, 0, 0, 24, 2) + bytes(4) + b"gh")
    assert side.delivered == [b"abc", b"defgh"]


def test_the_owner_may_lower_the_limit() -> None:
    side: Side = established()
    side.engine.message_limit = lambda: 100
    side.take(data(bytes(100)))
    with pytest.raises(ProtocolError):
        side.take(data(bytes(50), remaining=51))
