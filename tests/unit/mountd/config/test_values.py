"""What a parameter's text means: words, numbers with suffixes, modes, dialects."""

from collections.abc import Callable

import pytest

from usmbd.mountd.config import values
from usmbd.mountd.config.parameters import TABLE

VALUES: list[tuple[Callable[[str], object], str, object]] = [
    *((values.boolean, word, True) for word in ("yes", "TRUE", "1", "on", "enable", "enabled")),
    *((values.boolean, word, False) for word in ("no", "False", "0", "off", "disable", "disabled")),
    (values.number(0, 10), "0", 0),
    (values.number(0, 10), "10", 10),
    (values.number(0, 1 << 62), "1K", 1 << 10),
    (values.number(0, 1 << 62), "3 m", 3 << 20),
    (values.number(0, 1 << 62), "2GB", 2 << 30),
    (values.number(0, 1 << 62), "2TiB", 2 << 40),
    (values.number(0, 1 << 62), "1P", 1 << 50),
    (values.number(0, 1 << 62), "1E", 1 << 60),
    (values.mode, "0644", 0o644),
    (values.mode, "777", 0o777),
    (values.dialect, "SMB2_02", 0x202),
    (values.dialect, "smb2_10", 0x210),
    (values.dialect, "SMB2", 0x210),
    (values.dialect, "SMB3_00", 0x300),
    (values.dialect, "SMB3_02", 0x302),
    (values.dialect, "SMB3_11", 0x311),
    (values.dialect, "SMB3", 0x311),
]


@pytest.mark.parametrize(("parse", "said", "meant"), VALUES)
def test_what_is_meant(parse: Callable[[str], object], said: str, meant: object) -> None:
    assert parse(said) == meant


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (values.boolean, "perhaps"),
        (values.boolean, ""),
        (values.number(1, 10), "0"),
        (values.number(1, 10), "11"),
        (values.number(1, 10), "-1"),
        (values.number(1, 10), "1.5"),
        (values.number(1, 10), "1X"),
        (values.number(1, 10), ""),
        (values.mode, "0888"),
        (values.mode, "rwx"),
        (values.mode, "100000"),
        (values.dialect, "SMB4"),
    ],
)
def test_what_means_nothing(parse: Callable[[str], object], said: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(said)


@pytest.mark.parametrize("name", ["smb2 max read", "smb2 max write", "smb2 max trans"])
def test_sizes_of_requests_have_bounds(name: str) -> None:
    """From what [MS-SMB2] 3.3.5.4 asks for to what the frame's length field allows."""
    row = next(row for row in TABLE if row.name == name)
    assert [row.parse(text) for text in ("64K", "8M")] == [64 << 10, 8 << 20]
    for text in ("65535", "8388609"):
        with pytest.raises(ValueError, match=r"\w"):
            row.parse(text)
