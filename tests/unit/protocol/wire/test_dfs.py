"""Referrals, byte by byte."""

import struct

import pytest

from usmbd.protocol.wire import dfs
from usmbd.protocol.wire.dfs import Asked, Target
from usmbd.protocol.wire.status import MalformedError, SmbError

PATH = "\\s\\root\\link"
TARGETS = [Target("\\fs1\\a", True), Target("\\fs2\\b"), Target("\\fs3\\c\\d", True)]


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def test_what_a_client_asks() -> None:
    plain = struct.pack("<H", 4) + wide(PATH + "\0")
    assert dfs.parse_request(memoryview(plain)) == Asked(4, PATH)
    assert dfs.parse_request(memoryview(plain[:-2])) == Asked(4, PATH)
    data = struct.pack("<H", len(wide(PATH))) + wide(PATH)
    ex = struct.pack("<HHI", 4, 0, len(data)) + data
    assert dfs.parse_request_ex(memoryview(ex)) == Asked(4, PATH)
    site = struct.pack("<H", 12) + wide("Berlin")
    ex = struct.pack("<HHI", 3, 1, len(data + site)) + data + site
    assert dfs.parse_request_ex(memoryview(ex)) == Asked(3, PATH, "Berlin")


@pytest.mark.parametrize("cut", range(1, 30))
def test_what_is_cut_off_is_malformed(cut: int) -> None:
    data = struct.pack("<H", len(wide(PATH))) + wide(PATH)
    ex = struct.pack("<HHI", 4, 1, len(data)) + data
    with pytest.raises(MalformedError):
        dfs.parse_request_ex(memoryview(ex[:-cut]))
    with pytest.raises(MalformedError):
        dfs.parse_request(memoryview(b"\4"))


def build(version: int) -> bytes:
    return dfs.build_response(version, PATH, PATH, TARGETS, 6, server_type=0, time_to_live=600)


def text_at(data: bytes, offset: int) -> str:
    return data[offset:].decode("utf-16-le").partition("\0")[0]


@pytest.mark.parametrize(("version", "size"), [(2, 22), (3, 34), (4, 34)])
def test_entries_lead_to_their_strings(version: int, size: int) -> None:
    data = build(version)
    assert struct.unpack_from("<HHI", data) == (2 * len(PATH), 3, 6)
    for index, target in enumerate(TARGETS):
        start = 8 + index * size
        assert struct.unpack_from("<HHH", data, start) == (version, size, 0)
        (flags,) = struct.unpack_from("<H", data, start + 6)
        assert flags == (4 if version == 4 and target.begins_set else 0)
        at = start + (12 if version == 2 else 8)
        live, path, alternate, address = struct.unpack_from("<IHHH", data, at)
        assert live == 600
        assert text_at(data, start + path) == text_at(data, start + alternate) == PATH
        assert text_at(data, start + address) == target.address


def test_version_1_holds_its_strings() -> None:
    data = build(1)
    at = 8
    for target in TARGETS:
        version, size, kind, flags = struct.unpack_from("<4H", data, at)
        assert (version, kind, flags) == (1, 0, 0)
        assert data[at + 8 : at + size] == wide(target.address + "\0")
        at += size
    assert at == len(data)


def test_no_other_version_and_no_more_than_offsets_can_say() -> None:
    for version in (0, 5):
        with pytest.raises(SmbError):
            build(version)
    many = [Target("\\s\\" + "x" * 1000)] * 64
    with pytest.raises(SmbError):
        dfs.build_response(4, PATH, PATH, many, 0, server_type=0, time_to_live=1)
