"""File system information against an independent decoder and its fixed sizes."""

import struct
from dataclasses import replace

import pytest
from smbprotocol import file_info as oracle

from usmbd.protocol.wire.fscc import fs_info
from usmbd.protocol.wire.fscc.fs_info import ControlInformation, QueriedVolume, query_fs
from usmbd.protocol.wire.status import NtStatus, SmbError

FACTS = QueriedVolume(
    label="Größe",
    serial=0x1_2345_6789,
    creation_time=133_000_000_000_000_000,
    total_units=1000,
    available_units=400,
    free_units=500,
    sectors_per_unit=8,
    bytes_per_sector=512,
    attributes=0x0004004F,
    maximum_component_length=255,
    object_id=bytes(range(16)),
)
LARGE = 65535


def query(level: int) -> bytes:
    status, data = query_fs(level, FACTS, LARGE)
    assert status == NtStatus.SUCCESS
    return data


def test_volume() -> None:
    decoded = oracle.FileFsVolumeInformation()
    decoded.unpack(query(fs_info.FileFsVolumeInformation))
    assert decoded["volume_label"].get_value() == "Größe"
    assert decoded["volume_serial_number"].get_value() == 0x2345_6789


@pytest.mark.parametrize("label", ["", "x", "tm", "abc"])
def test_a_short_label_is_padded_to_what_clients_take(label: str) -> None:
    status, data = query_fs(fs_info.FileFsVolumeInformation, replace(FACTS, label=label), LARGE)
    assert status == NtStatus.SUCCESS
    assert len(data) == 24
    assert struct.unpack_from("<I", data, 12) == (2 * len(label),)
    assert data[18:] == label.encode("utf-16-le").ljust(6, b"\0")


def test_full_size() -> None:
    decoded = oracle.FileFsFullSizeInformation()
    decoded.unpack(query(fs_info.FileFsFullSizeInformation))
    values = [field.get_value() for field in decoded.fields.values()]
    assert values == [1000, 400, 500, 8, 512]


def test_object_id() -> None:
    data = query(fs_info.FileFsObjectIdInformation)
    assert data == bytes(range(16)) + bytes(48)
    assert fs_info.parse_object_id(data).object_id == bytes(range(16))


def test_other_classes() -> None:
    assert query(fs_info.FileFsSizeInformation) == struct.pack("<QQII", 1000, 400, 8, 512)
    assert query(fs_info.FileFsDeviceInformation) == struct.pack("<II", 7, 0x20)
    name = "NTFS".encode("utf-16-le")
    attribute = struct.pack("<III", 0x0004004F, 255, 8) + name
    assert query(fs_info.FileFsAttributeInformation) == attribute
    sector = struct.pack("<IIIIIII", 512, 4096, 4096, 4096, 3, 0, 0)
    assert query(fs_info.FileFsSectorSizeInformation) == sector


def test_control_without_quotas_limits_nothing() -> None:
    control = fs_info.parse_control(query(fs_info.FileFsControlInformation))
    assert control == ControlInformation()
    assert (control.default_quota_threshold, control.default_quota_limit) == (-1, -1)
    with pytest.raises(SmbError):
        fs_info.parse_control(bytes(47))


@pytest.mark.parametrize(
    ("level", "fixed"), [(1, 24), (3, 24), (4, 8), (5, 16), (6, 48), (7, 32), (8, 64), (11, 28)]
)
def test_short_buffers(level: int, fixed: int) -> None:
    full = query(level)
    for limit in range(len(full) + 1):
        if limit < fixed:
            with pytest.raises(SmbError) as caught:
                query_fs(level, FACTS, limit)
            assert caught.value.status == NtStatus.INFO_LENGTH_MISMATCH
            continue
        status, data = query_fs(level, FACTS, limit)
        assert status == (NtStatus.SUCCESS if limit == len(full) else NtStatus.BUFFER_OVERFLOW)
        assert data == full[: limit & ~1]


def test_classes_that_are_not_queried() -> None:
    for level, status in [(2, NtStatus.NOT_SUPPORTED), (12, NtStatus.INVALID_INFO_CLASS)]:
        with pytest.raises(SmbError) as caught:
            query_fs(level, FACTS, LARGE)
        assert caught.value.status == status


@pytest.mark.parametrize("size", [0, 15, fs_info.ObjectIdInformation.SIZE - 1])
def test_an_object_id_that_is_cut_short_has_the_wrong_length(size: int) -> None:
    with pytest.raises(SmbError) as refused:
        fs_info.parse_object_id(bytes(size))
    assert refused.value.status is NtStatus.INFO_LENGTH_MISMATCH
