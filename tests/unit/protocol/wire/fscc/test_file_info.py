"""QUERY_INFO answers against an independent decoder, and the rules for short buffers."""

import struct
from typing import Any

import pytest
from smbprotocol import file_info as oracle

from usmbd.protocol.wire.fscc import file_info
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_NORMAL,
)
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute, full_eas
from usmbd.protocol.wire.fscc.file_info import QueriedFile, QueriedStream, query_file
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.status import NtStatus, SmbError

T0 = 133_000_000_000_000_000
STAT = FileStat(
    dev=0xFE01,
    ino=0x1234,
    mode=0o100644,
    nlink=3,
    uid=0,
    gid=0,
    size=5000,
    allocation=8192,
    creation_time=T0,
    last_access_time=T0 + 10,
    last_write_time=T0 + 20,
    change_time=T0 + 30,
    attributes=FILE_ATTRIBUTE_ARCHIVE,
    ea_size=44,
)
FACTS = QueriedFile(
    stat=STAT,
    name="\\dir\\ä.txt",
    granted_access=0x120089,
    mode=2,
    position=17,
    short_name="A~1.TXT",
    streams=(QueriedStream("::$DATA", 5000, 8192), QueriedStream(":s:$DATA", 3, 4096)),
    eas=(ExtendedAttribute("EAONE", b"VALUE1"), ExtendedAttribute("SECONDEA", b"ValueTwo")),
)
LARGE = 65535


def decode(oracle_class: Any, data: bytes) -> dict[str, Any]:
    decoded = oracle_class()
    assert decoded.unpack(data) == b""
    return {name: field.get_value() for name, field in decoded.fields.items()}


def query(level: int, limit: int = LARGE, file: QueriedFile = FACTS) -> bytes:
    status, data = query_file(level, file, limit)
    assert status == NtStatus.SUCCESS
    return data


def test_basic() -> None:
    data = query(file_info.FileBasicInformation)
    assert data == struct.pack("<QQQQII", T0, T0 + 10, T0 + 20, T0 + 30, 0x20, 0)
    assert decode(oracle.FileBasicInformation, data)["last_write_time"] == T0 + 20


def test_standard() -> None:
    FACTS.delete_pending, FACTS.names_pending = True, 1
    values = decode(oracle.FileStandardInformation, query(file_info.FileStandardInformation))
    FACTS.delete_pending, FACTS.names_pending = False, 0
    assert values["allocation_size"] == 8192
    assert values["end_of_file"] == 5000
    assert values["number_of_links"] == 2
    assert values["delete_pending"] is True
    assert values["directory"] is False


def test_a_directory_has_one_link() -> None:
    stat = FileStat(1, 2, 0o40755, 9, 0, 0, 0, 0, T0, T0, T0, T0, FILE_ATTRIBUTE_DIRECTORY)
    file = QueriedFile(stat=stat)
    values = decode(
        oracle.FileStandardInformation, query(file_info.FileStandardInformation, file=file)
    )
    assert values["number_of_links"] == 1
    assert values["directory"] is True


def test_all_is_the_sum_of_its_parts() -> None:
    data = query(file_info.FileAllInformation)
    parts = [
        query(level)
        for level in (
            file_info.FileBasicInformation,
            file_info.FileStandardInformation,
            file_info.FileInternalInformation,
            file_info.FileEaInformation,
            file_info.FileAccessInformation,
            file_info.FilePositionInformation,
            file_info.FileModeInformation,
            file_info.FileAlignmentInformation,
            file_info.FileNameInformation,
        )
    ]
    assert data == b"".join(parts)
    values = decode(oracle.FileAllInformation, data)
    assert values["name_information"]["file_name"].get_value() == "\\dir\\ä.txt"
    assert values["access_information"]["access_flags"].get_value() == 0x120089


def test_small_classes() -> None:
    assert query(file_info.FileInternalInformation) == struct.pack("<Q", 0x1234)
    assert query(file_info.FileEaInformation) == struct.pack("<I", 44)
    assert query(file_info.FileModeInformation) == struct.pack("<I", 2)
    assert query(file_info.FilePositionInformation) == struct.pack("<Q", 17)
    assert query(file_info.FileAttributeTagInformation) == struct.pack("<II", 0x20, 0)
    assert query(file_info.FileIdInformation) == struct.pack("<QQQ", 0xFE01, 0x1234, 0)
    assert query(file_info.FileCompressionInformation) == struct.pack("<Q8x", 5000)
    assert query(file_info.FileNetworkOpenInformation) == struct.pack(
        "<QQQQQQII", T0, T0 + 10, T0 + 20, T0 + 30, 8192, 5000, 0x20, 0
    )


def test_names() -> None:
    name = "dir\\ä.txt".encode("utf-16-le")
    data = query(file_info.FileNormalizedNameInformation)
    assert data == struct.pack("<I", len(name)) + name
    assert query(file_info.FileAlternateNameInformation)[4:].decode("utf-16-le") == "A~1.TXT"
    with pytest.raises(SmbError) as caught:
        query(file_info.FileAlternateNameInformation, file=QueriedFile(stat=STAT))
    assert caught.value.status == NtStatus.OBJECT_NAME_NOT_FOUND


def test_streams() -> None:
    data = query(file_info.FileStreamInformation)
    (following,) = struct.unpack_from("<I", data)
    assert following == 40
    first = decode(oracle.FileStreamInformation, data[:38])
    assert first["stream_name"] == "::$DATA"
    assert (first["stream_size"], first["stream_allocation_size"]) == (5000, 8192)
    second = decode(oracle.FileStreamInformation, data[following:])
    assert second["stream_name"] == ":s:$DATA"
    assert second["next_entry_offset"] == 0
    assert query(file_info.FileStreamInformation, file=QueriedFile(stat=STAT)) == b""


def test_eas() -> None:
    data = query(file_info.FileFullEaInformation)
    (following,) = struct.unpack_from("<I", data)
    first = decode(oracle.FileFullEaInformation, data[:following])
    assert first["ea_name"] == b"EAONE"
    assert first["ea_value"] == b"VALUE1"
    assert list(full_eas(memoryview(data))) == list(FACTS.eas)
    with pytest.raises(SmbError) as caught:
        query(file_info.FileFullEaInformation, file=QueriedFile(stat=STAT))
    assert caught.value.status == NtStatus.NO_EAS_ON_FILE


# The fixed sizes that Windows compares with, as its clients' test suites know them.
@pytest.mark.parametrize(
    ("level", "fixed"),
    [
        *((4, 40), (5, 24), (6, 8), (7, 4), (8, 4), (16, 4), (17, 4), (18, 104), (21, 8)),
        *((22, 32), (28, 16), (34, 56), (35, 8)),
    ],
)
def test_short_buffers(level: int, fixed: int) -> None:
    full = query(level)
    for limit in range(len(full) + 1):
        if limit < fixed:
            with pytest.raises(SmbError) as caught:
                query_file(level, FACTS, limit)
            assert caught.value.status == NtStatus.INFO_LENGTH_MISMATCH
            continue
        status, data = query_file(level, FACTS, limit)
        assert status == (NtStatus.SUCCESS if limit == len(full) else NtStatus.BUFFER_OVERFLOW)
        assert len(data) <= limit


def test_a_cut_stream_list_keeps_whole_entries() -> None:
    full = query(file_info.FileStreamInformation)
    status, data = query_file(file_info.FileStreamInformation, FACTS, len(full) - 1)
    assert status == NtStatus.BUFFER_OVERFLOW
    assert len(data) == 40
    assert data[:4] == bytes(4)
    assert data[4:] == full[4:40]


def test_an_ea_list_needs_room_for_one() -> None:
    full = query(file_info.FileFullEaInformation)
    status, data = query_file(file_info.FileFullEaInformation, FACTS, len(full) - 1)
    assert status == NtStatus.BUFFER_OVERFLOW
    assert list(full_eas(memoryview(data))) == [FACTS.eas[0]]
    with pytest.raises(SmbError) as caught:
        query_file(file_info.FileFullEaInformation, FACTS, 10)
    assert caught.value.status == NtStatus.BUFFER_TOO_SMALL


@pytest.mark.parametrize(
    ("level", "status"),
    [
        (file_info.FileBasicInformation, None),
        (10, NtStatus.NOT_SUPPORTED),
        (37, NtStatus.NOT_SUPPORTED),
        (0, NtStatus.INVALID_INFO_CLASS),
        (0x64, NtStatus.INVALID_INFO_CLASS),
        (255, NtStatus.INVALID_INFO_CLASS),
    ],
)
def test_classes_that_are_not_queried(level: int, status: NtStatus | None) -> None:
    if status is None:
        assert file_info.file_query(level).minimum == 40
        return
    with pytest.raises(SmbError) as caught:
        file_info.file_query(level)
    assert caught.value.status == status


def test_no_attributes_is_normal() -> None:
    stat = FileStat(1, 2, 0o100644, 1, 0, 0, 0, 0, T0, T0, T0, T0, 0)
    file = QueriedFile(stat=stat)
    data = query(file_info.FileAttributeTagInformation, file=file)
    assert struct.unpack("<II", data) == (FILE_ATTRIBUTE_NORMAL, 0)
