"""Writes to where no file can have data, or the disk has no room for all before them."""

import errno
import os
from types import SimpleNamespace

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands.write import NEAR
from usmbd.protocol.vfs.node import OFFSET_MAX
from usmbd.protocol.wire.fsctl import FSCTL_SET_SPARSE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MIB = 1 << 20


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have a disk with so many MiB free, and files of at most 2 TiB."""
    free = [1]
    seek = os.lseek

    def limited(fd: int, offset: int, whence: int) -> int:
        if offset > 2 * NEAR:
            raise OSError(errno.EINVAL, "beyond the end of any file")
        return seek(fd, offset, whence)

    def facts(_: object) -> SimpleNamespace:
        return SimpleNamespace(f_blocks=free[0], f_bavail=free[0], f_frsize=MIB, f_flag=0)

    monkeypatch.setattr("usmbd.protocol.vfs.node.os.lseek", limited)
    monkeypatch.setattr("usmbd.protocol.vfs.node.os.statvfs", facts)
    return free


def write(client: Client, file: FileId, end: int, data: bytes = b"x") -> NtStatus:
    body = requests.write(file, data, end - len(data))
    return client.call(Command.WRITE, body).status


def test_where_no_file_can_have_data(client: Client, disk: list[int]) -> None:
    """[MS-FSA] 2.1.5.4; as on NTFS a file has whole clusters (smb2.rw.invalid)."""
    file = client.open("file")
    disk[0] = 2 * NEAR // MIB
    for end in (2 * NEAR + 1, OFFSET_MAX, OFFSET_MAX + 1):
        assert write(client, file, end) is NtStatus.INVALID_PARAMETER
    assert write(client, file, 2 * NEAR + 1, b"") is NtStatus.SUCCESS
    assert write(client, file, 2 * NEAR) is NtStatus.SUCCESS


def test_the_last_offset_that_there_is(client: Client) -> None:
    """Whose cluster would end behind what the kernel can count."""
    refused = write(client, client.open("file"), OFFSET_MAX)
    assert refused in (NtStatus.INVALID_PARAMETER, NtStatus.DISK_FULL)


def test_a_disk_that_knows_no_end_has_room(client: Client, disk: list[int]) -> None:
    """Such as tmpfs without a limit, which says that it has no blocks."""
    disk[0] = 0
    assert write(client, client.open("file"), NEAR + 1) is NtStatus.SUCCESS


def test_a_file_that_is_not_sparse_has_room_for_all_before(
    client: Client, engine: Engine, disk: list[int]
) -> None:
    file = client.open("file")
    assert write(client, file, NEAR + 1) is NtStatus.DISK_FULL
    assert (engine.files / "file").stat().st_size == 0
    sparse = requests.ioctl(file, FSCTL_SET_SPARSE, b"\1")
    assert client.call(Command.IOCTL, sparse).status is NtStatus.SUCCESS
    assert write(client, file, NEAR + 1) is NtStatus.SUCCESS


def test_room_that_was_reserved_is_there(
    client: Client, disk: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly all of the disk is the file's own, behind its end; beyond that there is none."""
    file = client.open("file")
    stat = os.fstat

    def reserved(fd: int) -> os.stat_result:
        found = stat(fd)
        return os.stat_result(found[:10], {"st_blocks": (NEAR + 8 * MIB) // 512})

    monkeypatch.setattr("usmbd.protocol.vfs.node.os.fstat", reserved)
    assert write(client, file, NEAR + 9 * MIB + 1) is NtStatus.DISK_FULL
    assert write(client, file, NEAR + 7 * MIB) is NtStatus.SUCCESS


def test_what_there_is_can_be_written_to(client: Client, engine: Engine, disk: list[int]) -> None:
    """And a little beyond."""
    file = client.open("file")
    os.truncate(engine.files / "file", NEAR + MIB)
    assert write(client, file, NEAR + MIB) is NtStatus.SUCCESS
    assert write(client, file, NEAR + 2 * MIB) is NtStatus.SUCCESS
    assert write(client, file, NEAR + 3 * MIB + 1) is NtStatus.DISK_FULL
