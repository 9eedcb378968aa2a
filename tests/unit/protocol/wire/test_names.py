"""Names in UTF-16LE, with what no UTF-8 or UTF-16 would allow."""

import os

import pytest

from usmbd.protocol.wire.names import decode, encode
from usmbd.protocol.wire.status import NtStatus, SmbError


@pytest.mark.parametrize("name", ["", "a", "Grüße", "日本", "😀", "a\udcffb", "\ud800"])
def test_round_trip(name: str) -> None:
    assert decode(memoryview(encode(name))) == name


def test_bytes_on_disk_that_are_no_utf8_come_back() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert os.fsencode(decode(encode(name))) == b"caf\xe9"


def test_half_a_unit_is_refused() -> None:
    with pytest.raises(SmbError) as error:
        decode(b"a\0b")
    assert error.value.status is NtStatus.OBJECT_NAME_INVALID
