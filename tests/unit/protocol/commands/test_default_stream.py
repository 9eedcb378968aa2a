"""A named stream that is renamed to the data of its file (Samba's smb2.streams.rename2)."""

from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    SMB2_OPLOCK_LEVEL_BATCH,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS
DATA = "::$DATA"


@pytest.fixture
def file(engine: Engine) -> Path:
    return engine.files / "file"


def stream(client: Client, **options: int) -> FileId:
    """Open a stream with something in it."""
    opened = client.open("file:stream", **options)
    assert client.call(Command.WRITE, requests.write(opened, b"text")).status is SUCCESS
    return opened


def rename(client: Client, opened: FileId, name: str = DATA, *, replace: bool = True) -> NtStatus:
    return client.call(Command.SET_INFO, requests.rename(opened, name, replace=replace)).status


def test_it_is_the_file_then(client: Client, engine: Engine, file: Path) -> None:
    opened = stream(client)
    assert rename(client, opened) is SUCCESS
    assert file.read_bytes() == b"text"
    assert client.create("file:stream", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert client.call(Command.WRITE, requests.write(opened, b"n", 4)).status is SUCCESS
    assert client.call(Command.READ, requests.read(opened, 9)).data == b"textn"
    # And has its share mode.
    assert client.create("file", disposition=FILE_OPEN, share=0) is NtStatus.SHARING_VIOLATION
    client.close(opened)
    assert client.create("file", disposition=FILE_OPEN, share=0) is SUCCESS
    assert engine.server.descriptors.used == 1


def test_what_it_would_replace_stays(client: Client, file: Path) -> None:
    opened = stream(client)
    assert rename(client, opened, replace=False) is NtStatus.OBJECT_NAME_COLLISION
    file.write_bytes(b"data")
    assert rename(client, opened) is NtStatus.OBJECT_NAME_COLLISION
    assert file.read_bytes() == b"data"
    assert client.call(Command.READ, requests.read(opened, 9)).data == b"text"


@pytest.mark.parametrize("name", ["file", "file:stream"])
def test_others_have_it_or_the_file_open(client: Client, file: Path, name: str) -> None:
    opened = stream(client)
    other = client.open(name)
    assert rename(client, opened) is NtStatus.SHARING_VIOLATION
    client.close(other)
    assert rename(client, opened) is SUCCESS


def test_what_belongs_to_the_stream_alone(client: Client, engine: Engine, file: Path) -> None:
    """A cache, a lock, a deletion; a folder has no data."""
    opened = stream(client, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    assert rename(client, opened) is NtStatus.NOT_SUPPORTED
    client.close(opened)
    opened = stream(client)
    client.call(Command.LOCK, requests.lock(opened, (0, 1, 0x12)))
    assert rename(client, opened) is NtStatus.NOT_SUPPORTED
    client.close(opened)
    opened = stream(client, options=FILE_DELETE_ON_CLOSE)
    assert rename(client, opened) is NtStatus.NOT_SUPPORTED
    client.close(opened)
    opened = stream(client)
    body = requests.set_info(opened, 13, b"\1")
    assert client.call(Command.SET_INFO, body).status is SUCCESS
    assert rename(client, opened) is NtStatus.DELETE_PENDING
    client.close(client.open("dir", options=FILE_DIRECTORY_FILE))
    assert rename(client, client.open("dir:stream")) is NtStatus.INVALID_PARAMETER
    assert file.read_bytes() == b""


def test_by_the_name_of_a_file_its_directory_is_opened(client: Client, engine: Engine) -> None:
    """[MS-FSA] 2.1.5.15.11: who has it with DELETE is in the way of that."""
    folder = client.open("dir", options=FILE_DIRECTORY_FILE, access=DELETE | FILE_READ_DATA)
    opened = client.open(r"dir\file:stream")
    assert rename(client, opened, r"dir\file:other") is NtStatus.SHARING_VIOLATION
    client.close(folder)
    assert rename(client, opened, r"dir\file:other") is NtStatus.INVALID_PARAMETER
