"""Files that the file system compresses: what is asked of the kernel, and what clients see.

The kernel's part is played here; tests/interop/test_clones.py has a file system that compresses.
"""

import array
import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import file_systems, inode_flags, kernel
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_WRITE_DATA
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NO_COMPRESSION
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_COMPRESSED,
    FILE_FILE_COMPRESSION,
)
from usmbd.protocol.wire.fscc.file_info import FileBasicInformation, FileCompressionInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILE, SMB2_0_INFO_FILESYSTEM
from usmbd.protocol.wire.status import NtStatus

NONE, DEFAULT, LZNT1 = (struct.pack("<H", n) for n in (0, 1, 2))
FILE_FS_ATTRIBUTE = 5
GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602
BTRFS = 0x9123683E
COMPRESS, IMMUTABLE = 0x04, 0x10  # FS_COMPR_FL, FS_IMMUTABLE_FL


class Kernel:
    """A file system that compresses, as btrfs does: a new file takes the flag of its directory."""

    def __init__(self) -> None:
        """Begin with nothing compressed."""
        self.flags: dict[int, int] = {}
        self.fails = 0
        self._statx = kernel.statx_fd

    def of(self, path: str | Path) -> int:
        """Return the flags of a file; those of its directory where it has none of its own."""
        path = os.path.realpath(path)
        number = os.stat(path).st_ino
        if number not in self.flags:
            self.flags[number] = 0
            self.flags[number] = self.flags.get(os.stat(os.path.dirname(path)).st_ino, 0)
        return self.flags[number]

    def ioctl(self, fd: int, request: int, argument: "array.array[int]") -> int:
        """FS_IOC_GETFLAGS and FS_IOC_SETFLAGS."""
        path, number = _path(fd), os.fstat(fd).st_ino
        if request == GET_FLAGS:
            argument[0] = self.flags.get(number, 0) if "(deleted)" in path else self.of(path)
        elif request != SET_FLAGS or self.fails:
            raise OSError(self.fails or errno.EOPNOTSUPP, "")
        else:
            self.flags[number] = argument[0]
        return 0

    def statx_fd(self, fd: int) -> Any:
        """Call statx, which tells of the flag."""
        statx = list(self._statx(fd))
        statx[1] = kernel.STATX_ATTR_COMPRESSED if self.of(_path(fd)) & COMPRESS else 0
        return tuple(statx)


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Let the share lie on such a file system."""
    disk = Kernel()
    monkeypatch.setattr(inode_flags.fcntl, "ioctl", disk.ioctl)
    monkeypatch.setattr(kernel, "statx_fd", disk.statx_fd)
    monkeypatch.setattr(inode_flags, "magic", lambda fd: BTRFS)
    monkeypatch.setattr(file_systems, "magic", lambda fd: BTRFS)
    return disk


def compress(client: Client, file: FileId, state: bytes) -> NtStatus:
    body = requests.ioctl(file, fsctl.FSCTL_SET_COMPRESSION, state)
    return client.call(Command.IOCTL, body).status


def state(client: Client, file: FileId) -> bytes:
    reply = client.call(Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_GET_COMPRESSION))
    fixed = reply.parse(IoctlResponse)
    return reply.message[fixed.output_offset :][: fixed.output_count]


def query(client: Client, file: FileId, level: int, kind: int = SMB2_0_INFO_FILE) -> bytes:
    reply = client.call(Command.QUERY_INFO, requests.query_info(file, level, kind))
    assert reply.status is NtStatus.SUCCESS
    return bytes(reply.data)


def test_a_flag_that_means_nothing_is_not_told(
    disk: Kernel, client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ext4 keeps what chattr +c sets, tells it by statx(2), and compresses nothing."""
    file = client.open("file")
    disk.flags[(engine.files / "file").stat().st_ino] = COMPRESS
    assert attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED
    monkeypatch.setattr(file_systems, "magic", lambda fd: 0xEF53)
    assert not attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED
    assert state(client, file) == NONE


def set_attributes(client: Client, file: FileId, attributes: int) -> None:
    data = bytes(32) + struct.pack("<II", attributes, 0)
    reply = client.call(Command.SET_INFO, requests.set_info(file, FileBasicInformation, data))
    assert reply.status is NtStatus.SUCCESS


def attributes(client: Client, file: FileId) -> int:
    data = query(client, file, FileBasicInformation)
    return int(struct.unpack_from("<I", data, 32)[0])


@pytest.mark.parametrize("name", ["file", "folder"])
@pytest.mark.parametrize("wanted", [DEFAULT, LZNT1])
def test_set_and_told(
    disk: Kernel, client: Client, engine: Engine, name: str, wanted: bytes
) -> None:
    """All answers agree, the other flags stay, and nothing of it is in DOSATTRIB."""
    file = client.open(name, options=FILE_DIRECTORY_FILE if name == "folder" else 0)
    disk.flags[(engine.files / name).stat().st_ino] = IMMUTABLE
    assert state(client, file) == NONE
    assert compress(client, file, wanted) is NtStatus.SUCCESS
    assert disk.of(engine.files / name) == COMPRESS | IMMUTABLE
    assert state(client, file) == LZNT1
    assert attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED
    assert struct.unpack_from("<8xH", query(client, file, FileCompressionInformation)) == (2,)
    assert compress(client, file, wanted) is NtStatus.SUCCESS
    assert compress(client, file, NONE) is NtStatus.SUCCESS
    assert disk.of(engine.files / name) == IMMUTABLE
    assert state(client, file) == NONE
    assert not attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED


def test_by_attributes_nothing_changes(disk: Kernel, client: Client, engine: Engine) -> None:
    """FILE_ATTRIBUTE_COMPRESSED is the FSCTL's alone, whoever has kept it with the file."""
    file = client.open("file", attributes=FILE_ATTRIBUTE_COMPRESSED)
    assert not attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED
    set_attributes(client, file, FILE_ATTRIBUTE_COMPRESSED | FILE_ATTRIBUTE_ARCHIVE)
    assert not attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED
    compress(client, file, DEFAULT)
    set_attributes(client, file, FILE_ATTRIBUTE_ARCHIVE)
    assert attributes(client, file) & FILE_ATTRIBUTE_COMPRESSED


@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_new_ones_take_it_from_their_directory(
    disk: Kernel, client: Client, engine: Engine, options: int
) -> None:
    folder = client.open("folder", options=FILE_DIRECTORY_FILE)
    compress(client, folder, DEFAULT)
    inherits = client.open(r"folder\one", disposition=FILE_CREATE, options=options)
    assert state(client, inherits) == LZNT1
    other = client.open(
        r"folder\two", disposition=FILE_CREATE, options=options | FILE_NO_COMPRESSION
    )
    assert state(client, other) == NONE
    assert not attributes(client, other) & FILE_ATTRIBUTE_COMPRESSED
    again = client.open(r"folder\one", options=options | FILE_NO_COMPRESSION)
    assert state(client, again) == LZNT1


def test_streams_are_not_compressed(disk: Kernel, client: Client, engine: Engine) -> None:
    compress(client, client.open("file"), DEFAULT)
    stream = client.open("file:stream")
    assert state(client, stream) == NONE
    assert compress(client, stream, DEFAULT) is NtStatus.NOT_SUPPORTED
    assert compress(client, stream, NONE) is NtStatus.SUCCESS
    assert state(client, client.open("file")) == LZNT1


def test_whoever_writes_may_ask(disk: Kernel, client: Client, engine: Engine) -> None:
    client.close(client.open("file"))
    writer = client.open("file", FILE_WRITE_DATA)
    assert compress(client, writer, DEFAULT) is NtStatus.SUCCESS
    assert state(client, writer) == LZNT1


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.EINVAL, NtStatus.INVALID_DEVICE_REQUEST),  # btrfs: the file is written in place
        (errno.EOPNOTSUPP, NtStatus.INVALID_DEVICE_REQUEST),
        (errno.EROFS, NtStatus.MEDIA_WRITE_PROTECTED),
        (errno.ENOSPC, NtStatus.DISK_FULL),
    ],
)
def test_what_cannot_be_is_told(
    disk: Kernel, client: Client, engine: Engine, number: int, status: NtStatus
) -> None:
    file = client.open("file")
    assert state(client, file) == NONE
    compress(client, file, NONE)  # so that what the volume can do is known
    disk.fails = number
    assert compress(client, file, DEFAULT) is status
    assert state(client, file) == NONE


def announced(client: Client) -> int:
    root = client.open("", FILE_READ_ATTRIBUTES, options=FILE_DIRECTORY_FILE)
    data = query(client, root, FILE_FS_ATTRIBUTE, SMB2_0_INFO_FILESYSTEM)
    return int(struct.unpack_from("<I", data)[0]) & FILE_FILE_COMPRESSION


def test_a_volume_that_compresses(disk: Kernel, client: Client) -> None:
    assert announced(client)


def test_a_volume_that_does_not(
    disk: Kernel, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ext4 takes the flag and keeps it, and compresses nothing."""
    monkeypatch.setattr(inode_flags, "magic", lambda fd: 0xEF53)
    assert not announced(client)
    file = client.open("file")
    assert compress(client, file, DEFAULT) is NtStatus.NOT_SUPPORTED
    assert state(client, file) == NONE


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOTTY, 0])
def test_mounted_without_compression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """F2FS refuses the flag, or takes it and forgets it."""
    monkeypatch.setattr(inode_flags, "magic", lambda fd: 0xF2F52010)

    def ioctl(fd: int, request: int, argument: "array.array[int]") -> int:
        argument[0] = 0
        if number:
            raise OSError(number, os.strerror(number))
        return 0

    monkeypatch.setattr(inode_flags.fcntl, "ioctl", ioctl)
    fd = os.open(tmp_path, os.O_TMPFILE | os.O_RDWR)
    assert not inode_flags.try_compression(fd)
    os.close(fd)
