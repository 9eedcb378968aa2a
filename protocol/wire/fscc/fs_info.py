"""File system information classes ([MS-FSCC] 2.5): answers to QUERY_INFO, and what is settable."""

import struct
from dataclasses import dataclass

from usmbd.protocol.wire.base import Buffer, Wire, bytes16, i64, u8, u32, u64
from usmbd.protocol.wire.fscc.attributes import FILE_DEVICE_DISK, FILE_DEVICE_IS_MOUNTED
from usmbd.protocol.wire.fscc.query import InformationClass, answer
from usmbd.protocol.wire.names import encode
from usmbd.protocol.wire.status import NtStatus, SmbError

FileFsVolumeInformation = 1
FileFsLabelInformation = 2
FileFsSizeInformation = 3
FileFsDeviceInformation = 4
FileFsAttributeInformation = 5
FileFsControlInformation = 6
FileFsFullSizeInformation = 7
FileFsObjectIdInformation = 8
FileFsDriverPathInformation = 9
FileFsVolumeFlagsInformation = 10
FileFsSectorSizeInformation = 11

# Levels that [MS-FSCC] 2.5 documents; those that are not in the table below are local ones.
_DOCUMENTED = frozenset(range(1, 12))

# FileFsControlInformation's flags ([MS-FSCC] 2.5.2).
FILE_VC_QUOTA_TRACK = 0x00000001
FILE_VC_QUOTA_ENFORCE = 0x00000002
FILE_VC_CONTENT_INDEX_DISABLED = 0x00000008
FILE_VC_LOG_QUOTA_THRESHOLD = 0x00000010
FILE_VC_LOG_QUOTA_LIMIT = 0x00000020
FILE_VC_LOG_VOLUME_THRESHOLD = 0x00000040
FILE_VC_LOG_VOLUME_LIMIT = 0x00000080
FILE_VC_QUOTAS_INCOMPLETE = 0x00000100
FILE_VC_QUOTAS_REBUILDING = 0x00000200

#: A quota that limits nothing ([MS-FSCC] 2.5.2).
NO_QUOTA_LIMIT = -1

# FileFsSectorSizeInformation's flags ([MS-FSCC] 2.5.7).
SSINFO_FLAGS_ALIGNED_DEVICE = 0x00000001
SSINFO_FLAGS_PARTITION_ALIGNED_ON_DEVICE = 0x00000002
SSINFO_FLAGS_NO_SEEK_PENALTY = 0x00000004
SSINFO_FLAGS_TRIM_ENABLED = 0x00000008


class ControlInformation(Wire, size=48):
    """FILE_FS_CONTROL_INFORMATION ([MS-FSCC] 2.5.2): the default quotas, in bytes."""

    free_space_start_filtering: i64 = 0
    free_space_threshold: i64 = 0
    free_space_stop_filtering: i64 = 0
    default_quota_threshold: i64 = NO_QUOTA_LIMIT
    default_quota_limit: i64 = NO_QUOTA_LIMIT
    file_system_control_flags: u32 = 0
    padding: u32 = 0


class ObjectIdInformation(Wire, size=64):
    """FILE_FS_OBJECTID_INFORMATION ([MS-FSCC] 2.5.6): a volume's GUID and 48 free bytes."""

    object_id: bytes16
    extended_info_1: bytes16 = bytes(16)
    extended_info_2: bytes16 = bytes(16)
    extended_info_3: bytes16 = bytes(16)


class VolumeInformation(Wire, size=18):
    """FILE_FS_VOLUME_INFORMATION without its label ([MS-FSCC] 2.5.9)."""

    volume_creation_time: u64
    volume_serial_number: u32
    volume_label_length: u32
    supports_objects: u8 = 0
    reserved: u8 = 0


class SizeInformation(Wire, size=24):
    """FILE_FS_SIZE_INFORMATION ([MS-FSCC] 2.5.8)."""

    total_allocation_units: u64
    available_allocation_units: u64
    sectors_per_allocation_unit: u32
    bytes_per_sector: u32


class FullSizeInformation(Wire, size=32):
    """FILE_FS_FULL_SIZE_INFORMATION ([MS-FSCC] 2.5.4)."""

    total_allocation_units: u64
    caller_available_allocation_units: u64
    actual_available_allocation_units: u64
    sectors_per_allocation_unit: u32
    bytes_per_sector: u32


class SectorSizeInformation(Wire, size=28):
    """FILE_FS_SECTOR_SIZE_INFORMATION ([MS-FSCC] 2.5.7)."""

    logical_bytes_per_sector: u32
    physical_bytes_per_sector_for_atomicity: u32
    physical_bytes_per_sector_for_performance: u32
    effective_physical_bytes_per_sector_for_atomicity: u32
    flags: u32
    byte_offset_for_sector_alignment: u32 = 0
    byte_offset_for_partition_alignment: u32 = 0


@dataclass(frozen=True, slots=True)
class QueriedVolume:
    """What the answers are built from: one share's volume ([MS-FSA] 2.1.1.1).

    Space is counted in allocation units of `sectors_per_unit` * `bytes_per_sector` bytes;
    `available_units` is what this user may take, `free_units` what is free at all.
    `serial` may be a longer number: its low 32 bits are shown.
    """

    label: str
    serial: int
    creation_time: int
    total_units: int
    available_units: int
    free_units: int
    sectors_per_unit: int
    bytes_per_sector: int
    attributes: int
    maximum_component_length: int
    object_id: bytes
    file_system_name: str = "NTFS"
    device_type: int = FILE_DEVICE_DISK
    device_characteristics: int = FILE_DEVICE_IS_MOUNTED
    quotas: int = 0
    """FILE_VC_QUOTA_TRACK or FILE_VC_QUOTA_ENFORCE, where it has any."""
    trims: bool = False
    """Blocks that hold nothing of use can be given back: FSCTL_FILE_LEVEL_TRIM."""


_DEVICE = struct.Struct("<II")
_SMALLEST_VOLUME = 24  # FILE_FS_VOLUME_INFORMATION with one letter, aligned to 8 bytes
# FileSystemAttributes, MaximumComponentNameLength, FileSystemNameLength ([MS-FSCC] 2.5.1).
_ATTRIBUTE = struct.Struct("<III")


def build_volume(volume: QueriedVolume) -> bytes:
    """FileFsVolumeInformation ([MS-FSCC] 2.5.9), zeros behind a label of less than three letters.

    By [MS-FSA] 2.1.5.13.1 it would end with the label. But smbclient's `volume` takes nothing below
    the 24 bytes of the C structure, also from smbd; VolumeLabelLength says what counts.
    """
    label = encode(volume.label)
    fixed = VolumeInformation(
        volume_creation_time=volume.creation_time,
        volume_serial_number=volume.serial & 0xFFFFFFFF,
        volume_label_length=len(label),
    )
    return (fixed.pack() + label).ljust(_SMALLEST_VOLUME, b"\0")


def build_size(volume: QueriedVolume) -> bytes:
    """FileFsSizeInformation ([MS-FSCC] 2.5.8)."""
    return SizeInformation(
        total_allocation_units=volume.total_units,
        available_allocation_units=volume.available_units,
        sectors_per_allocation_unit=volume.sectors_per_unit,
        bytes_per_sector=volume.bytes_per_sector,
    ).pack()


def build_full_size(volume: QueriedVolume) -> bytes:
    """FileFsFullSizeInformation ([MS-FSCC] 2.5.4)."""
    return FullSizeInformation(
        total_allocation_units=volume.total_units,
        caller_available_allocation_units=volume.available_units,
        actual_available_allocation_units=volume.free_units,
        sectors_per_allocation_unit=volume.sectors_per_unit,
        bytes_per_sector=volume.bytes_per_sector,
    ).pack()


def build_device(volume: QueriedVolume) -> bytes:
    """FileFsDeviceInformation ([MS-FSCC] 2.5.10)."""
    return _DEVICE.pack(volume.device_type, volume.device_characteristics)


def build_attribute(volume: QueriedVolume) -> bytes:
    """FileFsAttributeInformation ([MS-FSCC] 2.5.1)."""
    name = encode(volume.file_system_name)
    return _ATTRIBUTE.pack(volume.attributes, volume.maximum_component_length, len(name)) + name


def build_control(volume: QueriedVolume) -> bytes:
    """FileFsControlInformation ([MS-FSCC] 2.5.2): who has no quota of his own has no limit."""
    return ControlInformation(file_system_control_flags=volume.quotas).pack()


def build_object_id(volume: QueriedVolume) -> bytes:
    """FileFsObjectIdInformation ([MS-FSCC] 2.5.6)."""
    return ObjectIdInformation(object_id=volume.object_id).pack()


def build_sector_size(volume: QueriedVolume) -> bytes:
    """FileFsSectorSizeInformation ([MS-FSCC] 2.5.7): the allocation unit is what is atomic."""
    physical = volume.sectors_per_unit * volume.bytes_per_sector
    flags = SSINFO_FLAGS_ALIGNED_DEVICE | SSINFO_FLAGS_PARTITION_ALIGNED_ON_DEVICE
    if volume.trims:
        flags |= SSINFO_FLAGS_TRIM_ENABLED
    return SectorSizeInformation(
        flags=flags,
        logical_bytes_per_sector=volume.bytes_per_sector,
        physical_bytes_per_sector_for_atomicity=physical,
        physical_bytes_per_sector_for_performance=physical,
        effective_physical_bytes_per_sector_for_atomicity=physical,
    ).pack()


#: Every class that a volume can be queried for, by level.
FS_QUERIES: dict[int, InformationClass[QueriedVolume]] = {
    FileFsVolumeInformation: InformationClass(_SMALLEST_VOLUME, build_volume),
    FileFsSizeInformation: InformationClass(24, build_size),
    FileFsDeviceInformation: InformationClass(8, build_device),
    FileFsAttributeInformation: InformationClass(16, build_attribute),
    FileFsControlInformation: InformationClass(48, build_control),
    FileFsFullSizeInformation: InformationClass(32, build_full_size),
    FileFsObjectIdInformation: InformationClass(64, build_object_id),
    FileFsSectorSizeInformation: InformationClass(28, build_sector_size),
}


def query_fs(level: int, volume: QueriedVolume, limit: int) -> tuple[NtStatus, bytes]:
    """Answer a query of `level` within `limit` bytes; errors as `query.answer`.

    Raises SmbError(NOT_SUPPORTED) for a local class, SmbError(INVALID_INFO_CLASS) for none
    ([MS-SMB2] 3.3.5.20.2).
    """
    row = FS_QUERIES.get(level)
    if row is None:
        documented = level in _DOCUMENTED
        raise SmbError(NtStatus.NOT_SUPPORTED if documented else NtStatus.INVALID_INFO_CLASS)
    return answer(row, volume, limit)


def parse_control(buffer: Buffer) -> ControlInformation:
    """Read FileFsControlInformation of a SET_INFO; SmbError(INFO_LENGTH_MISMATCH) when short."""
    if len(buffer) < ControlInformation.SIZE:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
    return ControlInformation.parse(buffer)


def parse_object_id(buffer: Buffer) -> ObjectIdInformation:
    """Read FileFsObjectIdInformation of a SET_INFO; SmbError(INFO_LENGTH_MISMATCH) when short."""
    if len(buffer) < ObjectIdInformation.SIZE:
        raise SmbError(NtStatus.INFO_LENGTH_MISMATCH)
    return ObjectIdInformation.parse(buffer)
