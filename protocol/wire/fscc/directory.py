"""Directory information classes ([MS-FSCC] 2.4): the entries of a QUERY_DIRECTORY response."""

import struct
from codecs import utf_16_le_encode
from collections.abc import Callable
from typing import NamedTuple

from usmbd.protocol.wire.base import Wire, bytes16, u16, u32, u64
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_REPARSE_POINT,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.posix import POSIX_FIELDS, FilePosixInformation, posix_fields

# The classes that [MS-SMB2] 2.2.33 allows, with their levels ([MS-FSCC] 2.4).
FileDirectoryInformation = 1
FileFullDirectoryInformation = 2
FileBothDirectoryInformation = 3
FileNamesInformation = 12
FileIdBothDirectoryInformation = 37
FileIdFullDirectoryInformation = 38
FileIdExtdDirectoryInformation = 60
FileId64ExtdDirectoryInformation = 78
FileId64ExtdBothDirectoryInformation = 79
FileIdAllExtdDirectoryInformation = 80
FileIdAllExtdBothDirectoryInformation = 81

#: ShortName holds 12 UTF-16 code units ([MS-FSCC] 2.4.8).
SHORT_NAME_SIZE = 24

#: The buffer starts so large and doubles up to the client's limit: most directories fit at
#: once, and a client that asks for 8 MiB of an empty directory costs no 8 MiB.
_FIRST_CAPACITY = 65536

# NextEntryOffset, FileIndex, four times, EndOfFile, AllocationSize, FileAttributes,
# FileNameLength: how every class but FileNamesInformation begins.
_COMMON = "<II6QII"
_NEXT_ENTRY_OFFSET = struct.Struct("<I")


class _Layout(NamedTuple):
    """One class's fixed part and the values that follow the common ones."""

    fixed: struct.Struct
    extra: Callable[[FileStat, bytes], tuple[int | bytes, ...]]


def _ea_size(stat: FileStat) -> int:
    """Return EaSize, whose place a reparse point's tag takes ([MS-FSCC] 2.4.8)."""
    if stat.attributes & FILE_ATTRIBUTE_REPARSE_POINT:
        return stat.reparse_tag
    return stat.ea_size


# A 128-bit FileId is the 64-bit one with zeros above it, as NTFS has it ([MS-FSCC] 2.1.10):
# FileIdInformation says the same.
_LAYOUTS: dict[int, _Layout] = {
    FileDirectoryInformation: _Layout(struct.Struct(_COMMON), lambda stat, short: ()),
    FileFullDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "I"), lambda stat, short: (_ea_size(stat),)
    ),
    FileBothDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IBx24s"), lambda stat, short: (_ea_size(stat), len(short), short)
    ),
    FileIdBothDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IBx24s2xQ"),
        lambda stat, short: (_ea_size(stat), len(short), short, stat.ino),
    ),
    FileIdFullDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "I4xQ"), lambda stat, short: (_ea_size(stat), stat.ino)
    ),
    FileIdExtdDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IIQ8x"),
        lambda stat, short: (stat.ea_size, stat.reparse_tag, stat.ino),
    ),
    FileId64ExtdDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IIQ"),
        lambda stat, short: (stat.ea_size, stat.reparse_tag, stat.ino),
    ),
    FileId64ExtdBothDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IIQBx24s"),
        lambda stat, short: (stat.ea_size, stat.reparse_tag, stat.ino, len(short), short),
    ),
    FileIdAllExtdDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IIQQ8x"),
        lambda stat, short: (stat.ea_size, stat.reparse_tag, stat.ino, stat.ino),
    ),
    FileIdAllExtdBothDirectoryInformation: _Layout(
        struct.Struct(_COMMON + "IIQQ8xBx24s"),
        lambda stat, short: (stat.ea_size, stat.reparse_tag, stat.ino, stat.ino, len(short), short),
    ),
}


class AppleEntry(Wire, size=38):
    """What macOS is told of a listed file, as Samba's vfs_fruit does, with its FileId.

    The rights stand in the place of EaSize, the fork's size and a part of FinderInfo in that of
    ShortName, the mode in that of Reserved2.
    """

    maximal_access: u32
    resource_size: u64
    finder_info: bytes16
    mode: u16
    file_id: u64


_APPLE = struct.Struct("<I24sHQ")


def _apple(stat: FileStat, said: bytes) -> tuple[int | bytes, ...]:
    """Return what follows the common fields for macOS; `said` is an AppleEntry, or nothing."""
    access, finder, mode, file_id = _APPLE.unpack(said or bytes(AppleEntry.SIZE))
    return access, SHORT_NAME_SIZE, finder, mode, file_id


_APPLE_LAYOUT = _Layout(struct.Struct(_COMMON + "IBx24sHQ"), _apple)
_NAMES_LAYOUT = struct.Struct("<III")
_POSIX_LAYOUT = struct.Struct(f"<II{POSIX_FIELDS}I")

#: Each class's fixed size, the FileName's offset in its structure: an OutputBufferLength below
#: it is refused with STATUS_INFO_LENGTH_MISMATCH ([MS-FSA] 2.1.5.6.3).
FIXED_SIZES: dict[int, int] = {
    FileNamesInformation: _NAMES_LAYOUT.size,
    FilePosixInformation: _POSIX_LAYOUT.size,
    **{info_class: layout.fixed.size for info_class, layout in _LAYOUTS.items()},
}


class DirectoryWriter:
    """Packs the entries of one directory information class into one buffer.

    Entries start on 8-byte boundaries, the padding between them is zero and none follows the
    last ([MS-FSCC] 2.4.8). Names are UTF-16LE; the surrogates that stand for undecodable bytes
    on disk pass through and come back in the client's next request.
    """

    __slots__ = ("_buffer", "_end", "_extra", "_fixed", "_last", "count", "limit")

    _extra: Callable[[FileStat, bytes], tuple[int | bytes, ...]] | None

    def __init__(self, info_class: int, limit: int, *, apple: bool = False) -> None:
        """Prepare for at most `limit` bytes; KeyError when `info_class` is none of these.

        `apple`: in FileIdBothDirectoryInformation goes what macOS has asked for.
        """
        if apple and info_class == FileIdBothDirectoryInformation:
            self._fixed, self._extra = _APPLE_LAYOUT
        elif info_class == FileNamesInformation:
            self._fixed, self._extra = _NAMES_LAYOUT, None
        elif info_class == FilePosixInformation:
            self._fixed, self._extra = _POSIX_LAYOUT, None
        else:
            self._fixed, self._extra = _LAYOUTS[info_class]
        self._buffer = bytearray(min(limit, _FIRST_CAPACITY))
        self._end = 0
        self._last = 0
        self.limit = limit
        self.count = 0

    def add(self, name: str, short_name: str | bytes, stat: FileStat, file_index: int = 0) -> bool:
        """Append one entry; False, with nothing changed, when it does not fit.

        `short_name` is the 8.3 name, or bytes that stand in its place.
        """
        # The codec itself: str.encode() looks it up each time, which costs more than the encoding.
        encoded = utf_16_le_encode(name, "surrogatepass")[0]
        length = len(encoded)
        start = self._end + 7 & ~7
        name_start = start + self._fixed.size
        end = name_start + length
        if end > self.limit:
            return False
        buffer = self._buffer
        if end > len(buffer):
            self._grow(end)
        # NextEntryOffset is written as if an entry followed; finish() clears the last one's.
        if self._extra is None:
            fields = posix_fields(stat) if self._fixed is _POSIX_LAYOUT else ()
            following = (end - start + 7) & ~7
            self._fixed.pack_into(buffer, start, following, file_index, *fields, length)
        else:
            short = b""
            if short_name:
                if isinstance(short_name, bytes):
                    short = short_name
                else:
                    short = utf_16_le_encode(short_name)[0][:SHORT_NAME_SIZE]
            self._fixed.pack_into(
                buffer,
                start,
                (end - start + 7) & ~7,
                file_index,
                stat.creation_time,
                stat.last_access_time,
                stat.last_write_time,
                stat.change_time,
                stat.size,
                stat.allocation,
                stat.attributes or FILE_ATTRIBUTE_NORMAL,
                length,
                *self._extra(stat, short),
            )
        buffer[name_start:end] = encoded
        self._last = start
        self._end = end
        self.count += 1
        return True

    def _grow(self, needed: int) -> None:
        """Make room for `needed` bytes, which are within the limit."""
        buffer = self._buffer
        capacity = min(max(needed, 2 * len(buffer)), self.limit)
        buffer.extend(bytes(capacity - len(buffer)))

    def finish(self) -> memoryview:
        """Return the entries' bytes, empty without entries; nothing can be added afterwards."""
        if self.count:
            _NEXT_ENTRY_OFFSET.pack_into(self._buffer, self._last, 0)
        return memoryview(self._buffer)[: self._end]
