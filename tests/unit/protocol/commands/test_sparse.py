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

from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_SPARSE_FILE,
    FILE_SUPPORTS_SPARSE_FILES,
)
from usmbd.protocol.wire.header import Command
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
