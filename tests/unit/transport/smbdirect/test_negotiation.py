"""The first two messages, and what ends a connection before it begins ([MS-SMBD] 3.1.5.5-7)."""

import struct

import pytest
from engine_pair import WINDOWS, Side, data, established, request, response

from usmbd.transport.smbdirect.limits import Limits, ProtocolError, Role
from usmbd.transport.smbdirect.pdu import NegotiateRequest, NegotiateResponse


def server(limits: Limits | None = None) -> Side:
    return Side(Role.SERVER, limits or WINDOWS)


def client(limits: Limits | None = None) -> Side:
    side = Side(Role.CLIENT, limits or WINDOWS)
    side.send()
    return side


def test_server_agrees() -> None:
    side = server(Limits(send_credit_target=100, max_read_write_size=5 << 20))
    assert side.send() is None
    side.take(request(credits=50, send=1000, receive=600, fragmented=200_000))
    (answer,) = side.drain()
    assert NegotiateResponse.unpack(answer) == NegotiateResponse(
        negotiated_version=0x100,
        credits_requested=100,
        credits_granted=50,
        max_read_write_size=5 << 20,
        preferred_send_size=600,
        max_receive_size=1000,
        max_fragmented_size=1 << 20,
    )
    agreed = side.engine.negotiated
    assert agreed is not None
    assert (agreed.max_send_size, agreed.max_receive_size) == (600, 1000)
    assert agreed.max_fragmented_send_size == 200_000
    assert side.engine.receive_credits == 50
    assert side.engine.send_credits == 0


@pytest.mark.parametrize(("wish", "size"), [(0, 128), (127, 128), (2000, 1364), (0xFFFFFFFF, 1364)])
def test_receive_size_has_a_floor_and_a_ceiling(wish: int, size: int) -> None:
    side = server()
    side.take(request(send=wish))
    assert NegotiateResponse.unpack(side.drain()[0]).max_receive_size == size


@pytest.mark.parametrize(
    "message",
    [
        b"",
        request()[:19],
        request(credits=0),
        request(receive=127),
        request(fragmented=131071),
    ],
)
def test_server_ends_the_connection(message: bytes) -> None:
    side = server()
    with pytest.raises(ProtocolError):
        side.take(message)
    assert side.send() is None


@pytest.mark.parametrize("versions", [(0, 0xFF), (0x101, 0xFFFF), (0x200, 0xFF)])
def test_no_common_version_is_answered(versions: tuple[int, int]) -> None:
    side = server()
    side.take(request(versions=versions))
    assert not side.engine.negotiation_refused
    assert NegotiateResponse.unpack(side.drain()[0]) == NegotiateResponse(status=0xC00000BB)
    assert side.engine.negotiation_refused
    assert not side.engine.established
    with pytest.raises(ProtocolError):
        side.take(data())
    with pytest.raises(ProtocolError):
        side.engine.tick(5.0)


def test_without_receives_there_is_nothing_to_grant() -> None:
    side = Side(Role.SERVER, Limits(), posted=1)
    side.take(request(), post=False)
    assert NegotiateResponse.unpack(side.drain()[0]).status == 0xC000009A
    assert side.engine.negotiation_refused


def test_a_grant_is_what_is_posted_but_one() -> None:
    side = server()
    side.take(request(credits=0xFFFF), post=False)
    assert NegotiateResponse.unpack(side.drain()[0]).credits_granted == 253


def test_second_message_before_our_answer() -> None:
    side = server()
    side.take(request())
    with pytest.raises(ProtocolError):
        side.take(data())


def test_client_asks_once() -> None:
    side = Side(Role.CLIENT, Limits(send_credit_target=7, max_send_size=999, max_receive_size=888))
    (message,) = side.drain()
    asked = NegotiateRequest(0x100, 0x100, 0, 7, 999, 888, 1 << 20)
    assert NegotiateRequest.unpack(message) == asked
    assert not side.engine.established


def test_client_agrees_and_grants_at_once() -> None:
    side = client()
    side.take(response(requested=20, granted=30, read_write=4 << 20, send=500, receive=700))
    agreed = side.engine.negotiated
    assert agreed is not None
    assert (agreed.max_send_size, agreed.max_receive_size) == (700, 500)
    assert agreed.max_read_write_size == 4 << 20
    assert side.drain() == [data(granted=20)]
    assert side.engine.send_credits == 29


@pytest.mark.parametrize(
    "message",
    [
        response()[:31],
        response(status=0xC00000BB),
        response(version=0x101),
        response(requested=0),
        response(granted=0),
        response(receive=127),
        response(fragmented=131071),
        response(send=1365),
    ],
)
def test_client_ends_the_connection(message: bytes) -> None:
    side = client()
    with pytest.raises(ProtocolError):
        side.take(message)
    assert not side.engine.established


@pytest.mark.parametrize(("role", "timeout"), [(Role.SERVER, 5.0), (Role.CLIENT, 120.0)])
def test_negotiation_timer(role: Role, timeout: float) -> None:
    engine = Side(role, Limits()).engine
    assert engine.deadline() == timeout
    engine.tick(timeout - 0.001)
    with pytest.raises(ProtocolError):
        engine.tick(timeout)


def test_nothing_can_be_queued_before() -> None:
    with pytest.raises(ValueError, match="negotiated"):
        server().engine.queue([b"early"])


@pytest.mark.parametrize(
    "values",
    [
        {"receive_credit_max": 2},
        {"receive_credit_max": 65536},
        {"send_credit_target": 0},
        {"max_send_size": 127},
        {"max_receive_size": 511},
        {"max_fragmented_size": 131071},
        {"max_read_write_size": 1 << 32},
    ],
)
def test_limits_that_make_no_sense(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Limits(**values)  # type: ignore[arg-type]


def test_a_linux_client_has_room_for_the_receive_it_ends_with() -> None:
    assert Limits().send_credit_target < 255


def test_established_sides_are_ready() -> None:
    assert established(Role.SERVER).engine.send_credits == 255
    assert established(Role.CLIENT).engine.send_credits == 255
    assert struct.calcsize("<4H3I") == len(data())
