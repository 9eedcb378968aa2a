"""SmbdNegotiate: the first two messages ([MS-SMBD] 3.1.5.3, 3.1.5.6, 3.1.6.1)."""

from collections.abc import Callable

import pytest

from .conftest import (
    CREDITS,
    FRAGMENTED,
    SIZE,
    VERSION,
    Client,
    Connect,
    Response,
    Upper,
    Wire,
    negotiate_request,
)

MAX_U16 = 0xFFFF
MAX_U32 = 0xFFFFFFFF
STATUS_NOT_SUPPORTED = 0xC00000BB

CheckVersions = Callable[[int, int], None]


def check_success(
    response: Response, credits: int = CREDITS, send: int = SIZE, receive: int = SIZE
) -> None:
    """Assert what every consent has to say to a client that asked for these values."""
    assert response[:4] == (VERSION, VERSION, VERSION, 0)
    assert 0 < response.credits_granted <= credits
    assert response.credits_requested > 0
    assert response.status == 0
    assert response.max_read_write_size >= 1 << 20
    assert 128 <= response.max_receive_size <= max(send, 128)
    assert 128 <= response.preferred_send_size <= receive
    assert response.max_fragmented_size >= FRAGMENTED


def check_alive(connect: Connect) -> None:
    """Assert that the server still takes new connections."""
    check_success(connect().negotiate())


def check_terminated(client: Client, request: bytes) -> None:
    """Assert that a request ends the connection, and without an answer."""
    client.wire.send(request)
    client.check_closed()
    with pytest.raises(TimeoutError):
        client.wire.receive()


def check_works(client: Client, upper: Upper) -> None:
    """Assert that the connection carries messages."""
    upper.establish(client)
    request = upper.upload(300)
    client.send(request)
    upper.check(request, client.receive_message())


def check_not_supported(client: Client, versions: tuple[int, int]) -> None:
    """Assert that a range of versions is refused, and that the connection ends then."""
    response = client.negotiate(versions=versions)
    assert response.status == STATUS_NOT_SUPPORTED
    assert response._replace(status=0) == (VERSION, VERSION, *[0] * 9)
    client.check_closed()


def test_BVT_SmbdNegotiate_Basic(connect: Connect) -> None:
    check_success(connect().negotiate())


def test_SmbdNegotiate_PreferredSendSizeWithZero(connect: Connect) -> None:
    response = connect().negotiate(send=0)
    check_success(response, send=0)
    assert response.max_receive_size == 128


def test_SmbdNegotiate_PreferredSendSizeLessThan128(connect: Connect) -> None:
    for send in (127, 128):
        response = connect().negotiate(send=send)
        check_success(response, send=send)
        assert response.max_receive_size == 128


def test_SmbdNegotiate_PreferredSendSizeMaxValue(connect: Connect) -> None:
    check_success(connect().negotiate(send=MAX_U32), send=MAX_U32)


def test_SmbdNegotiate_Redundancy(connect: Connect) -> None:
    check_success(connect().negotiate(redundant=512 - 20))


def test_SmbdNegotiate_DisconnectAfterNegotiate(connect: Connect) -> None:
    client = connect()
    check_success(client.negotiate())
    client.wire.disconnect()
    check_alive(connect)


def test_SmbdNegotiate_UncompletedMessage(connect: Connect) -> None:
    check_terminated(connect(), negotiate_request()[:19])
    check_alive(connect)


def test_SmbdNegotiate_VersionRangeNotCover0x0100_LessThanMinVersion(connect: Connect) -> None:
    check_not_supported(connect(), (VERSION + 1, MAX_U16))


def test_SmbdNegotiate_VersionRangeNotCover0x0100_LargerThanMaxVersion(connect: Connect) -> None:
    check_not_supported(connect(), (0, VERSION - 1))


@pytest.fixture
def check_versions(connect: Connect, upper: Upper) -> CheckVersions:
    """Assert that a range of versions is accepted and the connection works."""

    def check(low: int, high: int) -> None:
        client = connect()
        check_success(client.negotiate(versions=(low, high)))
        check_works(client, upper)

    return check


def test_SmbdNegotiate_VersionRangeCover0x0100_EqualMinVersion(
    check_versions: CheckVersions,
) -> None:
    check_versions(VERSION, MAX_U16)


def test_SmbdNegotiate_VersionRangeCover0x0100_EqualMaxVersion(
    check_versions: CheckVersions,
) -> None:
    check_versions(0, VERSION)


def test_SmbdNegotiate_VersionRangeCover0x0100_InMiddle(check_versions: CheckVersions) -> None:
    check_versions(VERSION - 1, VERSION + 1)


def test_SmbdNegotiate_VersionRangeCover0x0100_EqualMinVersionAndMaxVersion(
    check_versions: CheckVersions,
) -> None:
    check_versions(VERSION, VERSION)


def test_SmbdNegotiate_NegativeParameter_CreditsRequested(connect: Connect) -> None:
    check_terminated(connect(), negotiate_request(credits=0))
    for credits in (1, MAX_U16):
        check_success(connect().negotiate(credits=credits), credits=credits)


def test_SmbdNegotiate_NegativeParameter_MaxReceiveSize(connect: Connect) -> None:
    check_terminated(connect(), negotiate_request(receive=127))
    for receive in (128, MAX_U32):
        check_success(connect().negotiate(receive=receive), receive=receive)


def test_SmbdNegotiate_NegativeParameter_MaxFragmentedSize(connect: Connect) -> None:
    check_terminated(connect(), negotiate_request(fragmented=FRAGMENTED - 1))
    for fragmented in (FRAGMENTED, MAX_U32):
        check_success(connect().negotiate(fragmented=fragmented))


def test_SmbdNegotiate_NegotiationTimer(connect: Connect) -> None:
    client = connect()
    client.wire.advance(4.0)
    check_success(client.negotiate())


def test_SmbdNegotiate_NegotiationTimer_Timeout(connect: Connect, wire: Wire) -> None:
    wire.advance(5.0)
    assert wire.closed
    check_alive(connect)
