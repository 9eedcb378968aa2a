"""Holes in files: what FILE_SUPPORTS_SPARSE_FILES says is done; reparse points that are none."""

import errno
import os
import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import sparse
from usmbd.protocol.vfs import kernel
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_DIRECTORY_FILE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
)
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_SPARSE_FILE,
    FILE_SUPPORTS_SPARSE_FILES,
)
from usmbd.protocol.wire.fscc.fs_info import (
    SSINFO_FLAGS_TRIM_ENABLED,
    FileFsSectorSizeInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY
from usmbd.protocol.wire.status import NtStatus

SIZE = 1 << 18
HOLE = (1 << 16, 1 << 17)


@pytest.fixture
def file(engine: Engine) -> Path:
    path = engine.files / "file"
    path.write_bytes(b"x" * SIZE)
    return path


def ioctl(
    client: Client, file: FileId, code: int, data: bytes = b"", limit: int = 4096
) -> NtStatus:
    return client.call(Command.IOCTL, requests.ioctl(file, code, data, limit)).status


def test_a_range_of_zeros_is_a_hole_that_is_told(client: Client, file: Path) -> None:
    opened = client.open("file")
    before = file.stat().st_blocks
    assert ioctl(client, opened, fsctl.FSCTL_SET_SPARSE) == 0
    assert ioctl(client, opened, fsctl.FSCTL_SET_ZERO_DATA, struct.pack("<QQ", *HOLE)) == 0
    assert file.read_bytes()[HOLE[0] : HOLE[1]] == bytes(HOLE[1] - HOLE[0])
    assert file.stat().st_size == SIZE
    assert file.stat().st_blocks < before
    code, asked = fsctl.FSCTL_QUERY_ALLOCATED_RANGES, struct.pack("<QQ", 0, SIZE)
    reply = client.call(Command.IOCTL, requests.ioctl(opened, code, asked))
    expected = struct.pack("<QQQQ", 0, HOLE[0], HOLE[1], SIZE - HOLE[1])
    assert reply.status is NtStatus.SUCCESS
    assert expected in reply.message
    assert ioctl(client, opened, code, asked, 16) is NtStatus.BUFFER_OVERFLOW
    assert ioctl(client, opened, code, asked, 8) is NtStatus.BUFFER_TOO_SMALL


def test_what_is_not_sparse_stays_allocated(client: Client, file: Path) -> None:
    opened = client.open("file")
    assert ioctl(client, opened, fsctl.FSCTL_SET_ZERO_DATA, struct.pack("<QQ", *HOLE)) == 0
    assert file.read_bytes()[HOLE[0] : HOLE[1]] == bytes(HOLE[1] - HOLE[0])
    code, asked = fsctl.FSCTL_QUERY_ALLOCATED_RANGES, struct.pack("<QQ", 0, SIZE)
    reply = client.call(Command.IOCTL, requests.ioctl(opened, code, asked))
    assert struct.pack("<QQ", 0, SIZE) in reply.message


@pytest.mark.parametrize(("data", "sparse"), [(b"", True), (b"\1", True), (b"\0", False)])
def test_the_attribute(client: Client, file: Path, data: bytes, sparse: bool) -> None:
    opened = client.open("file")
    assert ioctl(client, opened, fsctl.FSCTL_SET_SPARSE, data) == 0
    info = client.call(Command.QUERY_INFO, requests.query_info(opened, 4)).data
    assert bool(struct.unpack_from("<I", info, 32)[0] & FILE_ATTRIBUTE_SPARSE_FILE) is sparse


def test_zeros_of_a_large_file_take_turns(
    client: Client, engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the end of the file, whatever is asked for; a client that goes away ends it."""
    os.truncate(file, 3 << 30)
    opened = client.open("file")
    assert ioctl(client, opened, fsctl.FSCTL_SET_SPARSE) == 0
    asked: list[tuple[int, ...]] = []
    monkeypatch.setattr(kernel, "fallocate", lambda fd, *args: asked.append(args[1:]))
    engine.threads.lanes.clear()
    data = struct.pack("<QQ", 100, 2**63 - 1)
    assert ioctl(client, opened, fsctl.FSCTL_SET_ZERO_DATA, data) == 0
    slice_ = sparse.ZEROS_AT_ONCE
    assert asked == [(100, slice_), (100 + slice_, slice_), (100 + 2 * slice_, slice_ - 100)]
    assert len(engine.threads.lanes) == 3
    asked.clear()
    beyond = struct.pack("<QQ", 4 << 30, 2**63 - 1)
    assert ioctl(client, opened, fsctl.FSCTL_SET_ZERO_DATA, beyond) == 0
    assert asked == []
    engine.threads.held = True
    client.post(Command.IOCTL, requests.ioctl(opened, fsctl.FSCTL_SET_ZERO_DATA, data))
    client.disconnect()
    engine.release(engine.threads)
    assert asked == []


def test_zeros_from_the_beginning_and_of_nothing(client: Client, file: Path) -> None:
    """A range without bytes is no error ([MS-FSA] 2.1.5.10.39)."""
    opened, code = client.open("file"), fsctl.FSCTL_SET_ZERO_DATA
    assert ioctl(client, opened, code, struct.pack("<QQ", 4096, 4096)) is NtStatus.SUCCESS
    assert file.read_bytes() == b"x" * SIZE
    assert ioctl(client, opened, code, struct.pack("<QQ", 0, 1)) is NtStatus.SUCCESS
    assert file.read_bytes() == b"\0" + b"x" * (SIZE - 1)


def test_zeros_of_a_locked_range_are_refused(client: Client, engine: Engine, file: Path) -> None:
    """As a WRITE there would be ([MS-FSA] 2.1.5.10.39)."""
    held, opened = client.open("file"), client.open("file")
    ranges = (100, 10, SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY)
    assert client.call(Command.LOCK, requests.lock(held, ranges)).status is NtStatus.SUCCESS
    code = fsctl.FSCTL_SET_ZERO_DATA
    for start, end in ((0, SIZE), (109, 200), (0, 101)):
        status = ioctl(client, opened, code, struct.pack("<QQ", start, end))
        assert status is NtStatus.FILE_LOCK_CONFLICT
    assert file.read_bytes() == b"x" * SIZE
    assert ioctl(client, opened, code, struct.pack("<QQ", 0, 100)) is NtStatus.SUCCESS
    assert ioctl(client, held, code, struct.pack("<QQ", 100, 110)) is NtStatus.SUCCESS


def test_zeros_break_the_level_ii_oplocks_of_others(client: Client, engine: Engine) -> None:
    """They cache what is not there any more ([MS-FSA] 2.1.5.10.39, 2.1.4.12)."""
    other = Client(engine).ready()
    kept = other.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    opened = client.open("file")
    assert other.open_of(kept).oplock_level == SMB2_OPLOCK_LEVEL_II
    zeros = struct.pack("<QQ", *HOLE)
    assert ioctl(client, opened, fsctl.FSCTL_SET_ZERO_DATA, zeros) is NtStatus.SUCCESS
    engine.settle()
    assert other.open_of(kept).oplock_level == SMB2_OPLOCK_LEVEL_NONE
    assert client.open_of(opened).modified


def test_what_cannot_be(client: Client, engine: Engine, file: Path) -> None:
    zeros = fsctl.FSCTL_SET_ZERO_DATA, struct.pack("<QQ", *HOLE)
    told = fsctl.FSCTL_QUERY_ALLOCATED_RANGES, struct.pack("<QQ", 0, SIZE)
    reader = client.open("file", FILE_READ_DATA)
    stat_only = client.open("file", FILE_READ_ATTRIBUTES)
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert ioctl(client, reader, *zeros) is NtStatus.ACCESS_DENIED
    assert ioctl(client, reader, fsctl.FSCTL_SET_SPARSE) is NtStatus.ACCESS_DENIED
    assert ioctl(client, stat_only, *told) is NtStatus.ACCESS_DENIED
    assert ioctl(client, directory, fsctl.FSCTL_SET_SPARSE) is NtStatus.INVALID_PARAMETER
    opened = client.open("file")
    for backwards in ((5, 4), (2**64 - 1, 4)):
        data = struct.pack("<QQ", *backwards)
        assert ioctl(client, opened, zeros[0], data) is NtStatus.INVALID_PARAMETER
    assert ioctl(client, opened, told[0], struct.pack("<qq", 0, -1)) is NtStatus.INVALID_PARAMETER
    for code, data in (zeros, told):
        assert ioctl(client, opened, code, data[:15]) is NtStatus.INVALID_PARAMETER
    assert file.read_bytes() == b"x" * SIZE


def trim(*ranges: tuple[int, int], key: int = 0, count: int | None = None) -> bytes:
    packed = b"".join(struct.pack("<QQ", *each) for each in ranges)
    return struct.pack("<II", key, len(ranges) if count is None else count) + packed


def trimmed(client: Client, file: FileId, data: bytes, limit: int = 4) -> tuple[NtStatus, bytes]:
    """Send FILE_LEVEL_TRIM; return how many ranges were processed, too."""
    reply = client.call(
        Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_FILE_LEVEL_TRIM, data, limit)
    )
    return reply.status, reply.body[48:]


def test_what_is_trimmed_gives_its_blocks_back(client: Client, file: Path) -> None:
    """Whole blocks alone; what lies beside them stays, and so does the size."""
    opened, before = client.open("file"), file.stat().st_blocks
    ranges = ((100, 3 * 4096), (1 << 16, 8192), (SIZE - 4096, 1 << 40), (SIZE * 2, 4096), (0, 4095))
    count = struct.pack("<I", 5)
    assert trimmed(client, opened, trim(*ranges)) == (NtStatus.SUCCESS, count)
    assert file.stat().st_blocks == before - (2 + 2 + 1) * 8
    expected = bytearray(b"x" * SIZE)
    for start, length in ((4096, 8192), (1 << 16, 8192), (SIZE - 4096, 4096)):
        expected[start : start + length] = bytes(length)
    assert file.read_bytes() == expected
    assert trimmed(client, opened, trim((0, 4096)), 0) == (NtStatus.SUCCESS, b"")


@pytest.mark.parametrize(
    ("data", "limit", "status"),
    [
        (trim(), 4, NtStatus.INVALID_PARAMETER),
        (trim((0, 4096), key=1), 4, NtStatus.INVALID_PARAMETER),
        (trim((0, 4096), count=2), 4, NtStatus.INVALID_PARAMETER),
        (trim((0, 4096), count=2**32 - 1), 4, NtStatus.INVALID_PARAMETER),
        (trim((0, 4096))[:-1], 4, NtStatus.INVALID_PARAMETER),
        (trim((0, 4096))[:7], 4, NtStatus.INVALID_PARAMETER),
        (trim((0, 4096)), 3, NtStatus.INVALID_PARAMETER),
        (trim((2**64 - 1, 1)), 4, NtStatus.INTEGER_OVERFLOW),
    ],
)
def test_what_cannot_be_trimmed(
    client: Client, file: Path, data: bytes, limit: int, status: NtStatus
) -> None:
    assert trimmed(client, client.open("file"), data, limit)[0] is status
    assert file.read_bytes() == b"x" * SIZE


def test_what_stops_a_trim(client: Client, file: Path) -> None:
    """What was done before is told by its count."""
    other = client.open("file")
    lock = requests.lock(other, (8192, 1, 2))
    assert client.call(Command.LOCK, lock).status is NtStatus.SUCCESS
    opened = client.open("file")
    for bad in ((8192, 4096), (2**64 - 1, 2)):
        data = trim((0, 4096), bad, (1 << 16, 4096))
        assert trimmed(client, opened, data) == (NtStatus.SUCCESS, struct.pack("<I", 1))
    assert trimmed(client, opened, trim((8192, 4096)))[0] is NtStatus.FILE_LOCK_CONFLICT
    reader = client.open("file", FILE_READ_DATA)
    assert trimmed(client, reader, trim((0, 4096)))[0] is NtStatus.ACCESS_DENIED
    assert file.read_bytes() == bytes(4096) + b"x" * (SIZE - 4096)


def test_many_ranges_take_turns(client: Client, engine: Engine, file: Path) -> None:
    opened = client.open("file")
    engine.threads.lanes.clear()
    ranges = [(n * 4096 % SIZE, 4096) for n in range(1000)]
    count = struct.pack("<I", 1000)
    assert trimmed(client, opened, trim(*ranges)) == (NtStatus.SUCCESS, count)
    assert len(engine.threads.lanes) == 4
    assert file.read_bytes() == bytes(SIZE)


def test_a_file_system_that_gives_nothing_back(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(kernel, "fallocate", refuse)
    opened = client.open("file")
    assert trimmed(client, opened, trim((0, 4096)))[0] is NtStatus.INVALID_DEVICE_REQUEST
    body = requests.query_info(opened, FileFsSectorSizeInformation, 2)
    flags = struct.unpack_from("<I", client.call(Command.QUERY_INFO, body).data, 16)[0]
    assert not flags & SSINFO_FLAGS_TRIM_ENABLED


def test_that_blocks_are_given_back_is_told(client: Client, engine: Engine, file: Path) -> None:
    for share, told in (("data", True), ("readonly", False)):
        reader = Client(engine).ready(share=share)
        opened = reader.open("file", FILE_READ_DATA, disposition=1)
        body = requests.query_info(opened, FileFsSectorSizeInformation, 2)
        flags = struct.unpack_from("<I", reader.call(Command.QUERY_INFO, body).data, 16)[0]
        assert bool(flags & SSINFO_FLAGS_TRIM_ENABLED) is told


def test_an_attribute_that_would_be_forgotten(
    client: Client, engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a share that keeps none nor a file system that cannot says that it is kept."""
    opened = client.open("file")
    refused = NtStatus.INVALID_DEVICE_REQUEST
    with monkeypatch.context() as without:

        def refuse(*args: object) -> None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

        without.setattr(os, "setxattr", refuse)
        assert ioctl(client, opened, fsctl.FSCTL_SET_SPARSE) is refused
        assert ioctl(client, opened, fsctl.FSCTL_SET_SPARSE, b"\0") is NtStatus.SUCCESS
    share = engine.mountd.shares["data"]
    options = {name: getattr(share, name) for name in share.__struct_fields__}
    options["store_dos_attributes"] = False
    engine.mountd.shares["data"] = type(share)(**options)
    client.connect()
    opened = client.open("file")
    assert ioctl(client, opened, fsctl.FSCTL_SET_SPARSE) is refused
    info = client.call(Command.QUERY_INFO, requests.query_info(opened, 5, 2)).data
    assert not struct.unpack_from("<I", info)[0] & FILE_SUPPORTS_SPARSE_FILES


@pytest.mark.parametrize("code", [fsctl.FSCTL_GET_REPARSE_POINT, fsctl.FSCTL_DELETE_REPARSE_POINT])
def test_a_file_is_no_reparse_point(client: Client, file: Path, code: int) -> None:
    assert ioctl(client, client.open("file"), code) is NtStatus.NOT_A_REPARSE_POINT


def test_a_stream_has_no_holes(client: Client, file: Path) -> None:
    """What is asked of its data is done; that it were sparse could not be kept."""
    stream = client.open("file:stream")
    client.call(Command.WRITE, requests.write(stream, b"y" * 1000))
    zeros, ranges = fsctl.FSCTL_SET_ZERO_DATA, fsctl.FSCTL_QUERY_ALLOCATED_RANGES
    for begin, end in ((100, 200), (900, 5000), (1000, 2000), (7, 7)):
        assert ioctl(client, stream, zeros, struct.pack("<QQ", begin, end)) == 0
    read = client.call(Command.READ, requests.read(stream, 2000)).data
    assert read == b"y" * 100 + bytes(100) + b"y" * 700 + bytes(100)
    for asked, told in (((0, 5000), (0, 1000)), ((10, 20), (10, 20)), ((990, 20), (990, 10))):
        reply = client.call(
            Command.IOCTL, requests.ioctl(stream, ranges, struct.pack("<QQ", *asked))
        )
        assert reply.message.endswith(struct.pack("<QQ", *told))
    reply = client.call(Command.IOCTL, requests.ioctl(stream, ranges, struct.pack("<QQ", 1000, 5)))
    assert reply.status is NtStatus.SUCCESS
    trim = struct.pack("<II", 0, 1) + struct.pack("<QQ", 0, 500)
    assert ioctl(client, stream, fsctl.FSCTL_FILE_LEVEL_TRIM, trim) == 0
    assert client.call(Command.READ, requests.read(stream, 2000)).data == read
    assert ioctl(client, stream, fsctl.FSCTL_SET_SPARSE) is NtStatus.INVALID_DEVICE_REQUEST
    assert file.read_bytes() == b"x" * SIZE
    reader = client.open("file:stream", FILE_READ_DATA)
    assert ioctl(client, reader, zeros, struct.pack("<QQ", 0, 1)) is NtStatus.ACCESS_DENIED
