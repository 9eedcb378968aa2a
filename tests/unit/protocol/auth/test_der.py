"""The DER reader: what it takes, and that nothing malformed gets past it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.protocol.auth import der
from usmbd.protocol.wire.status import MalformedError


@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000])
def test_what_is_encoded_is_read_back(size: int) -> None:
    encoded = der.encode(der.OCTET_STRING, b"x" * size)
    tag, content, rest = der.split(memoryview(encoded + b"rest"))
    assert (tag, len(content), bytes(rest)) == (der.OCTET_STRING, size, b"rest")


def test_lengths_have_the_shortest_form() -> None:
    assert der.encode(0x30, b"x" * 0x7F)[:2] == b"\x30\x7f"
    assert der.encode(0x30, b"x" * 0x80)[:3] == b"\x30\x81\x80"
    assert der.encode(0x30, b"x" * 0x100)[:4] == b"\x30\x82\x01\x00"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        b"\x30\x80\x00\x00",  # indefinite
        b"\x30\x85\x00\x00\x00\x00\x00",  # five bytes of length
        b"\x30\x82\x00",  # length cut off
        b"\x30\x84\xff\xff\xff\xff",  # 4 GiB announced
        b"\x3f\x81\x01\x00",  # tag of several bytes
    ],
)
def test_malformed_elements_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError, match="DER"):
        der.split(memoryview(data))


def test_expect_wants_the_tag_and_nothing_behind() -> None:
    assert der.expect(memoryview(b"\x04\x01x"), der.OCTET_STRING) == b"x"
    for data in (b"\x05\x01x", b"\x04\x01xy"):
        with pytest.raises(MalformedError, match="DER"):
            der.expect(memoryview(data), der.OCTET_STRING)


def test_a_field_that_comes_twice_is_refused() -> None:
    with pytest.raises(MalformedError, match="twice"):
        der.fields(memoryview(b"\xa0\x00\xa0\x00"))


@given(st.binary(max_size=64))
def test_any_bytes_end_in_elements_or_a_value_error(data: bytes) -> None:
    try:
        total = sum(len(content) for _, content in der.elements(memoryview(data)))
    except MalformedError:
        return
    assert total <= len(data)
