"""FSCTL codes ([MS-SMB2] 2.2.31, [MS-FSCC] 2.3) and the data of those on files and pipes.

The data of the codes that SMB2 itself defines is in `fsctl_smb2`.
"""

import struct
from typing import ClassVar

from usmbd.protocol.wire.base import Wire, bytes16, i64, u8, u32, u64
from usmbd.protocol.wire.names import decode
from usmbd.protocol.wire.status import NtStatus, SmbError

# Defined by [MS-SMB2] 2.2.31
FSCTL_DFS_GET_REFERRALS = 0x00060194
FSCTL_DFS_GET_REFERRALS_EX = 0x000601B0
FSCTL_PIPE_WAIT = 0x00110018
FSCTL_PIPE_PEEK = 0x0011400C
FSCTL_PIPE_TRANSCEIVE = 0x0011C017
FSCTL_SRV_REQUEST_RESUME_KEY = 0x00140078
FSCTL_SRV_ENUMERATE_SNAPSHOTS = 0x00144064
FSCTL_SRV_COPYCHUNK = 0x001440F2
FSCTL_SRV_COPYCHUNK_WRITE = 0x001480F2
FSCTL_SRV_READ_HASH = 0x001441BB
FSCTL_LMR_REQUEST_RESILIENCY = 0x001401D4
FSCTL_LMR_SET_LINK_TRACKING_INFORMATION = 0x001400EC
FSCTL_QUERY_NETWORK_INTERFACE_INFO = 0x001401FC
FSCTL_VALIDATE_NEGOTIATE_INFO = 0x00140204
FSCTL_SET_REPARSE_POINT = 0x000900A4
FSCTL_GET_REPARSE_POINT = 0x000900A8
FSCTL_FILE_LEVEL_TRIM = 0x00098208

# Defined by [MS-FSCC] 2.3, passed to the file system
FSCTL_IS_VOLUME_MOUNTED = 0x00090028
FSCTL_IS_PATHNAME_VALID = 0x0009002C
FSCTL_GET_COMPRESSION = 0x0009003C
FSCTL_SET_COMPRESSION = 0x0009C040
FSCTL_GET_NTFS_VOLUME_DATA = 0x00090064
FSCTL_FIND_FILES_BY_SID = 0x0009008F
FSCTL_SET_OBJECT_ID = 0x00090098
FSCTL_GET_OBJECT_ID = 0x0009009C
FSCTL_DELETE_OBJECT_ID = 0x000900A0
FSCTL_DELETE_REPARSE_POINT = 0x000900AC
FSCTL_CREATE_OR_GET_OBJECT_ID = 0x000900C0
FSCTL_SET_SPARSE = 0x000900C4
FSCTL_SET_ZERO_DATA = 0x000980C8
FSCTL_QUERY_ALLOCATED_RANGES = 0x000940CF
FSCTL_READ_FILE_USN_DATA = 0x000900EB
FSCTL_GET_INTEGRITY_INFORMATION = 0x0009027C
FSCTL_SET_INTEGRITY_INFORMATION = 0x0009C280
FSCTL_QUERY_FILE_REGIONS = 0x00090284
FSCTL_OFFLOAD_READ = 0x00094264
FSCTL_OFFLOAD_WRITE = 0x00098268
FSCTL_DUPLICATE_EXTENTS_TO_FILE = 0x00098344
FSCTL_DUPLICATE_EXTENTS_TO_FILE_EX = 0x000983E8

# CompressionState of GET and SET_COMPRESSION, one u16 ([MS-FSCC] 2.3.20, 2.3.77)
COMPRESSION_FORMAT_NONE = 0x0000
COMPRESSION_FORMAT_DEFAULT = 0x0001
COMPRESSION_FORMAT_LZNT1 = 0x0002

COMPRESSION_FORMATS = (
    COMPRESSION_FORMAT_NONE,
    COMPRESSION_FORMAT_DEFAULT,
    COMPRESSION_FORMAT_LZNT1,
)

# DesiredUsage of QUERY_FILE_REGIONS ([MS-FSCC] 2.3.55)
FILE_REGION_USAGE_VALID_CACHED_DATA = 0x00000001
FILE_REGION_USAGE_VALID_NONCACHED_DATA = 0x00000002
FILE_REGION_USAGES = (FILE_REGION_USAGE_VALID_CACHED_DATA, FILE_REGION_USAGE_VALID_NONCACHED_DATA)

# NamedPipeState of a FSCTL_PIPE_PEEK reply ([MS-FSCC] 2.3.46)
FILE_PIPE_CONNECTED_STATE = 0x00000003
FILE_PIPE_CLOSING_STATE = 0x00000004

# A pipe's name in PIPE_WAIT is short; Windows' limit for a file name component.
MAXIMUM_PIPE_NAME_BYTES = 512


class FileAllocatedRange(Wire, size=16):
    """FILE_ALLOCATED_RANGE_BUFFER, in and out of QUERY_ALLOCATED_RANGES ([MS-FSCC] 2.3.52)."""

    file_offset: i64
    length: i64


class FileZeroData(Wire, size=16):
    """FILE_ZERO_DATA_INFORMATION of SET_ZERO_DATA ([MS-FSCC] 2.3.85): [offset, beyond)."""

    file_offset: i64
    beyond_final_zero: i64


class DuplicateExtents(Wire, size=40):
    """SMB2_DUPLICATE_EXTENTS_DATA ([MS-FSCC] 2.3.7.2): the source is an open of this session."""

    persistent: u64
    volatile: u64
    source_file_offset: i64
    target_file_offset: i64
    byte_count: i64


DUPLICATE_EXTENTS_DATA_EX_SOURCE_ATOMIC = 0x00000001


class DuplicateExtentsEx(Wire, size=56):
    """SMB2_DUPLICATE_EXTENTS_DATA_EX ([MS-FSCC] 2.3.9.2)."""

    STRUCTURE_SIZE: ClassVar[int] = 48
    structure_size: u64 = 48
    persistent: u64
    volatile: u64
    source_file_offset: i64
    target_file_offset: i64
    byte_count: i64
    flags: u32 = 0
    reserved: u32 = 0


class FileLevelTrim(Wire, size=8):
    """FILE_LEVEL_TRIM ([MS-FSCC] 2.3.13), before its ranges."""

    key: u32
    num_ranges: u32


TRIM_RANGE = struct.Struct("<QQ")
"""FILE_LEVEL_TRIM_RANGE ([MS-FSCC] 2.3.13.1): offset, length."""


class FileRegionInput(Wire, size=24):
    """FILE_REGION_INPUT of QUERY_FILE_REGIONS ([MS-FSCC] 2.3.55)."""

    file_offset: i64 = 0
    length: i64
    desired_usage: u32 = FILE_REGION_USAGE_VALID_CACHED_DATA
    reserved: u32 = 0


class FileRegionInfo(Wire, size=24):
    """FILE_REGION_INFO ([MS-FSCC] 2.3.56.1)."""

    file_offset: i64
    length: i64
    desired_usage: u32
    reserved: u32 = 0


class FileRegionOutput(Wire, size=16):
    """FILE_REGION_OUTPUT ([MS-FSCC] 2.3.56), before its regions."""

    flags: u32 = 0
    total_region_entry_count: u32
    region_entry_count: u32
    reserved: u32 = 0


class FileObjectId(Wire, size=64):
    """FILE_OBJECTID_BUFFER type 1 ([MS-FSCC] 2.1.3.1)."""

    object_id: bytes16
    birth_volume_id: bytes16
    birth_object_id: bytes16
    domain_id: bytes16 = bytes(16)


class PipePeek(Wire, size=16):
    """FSCTL_PIPE_PEEK Reply ([MS-FSCC] 2.3.46), before Data."""

    named_pipe_state: u32 = FILE_PIPE_CONNECTED_STATE
    read_data_available: u32
    number_of_messages: u32
    message_length: u32


class PipeWait(Wire, size=14):
    """FSCTL_PIPE_WAIT Request ([MS-FSCC] 2.3.49), before Name; `timeout` in 100 ns."""

    timeout: i64
    name_length: u32
    timeout_specified: u8
    padding: u8 = 0


def parse_pipe_wait(data: memoryview) -> tuple[PipeWait, str]:
    """Return the request and the pipe's name; SmbError(INVALID_PARAMETER) when it is cut off."""
    wait = PipeWait.parse(data)
    end = PipeWait.SIZE + wait.name_length
    if wait.name_length > MAXIMUM_PIPE_NAME_BYTES or end > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return wait, decode(data[PipeWait.SIZE : end])


def parse_trim(data: memoryview) -> memoryview:
    """Return FILE_LEVEL_TRIM's ranges as they are; SmbError(INVALID_PARAMETER) when cut off.

    Each is a TRIM_RANGE; not read here, as a request may have half a million of them.
    """
    trim = FileLevelTrim.parse(data)
    end = FileLevelTrim.SIZE + trim.num_ranges * TRIM_RANGE.size
    if trim.key or not trim.num_ranges or end > len(data):
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return data[FileLevelTrim.SIZE : end]
