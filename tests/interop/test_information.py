"""QUERY_DIRECTORY, QUERY_INFO and SET_INFO in every class, compared with the server's disk."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbprotocol.exceptions import SMBResponseException
from smbprotocol.header import NtStatus
from smbprotocol.open import Open
from smbtest import client as smb
from smbtest.client import INFO_FILE, INFO_FILESYSTEM, Client, refused
from smbtest.server import Server

# [MS-FSCC] 2.4 with the length of the fixed part before FileName; FileNameLength stands at 60 or 8
DIRECTORY_CLASSES = {
    "directory": (1, 64, 60),
    "full": (2, 68, 60),
    "both": (3, 94, 60),
    "id-both": (37, 104, 60),
    "id-full": (38, 80, 60),
    "names": (12, 12, 8),
}
RESTART_SCANS, RETURN_SINGLE_ENTRY, INDEX_SPECIFIED, REOPEN = 1, 2, 4, 16
ATTRIBUTE_READONLY, ATTRIBUTE_HIDDEN, ATTRIBUTE_DIRECTORY, ATTRIBUTE_ARCHIVE = 1, 2, 16, 32
FILETIME_EPOCH = 116_444_736_000_000_000  # 1970-01-01 in 100 ns since 1601


def filetime(ns: int) -> int:
    """Convert nanoseconds since 1970 to a FILETIME."""
    return ns // 100 + FILETIME_EPOCH


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """Keep one session for all tests."""
    with Client(server) as opened:
        yield opened


@pytest.fixture
def file(client: Client, folder: Path) -> Iterator[Open]:
    """Open `folder/file` of 1234 bytes with all rights."""
    (folder / "file").write_bytes(b"x" * 1234)
    (folder / "file").chmod(0o666)
    access = smb.ALL | smb.READ_EA | smb.WRITE_EA | smb.READ_ATTRIBUTES | smb.WRITE_ATTRIBUTES
    opened = client.open(rf"{folder.name}\file", access)
    yield opened
    opened.close()


def entries(client: Client, directory: Open, form: str, **options: int) -> list[tuple[str, bytes]]:
    """Read a whole directory: names and the bytes of the fixed parts."""
    info_class, fixed, length_at = DIRECTORY_CLASSES[form]
    size = options.get("size", 65536)
    flags = options.get("flags", RESTART_SCANS)
    found = []
    while True:
        request, _ = directory.query_directory("*", info_class, flags, 0, size, send=False)
        flags &= ~RESTART_SCANS
        try:
            answer = client.send(request)
        except SMBResponseException as end:
            if end.status != NtStatus.STATUS_NO_MORE_FILES:
                raise
            return found
        offset, length = struct.unpack_from("<HI", answer, 2)
        buffer = answer[offset - 64 : offset - 64 + length]
        assert len(buffer) == length <= size
        at = 0
        while True:
            following = struct.unpack_from("<I", buffer, at)[0]
            name_length = struct.unpack_from("<I", buffer, at + length_at)[0]
            name = buffer[at + fixed : at + fixed + name_length].decode("utf-16-le")
            found.append((name, buffer[at : at + fixed]))
            if not following:
                break
            assert following % 8 == 0
            at += following


@pytest.mark.parametrize("form", DIRECTORY_CLASSES)
def test_directories(client: Client, folder: Path, form: str) -> None:
    for index in range(300):
        (folder / f"file {index:03} ÄÖ😀").write_bytes(b"x" * index)
    (folder / "sub").mkdir()
    expected = {".", ".."} | {path.name for path in folder.iterdir()}
    directory = client.open(folder.name, smb.READ, options=smb.DIRECTORY_FILE)
    for size in (65536, 2048):
        found = entries(client, directory, form, size=size)
        assert len(found) == len(expected)
        assert {name for name, _ in found} == expected
    if form != "names":
        facts = dict(found)
        for index in (0, 7, 299):
            path = folder / f"file {index:03} ÄÖ😀"
            stat = path.stat()
            times = struct.unpack_from("<QQQQQQI", facts[path.name], 8)
            assert times[2] == filetime(stat.st_mtime_ns)
            assert times[4] == index
            assert times[5] >= stat.st_blocks * 512 or times[5] >= index
            assert not times[6] & ATTRIBUTE_DIRECTORY
        assert struct.unpack_from("<I", facts["sub"], 56)[0] & ATTRIBUTE_DIRECTORY
    if form.startswith("id-"):
        opened = client.open(rf"{folder.name}\file 007 ÄÖ😀", smb.READ)
        index_number = struct.unpack("<Q", client.query(opened, 6))[0]
        opened.close()
        at = 96 if form == "id-both" else 72
        assert struct.unpack_from("<Q", facts["file 007 ÄÖ😀"], at)[0] == index_number
    directory.close()


def test_one_entry_at_a_time(client: Client, folder: Path) -> None:
    for name in "abc":
        (folder / name).touch()
    directory = client.open(folder.name, smb.READ, options=smb.DIRECTORY_FILE)
    found = entries(client, directory, "both", flags=RESTART_SCANS | RETURN_SINGLE_ENTRY)
    assert sorted(name for name, _ in found) == [".", "..", "a", "b", "c"]
    assert entries(client, directory, "both", flags=0) == []
    assert len(entries(client, directory, "both", flags=RESTART_SCANS)) == 5
    directory.close()


def test_a_pattern_that_nothing_fits(client: Client, folder: Path) -> None:
    directory = client.open(folder.name, smb.READ, options=smb.DIRECTORY_FILE)
    with refused(NtStatus.STATUS_NO_SUCH_FILE):
        directory.query_directory("none*", 37, RESTART_SCANS)
    with refused(NtStatus.STATUS_INVALID_INFO_CLASS):
        client.send(directory.query_directory("*", 4, RESTART_SCANS, send=False)[0])
    directory.close()


def test_a_buffer_too_small_for_one_entry(client: Client, folder: Path) -> None:
    directory = client.open(folder.name, smb.READ, options=smb.DIRECTORY_FILE)
    with refused(
        NtStatus.STATUS_INFO_LENGTH_MISMATCH,
        NtStatus.STATUS_BUFFER_OVERFLOW,
        NtStatus.STATUS_INVALID_PARAMETER,  # Samba
    ):
        client.send(directory.query_directory("*", 37, RESTART_SCANS, 0, 8, send=False)[0])
    directory.close()


def test_file_information(client: Client, folder: Path, file: Open) -> None:
    stat = (folder / "file").stat()

    created, accessed, written, changed, attributes = struct.unpack_from(
        "<QQQQI", client.query(file, 4)
    )
    assert written == filetime(stat.st_mtime_ns)
    assert created <= changed
    assert accessed
    assert not attributes & ATTRIBUTE_DIRECTORY

    allocation, end, links, pending, directory = struct.unpack_from("<QQIBB", client.query(file, 5))
    assert (end, links, pending, directory) == (1234, 1, 0, 0)
    assert allocation >= 1234

    (index_number,) = struct.unpack("<Q", client.query(file, 6))
    assert index_number
    assert len(client.query(file, 7)) == 4  # FileEaInformation
    (access,) = struct.unpack("<I", client.query(file, 8))
    assert access & smb.ALL == smb.ALL
    assert len(client.query(file, 14)) == 8  # FilePositionInformation
    assert len(client.query(file, 16)) == 4  # FileModeInformation
    assert len(client.query(file, 17)) == 4  # FileAlignmentInformation

    network = struct.unpack("<QQQQQQI4x", client.query(file, 34))
    assert network[:4] == (created, accessed, written, changed)
    assert network[4:6] == (allocation, 1234)
    assert struct.unpack("<II", client.query(file, 35)) == (network[6], 0)

    everything = client.query(file, 18)  # FileAllInformation
    assert struct.unpack_from("<QQQQI", everything) == (
        created,
        accessed,
        written,
        changed,
        attributes,
    )
    assert struct.unpack_from("<QQ", everything, 40) == (allocation, 1234)
    assert struct.unpack_from("<Q", everything, 64)[0] == index_number
    (length,) = struct.unpack_from("<I", everything, 96)
    name = everything[100 : 100 + length].decode("utf-16-le")
    assert name.endswith(rf"{folder.name}\file")

    stream = client.query(file, 22)
    (length,) = struct.unpack_from("<I", stream, 4)
    assert struct.unpack_from("<Q", stream, 8)[0] == 1234
    assert stream[24 : 24 + length].decode("utf-16-le") == "::$DATA"


def test_a_directory_is_one(client: Client, folder: Path) -> None:
    (folder / "sub").mkdir()
    opened = client.open(rf"{folder.name}\sub", smb.READ)
    assert struct.unpack_from("<I", client.query(opened, 4), 32)[0] & ATTRIBUTE_DIRECTORY
    assert client.query(opened, 5)[21] == 1
    opened.close()


@pytest.mark.parametrize(("info_class", "size"), [(4, 39), (5, 23), (34, 55), (6, 7), (18, 99)])
def test_a_buffer_too_small(client: Client, file: Open, info_class: int, size: int) -> None:
    with refused(NtStatus.STATUS_INFO_LENGTH_MISMATCH):
        client.query(file, info_class, size=size)


def test_a_name_that_does_not_fit(client: Client, file: Open) -> None:
    with refused(NtStatus.STATUS_BUFFER_OVERFLOW):
        client.query(file, 18, size=110)


def test_a_class_that_nobody_knows(client: Client, file: Open) -> None:
    with refused(NtStatus.STATUS_INVALID_INFO_CLASS):
        client.query(file, 99)
    with refused(NtStatus.STATUS_INVALID_INFO_CLASS):
        client.query(file, 99, INFO_FILESYSTEM)


def test_file_system_information(server: Server, client: Client, file: Open) -> None:
    facts = os.statvfs(server.data)

    volume = client.query(file, 1, INFO_FILESYSTEM)
    (length,) = struct.unpack_from("<I", volume, 12)
    assert volume[18 : 18 + length].decode("utf-16-le") == "data"

    total, free, sectors, bytes_per = struct.unpack("<QQII", client.query(file, 3, INFO_FILESYSTEM))
    assert total * sectors * bytes_per == pytest.approx(facts.f_blocks * facts.f_frsize, rel=0.01)
    assert free <= total

    full = struct.unpack("<QQQII", client.query(file, 7, INFO_FILESYSTEM))
    assert full[0] == total
    assert full[3:] == (sectors, bytes_per)

    device, _ = struct.unpack("<II", client.query(file, 4, INFO_FILESYSTEM))
    assert device in (7, 0x14)  # a disk

    attributes, longest, length = struct.unpack_from("<III", client.query(file, 5, INFO_FILESYSTEM))
    assert attributes & 0x7 >= 0x6  # names keep their case, in Unicode
    assert longest == 255
    assert length == len("NTFS") * 2

    sector = struct.unpack_from("<IIIIII", client.query(file, 11, INFO_FILESYSTEM))
    assert sector[0] >= 512
    assert len(client.query(file, 8, INFO_FILESYSTEM)) == 64  # FileFsObjectIdInformation


def test_times_and_attributes(client: Client, folder: Path, file: Open) -> None:
    created, accessed, written = (filetime(s * 10**9) for s in (10**9, 11 * 10**8, 12 * 10**8))
    attributes = ATTRIBUTE_HIDDEN | ATTRIBUTE_READONLY
    client.set(file, 4, struct.pack("<QQQQI4x", created, accessed, written, 0, attributes))
    assert (folder / "file").stat().st_mtime == 12 * 10**8
    values = struct.unpack_from("<QQQQI", client.query(file, 4))
    assert values[:3] == (created, accessed, written)
    assert values[4] == attributes
    client.set(file, 4, struct.pack("<QQQQI4x", 0, 0, 0, 0, ATTRIBUTE_ARCHIVE))
    assert struct.unpack_from("<QQQQI", client.query(file, 4))[0] == created
    with Client(client.server) as other:  # a new session sees the same
        opened = other.open(rf"{folder.name}\file", smb.READ)
        values = struct.unpack_from("<QQQQI", other.query(opened, 4))
        assert (values[0], values[4]) == (created, ATTRIBUTE_ARCHIVE)
        opened.close()


def test_sizes(client: Client, folder: Path, file: Open) -> None:
    client.set(file, 20, struct.pack("<Q", 100))
    assert (folder / "file").read_bytes() == b"x" * 100
    client.set(file, 20, struct.pack("<Q", 5000))
    assert (folder / "file").read_bytes() == b"x" * 100 + bytes(4900)
    client.set(file, 19, struct.pack("<Q", 10))  # allocation below the size cuts
    assert (folder / "file").stat().st_size <= 4096
    client.set(file, 19, struct.pack("<Q", 1 << 20))  # above it, the size stays
    assert (folder / "file").stat().st_size <= 4096


def test_position_and_mode(client: Client, file: Open) -> None:
    client.set(file, 14, struct.pack("<Q", 77))
    assert struct.unpack("<Q", client.query(file, 14)) == (77,)
    client.set(file, 16, struct.pack("<I", 0))


def rename(name: str, *, replace: bool) -> bytes:
    """FileRenameInformation and FileLinkInformation of SMB2 ([MS-FSCC] 2.4.34.2, 2.4.21.2)."""
    encoded = name.encode("utf-16-le")
    return struct.pack("<B15xI", replace, len(encoded)) + encoded


def test_rename(client: Client, folder: Path, file: Open) -> None:
    (folder / "other").write_bytes(b"other")
    (folder / "other").chmod(0o666)
    (folder / "sub").mkdir()
    (folder / "sub").chmod(0o777)
    with refused(NtStatus.STATUS_OBJECT_NAME_COLLISION):
        client.set(file, 10, rename(rf"{folder.name}\other", replace=False))
    client.set(file, 10, rename(rf"{folder.name}\sub\moved", replace=False))
    assert (folder / "sub/moved").stat().st_size == 1234
    assert not (folder / "file").exists()
    client.set(file, 10, rename(rf"{folder.name}\other", replace=True))
    assert (folder / "other").stat().st_size == 1234
    with refused(NtStatus.STATUS_OBJECT_PATH_NOT_FOUND):
        client.set(file, 10, rename(rf"{folder.name}\none\x", replace=False))
    assert file.read(0, 4) == b"xxxx"


def test_link(client: Client, folder: Path, file: Open) -> None:
    client.set(file, 11, rename(rf"{folder.name}\linked", replace=False))
    assert (folder / "linked").stat().st_ino == (folder / "file").stat().st_ino
    assert struct.unpack_from("<QQI", client.query(file, 5))[2] == 2


def test_disposition(client: Client, folder: Path, file: Open) -> None:
    client.set(file, 13, b"\1")
    assert client.query(file, 5)[20] == 1
    with refused(NtStatus.STATUS_DELETE_PENDING):
        client.open(rf"{folder.name}\file", smb.READ)
    client.set(file, 13, b"\0")
    client.open(rf"{folder.name}\file", smb.READ).close()
    client.set(file, 13, b"\1")
    file.close()
    assert not (folder / "file").exists()


def test_disposition_of_what_cannot_go(client: Client, folder: Path, file: Open) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/file").touch()
    (folder / "sub").chmod(0o777)
    directory = client.open(rf"{folder.name}\sub", smb.READ | smb.DELETE)
    with refused(NtStatus.STATUS_DIRECTORY_NOT_EMPTY):
        client.set(directory, 13, b"\1")
    directory.close()
    client.set(file, 4, struct.pack("<QQQQI4x", 0, 0, 0, 0, ATTRIBUTE_READONLY))
    with refused(NtStatus.STATUS_CANNOT_DELETE):
        client.set(file, 13, b"\1")


def test_extended_attributes(client: Client, folder: Path, file: Open) -> None:
    entry = struct.pack("<IBBH", 0, 0, 5, 7) + b"Color\0" + b"reddish"
    client.set(file, 15, entry)
    assert os.getxattr(folder / "file", "user.Color").startswith(b"reddish")
    wanted = struct.pack("<IB", 0, 5) + b"Color\0"
    answer = client.query(file, 15, INFO_FILE, data=wanted)
    assert answer[8:14].upper() == b"COLOR\0"
    assert answer[14:21] == b"reddish"
    assert struct.unpack("<I", client.query(file, 7))[0] > 0


def test_closed_for_information(client: Client, folder: Path, file: Open) -> None:
    file_id = file.file_id
    file.close()
    file.file_id = file_id
    with refused(NtStatus.STATUS_FILE_CLOSED):
        client.query(file, 4)
    with refused(NtStatus.STATUS_FILE_CLOSED):
        client.set(file, 20, bytes(8))
