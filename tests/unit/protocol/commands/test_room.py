"""Room that clients ask for: by AllocationSize of CREATE and of SET_INFO."""

import errno
import os
import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import kernel
from usmbd.protocol.wire.fscc.set_info import FileAllocationInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MIB = 1 << 20


@pytest.fixture
def quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody have more than a MiB, as ext4 does it: what there was has been taken."""
    real = kernel.fallocate

    def until_full(fd: int, mode: int, offset: int, length: int) -> None:
        real(fd, mode, offset, min(length, MIB))
        if length > MIB:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(kernel, "fallocate", until_full)


def allocate(client: Client, file: FileId, size: int) -> NtStatus:
    body = requests.set_info(file, FileAllocationInformation, struct.pack("<Q", size))
    return client.call(Command.SET_INFO, body).status


def room(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.usefixtures("quota")
def test_in_vain_it_goes_back_where_nobody_else_writes(client: Client, engine: Engine) -> None:
    """What others append at that moment would be cut off."""
    path = engine.files / "file"
    opened = client.open("file")
    other = Client(engine).ready()
    also = other.open("file")
    client.call(Command.WRITE, requests.write(opened, b"data"))
    assert allocate(client, opened, 2 * MIB) is NtStatus.DISK_FULL
    assert room(path) >= MIB
    other.close(also)
    assert allocate(client, opened, 2 * MIB) is NtStatus.DISK_FULL
    assert room(path) < MIB
    assert path.read_bytes() == b"data"
    assert allocate(client, client.open("file:stream"), 2) is NtStatus.SUCCESS
