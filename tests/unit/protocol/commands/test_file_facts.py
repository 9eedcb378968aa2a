"""FSCTLs that answer from what a file is, and each that a client may try and cannot have."""

import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import (
    FILE_APPEND_DATA,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.status import NtStatus

SIZE = 10_000
NONE, DEFAULT, LZNT1 = (struct.pack("<H", n) for n in (0, 1, 2))


@pytest.fixture
def file(engine: Engine, client: Client) -> FileId:
    (engine.files / "file").write_bytes(b"x" * SIZE)
    return client.open("file")


@pytest.fixture
def pipe(engine: Engine, client: Client) -> FileId:
    """Return an open pipe, of the client's tree from then on."""
    client.connect("ipc$")
    return client.open("echo")


def ioctl(client: Client, file: FileId, code: int, data: bytes = b"", limit: int = 4096) -> Reply:
    return client.call(Command.IOCTL, requests.ioctl(file, code, data, limit))


def output(reply: Reply) -> bytes:
    assert reply.status is NtStatus.SUCCESS
    fixed = reply.parse(IoctlResponse)
    return reply.message[fixed.output_offset :][: fixed.output_count]


@pytest.mark.parametrize("name", ["file", "dir", "file:stream"])
def test_compression(client: Client, file: FileId, name: str) -> None:
    """Nothing is compressed; to leave it so can be asked for, as from ReFS."""
    options = FILE_DIRECTORY_FILE if name == "dir" else 0
    opened = client.open(name, options=options)
    get, put = fsctl.FSCTL_GET_COMPRESSION, fsctl.FSCTL_SET_COMPRESSION
    assert output(ioctl(client, opened, get, limit=2)) == NONE
    assert ioctl(client, opened, get, limit=1).status is NtStatus.INVALID_PARAMETER
    assert ioctl(client, opened, put, NONE).status is NtStatus.SUCCESS
    assert ioctl(client, opened, put, DEFAULT).status is NtStatus.NOT_SUPPORTED
    assert ioctl(client, opened, put, LZNT1).status is NtStatus.NOT_SUPPORTED
    for bad in (b"", b"\0", b"\3\0", b"\0\1", b"\xff\xff"):
        assert ioctl(client, opened, put, bad).status is NtStatus.INVALID_PARAMETER


def test_rights_to_compress(client: Client, file: FileId) -> None:
    """To see it takes none, to set it FILE_WRITE_DATA, as with Windows and Samba."""
    get, put = fsctl.FSCTL_GET_COMPRESSION, fsctl.FSCTL_SET_COMPRESSION
    for access in (FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_APPEND_DATA):
        opened = client.open("file", access)
        assert output(ioctl(client, opened, get)) == NONE
        assert ioctl(client, opened, put, NONE).status is NtStatus.ACCESS_DENIED
    opened = client.open("file", FILE_WRITE_DATA)
    assert ioctl(client, opened, put, NONE).status is NtStatus.SUCCESS


def test_object_ids_last(client: Client, engine: Engine, file: FileId) -> None:
    other = client.open("other")
    ids = {
        output(ioctl(client, opened, code))[:16]
        for opened in (file, client.open("FILE"))
        for code in (fsctl.FSCTL_CREATE_OR_GET_OBJECT_ID, fsctl.FSCTL_GET_OBJECT_ID)
    }
    assert len(ids) == 1
    assert output(ioctl(client, other, fsctl.FSCTL_GET_OBJECT_ID))[:16] not in ids
    short = ioctl(client, file, fsctl.FSCTL_GET_OBJECT_ID, limit=63)
    assert short.status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("asked", "region"),
    [
        (b"", (0, SIZE, 1)),
        (struct.pack("<qqII", 0, SIZE, 1, 0), (0, SIZE, 1)),
        (struct.pack("<qqII", 0, 2**63 - 1, 2, 0), (0, SIZE, 2)),
        (struct.pack("<qqII", 100, 50, 1, 0), (100, 50, 1)),
        (struct.pack("<qqII", SIZE - 1, 50, 1, 0), (SIZE - 1, 1, 1)),
        (struct.pack("<qqII", SIZE, 50, 1, 0), None),
        (struct.pack("<qqII", 2**62, 2**61, 1, 0), None),
        (struct.pack("<qqII", 5, 0, 1, 0), None),
    ],
)
def test_regions(
    client: Client, file: FileId, asked: bytes, region: tuple[int, int, int] | None
) -> None:
    count = int(region is not None)
    expected = struct.pack("<IIII", 0, count, count, 0)
    if region is not None:
        expected += struct.pack("<QQII", *region, 0)
    assert output(ioctl(client, file, fsctl.FSCTL_QUERY_FILE_REGIONS, asked, 40)) == expected


def test_regions_of_a_stream(client: Client) -> None:
    stream = client.open("file:stream")
    client.call(Command.WRITE, requests.write(stream, b"12345"))
    found = output(ioctl(client, stream, fsctl.FSCTL_QUERY_FILE_REGIONS))
    assert struct.unpack_from("<QQ", found, 16) == (0, 5)


@pytest.mark.parametrize(
    "asked",
    [
        struct.pack("<qqII", 0, 1, 0, 0),
        struct.pack("<qqII", 0, 1, 3, 0),
        struct.pack("<qqII", -1, 1, 1, 0),
        struct.pack("<qqII", 0, -1, 1, 0),
        struct.pack("<qqII", 2**63 - 1, 1, 1, 0),
        struct.pack("<qqI", 0, 1, 1),
    ],
)
def test_regions_that_cannot_be(client: Client, file: FileId, asked: bytes) -> None:
    reply = ioctl(client, file, fsctl.FSCTL_QUERY_FILE_REGIONS, asked)
    assert reply.status is NtStatus.INVALID_PARAMETER


def test_regions_need_room_and_a_file(client: Client, file: FileId) -> None:
    code = fsctl.FSCTL_QUERY_FILE_REGIONS
    assert ioctl(client, file, code, limit=39).status is NtStatus.BUFFER_TOO_SMALL
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert ioctl(client, directory, code).status is NtStatus.INVALID_PARAMETER


def test_there_are_no_previous_versions(client: Client, file: FileId) -> None:
    code = fsctl.FSCTL_SRV_ENUMERATE_SNAPSHOTS
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    for opened in (file, directory):
        assert output(ioctl(client, opened, code, limit=16)) == struct.pack("<IIII", 0, 0, 2, 0)
        assert ioctl(client, opened, code, limit=15).status is NtStatus.INVALID_PARAMETER


DEVICE, SUPPORTED = NtStatus.INVALID_DEVICE_REQUEST, NtStatus.NOT_SUPPORTED
REFUSED = {
    "IS_VOLUME_MOUNTED": (0x00090028, DEVICE),
    "IS_PATHNAME_VALID": (0x0009002C, DEVICE),
    "LOCK_VOLUME": (0x00090018, DEVICE),
    "UNLOCK_VOLUME": (0x0009001C, DEVICE),
    "DISMOUNT_VOLUME": (0x00090020, DEVICE),
    "QUERY_FAT_BPB": (0x00090058, DEVICE),
    "FILESYSTEM_GET_STATISTICS": (0x00090060, DEVICE),
    "GET_NTFS_VOLUME_DATA": (0x00090064, DEVICE),
    "GET_REFS_VOLUME_DATA": (0x000902D8, DEVICE),
    "GET_RETRIEVAL_POINTERS": (0x00090073, DEVICE),
    "FIND_FILES_BY_SID": (0x0009008F, DEVICE),
    "SET_OBJECT_ID": (0x00090098, DEVICE),
    "DELETE_OBJECT_ID": (0x000900A0, DEVICE),
    "SET_OBJECT_ID_EXTENDED": (0x000900BC, DEVICE),
    "SET_ENCRYPTION": (0x000900D7, DEVICE),
    "READ_FILE_USN_DATA": (0x000900EB, DEVICE),
    "WRITE_USN_CLOSE_RECORD": (0x000900EF, DEVICE),
    "QUERY_SPARING_INFO": (0x00090138, DEVICE),
    "QUERY_ON_DISK_VOLUME_INFO": (0x0009013C, DEVICE),
    "SET_ZERO_ON_DEALLOCATION": (0x00090194, DEVICE),
    "SET_SHORT_NAME_BEHAVIOR": (0x000901B4, DEVICE),
    "GET_INTEGRITY_INFORMATION": (0x0009027C, DEVICE),
    "SET_INTEGRITY_INFORMATION": (0x0009C280, DEVICE),
    "SET_INTEGRITY_INFORMATION_EX": (0x00090380, DEVICE),
    "REFS_STREAM_SNAPSHOT_MANAGEMENT": (0x00090440, DEVICE),
    "SET_DEFECT_MANAGEMENT": (0x00098134, DEVICE),
    "OFFLOAD_READ": (0x00094264, DEVICE),
    "OFFLOAD_WRITE": (0x00098268, DEVICE),
    "SIS_COPYFILE": (0x00090100, DEVICE),
    "MARK_HANDLE": (0x000900FC, DEVICE),
    "RECALL_FILE": (0x00090117, DEVICE),
    "SVHDX_SYNC_TUNNEL_REQUEST": (0x00090304, DEVICE),
    "QUERY_SHARED_VIRTUAL_DISK_SUPPORT": (0x00090300, DEVICE),
    "an unknown one": (0x00091234, DEVICE),
    "of no device": (0xFFFFFFFF, DEVICE),
    "zero": (0, DEVICE),
    "SRV_READ_HASH": (fsctl.FSCTL_SRV_READ_HASH, SUPPORTED),
}
"""What no client gets, by its name: as Windows and Samba answer on a volume without the feature."""


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(client: Client, file: FileId, name: str) -> None:
    """Whatever comes with it; and without a file by its own status."""
    code, status = REFUSED[name]
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    for opened in (file, directory):
        for data, limit in ((b"", 0), (bytes(512), 4096)):
            assert ioctl(client, opened, code, data, limit).status is status
    assert ioctl(client, requests.RELATED, code).status is NtStatus.FILE_CLOSED
    assert ioctl(client, (3, 3), code).status is NtStatus.FILE_CLOSED


FILES_ONLY = [
    fsctl.FSCTL_GET_COMPRESSION,
    fsctl.FSCTL_SET_COMPRESSION,
    fsctl.FSCTL_CREATE_OR_GET_OBJECT_ID,
    fsctl.FSCTL_GET_OBJECT_ID,
    fsctl.FSCTL_QUERY_FILE_REGIONS,
    fsctl.FSCTL_SRV_ENUMERATE_SNAPSHOTS,
    fsctl.FSCTL_SET_SPARSE,
    fsctl.FSCTL_SET_ZERO_DATA,
    fsctl.FSCTL_QUERY_ALLOCATED_RANGES,
    fsctl.FSCTL_FILE_LEVEL_TRIM,
    fsctl.FSCTL_DUPLICATE_EXTENTS_TO_FILE,
    fsctl.FSCTL_GET_REPARSE_POINT,
    fsctl.FSCTL_DELETE_REPARSE_POINT,
]


@pytest.mark.parametrize("code", FILES_ONLY, ids=hex)
def test_a_pipe_is_no_file(client: Client, pipe: FileId, code: int) -> None:
    assert ioctl(client, pipe, code, bytes(64)).status is DEVICE
    assert ioctl(client, (3, 3), code, bytes(64)).status is NtStatus.FILE_CLOSED


def test_a_file_is_no_pipe(client: Client, file: FileId) -> None:
    for code in (fsctl.FSCTL_PIPE_PEEK, fsctl.FSCTL_PIPE_TRANSCEIVE):
        assert ioctl(client, file, code).status is DEVICE


def test_the_files_are_as_they_were(client: Client, engine: Engine, file: FileId) -> None:
    path: Path = engine.files / "file"
    before = path.stat()
    for code, _ in REFUSED.values():
        ioctl(client, file, code, bytes(512))
    after = path.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
