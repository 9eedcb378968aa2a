"""The format of user.DOSATTRIB, against values that Samba's own NDR code packed."""

import pytest

from usmbd.protocol.vfs import dos_attributes

TIME = 132000000000000001
VERSION_3 = bytes.fromhex(
    "3078323100000300030000001f00000021000000111100002222000000000000333300000000000001005af64c"
    "f5d40102005af64cf5d401"
)
VERSION_4 = bytes.fromhex("0000040004000000110000002200000003005af64cf5d40101005af64cf5d401")
VERSION_5 = bytes.fromhex("0000050005000000110000002200000001005af64cf5d401")


def test_pack() -> None:
    assert dos_attributes.pack(0x22, TIME) == VERSION_5


@pytest.mark.parametrize(
    ("blob", "attributes"), [(VERSION_3, 0x21), (VERSION_4, 0x22), (VERSION_5, 0x22)]
)
def test_parse(blob: bytes, attributes: int) -> None:
    assert dos_attributes.parse(blob) == (attributes, TIME)


def test_what_is_broken_counts_as_absent() -> None:
    for blob in (VERSION_3, VERSION_4, VERSION_5):
        for end in range(len(blob) - 8):
            assert dos_attributes.parse(blob[:end]) == (0, 0)
    assert dos_attributes.parse(b"") == (0, 0)
    assert dos_attributes.parse(b"\0\0\xff\xff\xff\xff\0\0" + bytes(40)) == (0, 0)
    assert dos_attributes.parse(b"x" * 300) == (0, 0)


@pytest.mark.parametrize("blob", [VERSION_3, VERSION_4])
def test_the_version_is_said_twice(blob: bytes) -> None:
    """xattr_DOSATTRIB and the union in it name the same level, aligned to 4, behind the text."""
    at = (blob.find(b"\0") + 2 & ~1) + 2 + 3 & ~3
    assert blob[at] in (3, 4)
    assert dos_attributes.parse(blob[:at] + bytes([blob[at] ^ 7]) + blob[at + 1 :]) == (0, 0)


def test_a_change_time_follows_what_samba_reads() -> None:
    value = dos_attributes.pack(0x22, TIME, TIME + 5, 133000000000000000)
    assert value.startswith(VERSION_5)
    assert len(value) == dos_attributes.SIZE_WITH_CHANGE
    assert dos_attributes.parse(value) == (0x22, TIME)


@pytest.mark.parametrize("later", [-500_001, -500_000, 0, 500_000, 500_001])
def test_a_change_time_counts_until_the_inode_is_changed(later: int) -> None:
    now = 133000000000000000
    value = dos_attributes.pack(0x22, TIME, TIME + 5, now, TIME)
    unchanged = abs(later) <= 500_000  # 50 ms
    assert dos_attributes.change_time(value, now + later, TIME) == (
        TIME + 5 if unchanged else now + later
    )
    assert dos_attributes.change_time(value, now + later, TIME + 1) == now + later
