"""StructureSize and the bounds of buffers."""

import pytest

from usmbd.protocol.wire.body import buffer_at, parse_body
from usmbd.protocol.wire.create import CreateRequest
from usmbd.protocol.wire.echo import EchoRequest
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError


def test_structure_size_is_checked() -> None:
    assert parse_body(EchoRequest, bytes(64) + b"\4\0\0\0").reserved == 0
    with pytest.raises(SmbError) as error:
        parse_body(EchoRequest, bytes(64) + b"\5\0\0\0")
    assert error.value.status is NtStatus.INVALID_PARAMETER


def test_short_body_raises() -> None:
    with pytest.raises(MalformedError):
        parse_body(CreateRequest, bytes(64) + b"\x39\0" + bytes(53))


MESSAGE = memoryview(bytes(64 + 8) + b"0123456789")


def test_buffer_is_found() -> None:
    assert buffer_at(MESSAGE, 72, 10, 8) == b"0123456789"
    assert buffer_at(MESSAGE, 80, 2, 8) == b"89"


@pytest.mark.parametrize("offset", [0, 72, 1000, 0xFFFFFFFF])
def test_empty_buffer_may_be_anywhere(offset: int) -> None:
    assert buffer_at(MESSAGE, offset, 0, 8) == b""


@pytest.mark.parametrize(
    ("offset", "length"), [(72, 11), (82, 1), (71, 2), (0, 1), (0xFFFFFFFF, 0xFFFFFFFF)]
)
def test_buffer_out_of_bounds_is_refused(offset: int, length: int) -> None:
    with pytest.raises(SmbError) as error:
        buffer_at(MESSAGE, offset, length, 8)
    assert error.value.status is NtStatus.INVALID_PARAMETER
