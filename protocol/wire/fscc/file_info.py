"""File information classes as answers to QUERY_INFO ([MS-FSCC] 2.4, [MS-SMB2] 2.2.37)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from usmbd.protocol.wire.base import Wire, bytes16, u8, u16, u32, u64
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_COMPRESSED, FILE_ATTRIBUTE_NORMAL
from usmbd.protocol.wire.fscc.chain import build_chain
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute, build_full_eas
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.fscc.query import InformationClass, Overflow, answer
from usmbd.protocol.wire.fsctl import COMPRESSION_FORMAT_LZNT1, COMPRESSION_FORMAT_NONE
from usmbd.protocol.wire.names import encode
from usmbd.protocol.wire.status import NtStatus, SmbError

FileBasicInformation = 4
FileStandardInformation = 5
FileInternalInformation = 6
FileEaInformation = 7
FileAccessInformation = 8
FileNameInformation = 9
FilePositionInformation = 14
FileFullEaInformation = 15
FileModeInformation = 16
FileAlignmentInformation = 17
FileAllInformation = 18
FileAlternateNameInformation = 21
FileStreamInformation = 22
FileCompressionInformation = 28
FileNetworkOpenInformation = 34
FileAttributeTagInformation = 35
FileNormalizedNameInformation = 48
FileIdInformation = 59

# Levels that [MS-FSCC] 2.4 documents: a query for one of them that is not in the table below
# is not supported, any other level is no class at all ([MS-SMB2] 3.3.5.20.1).
_DOCUMENTED = frozenset({*range(1, 47), 48, 50, 54, 59, 60, 64, 65, *range(78, 82)})

# FileModeInformation ([MS-FSCC] 2.4.30).
FILE_WRITE_THROUGH = 0x00000002
FILE_SEQUENTIAL_ONLY = 0x00000004
FILE_NO_INTERMEDIATE_BUFFERING = 0x00000008
FILE_SYNCHRONOUS_IO_ALERT = 0x00000010
FILE_SYNCHRONOUS_IO_NONALERT = 0x00000020
FILE_DELETE_ON_CLOSE = 0x00001000

# FileAlignmentInformation ([MS-FSCC] 2.4.3).
FILE_BYTE_ALIGNMENT = 0


@dataclass(frozen=True, slots=True)
class QueriedStream:
    """One data stream: its name on the wire (`::$DATA`, `:name:$DATA`) and its sizes, bytes."""

    name: str
    size: int
    allocation: int


@dataclass(slots=True)
class QueriedFile:
    r"""What the answers are built from: one Open and its file ([MS-FSA] 2.1.1.6).

    `name` is the path below the share with backslashes and a leading one (`\` is the root).
    `short_name`, `streams` and `eas` cost the object store a look each: only
    FileAlternateNameInformation, FileStreamInformation and FileFullEaInformation read them.
    """

    stat: FileStat
    name: str = "\\"
    granted_access: int = 0
    mode: int = 0
    position: int = 0
    delete_pending: bool = False
    names_pending: int = 0
    """How many of the file's names are delete pending, this one among them or not."""
    short_name: str = ""
    streams: Sequence[QueriedStream] = ()
    eas: Sequence[ExtendedAttribute] = field(default=())


class BasicInformation(Wire, size=40):
    """FILE_BASIC_INFORMATION ([MS-FSCC] 2.4.7)."""

    creation_time: u64
    last_access_time: u64
    last_write_time: u64
    change_time: u64
    file_attributes: u32
    reserved: u32 = 0


class StandardInformation(Wire, size=24):
    """FILE_STANDARD_INFORMATION ([MS-FSCC] 2.4.45)."""

    allocation_size: u64
    end_of_file: u64
    number_of_links: u32
    delete_pending: u8
    directory: u8
    reserved: u16 = 0


class NetworkOpenInformation(Wire, size=56):
    """FILE_NETWORK_OPEN_INFORMATION ([MS-FSCC] 2.4.33)."""

    creation_time: u64
    last_access_time: u64
    last_write_time: u64
    change_time: u64
    allocation_size: u64
    end_of_file: u64
    file_attributes: u32
    reserved: u32 = 0


class IdInformation(Wire, size=24):
    """FILE_ID_INFORMATION ([MS-FSCC] 2.4.25)."""

    volume_serial_number: u64
    file_id: bytes16


_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TWO_U32 = struct.Struct("<II")
# CompressedFileSize, CompressionFormat, three unit shifts, Reserved ([MS-FSCC] 2.4.9).
_COMPRESSION = struct.Struct("<QHBBB3x")
# IndexNumber, EaSize, AccessFlags, CurrentByteOffset, Mode, AlignmentRequirement: the middle of
# FILE_ALL_INFORMATION, between FILE_STANDARD_INFORMATION and the name ([MS-FSCC] 2.4.2).
_ALL_MIDDLE = struct.Struct("<QIIQII")
# NextEntryOffset, StreamNameLength, StreamSize, StreamAllocationSize ([MS-FSCC] 2.4.47).
_STREAM = struct.Struct("<IIQQ")
_STREAM_ALIGNMENT = 8


def build_basic(file: QueriedFile) -> bytes:
    """FileBasicInformation ([MS-FSCC] 2.4.7)."""
    stat = file.stat
    return BasicInformation(
        creation_time=stat.creation_time,
        last_access_time=stat.last_access_time,
        last_write_time=stat.last_write_time,
        change_time=stat.change_time,
        file_attributes=stat.attributes or FILE_ATTRIBUTE_NORMAL,
    ).pack()


def build_standard(file: QueriedFile) -> bytes:
    """FileStandardInformation ([MS-FSCC] 2.4.45).

    A directory has one link, as on NTFS: POSIX counts its subdirectories. A link whose delete
    is pending is no longer counted ([MS-FSA] 2.1.5.12.27).
    """
    stat = file.stat
    links = 1 if stat.is_directory else stat.nlink
    return StandardInformation(
        allocation_size=stat.allocation,
        end_of_file=stat.size,
        number_of_links=max(links - file.names_pending, 0),
        delete_pending=file.delete_pending,
        directory=stat.is_directory,
    ).pack()


def build_internal(file: QueriedFile) -> bytes:
    """FileInternalInformation ([MS-FSCC] 2.4.26): the 64-bit file id."""
    return _U64.pack(file.stat.ino)


def build_ea(file: QueriedFile) -> bytes:
    """FileEaInformation ([MS-FSCC] 2.4.12)."""
    return _U32.pack(file.stat.ea_size)


def build_access(file: QueriedFile) -> bytes:
    """FileAccessInformation ([MS-FSCC] 2.4.1)."""
    return _U32.pack(file.granted_access)


def build_name(file: QueriedFile) -> bytes:
    """FileNameInformation ([MS-FSCC] 2.1.7)."""
    return _counted(file.name)


def build_normalized_name(file: QueriedFile) -> bytes:
    """FileNormalizedNameInformation ([MS-FSCC] 2.4.34): relative to the share's root."""
    return _counted(file.name.removeprefix("\\"))


def build_alternate_name(file: QueriedFile) -> bytes:
    """FileAlternateNameInformation ([MS-FSCC] 2.4.5); SmbError(OBJECT_NAME_NOT_FOUND) without."""
    if not file.short_name:
        raise SmbError(NtStatus.OBJECT_NAME_NOT_FOUND)
    return _counted(file.short_name)


def _counted(name: str) -> bytes:
    """Return FILE_NAME_INFORMATION: the length in bytes, then the name ([MS-FSCC] 2.1.7)."""
    encoded = encode(name)
    return _U32.pack(len(encoded)) + encoded


def build_position(file: QueriedFile) -> bytes:
    """FilePositionInformation ([MS-FSCC] 2.4.39)."""
    return _U64.pack(file.position)


def build_mode(file: QueriedFile) -> bytes:
    """FileModeInformation ([MS-FSCC] 2.4.30)."""
    return _U32.pack(file.mode)


def build_alignment(_file: QueriedFile) -> bytes:
    """FileAlignmentInformation ([MS-FSCC] 2.4.3): remote I/O needs none."""
    return _U32.pack(FILE_BYTE_ALIGNMENT)


def build_all(file: QueriedFile) -> bytes:
    """FileAllInformation ([MS-FSCC] 2.4.2)."""
    stat = file.stat
    middle = _ALL_MIDDLE.pack(
        stat.ino,
        stat.ea_size,
        file.granted_access,
        file.position,
        file.mode,
        FILE_BYTE_ALIGNMENT,
    )
    return b"".join((build_basic(file), build_standard(file), middle, build_name(file)))


def build_network_open(file: QueriedFile) -> bytes:
    """FileNetworkOpenInformation ([MS-FSCC] 2.4.33)."""
    stat = file.stat
    return NetworkOpenInformation(
        creation_time=stat.creation_time,
        last_access_time=stat.last_access_time,
        last_write_time=stat.last_write_time,
        change_time=stat.change_time,
        allocation_size=stat.allocation,
        end_of_file=stat.size,
        file_attributes=stat.attributes or FILE_ATTRIBUTE_NORMAL,
    ).pack()


def build_attribute_tag(file: QueriedFile) -> bytes:
    """FileAttributeTagInformation ([MS-FSCC] 2.4.6)."""
    stat = file.stat
    return _TWO_U32.pack(stat.attributes or FILE_ATTRIBUTE_NORMAL, stat.reparse_tag)


def build_compression(file: QueriedFile) -> bytes:
    """FileCompressionInformation ([MS-FSCC] 2.4.9); the kernel does not tell what is saved."""
    compressed = file.stat.attributes & FILE_ATTRIBUTE_COMPRESSED
    state = COMPRESSION_FORMAT_LZNT1 if compressed else COMPRESSION_FORMAT_NONE
    return _COMPRESSION.pack(file.stat.size, state, 0, 0, 0)


def build_id(file: QueriedFile) -> bytes:
    """FileIdInformation ([MS-FSCC] 2.4.25): the 64-bit id with zeros above it."""
    return IdInformation(
        volume_serial_number=file.stat.dev, file_id=file.stat.ino.to_bytes(16, "little")
    ).pack()


def build_streams(file: QueriedFile) -> bytes:
    """FileStreamInformation ([MS-FSCC] 2.4.47); empty for a directory without streams."""
    return build_chain(map(_build_stream, file.streams), _STREAM_ALIGNMENT)


def _build_stream(stream: QueriedStream) -> bytes:
    """Return one FILE_STREAM_INFORMATION without its link."""
    name = encode(stream.name)
    return _STREAM.pack(0, len(name), stream.size, stream.allocation) + name


def build_full_ea(file: QueriedFile) -> bytes:
    """FileFullEaInformation ([MS-FSCC] 2.4.15); SmbError(NO_EAS_ON_FILE) without any."""
    if not file.eas:
        raise SmbError(NtStatus.NO_EAS_ON_FILE)
    return build_full_eas(file.eas)


#: Every class that a file can be queried for, by level.
FILE_QUERIES: dict[int, InformationClass[QueriedFile]] = {
    FileBasicInformation: InformationClass(40, build_basic),
    FileStandardInformation: InformationClass(24, build_standard),
    FileInternalInformation: InformationClass(8, build_internal),
    FileEaInformation: InformationClass(4, build_ea),
    FileAccessInformation: InformationClass(4, build_access),
    FileNameInformation: InformationClass(8, build_name),
    FilePositionInformation: InformationClass(8, build_position),
    FileFullEaInformation: InformationClass(0, build_full_ea, Overflow.AN_ENTRY_AT_LEAST),
    FileModeInformation: InformationClass(4, build_mode),
    FileAlignmentInformation: InformationClass(4, build_alignment),
    FileAllInformation: InformationClass(104, build_all),
    FileAlternateNameInformation: InformationClass(8, build_alternate_name),
    FileStreamInformation: InformationClass(32, build_streams, Overflow.WHOLE_ENTRIES),
    FileCompressionInformation: InformationClass(16, build_compression),
    FileNetworkOpenInformation: InformationClass(56, build_network_open),
    FileAttributeTagInformation: InformationClass(8, build_attribute_tag),
    FileNormalizedNameInformation: InformationClass(8, build_normalized_name),
    FileIdInformation: InformationClass(24, build_id),
}


def file_query(level: int) -> InformationClass[QueriedFile]:
    """Return the row of `level`; SmbError(NOT_SUPPORTED or INVALID_INFO_CLASS) without one."""
    row = FILE_QUERIES.get(level)
    if row is None:
        documented = level in _DOCUMENTED
        raise SmbError(NtStatus.NOT_SUPPORTED if documented else NtStatus.INVALID_INFO_CLASS)
    return row


def query_file(level: int, file: QueriedFile, limit: int) -> tuple[NtStatus, bytes]:
    """Answer a query of `level` within `limit` bytes; see `file_query` and `query.answer`."""
    return answer(file_query(level), file, limit)
