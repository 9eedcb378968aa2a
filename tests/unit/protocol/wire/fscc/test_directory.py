"""Directory entries against an independent decoder and by their layout ([MS-FSCC] 2.4)."""

import struct
from typing import Any

import pytest
from smbprotocol import file_info as oracle

from usmbd.protocol.wire.fscc import directory
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_REPARSE_POINT,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.fscc.directory import FIXED_SIZES, DirectoryWriter
from usmbd.protocol.wire.fscc.file_stat import FileStat

T0 = 133_000_000_000_000_000


def make_stat(**changes: int) -> FileStat:
    values: dict[str, int] = {
        "dev": 9,
        "ino": 0x1122334455667788,
        "mode": 0o100644,
        "nlink": 1,
        "uid": 0,
        "gid": 0,
        "size": 5,
        "allocation": 4096,
        "creation_time": T0,
        "last_access_time": T0 + 1,
        "last_write_time": T0 + 2,
        "change_time": T0 + 3,
        "attributes": FILE_ATTRIBUTE_ARCHIVE,
        "ea_size": 7,
    }
    return FileStat(**(values | changes))


def entries(info_class: int, data: memoryview) -> list[tuple[bytes, int]]:
    """Split `data` by NextEntryOffset: (fixed part and name, NextEntryOffset)."""
    found = []
    offset = 0
    while True:
        (following,) = struct.unpack_from("<I", data, offset)
        found.append(
            (bytes(data[offset : offset + following if following else len(data)]), following)
        )
        if not following:
            return found
        offset += following


@pytest.mark.parametrize(
    ("info_class", "oracle_class"),
    [
        (directory.FileDirectoryInformation, oracle.FileDirectoryInformation),
        (directory.FileFullDirectoryInformation, oracle.FileFullDirectoryInformation),
        (directory.FileBothDirectoryInformation, oracle.FileBothDirectoryInformation),
        (directory.FileIdBothDirectoryInformation, oracle.FileIdBothDirectoryInformation),
        (directory.FileIdFullDirectoryInformation, oracle.FileIdFullDirectoryInformation),
        (directory.FileNamesInformation, oracle.FileNamesInformation),
    ],
)
def test_an_independent_decoder_reads_each_class(info_class: int, oracle_class: Any) -> None:
    writer = DirectoryWriter(info_class, 4096)
    assert writer.add("Grüße.txt", "GRUE~1.TXT", make_stat(), 3)
    assert writer.add("b", "", make_stat(ino=2))
    first, second = entries(info_class, writer.finish())
    decoded = oracle_class()
    decoded.unpack(first[0])
    fields = decoded.fields
    assert fields["file_name"].get_value().decode("utf-16-le") == "Grüße.txt"
    assert fields["file_index"].get_value() == 3
    if "end_of_file" in fields:
        assert fields["end_of_file"].get_value() == 5
        assert fields["allocation_size"].get_value() == 4096
        assert fields["file_attributes"].get_value() == FILE_ATTRIBUTE_ARCHIVE
    if "ea_size" in fields:
        assert fields["ea_size"].get_value() == 7
    if "short_name" in fields:
        assert fields["short_name"].get_value().decode("utf-16-le") == "GRUE~1.TXT"
    if "file_id" in fields:
        assert fields["file_id"].get_value() == 0x1122334455667788
    decoded = oracle_class()
    decoded.unpack(second[0])
    assert decoded.fields["file_name"].get_value().decode("utf-16-le") == "b"


@pytest.mark.parametrize("info_class", sorted(FIXED_SIZES))
def test_entries_are_aligned_chained_and_unpadded_at_the_end(info_class: int) -> None:
    writer = DirectoryWriter(info_class, 4096)
    for name in ("a", "bb", "ccc"):
        assert writer.add(name, "", make_stat())
    data = writer.finish()
    parts = entries(info_class, data)
    fixed = FIXED_SIZES[info_class]
    assert [following % 8 for _, following in parts] == [0, 0, 0]
    assert [
        part[fixed : fixed + 2 * n].decode("utf-16-le") for n, (part, _) in enumerate(parts, 1)
    ] == [
        "a",
        "bb",
        "ccc",
    ]
    assert parts[0][0][fixed + 2 :].strip(b"\0") == b""
    assert len(parts[2][0]) == fixed + 6


@pytest.mark.parametrize(
    ("info_class", "fixed", "layout", "values"),
    [
        (60, 88, "<IIQQ", (7, 0, 0x1122334455667788, 0)),
        (78, 80, "<IIQ", (7, 0, 0x1122334455667788)),
        (79, 106, "<IIQBB4s", (7, 0, 0x1122334455667788, 4, 0, b"S\0H\0")),
        (80, 96, "<IIQQQ", (7, 0, 0x1122334455667788, 0x1122334455667788, 0)),
        (81, 122, "<IIQQQB", (7, 0, 0x1122334455667788, 0x1122334455667788, 0, 4)),
    ],
)
def test_extended_classes_follow_their_layout(
    info_class: int, fixed: int, layout: str, values: tuple[int | bytes, ...]
) -> None:
    assert FIXED_SIZES[info_class] == fixed
    writer = DirectoryWriter(info_class, 4096)
    assert writer.add("n", "SH", make_stat())
    data = writer.finish()
    assert struct.unpack_from("<II", data, 56) == (FILE_ATTRIBUTE_ARCHIVE, 2)
    assert struct.unpack_from(layout, data, 64) == values
    assert bytes(data[fixed:]) == b"n\0"


def test_a_reparse_point_shows_its_tag_in_ea_size() -> None:
    stat = make_stat(attributes=FILE_ATTRIBUTE_REPARSE_POINT, reparse_tag=IO_REPARSE_TAG_SYMLINK)
    writer = DirectoryWriter(directory.FileIdFullDirectoryInformation, 4096)
    assert writer.add("link", "", stat)
    assert struct.unpack_from("<I", writer.finish(), 64) == (IO_REPARSE_TAG_SYMLINK,)


def test_no_attributes_is_normal() -> None:
    writer = DirectoryWriter(directory.FileDirectoryInformation, 4096)
    assert writer.add("x", "", make_stat(attributes=0))
    assert struct.unpack_from("<I", writer.finish(), 56) == (FILE_ATTRIBUTE_NORMAL,)


def test_a_name_with_undecodable_bytes_is_encoded() -> None:
    writer = DirectoryWriter(directory.FileNamesInformation, 4096)
    assert writer.add("a\udcff", "", make_stat())
    assert bytes(writer.finish()[12:]) == b"a\0\xff\xdc"


def test_an_entry_that_does_not_fit_changes_nothing() -> None:
    one = FIXED_SIZES[directory.FileIdBothDirectoryInformation] + 2
    writer = DirectoryWriter(directory.FileIdBothDirectoryInformation, one)
    assert not writer.add("ab", "", make_stat())
    assert writer.count == 0
    assert writer.add("a", "", make_stat())
    assert not writer.add("b", "", make_stat())
    assert writer.count == 1
    assert len(writer.finish()) == one


def test_the_buffer_grows_to_the_limit_only() -> None:
    limit = 200_000
    writer = DirectoryWriter(directory.FileIdBothDirectoryInformation, limit)
    stat = make_stat()
    while writer.add(f"file number {writer.count:06}", "", stat):
        pass
    data = writer.finish()
    assert limit - 160 < len(data) <= limit
    assert len(entries(directory.FileIdBothDirectoryInformation, data)) == writer.count


def test_an_unknown_class_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        DirectoryWriter(4, 4096)


def test_the_buffer_never_outgrows_its_limit() -> None:
    """A client names it: 8 MiB would be kept for a listing of three names."""
    writer = DirectoryWriter(directory.FileNamesInformation, 1 << 19)
    sizes = set()
    while writer.add("n" * 50, "", make_stat()):
        sizes.add(len(writer._buffer))
        assert len(writer._buffer) <= max(2 * writer._end, min(sizes))
    assert max(sizes) == 1 << 19
