"""SET_INFO: deletion, sizes, times; what is refused stays undone."""

import os
import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import kernel
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ADD_FILE,
    FILE_APPEND_DATA,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
)
from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_READONLY
from usmbd.protocol.wire.fscc.file_info import (
    FileBasicInformation,
    FileFullEaInformation,
    FileModeInformation,
    FilePositionInformation,
)
from usmbd.protocol.wire.fscc.set_info import (
    FileAllocationInformation,
    FileDispositionInformation,
    FileDispositionInformationEx,
    FileEndOfFileInformation,
    FileValidDataLengthInformation,
    SetBasic,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILESYSTEM
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS


@pytest.fixture
def file(engine: Engine) -> Path:
    path = engine.files / "file"
    path.write_bytes(b"content")
    return path


def change(client: Client, file: FileId, level: int, data: bytes) -> NtStatus:
    return client.call(Command.SET_INFO, requests.set_info(file, level, data)).status


# -- deletion -------------------------------------------------------------------------------------


def test_a_deletion_may_be_taken_back(client: Client, engine: Engine, file: Path) -> None:
    opened = client.open("file")
    assert change(client, opened, FileDispositionInformation, b"\1") is SUCCESS
    assert client.create("file") is NtStatus.DELETE_PENDING
    assert change(client, opened, FileDispositionInformation, b"\0") is SUCCESS
    assert client.create("file", FILE_READ_DATA) is SUCCESS
    client.close(opened)
    assert file.exists()


def test_what_is_marked_goes_with_its_last_open(client: Client, file: Path) -> None:
    first, second = client.open("file"), client.open("file")
    assert change(client, first, FileDispositionInformation, b"\1") is SUCCESS
    client.close(first)
    assert file.exists()
    client.close(second)
    assert not file.exists()


@pytest.mark.parametrize(
    ("level", "flags", "status"),
    [
        (FileDispositionInformation, b"\1", NtStatus.CANNOT_DELETE),
        (FileDispositionInformationEx, b"\1\0\0\0", NtStatus.CANNOT_DELETE),
        (FileDispositionInformationEx, b"\x11\0\0\0", SUCCESS),
    ],
)
def test_a_read_only_file_is_deleted_by_force_alone(
    client: Client, level: int, flags: bytes, status: NtStatus
) -> None:
    opened = client.open("locked", attributes=FILE_ATTRIBUTE_READONLY)
    assert change(client, opened, level, flags) is status


def test_what_cannot_be_deleted(client: Client, engine: Engine, file: Path) -> None:
    (engine.files / "dir").mkdir()
    (engine.files / "dir" / "below").touch()
    delete = FileDispositionInformation, b"\1"
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert change(client, directory, *delete) is NtStatus.DIRECTORY_NOT_EMPTY
    reader = client.open("file", FILE_READ_DATA)
    assert change(client, reader, *delete) is NtStatus.ACCESS_DENIED
    assert client.create("file", FILE_READ_DATA, FILE_OPEN) is SUCCESS


POSIX_DELETE = b"\3\0\0\0"


@pytest.mark.parametrize("flag", [0x10, 0x20, 0x2000])
def test_what_the_kernel_keeps_is_not_deleted(
    client: Client, engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch, flag: int
) -> None:
    """`chattr +i`, `+a`, what something is mounted on: STATX_ATTR_ of statx(2)."""
    (engine.files / "folder").mkdir()
    client.close(client.open("file:stream"))
    real = kernel.statx_fd

    def statx_fd(fd: int) -> kernel.StatxTuple:
        mask, _, *rest = real(fd)
        return mask, flag, *rest  # type: ignore[return-value]

    monkeypatch.setattr(kernel, "statx_fd", statx_fd)
    status = NtStatus.CANNOT_DELETE
    for name in ("file", "folder", "file:stream"):
        if name == "file:stream" and flag == 0x2000:
            status = SUCCESS
        opened = client.open(name, DELETE)
        for level, data in ((FileDispositionInformation, b"\1"),
                            (FileDispositionInformationEx, b"\x13\0\0\0")):  # fmt: skip
            if name != "file:stream" or level == FileDispositionInformation:
                assert change(client, opened, level, data) is status
        client.close(opened)
        options = FILE_DELETE_ON_CLOSE
        if status is not SUCCESS:
            assert client.create(name, DELETE, FILE_OPEN, options=options) is status
    assert sorted(path.name for path in engine.files.iterdir()) == ["file", "folder"]


def test_a_posix_deletion_frees_the_name_at_its_close(client: Client, file: Path) -> None:
    first, second = client.open("file"), client.open("file")
    assert change(client, first, FileDispositionInformationEx, POSIX_DELETE) is SUCCESS
    assert client.create("file") is NtStatus.DELETE_PENDING
    client.close(first)
    assert not file.exists()
    assert client.call(Command.READ, requests.read(second, 7)).data == b"content"
    assert client.call(Command.WRITE, requests.write(second, b"C")).status is SUCCESS
    new = client.open("file", disposition=FILE_CREATE)
    client.close(second)
    assert file.exists()
    client.close(new)
    assert file.read_bytes() == b""


def test_a_posix_deletion_happens_when_the_client_is_lost(
    client: Client, engine: Engine, file: Path
) -> None:
    other = Client(engine).ready()
    kept = other.open("file")
    opened = client.open("file")
    assert change(client, opened, FileDispositionInformationEx, POSIX_DELETE) is SUCCESS
    client.disconnect()
    assert not file.exists()
    assert other.call(Command.READ, requests.read(kept, 7)).data == b"content"


def test_a_posix_deletion_may_be_taken_back(client: Client, file: Path) -> None:
    first, second = client.open("file"), client.open("file")
    assert change(client, first, FileDispositionInformationEx, POSIX_DELETE) is SUCCESS
    assert change(client, second, FileDispositionInformation, b"\0") is SUCCESS
    client.close(first)
    client.close(second)
    assert file.exists()


def test_delete_on_close_is_changed_where_the_open_began_with_it(
    client: Client, file: Path
) -> None:
    plain = client.open("file")
    on_close = FileDispositionInformationEx, b"\x08\0\0\0"
    assert change(client, plain, *on_close) is NtStatus.NOT_SUPPORTED
    client.close(plain)
    opened = client.open("file", options=FILE_DELETE_ON_CLOSE)
    assert change(client, opened, *on_close) is SUCCESS
    client.close(opened)
    assert file.exists()
    opened = client.open("file", options=FILE_DELETE_ON_CLOSE)
    for flags in (b"\x08\0\0\0", b"\x09\0\0\0"):
        assert change(client, opened, FileDispositionInformationEx, flags) is SUCCESS
    client.close(opened)
    assert not file.exists()


def test_posix_deletion_of_a_stream_is_refused(client: Client, file: Path) -> None:
    stream = client.open("file:stream")
    refused = change(client, stream, FileDispositionInformationEx, POSIX_DELETE)
    assert refused is NtStatus.NOT_SUPPORTED


# -- sizes, times, attributes ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 7, 5000])
def test_the_end_of_file(client: Client, file: Path, size: int) -> None:
    opened = client.open("file")
    assert change(client, opened, FileEndOfFileInformation, size.to_bytes(8, "little")) is SUCCESS
    assert file.read_bytes() == b"content"[:size].ljust(size, b"\0")


def test_a_smaller_allocation_cuts_the_file(client: Client, file: Path) -> None:
    opened = client.open("file")
    assert change(client, opened, FileAllocationInformation, bytes(8)) is SUCCESS
    assert file.stat().st_size == 0


def test_sizes_need_the_right(client: Client, file: Path) -> None:
    reader = client.open("file", FILE_READ_DATA | FILE_WRITE_ATTRIBUTES)
    for level in (FileEndOfFileInformation, FileAllocationInformation):
        assert change(client, reader, level, bytes(8)) is NtStatus.ACCESS_DENIED
    directory = client.open("dir", disposition=FILE_CREATE, options=FILE_DIRECTORY_FILE)
    refused = change(client, directory, FileEndOfFileInformation, bytes(8))
    assert refused is NtStatus.INVALID_PARAMETER
    assert file.read_bytes() == b"content"


def basic(**fields: int) -> bytes:
    values = dict.fromkeys(
        ("creation_time", "last_access_time", "last_write_time", "change_time", "file_attributes"),
        0,
    )
    return SetBasic(**(values | fields)).pack()


def test_times_are_set_one_by_one(client: Client, file: Path) -> None:
    opened = client.open("file")
    before = file.stat().st_atime_ns
    stamp = 1_600_000_000_123_456_700
    body = basic(last_write_time=from_ns(stamp), last_access_time=-1, change_time=-2)
    assert change(client, opened, FileBasicInformation, body) is SUCCESS
    assert file.stat().st_mtime_ns == stamp
    assert file.stat().st_atime_ns == before


STAMP = 1_600_000_000_000_000_000


def change_time(client: Client, opened: FileId) -> int:
    reply = client.call(Command.QUERY_INFO, requests.query_info(opened, FileBasicInformation))
    return int(struct.unpack_from("<Q", reply.data, 24)[0])


@pytest.mark.parametrize(
    "level", [FileEndOfFileInformation, FileAllocationInformation, FileValidDataLengthInformation]
)
def test_who_may_only_append_cuts_nothing(client: Client, file: Path, level: int) -> None:
    """FILE_WRITE_DATA ([MS-SMB2] 3.3.5.21.1): an ACL may grant no more than to add to a log."""
    opened = client.open("file", FILE_APPEND_DATA)
    for size in (0, 7, 9):
        data = size.to_bytes(8, "little")
        assert change(client, opened, level, data) is NtStatus.ACCESS_DENIED
    assert file.read_bytes() == b"content"


@pytest.mark.parametrize("time", [from_ns(STAMP), -1])
def test_a_change_time_that_was_set_stays(client: Client, file: Path, time: int) -> None:
    """Until another open changes the file, or this one lets it go on ([MS-FSA] 2.1.5.15.2)."""
    opened, other = client.open("file"), client.open("file")

    def change_attributes(by: FileId, **fields: int) -> None:
        body = basic(file_attributes=FILE_ATTRIBUTE_HIDDEN, **fields)
        assert change(client, by, FileBasicInformation, body) is SUCCESS

    change_attributes(opened, change_time=from_ns(STAMP))
    change_attributes(opened, change_time=time)
    change_attributes(opened)
    change_attributes(opened, creation_time=from_ns(STAMP))
    assert change_time(client, opened) == from_ns(STAMP)
    change_attributes(other)
    assert change_time(client, opened) != from_ns(STAMP)
    change_attributes(opened, change_time=from_ns(STAMP))
    change_attributes(opened, change_time=-2)
    assert change_time(client, opened) != from_ns(STAMP)


@pytest.mark.parametrize("time", [from_ns(STAMP), -1])
@pytest.mark.parametrize("how", ["write", "end of file", "allocation"])
def test_a_write_time_that_was_set_stays(client: Client, file: Path, time: int, how: str) -> None:
    os.utime(file, ns=(STAMP, STAMP))
    opened = client.open("file")
    body = basic(last_write_time=time)
    assert change(client, opened, FileBasicInformation, body) is SUCCESS
    size = bytes(7) + b"\0" if how == "allocation" else b"\x64" + bytes(7)
    level = FileAllocationInformation if how == "allocation" else FileEndOfFileInformation
    if how == "write":
        assert client.call(Command.WRITE, requests.write(opened, b"new")).status is SUCCESS
    else:
        assert change(client, opened, level, size) is SUCCESS
    assert file.stat().st_mtime_ns == STAMP
    client.close(opened)
    assert file.stat().st_mtime_ns == STAMP
    # Another open's changes are seen, and so are this one's once they are resumed.
    opened = client.open("file")
    client.call(Command.WRITE, requests.write(opened, b"x"))
    assert file.stat().st_mtime_ns > STAMP


def test_write_times_are_resumed(client: Client, file: Path) -> None:
    opened, other = client.open("file"), client.open("file")
    set_time = basic(last_write_time=from_ns(STAMP))
    assert change(client, opened, FileBasicInformation, set_time) is SUCCESS
    assert change(client, opened, FileBasicInformation, basic()) is SUCCESS
    client.call(Command.WRITE, requests.write(opened, b"1"))
    assert file.stat().st_mtime_ns == STAMP
    client.call(Command.WRITE, requests.write(other, b"2"))
    others = file.stat().st_mtime_ns
    assert others > STAMP
    client.call(Command.WRITE, requests.write(opened, b"3"))
    assert file.stat().st_mtime_ns == others
    os.utime(file, ns=(STAMP, STAMP))
    assert change(client, opened, FileBasicInformation, basic(last_write_time=-2)) is SUCCESS
    client.call(Command.WRITE, requests.write(opened, b"4"))
    assert file.stat().st_mtime_ns > STAMP


@pytest.mark.parametrize(("time", "stays"), [(from_ns(STAMP), True), (-1, True), (-2, False)])
def test_an_access_time_that_was_set_stays(
    client: Client, file: Path, time: int, stays: bool
) -> None:
    os.utime(file, ns=(STAMP, file.stat().st_mtime_ns))  # older: reading changes it (relatime)
    opened = client.open("file")
    assert change(client, opened, FileBasicInformation, basic(last_access_time=time)) is SUCCESS
    assert client.call(Command.READ, requests.read(opened, 7)).data == b"content"
    assert (file.stat().st_atime_ns == STAMP) is stays


def test_the_valid_data_length_is_the_size(client: Client, file: Path) -> None:
    opened = client.open("file")
    for length, status in ((6, NtStatus.INVALID_PARAMETER), (8, NtStatus.INVALID_PARAMETER)):
        data = length.to_bytes(8, "little")
        assert change(client, opened, FileValidDataLengthInformation, data) is status
    assert change(client, opened, FileValidDataLengthInformation, b"\7" + bytes(7)) is SUCCESS


def test_a_mode_that_is_set_is_obeyed(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    opened = client.open("file")
    assert change(client, opened, FileModeInformation, b"\2\0\0\0") is SUCCESS
    client.call(Command.WRITE, requests.write(opened, b"x"))
    assert len(flushed) == 1


def test_a_directory_that_is_not_open_for_listing_is_flushed(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino))
    opened = client.open("dir", FILE_ADD_FILE, options=FILE_DIRECTORY_FILE)
    assert client.call(Command.FLUSH, requests.flush(opened)).status is SUCCESS
    assert flushed == [(engine.files / "dir").stat().st_ino]


def test_an_ea_that_must_be_understood_is_refused(client: Client, file: Path) -> None:
    need_ea = 0x80
    data = struct.pack("<IBBH", 0, need_ea, 1, 1) + b"a\0v"
    refused = change(client, client.open("file"), FileFullEaInformation, data)
    assert refused is NtStatus.INVALID_EA_FLAG
    assert os.listxattr(file) == []


def test_attributes_and_creation_time_are_kept_with_the_file(client: Client, file: Path) -> None:
    opened = client.open("file")
    body = basic(creation_time=from_ns(10**18), file_attributes=FILE_ATTRIBUTE_HIDDEN)
    assert change(client, opened, FileBasicInformation, body) is SUCCESS
    assert "user.DOSATTRIB" in os.listxattr(file)
    query = requests.query_info(client.open("FILE"), FileBasicInformation)
    data = client.call(Command.QUERY_INFO, query).data
    created, _, _, _, attributes = struct.unpack_from("<4QI", data)
    assert created == from_ns(10**18)
    assert attributes & FILE_ATTRIBUTE_HIDDEN


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (basic(last_write_time=-3), NtStatus.INVALID_PARAMETER),
        (basic(file_attributes=0x10), NtStatus.INVALID_PARAMETER),
        (basic()[:-1], NtStatus.INFO_LENGTH_MISMATCH),
        (basic(), SUCCESS),
    ],
)
def test_basic_information_that_cannot_be(
    client: Client, file: Path, body: bytes, status: NtStatus
) -> None:
    assert change(client, client.open("file"), FileBasicInformation, body) is status


@pytest.mark.parametrize(
    ("options", "mode", "then"),
    [
        (0, 0x06, 0x06),
        (0, 0x10, None),
        (0, 0x20, None),
        (0, 0x30, None),
        (0x20, 0, None),
        (0x20, 0x02, None),
        (0x20, 0x10, 0x10),
        (0x20, 0x24, 0x24),
        (0x10, 0x22, 0x22),
        (0x28, 0x22, 0x28),  # what is not buffered is written through or not as it was opened
        (0x0A, 0x04, 0x0E),
    ],
)
def test_a_mode_is_as_synchronous_as_the_open(
    client: Client, file: Path, options: int, mode: int, then: int | None
) -> None:
    """[MS-FSA] 2.1.5.15.7."""
    opened = client.open("file", FILE_READ_DATA, options=options)
    status = change(client, opened, FileModeInformation, mode.to_bytes(4, "little"))
    assert status is (NtStatus.INVALID_PARAMETER if then is None else SUCCESS)
    told = client.call(Command.QUERY_INFO, requests.query_info(opened, FileModeInformation)).data
    assert int.from_bytes(told, "little") == (options if then is None else then)


def test_position_and_mode_are_the_opens_own(client: Client, file: Path) -> None:
    first, second = client.open("file"), client.open("file")
    for level, data in (
        (FilePositionInformation, bytes([7] * 8)),
        (FileModeInformation, b"\2\0\0\0"),
    ):
        assert change(client, first, level, data[:8]) is SUCCESS
        own = client.call(Command.QUERY_INFO, requests.query_info(first, level)).data
        other = client.call(Command.QUERY_INFO, requests.query_info(second, level)).data
        assert own != other


def test_what_belongs_to_the_administrator(client: Client, file: Path) -> None:
    body = requests.set_info(client.open("file"), 2, b"label", SMB2_0_INFO_FILESYSTEM)
    assert client.call(Command.SET_INFO, body).status is NtStatus.ACCESS_DENIED
    body = requests.set_info(client.open("file"), 2, b"", 9)
    assert client.call(Command.SET_INFO, body).status is NtStatus.NOT_SUPPORTED
    unknown = change(client, client.open("file"), 250, bytes(64))
    assert unknown in (NtStatus.INVALID_INFO_CLASS, NtStatus.NOT_SUPPORTED)
