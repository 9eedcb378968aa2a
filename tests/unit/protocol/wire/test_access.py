"""Generic rights and the bits that are none."""

import pytest

from usmbd.protocol.wire import access


@pytest.mark.parametrize(
    ("desired", "expected"),
    [
        (access.FILE_READ_DATA | access.MAXIMUM_ALLOWED, None),
        (access.GENERIC_READ, 0x00120089),
        (access.GENERIC_WRITE, 0x00120116),
        (access.GENERIC_EXECUTE, 0x001200A0),
        (access.GENERIC_ALL, 0x001F01FF),
        (access.GENERIC_READ | access.DELETE, 0x00130089),
    ],
)
def test_generic_rights_are_mapped(desired: int, expected: int | None) -> None:
    assert access.map_generic(desired) == (desired if expected is None else expected)


def test_bits_that_no_right_uses() -> None:
    assert access.INVALID_BITS == 0x0CE0FE00
