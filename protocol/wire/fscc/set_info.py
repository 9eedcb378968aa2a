"""File information classes as SET_INFO requests ([MS-FSCC] 2.4, [MS-SMB2] 2.2.39).

Every parser takes the request's buffer as a memoryview that ends where the buffer ends. A
buffer shorter than the class's structure is SmbError(INFO_LENGTH_MISMATCH), a value that the
object store refuses by itself SmbError(INVALID_PARAMETER) ([MS-FSA] 2.1.5.15).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from usmbd.protocol.wire.base import Wire, i64, u32
from usmbd.protocol.wire.fscc import file_info
from usmbd.protocol.wire.names import decode
from usmbd.protocol.wire.status import NtStatus, SmbError

FileRenameInformation = 10
FileLinkInformation = 11
FileDispositionInformation = 13
FileAllocationInformation = 19
FileEndOfFileInformation = 20
FileValidDataLengthInformation = 39
FileShortNameInformation = 40
FileDispositionInformationEx = 64
FileRenameInformationEx = 65

# FileBasicInformation's times that are no times ([MS-FSCC] 2.4.7).
TIME_UNCHANGED = 0
TIME_SUSPEND_UPDATES = -1
TIME_RESUME_UPDATES = -2

# FILE_DISPOSITION_INFORMATION_EX (ntddk.h).
FILE_DISPOSITION_DELETE = 0x00000001
FILE_DISPOSITION_POSIX_SEMANTICS = 0x00000002
FILE_DISPOSITION_FORCE_IMAGE_SECTION_CHECK = 0x00000004
FILE_DISPOSITION_ON_CLOSE = 0x00000008
FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE = 0x00000010
_DISPOSITION_FLAGS = 0x0000001F

# FILE_RENAME_INFORMATION, the Flags of its Ex class (ntifs.h).
FILE_RENAME_REPLACE_IF_EXISTS = 0x00000001
FILE_RENAME_POSIX_SEMANTICS = 0x00000002
FILE_RENAME_SUPPRESS_PIN_STATE_INHERITANCE = 0x00000004
FILE_RENAME_IGNORE_READONLY_ATTRIBUTE = 0x00000040
_RENAME_FLAGS = (
    FILE_RENAME_REPLACE_IF_EXISTS
    | FILE_RENAME_POSIX_SEMANTICS
    | FILE_RENAME_SUPPRESS_PIN_STATE_INHERITANCE  # pin states are not inherited here
    | FILE_RENAME_IGNORE_READONLY_ATTRIBUTE
)
# ReplaceIfExists of the plain forms is a byte, any value but zero is true.
_REPLACE_IF_EXISTS = 0x000000FF

# What a mode may be set to ([MS-FSA] 2.1.5.15.7); the two synchronous flags exclude each other.
_SYNCHRONOUS = file_info.FILE_SYNCHRONOUS_IO_ALERT | file_info.FILE_SYNCHRONOUS_IO_NONALERT
_MODE_FLAGS = file_info.FILE_WRITE_THROUGH | file_info.FILE_SEQUENTIAL_ONLY | _SYNCHRONOUS


class SetBasic(Wire, size=40):
    """FILE_BASIC_INFORMATION of a SET ([MS-FSCC] 2.4.7): times may be the TIME_ values."""

    creation_time: i64
    last_access_time: i64
    last_write_time: i64
    change_time: i64
    file_attributes: u32
    reserved: u32 = 0


class _NameChange(Wire, size=20):
    """FILE_RENAME_INFORMATION_TYPE_2 and FILE_LINK_INFORMATION_TYPE_2 before the name.

    ReplaceIfExists is the first byte of `flags`, which only the Ex form uses as such.
    """

    flags: u32
    reserved: u32
    root_directory: i64
    file_name_length: u32


@dataclass(frozen=True, slots=True)
class SetRename:
    """FileRenameInformation or its Ex form ([MS-FSCC] 2.4.41.2).

    `name` as sent, with backslashes; `posix`: a target that is open may be replaced,
    `ignore_read_only`: a read-only one.
    """

    name: str
    replace: bool
    posix: bool = False
    ignore_read_only: bool = False


@dataclass(frozen=True, slots=True)
class SetLink:
    """FileLinkInformation ([MS-FSCC] 2.4.27.2); `name` as sent, with backslashes."""

    name: str
    replace: bool


@dataclass(frozen=True, slots=True)
class SetDisposition:
    """FileDispositionInformation or its Ex form ([MS-FSCC] 2.4.11).

    `flags` are those of the Ex form; the plain form gives FILE_DISPOSITION_DELETE or none.
    """

    flags: int

    @property
    def delete(self) -> bool:
        """Whether the file is to be deleted."""
        return self.flags & FILE_DISPOSITION_DELETE != 0

    @property
    def posix(self) -> bool:
        """Whether the name goes at once, whoever else has the file open."""
        return self.flags & FILE_DISPOSITION_POSIX_SEMANTICS != 0

    @property
    def on_close(self) -> bool:
        """Whether FILE_DELETE_ON_CLOSE of the open is changed instead of the file's state."""
        return self.flags & FILE_DISPOSITION_ON_CLOSE != 0

    @property
    def ignore_read_only(self) -> bool:
        """Whether a read-only file is deleted all the same."""
        return self.flags & FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE != 0


@dataclass(frozen=True, slots=True)
class SetEndOfFile:
    """FileEndOfFileInformation ([MS-FSCC] 2.4.13): the new size in bytes."""

    end_of_file: int


@dataclass(frozen=True, slots=True)
class SetAllocation:
    """FileAllocationInformation ([MS-FSCC] 2.4.4): the new allocation in bytes."""

    allocation_size: int


@dataclass(frozen=True, slots=True)
class SetValidDataLength:
    """FileValidDataLengthInformation ([MS-FSCC] 2.4.48): bytes that hold data."""

    valid_data_length: int


@dataclass(frozen=True, slots=True)
class SetPosition:
    """FilePositionInformation ([MS-FSCC] 2.4.39): kept with the open, used by no read."""

    current_byte_offset: int


@dataclass(frozen=True, slots=True)
class SetMode:
    """FileModeInformation ([MS-FSCC] 2.4.30)."""

    mode: int


SetRequest = (
    SetBasic
    | SetRename
    | SetLink
    | SetDisposition
    | SetEndOfFile
    | SetAllocation
    | SetValidDataLength
    | SetPosition
    | SetMode
)

_U32 = struct.Struct("<I")
# Bytes of a path: what a UNICODE_STRING counts in 16 bits, in whole characters.
_NAME_MAX = 0xFFFE
_I64 = struct.Struct("<q")


def _require(buffer: memoryview, size: int) -> None:
    """Raise SmbError(INFO_LENGTH_MISMATCH) unless `buffer` has `size` bytes."""
    if len(buffer) < size:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)


def _length(buffer: memoryview) -> int:
    """Return the byte count that is all of the structure; SmbError when it is negative."""
    _require(buffer, _I64.size)
    (value,) = _I64.unpack_from(buffer)
    if value < 0:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return int(value)


def parse_basic(buffer: memoryview) -> SetBasic:
    """Read FileBasicInformation ([MS-FSA] 2.1.5.15.2); times are the TIME_ values or positive."""
    _require(buffer, SetBasic.SIZE)
    basic = SetBasic.parse(buffer)
    times = (basic.creation_time, basic.last_access_time, basic.last_write_time, basic.change_time)
    if min(times) < TIME_RESUME_UPDATES:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return basic


def _name_change(buffer: memoryview) -> tuple[int, str]:
    """Return the flags and the name of a rename or link ([MS-FSA] 2.1.5.15.11, 2.1.5.15.6).

    The documents ask for 24 bytes at least; clients exist that do not pad a one-letter name,
    and nothing is gained by refusing them.
    """
    _require(buffer, _NameChange.SIZE)
    fixed = _NameChange.parse(buffer)
    length = fixed.file_name_length
    end = _NameChange.SIZE + length
    if fixed.root_directory or not length or length & 1 or end > len(buffer):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    if length > _NAME_MAX:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    return fixed.flags, decode(buffer[_NameChange.SIZE : end])


def parse_rename(buffer: memoryview) -> SetRename:
    """Read FileRenameInformation ([MS-FSCC] 2.4.41.2)."""
    flags, name = _name_change(buffer)
    return SetRename(name, flags & _REPLACE_IF_EXISTS != 0)


def parse_rename_ex(buffer: memoryview) -> SetRename:
    """Read FileRenameInformationEx: the plain form with Flags.

    SmbError(NOT_SUPPORTED) for flags of storage reserves, which there are not here.
    """
    flags, name = _name_change(buffer)
    if flags & ~_RENAME_FLAGS:
        raise SmbError(NtStatus.NOT_SUPPORTED)
    return SetRename(
        name,
        replace=flags & FILE_RENAME_REPLACE_IF_EXISTS != 0,
        posix=flags & FILE_RENAME_POSIX_SEMANTICS != 0,
        ignore_read_only=flags & FILE_RENAME_IGNORE_READONLY_ATTRIBUTE != 0,
    )


def parse_link(buffer: memoryview) -> SetLink:
    """Read FileLinkInformation ([MS-FSCC] 2.4.27.2)."""
    flags, name = _name_change(buffer)
    return SetLink(name, flags & _REPLACE_IF_EXISTS != 0)


def parse_disposition(buffer: memoryview) -> SetDisposition:
    """Read FileDispositionInformation ([MS-FSCC] 2.4.11)."""
    _require(buffer, 1)
    return SetDisposition(FILE_DISPOSITION_DELETE if buffer[0] else 0)


def parse_disposition_ex(buffer: memoryview) -> SetDisposition:
    """Read FileDispositionInformationEx (ntddk.h)."""
    _require(buffer, _U32.size)
    (flags,) = _U32.unpack_from(buffer)
    if flags & ~_DISPOSITION_FLAGS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return SetDisposition(flags)


def parse_end_of_file(buffer: memoryview) -> SetEndOfFile:
    """Read FileEndOfFileInformation ([MS-FSCC] 2.4.13)."""
    return SetEndOfFile(_length(buffer))


def parse_allocation(buffer: memoryview) -> SetAllocation:
    """Read FileAllocationInformation ([MS-FSCC] 2.4.4)."""
    return SetAllocation(_length(buffer))


def parse_valid_data_length(buffer: memoryview) -> SetValidDataLength:
    """Read FileValidDataLengthInformation ([MS-FSCC] 2.4.48)."""
    return SetValidDataLength(_length(buffer))


def parse_position(buffer: memoryview) -> SetPosition:
    """Read FilePositionInformation ([MS-FSCC] 2.4.39)."""
    return SetPosition(_length(buffer))


def parse_mode(buffer: memoryview) -> SetMode:
    """Read FileModeInformation ([MS-FSA] 2.1.5.15.7)."""
    _require(buffer, _U32.size)
    (mode,) = _U32.unpack_from(buffer)
    if mode & ~_MODE_FLAGS or mode & _SYNCHRONOUS == _SYNCHRONOUS:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return SetMode(mode)


#: Every class that can be set on a file, by level, but EAs: those are read one by one.
FILE_SETTERS: dict[int, Callable[[memoryview], SetRequest]] = {
    file_info.FileBasicInformation: parse_basic,
    FileRenameInformation: parse_rename,
    FileRenameInformationEx: parse_rename_ex,
    FileLinkInformation: parse_link,
    FileDispositionInformation: parse_disposition,
    FileDispositionInformationEx: parse_disposition_ex,
    file_info.FilePositionInformation: parse_position,
    file_info.FileModeInformation: parse_mode,
    FileAllocationInformation: parse_allocation,
    FileEndOfFileInformation: parse_end_of_file,
    FileValidDataLengthInformation: parse_valid_data_length,
}

# Classes that [MS-SMB2] 2.2.39 allows to be set and that the object store does not have: pipe
# modes, quotas and short names.
_UNSUPPORTED = frozenset({23, 32, FileShortNameInformation})


def parse_set(level: int, buffer: memoryview) -> SetRequest:
    """Read a SET_INFO's buffer ([MS-SMB2] 3.3.5.21.1); errors as the class's parser.

    Raises SmbError(NOT_SUPPORTED) for a settable class that is not served,
    SmbError(INVALID_INFO_CLASS) for one that cannot be set.
    """
    parser = FILE_SETTERS.get(level)
    if parser is None:
        unsupported = level in _UNSUPPORTED
        raise SmbError(NtStatus.NOT_SUPPORTED if unsupported else NtStatus.INVALID_INFO_CLASS)
    return parser(buffer)
