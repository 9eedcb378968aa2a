"""QUERY_INFO of files, file systems and security descriptors."""

import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.access import FILE_READ_DATA
from usmbd.protocol.wire.fscc import file_info, fs_info
from usmbd.protocol.wire.fscc.file_info import StandardInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    OWNER_SECURITY_INFORMATION,
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_QUOTA,
    SMB2_0_INFO_SECURITY,
)
from usmbd.protocol.wire.security import SecurityDescriptor
from usmbd.protocol.wire.status import NtStatus


@pytest.fixture
def file(engine: Engine, client: Client) -> FileId:
    (engine.files / "dir").mkdir()
    (engine.files / "dir" / "file").write_bytes(bytes(5000))
    return client.open("DIR\\FILE")


def ask(client: Client, file: FileId, level: int, **options: int) -> bytes | NtStatus:
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, level, **options))
    ok = reply.status in (NtStatus.SUCCESS, NtStatus.BUFFER_OVERFLOW)
    return reply.data if ok else reply.status


@pytest.mark.parametrize("level", [4, 5, 6, 7, 8, 9, 14, 16, 17, 18, 21, 22, 28, 34, 35, 48, 59])
def test_every_class_of_a_file(client: Client, file: FileId, level: int) -> None:
    assert isinstance(ask(client, file, level), bytes)


def test_standard_information(client: Client, file: FileId) -> None:
    data = ask(client, file, file_info.FileStandardInformation)
    assert isinstance(data, bytes)
    standard = StandardInformation.parse(data)
    assert standard.end_of_file == 5000
    assert standard.number_of_links == 1
    assert (standard.delete_pending, standard.directory) == (0, 0)
    client.call(Command.SET_INFO, requests.set_info(file, 13, b"\1"))
    data = ask(client, file, file_info.FileStandardInformation)
    assert isinstance(data, bytes)
    assert StandardInformation.parse(data).delete_pending == 1


def test_the_name_is_the_files_present_one(client: Client, file: FileId, engine: Engine) -> None:
    (engine.files / "dir").rename(engine.files / "Moved")
    data = ask(client, file, file_info.FileNormalizedNameInformation)
    assert isinstance(data, bytes)
    assert data[4:].decode("utf-16-le") == "Moved\\file"


def test_a_name_that_does_not_fit_is_cut(client: Client, file: FileId) -> None:
    body = requests.query_info(file, file_info.FileNormalizedNameInformation, limit=12)
    reply = client.call(Command.QUERY_INFO, body)
    assert reply.status is NtStatus.BUFFER_OVERFLOW
    assert reply.data[4:].decode("utf-16-le") == "dir\\"


def test_what_may_not_be_asked(client: Client, file: FileId) -> None:
    assert ask(client, file, 250) is NtStatus.INVALID_INFO_CLASS
    basic = file_info.FileBasicInformation
    assert ask(client, file, basic, limit=39) is NtStatus.INFO_LENGTH_MISMATCH
    assert ask(client, file, basic, limit=65537) is NtStatus.INVALID_PARAMETER
    assert ask(client, file, basic, kind=SMB2_0_INFO_QUOTA) is NtStatus.NOT_SUPPORTED
    blind = client.open("dir\\file", FILE_READ_DATA)
    assert ask(client, blind, basic) is NtStatus.ACCESS_DENIED
    assert isinstance(ask(client, blind, file_info.FileStandardInformation), bytes)


def test_a_name_of_311_is_none_of_302(engine: Engine) -> None:
    client = Client(engine).ready(0x302)
    status = ask(client, client.open("x"), file_info.FileNormalizedNameInformation)
    assert status is NtStatus.NOT_SUPPORTED


@pytest.mark.parametrize("level", [1, 3, 4, 5, 6, 7, 8, 11])
def test_every_class_of_a_file_system(client: Client, file: FileId, level: int) -> None:
    assert isinstance(ask(client, file, level, kind=SMB2_0_INFO_FILESYSTEM), bytes)


def test_the_label_is_the_shares_name(client: Client, file: FileId, engine: Engine) -> None:
    data = ask(client, file, fs_info.FileFsVolumeInformation, kind=SMB2_0_INFO_FILESYSTEM)
    assert isinstance(data, bytes)
    assert data[18:].decode("utf-16-le") == "data"
    sizes = ask(client, file, fs_info.FileFsSizeInformation, kind=SMB2_0_INFO_FILESYSTEM)
    assert isinstance(sizes, bytes)
    total, free, sectors, sector = struct.unpack("<QQII", sizes)
    assert 0 < free <= total
    assert sectors * sector == 4096


def test_the_read_only_share_says_so(engine: Engine) -> None:
    def attributes(client: Client) -> int:
        kind = SMB2_0_INFO_FILESYSTEM
        root = client.open("", FILE_READ_DATA, 1)
        data = ask(client, root, fs_info.FileFsAttributeInformation, kind=kind)
        assert isinstance(data, bytes)
        return int.from_bytes(data[:4], "little")

    writable, readonly = Client(engine).ready(), Client(engine).ready(share="readonly")
    assert attributes(writable) ^ attributes(readonly) == 0x00080000


def test_a_security_descriptor(client: Client, file: FileId) -> None:
    wanted = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION
    data = ask(client, file, 0, kind=SMB2_0_INFO_SECURITY, additional=wanted)
    assert isinstance(data, bytes)
    descriptor = SecurityDescriptor.parse(memoryview(data))
    assert descriptor.owner is not None
    assert descriptor.group is None
    assert descriptor.dacl is not None
    small = requests.query_info(
        file, 0, SMB2_0_INFO_SECURITY, limit=len(data) - 1, additional=wanted
    )
    reply = client.call(Command.QUERY_INFO, small)
    assert reply.status is NtStatus.BUFFER_TOO_SMALL
    assert reply.body[-4:] == len(data).to_bytes(4, "little")


def test_a_directory_lists_its_streams_without_a_data_stream(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    (engine.files / "folder").mkdir()
    client.close(client.open("folder:tag"))
    data = ask(client, client.open("folder", FILE_READ_DATA), file_info.FileStreamInformation)
    assert isinstance(data, bytes)
    assert data[24:].decode("utf-16-le").rstrip("\0") == ":tag:$DATA"
