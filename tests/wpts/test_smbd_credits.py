"""SmbdCreditMgmt: who may send how much ([MS-SMBD] 3.1.5.1, 3.1.5.8, 3.1.5.9)."""

from .conftest import CREDITS, DATA_OFFSET, MODERATE, SIZE, Client, Connect, Upper

KEEPALIVE_INTERVAL = 120.0
KEEPALIVE_TIMEOUT = 5.0


def ready(connect: Connect, upper: Upper, credits: int = CREDITS) -> Client:
    """Return a client that can send messages to the upper layer."""
    client = connect()
    assert client.negotiate(credits=credits).status == 0
    upper.establish(client)
    return client


def upload(connect: Connect, upper: Upper, credits: int) -> None:
    """Send a moderate message by a client that asks for, and gives, so few credits."""
    client = ready(connect, upper, credits)
    request = upper.upload(MODERATE)
    client.send_message(request)
    upper.check(request, client.receive_message())


def ask_for_download(connect: Connect, upper: Upper) -> tuple[Client, bytes]:
    """Ask for a moderate message and let the server send `CREDITS` fragments of it."""
    client = ready(connect, upper)
    request = upper.download(MODERATE)
    client.send(request, granted=CREDITS - client.granted)
    return client, request


def receive_fragments(client: Client, expected: int) -> bytes:
    """Take fragments until the server has no credit; they count down from `expected` bytes."""
    payload = b""
    last = None
    while client.granted and len(payload) < expected:
        last = client.receive()
        if not last.length:
            assert not payload, "an empty message between two fragments"
            continue
        assert last.length + last.remaining == expected - len(payload)
        payload += last.payload
    assert last is not None
    assert client.granted or last.credits_granted > 0
    return payload


def test_BVT_SmbdCreditMgmt_OperationWithMinimumCredits(connect: Connect, upper: Upper) -> None:
    upload(connect, upper, 1)


def test_SmbdCreditMgmt_OperationWithLimitedCredits(connect: Connect, upper: Upper) -> None:
    upload(connect, upper, 10)


def test_SmbdCreditMgmt_ConsumeAllSendCredits(connect: Connect) -> None:
    client = connect()
    client.negotiate()
    for _ in range(client.send_credits):
        client.send()
    assert client.send_credits == 0
    data = client.receive()
    data.check_empty()
    assert data.credits_granted > 0


def test_SmbdCreditMgmt_ConsumeAllReceiveCredits(connect: Connect, upper: Upper) -> None:
    client, request = ask_for_download(connect, upper)
    reply = receive_fragments(client, MODERATE)
    assert len(reply) == CREDITS * (SIZE - DATA_OFFSET)
    while len(reply) < MODERATE:
        client.check_silent()
        client.send(granted=CREDITS)
        reply += receive_fragments(client, MODERATE - len(reply))
    upper.check(request, reply)


def test_SmbdCreditMgmt_ConsumeAllCreditServer_Timeout(connect: Connect, upper: Upper) -> None:
    client, _ = ask_for_download(connect, upper)
    receive_fragments(client, MODERATE)
    assert client.granted == 0
    client.wire.advance(KEEPALIVE_INTERVAL)
    client.check_silent()
    client.wire.advance(KEEPALIVE_TIMEOUT)
    client.check_closed()


def test_SmbdCreditMgmt_NegativeParameter_CreditRequested(connect: Connect) -> None:
    client = connect()
    client.negotiate()
    client.send(requested=0, granted=0)
    client.check_closed()
