"""SET_INFO requests built by an independent client, and hostile ones."""

import struct
from collections.abc import Callable

import pytest
from smbprotocol import file_info as oracle

from usmbd.protocol.wire.fscc import set_info
from usmbd.protocol.wire.fscc.ea import LIST_MAX, ExtendedAttribute, full_eas, get_eas
from usmbd.protocol.wire.fscc.set_info import parse_set
from usmbd.protocol.wire.status import NtStatus, SmbError


def refused(level: int, data: bytes) -> NtStatus:
    with pytest.raises(SmbError) as caught:
        parse_set(level, memoryview(data))
    return caught.value.status


def rename(name: bytes, *, flags: int = 0, root: int = 0, length: int | None = None) -> bytes:
    size = len(name) if length is None else length
    return struct.pack("<QQI", flags, root, size) + name


def test_rename() -> None:
    request = oracle.FileRenameInformation()
    request["replace_if_exists"] = True
    request["file_name"] = "dir\\neu ü.txt"
    parsed = parse_set(set_info.FileRenameInformation, memoryview(request.pack()))
    assert parsed == set_info.SetRename("dir\\neu ü.txt", replace=True)


def test_link() -> None:
    request = oracle.FileLinkInformation()
    request["replace_if_exists"] = False
    request["file_name"] = "second"
    parsed = parse_set(set_info.FileLinkInformation, memoryview(request.pack()))
    assert parsed == set_info.SetLink("second", replace=False)


def test_rename_ex_reads_flags() -> None:
    data = memoryview(rename(b"x\0", flags=0x42))
    expected = set_info.SetRename("x", replace=False, posix=True, ignore_read_only=True)
    assert parse_set(65, data) == expected
    assert parse_set(10, data) == set_info.SetRename("x", replace=True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", NtStatus.INFO_LENGTH_MISMATCH),
        (rename(b"")[:19], NtStatus.INFO_LENGTH_MISMATCH),
        (rename(b""), NtStatus.INVALID_PARAMETER),
        (rename(b"x\0", root=1), NtStatus.INVALID_PARAMETER),
        (rename(b"x\0", length=4), NtStatus.INVALID_PARAMETER),
        (rename(b"x\0", length=1), NtStatus.INVALID_PARAMETER),
        (rename(b"x\0", length=0xFFFFFFFE), NtStatus.INVALID_PARAMETER),
    ],
)
def test_bad_renames(data: bytes, status: NtStatus) -> None:
    for level in (10, 11, 65):
        assert refused(level, data) == status


def test_rename_ignores_padding() -> None:
    assert parse_set(10, memoryview(rename(b"x\0yz", length=2))) == set_info.SetRename("x", False)


def test_basic() -> None:
    data = struct.pack("<qqqqII", -1, -2, 0, 133_000_000_000_000_000, 0x21, 0)
    basic = parse_set(4, memoryview(data))
    assert isinstance(basic, set_info.SetBasic)
    assert basic.creation_time == set_info.TIME_SUSPEND_UPDATES
    assert basic.last_access_time == set_info.TIME_RESUME_UPDATES
    assert basic.change_time == 133_000_000_000_000_000
    assert basic.file_attributes == 0x21
    assert refused(4, data[:39]) == NtStatus.INFO_LENGTH_MISMATCH
    assert refused(4, struct.pack("<qqqqII", 0, 0, -3, 0, 0, 0)) == NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (14, set_info.SetPosition(77)),
        (19, set_info.SetAllocation(77)),
        (20, set_info.SetEndOfFile(77)),
        (39, set_info.SetValidDataLength(77)),
    ],
)
def test_lengths(level: int, expected: set_info.SetRequest) -> None:
    assert parse_set(level, memoryview(struct.pack("<q", 77))) == expected
    assert refused(level, struct.pack("<q", -1)) == NtStatus.INVALID_PARAMETER
    assert refused(level, bytes(7)) == NtStatus.INFO_LENGTH_MISMATCH


def test_disposition() -> None:
    for level, data, delete in [(13, b"\x01", True), (13, b"\0", False), (64, b"\3\0\0\0", True)]:
        parsed = parse_set(level, memoryview(data))
        assert isinstance(parsed, set_info.SetDisposition)
        assert parsed.delete is delete
    assert set_info.SetDisposition(0x11).ignore_read_only
    assert not set_info.SetDisposition(0x01).ignore_read_only
    assert refused(13, b"") == NtStatus.INFO_LENGTH_MISMATCH
    assert refused(64, b"\1\0\0") == NtStatus.INFO_LENGTH_MISMATCH
    assert refused(64, b"\x20\0\0\0") == NtStatus.INVALID_PARAMETER


def test_mode() -> None:
    assert parse_set(16, memoryview(b"\x26\0\0\0")) == set_info.SetMode(0x26)
    assert refused(16, b"\x30\0\0\0") == NtStatus.INVALID_PARAMETER
    assert refused(16, b"\0\x10\0\0") == NtStatus.INVALID_PARAMETER


def test_classes_that_are_not_set() -> None:
    assert refused(40, b"") == NtStatus.NOT_SUPPORTED
    assert refused(5, b"") == NtStatus.INVALID_INFO_CLASS
    assert refused(250, b"") == NtStatus.INVALID_INFO_CLASS


def full_ea(name: bytes, value: bytes, following: int = 0, flags: int = 0) -> bytes:
    head = struct.pack("<IBBH", following, flags, len(name), len(value))
    return head + name + b"\0" + value


def test_an_ea_chain() -> None:
    first = full_ea(b"ONE", b"1234", following=16)
    chain = first.ljust(16, b"\0") + full_ea(b"TWO", b"", flags=0x80)
    parsed = list(full_eas(memoryview(chain)))
    assert parsed == [ExtendedAttribute("ONE", b"1234"), ExtendedAttribute("TWO", b"", 0x80)]
    assert list(full_eas(memoryview(b""))) == []


@pytest.mark.parametrize("parse", [full_eas, get_eas])
def test_an_ea_list_that_no_file_could_have(parse: Callable[[memoryview], object]) -> None:
    """It is refused by its length: 8 MB of entries cost nothing."""
    with pytest.raises(SmbError) as caught:
        next(parse(memoryview(bytes(LIST_MAX + 1))))  # type: ignore[call-overload]
    assert caught.value.status == NtStatus.EA_TOO_LARGE


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (full_ea(b"A", b"1")[:7], NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"A", b"1")[:-1], NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"A", b"1", following=4) + bytes(40), NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"A", b"1", following=9) + bytes(40), NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"A", b"1", following=8) + bytes(40), NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"A", b"1", following=0xFFFFFFFC), NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"AB", b"1")[:-2] + b"C1", NtStatus.EA_LIST_INCONSISTENT),
        (full_ea(b"A", b"1", flags=1), NtStatus.INVALID_EA_FLAG),
        (full_ea(b"", b"1"), NtStatus.INVALID_EA_NAME),
        (full_ea(b"A*", b"1"), NtStatus.INVALID_EA_NAME),
        (full_ea(b"A\x01", b"1"), NtStatus.INVALID_EA_NAME),
    ],
)
def test_bad_ea_chains(data: bytes, status: NtStatus) -> None:
    with pytest.raises(SmbError) as caught:
        list(full_eas(memoryview(data)))
    assert caught.value.status == status


def test_a_list_of_ea_names() -> None:
    chain = struct.pack("<IB", 12, 3) + b"ONE\0".ljust(7, b"\0") + struct.pack("<IB", 0, 1) + b"B\0"
    assert list(get_eas(memoryview(chain))) == ["ONE", "B"]
    with pytest.raises(SmbError):
        list(get_eas(memoryview(chain[:-1])))
