"""The codecs against the bytes of the examples in [MS-SMBD] 4.1 to 4.3."""

import struct
from collections.abc import Callable

import pytest

from usmbd.transport.smbdirect import pdu

REQUEST = bytes.fromhex("0001 0001 0000 0a00 00040000 00040000 00000200")
RESPONSE = bytes.fromhex(
    "0001 0001 0001 0000 0a00 0a00 00000000 00001000 00040000 00040000 00000200"
)


def test_negotiate_request() -> None:
    request = pdu.NegotiateRequest.unpack(REQUEST + b"ignored")
    assert request == (0x100, 0x100, 0, 10, 1024, 1024, 131072)
    slot = memoryview(bytearray(64))
    assert request.pack_into(slot) == len(REQUEST)
    assert slot[:20] == REQUEST


def test_negotiate_response() -> None:
    response = pdu.NegotiateResponse.unpack(RESPONSE)
    assert response.negotiated_version == pdu.VERSION
    assert (response.credits_requested, response.credits_granted, response.status) == (10, 10, 0)
    assert response.max_read_write_size == 1 << 20
    assert response[-3:] == (1024, 1024, 131072)
    slot = memoryview(bytearray(64))
    assert response.pack_into(slot) == len(RESPONSE)
    assert slot[:32] == RESPONSE


def test_failed_response_has_versions_and_status_alone() -> None:
    slot = memoryview(bytearray(b"\xff" * 32))
    pdu.NegotiateResponse(status=pdu.STATUS_NOT_SUPPORTED).pack_into(slot)
    assert slot == bytes.fromhex("00010001 00000000 00000000 bb0000c0") + bytes(16)


def test_data_transfer_headers() -> None:
    fields = (10, 1, pdu.RESPONSE_REQUESTED, 0, 64536, 24, 1000)
    golden = bytes.fromhex("0a00 0100 0100 0000 18fc0000 18000000 e8030000")
    slot = memoryview(bytearray(b"\xff" * 32))
    pdu.pack_data_header(slot, 0, *fields)
    assert slot[:24] == golden + bytes(4)
    assert slot[24:] == b"\xff" * 8
    assert pdu.unpack_data_transfer(slot) == fields
    slot = memoryview(bytearray(b"\xff" * 32))
    pdu.pack_empty(slot, 0, *fields)
    assert slot == golden + b"\xff" * 12


@pytest.mark.parametrize(
    ("unpack", "size"),
    [
        (pdu.NegotiateRequest.unpack, pdu.NEGOTIATE_REQUEST_SIZE),
        (pdu.NegotiateResponse.unpack, pdu.NEGOTIATE_RESPONSE_SIZE),
        (pdu.unpack_data_transfer, pdu.DATA_TRANSFER_SIZE),
    ],
)
def test_what_is_too_short(unpack: Callable[[bytes], object], size: int) -> None:
    unpack(bytes(size))
    with pytest.raises(struct.error):
        unpack(bytes(size - 1))
