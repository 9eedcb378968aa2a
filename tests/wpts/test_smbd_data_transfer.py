"""SmbdDataTransfer: fragments, what is refused, idle connections ([MS-SMBD] 3.1.5.8, 3.1.6.2)."""

import itertools
from collections.abc import Callable

import pytest

from .conftest import (
    DATA_OFFSET,
    FRAGMENTED,
    MODERATE,
    RESPONSE_REQUESTED,
    SIZE,
    SMALL,
    Client,
    Connect,
    Upper,
    split,
)

KEEPALIVE_INTERVAL = 120.0
KEEPALIVE_TIMEOUT = 5.0
MAX_U32 = 0xFFFFFFFF
PIECE = SIZE - DATA_OFFSET

OpenClient = Callable[..., Client]


@pytest.fixture
def open_client(connect: Connect, upper: Upper) -> OpenClient:
    """Open connections that can send messages to the upper layer."""

    def start(size: int = SIZE, fragmented: int = FRAGMENTED) -> Client:
        client = connect()
        response = client.negotiate(credits=255, send=size, receive=size, fragmented=fragmented)
        assert response.status == 0
        upper.establish(client)
        return client

    return start


def check_answer(client: Client, upper: Upper, request: bytes) -> None:
    """Assert that the server answers in one message, after any that only grant."""
    reply = client.receive()
    while not reply.length:
        reply.check_empty()
        reply = client.receive()
    assert reply.remaining == 0
    upper.check(request, reply.payload)


def test_BVT_SmbdDataTransfer_Basic_SendSmallBytesOfData(
    open_client: OpenClient, upper: Upper
) -> None:
    client = open_client()
    request = upper.upload(SMALL)
    client.send(request)
    check_answer(client, upper, request)


def test_BVT_SmbdDataTransfer_Basic_SendModerateBytesData(
    open_client: OpenClient, upper: Upper
) -> None:
    client = open_client()
    request = upper.upload(MODERATE)
    pieces = list(split(request, PIECE))
    for index, (payload, remaining) in enumerate(pieces):
        client.wait_for_credits()
        client.send(payload, remaining=remaining, requested=len(pieces) - index)
    check_answer(client, upper, request)


def test_SmbdDataTransfer_VariableLengthSegment(open_client: OpenClient, upper: Upper) -> None:
    client = open_client()
    request = upper.upload(MODERATE)
    client.send(remaining=len(request))
    position = 0
    for wish in itertools.chain(range(128, -1, -1), range(PIECE)):
        client.wait_for_credits()
        payload = request[position : position + wish]
        position += len(payload)
        client.send(payload, remaining=len(request) - position, offset=DATA_OFFSET)
        if position == len(request):
            break
    check_answer(client, upper, request)


def test_SmbdDataTransfer_SmallLengthSegment(open_client: OpenClient, upper: Upper) -> None:
    client = open_client()
    request = upper.upload(5000)
    for payload, remaining in split(request, 1):
        client.wait_for_credits()
        client.send(payload, remaining=remaining, redundant=PIECE - 1)
    check_answer(client, upper, request)


def test_SmbdDataTransfer_Redundancy(open_client: OpenClient, upper: Upper) -> None:
    client = open_client()
    request = upper.upload(SMALL)
    client.send(request, redundant=PIECE - SMALL)
    check_answer(client, upper, request)


def test_SmbdDataTransfer_ReceiveMaxReceiveSize(open_client: OpenClient, upper: Upper) -> None:
    client = open_client()
    request = upper.download(SIZE)
    client.send(request, granted=10)
    reply = b""
    while len(reply) < SIZE:
        data = client.receive()
        if data.length or reply:
            assert data.length + data.remaining == SIZE - len(reply)
            assert data.offset + data.length <= SIZE
        reply += data.payload
    upper.check(request, reply)


def test_SmbdDataTransfer_UncompletedMessage(connect: Connect) -> None:
    client = connect()
    client.negotiate()
    client.wire.send(bytes.fromhex("0a00 0100") + bytes(15))
    client.check_closed()


@pytest.mark.parametrize("offset", [DATA_OFFSET - 1, DATA_OFFSET + 1])
def test_SmbdDataTransfer_NegativeParameter_DataOffset_Against8ByteAligned(
    open_client: OpenClient,
    upper: Upper,
    offset: int,
) -> None:
    client = open_client()
    client.send(upper.upload(SMALL), offset=offset, redundant=8)
    client.check_closed()


@pytest.mark.parametrize("offset", [DATA_OFFSET + 8, MAX_U32])
def test_SmbdDataTransfer_NegativeParameter_DataOffset_AgainstMessageLength(
    open_client: OpenClient,
    upper: Upper,
    offset: int,
) -> None:
    client = open_client()
    client.send(upper.upload(SMALL), offset=offset)
    client.check_closed()


@pytest.mark.parametrize(("size", "length"), [(SMALL, SMALL + 1), (PIECE, SIZE), (SMALL, MAX_U32)])
def test_SmbdDataTransfer_NegativeParameter_DataLength_AgainstMessageLength(
    open_client: OpenClient,
    upper: Upper,
    size: int,
    length: int,
) -> None:
    client = open_client()
    client.send(upper.upload(size), length=length)
    client.check_closed()


def test_SmbdDataTransfer_NegativeParameter_DataLength_AgainstMaxReceiveSize(
    open_client: OpenClient,
    upper: Upper,
) -> None:
    client = open_client(size=MAX_U32)
    assert client.response is not None
    longest = client.response.max_receive_size - DATA_OFFSET
    client.send(upper.upload(longest + 1))
    client.check_closed()
    client = open_client(size=MAX_U32)
    request = upper.upload(longest)
    client.send(request)
    check_answer(client, upper, request)


def test_SmbdDataTransfer_NegativeParameter_AgainstMaxFragmentedSize(
    open_client: OpenClient,
    upper: Upper,
) -> None:
    client = open_client(fragmented=MAX_U32)
    assert client.response is not None
    limit = client.response.max_fragmented_size
    for payload, remaining in split(bytes(limit + 1), PIECE):
        client.wait_for_credits()
        client.send(payload, remaining=max(remaining - 1, 0))
        if client.wire.closed:
            break
    client.check_closed()
    client = open_client(fragmented=MAX_U32)
    request = upper.upload(limit)
    client.send_message(request)
    check_answer(client, upper, request)


@pytest.mark.parametrize("above", [True, False])
def test_SmbdDataTransfer_NegativeParameter_RemainingDataLength_AgainstMaxFragmentedSize(
    open_client: OpenClient,
    above: bool,
) -> None:
    client = open_client()
    assert client.response is not None
    client.send(remaining=client.response.max_fragmented_size + 1 if above else MAX_U32)
    client.check_closed()


def send_wrong(client: Client, request: bytes, wrong: int, remaining: int) -> None:
    """Send fragments, the one of index `wrong` with another length to follow, the last one."""
    pieces = list(split(request, PIECE))
    for payload, rest in pieces[:wrong]:
        client.send(payload, remaining=rest)
    client.check_silent()
    client.send(pieces[wrong][0], remaining=remaining)
    client.check_closed()


@pytest.mark.parametrize("wrong", [1, MODERATE // PIECE - 1])
def test_SmbdDataTransfer_NegativeParameter_RemainingDataLength_Zero(
    open_client: OpenClient,
    upper: Upper,
    wrong: int,
) -> None:
    send_wrong(open_client(), upper.upload(MODERATE), wrong, 0)


def test_SmbdDataTransfer_NegativeParameter_RemainingDataLength_AgainstFragmentReassemblyRemaining(
    open_client: OpenClient,
    upper: Upper,
) -> None:
    send_wrong(open_client(), upper.upload(MODERATE), 1, MODERATE - 2 * PIECE + 1)


def test_SmbdDataTransfer_IdleConnection_Client(open_client: OpenClient) -> None:
    client = open_client()
    client.send()
    client.wire.advance(KEEPALIVE_INTERVAL - 1)
    client.send(granted=0, flags=RESPONSE_REQUESTED)
    answer = client.receive()
    answer.check_empty()
    assert answer.credits_granted > 0


def test_SmbdDataTransfer_IdleConnection_Server(open_client: OpenClient) -> None:
    client = open_client()
    client.send(granted=10)
    client.wire.advance(KEEPALIVE_INTERVAL)
    client.receive().check_empty(RESPONSE_REQUESTED)
    client.wire.advance(KEEPALIVE_TIMEOUT - 1)
    client.send(flags=RESPONSE_REQUESTED)
    client.receive().check_empty()
    client.wire.advance(KEEPALIVE_INTERVAL - 1)
    client.check_silent()
    client.wire.advance(1)
    client.receive().check_empty(RESPONSE_REQUESTED)


def test_SmbdDataTransfer_IdleConnection_Server_Timeout(open_client: OpenClient) -> None:
    client = open_client()
    client.send(granted=10)
    client.wire.advance(KEEPALIVE_INTERVAL)
    client.receive().check_empty(RESPONSE_REQUESTED)
    client.wire.advance(KEEPALIVE_TIMEOUT)
    client.check_closed()
