"""A named stream that is renamed to the data of its file (Samba's smb2.streams.rename2)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.macos import Serve, write
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import default_stream
from usmbd.protocol.vfs.node import Node
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


def test_a_full_disk_takes_nothing(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a write that is short nothing is left, and the stream is there."""
    opened = stream(client)
    write = Node.write
    monkeypatch.setattr(Node, "write", lambda node, data, at: write(node, bytes(data[:2]), at))
    assert rename(client, opened) is NtStatus.DISK_FULL
    monkeypatch.undo()
    assert file.read_bytes() == b""
    assert client.call(Command.READ, requests.read(opened, 9)).data == b"text"
    client.close(client.open("file:stream", FILE_READ_DATA, FILE_OPEN))
    client.close(client.open("file", FILE_READ_DATA, FILE_OPEN))
    assert rename(client, opened) is SUCCESS


@pytest.mark.parametrize("name", ["file", "file:stream"])
def test_one_who_comes_in_between_is_in_the_way(
    client: Client, engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Such as in another worker, behind the first look at who else has them."""
    opened = stream(client)
    other = Client(engine).ready()
    come: list[FileId] = []
    given_up = default_stream.handles_given_up

    def late(*args: Any) -> Iterator[Any]:
        yield from given_up(*args)
        monkeypatch.setattr(engine.server.store, "count_opens", blind)

    def blind(key: bytes) -> int:
        found = count(key)
        if not found and not come:
            come.append(other.open(name, FILE_READ_DATA, FILE_OPEN))
        return found

    count = engine.server.store.count_opens
    monkeypatch.setattr(default_stream, "handles_given_up", late)
    assert rename(client, opened) is NtStatus.SHARING_VIOLATION
    monkeypatch.undo()
    assert file.read_bytes() == b""
    assert client.call(Command.READ, requests.read(opened, 9)).data == b"text"
    other.close(come[0])
    assert rename(client, opened) is SUCCESS
    assert file.read_bytes() == b"text"


@pytest.mark.parametrize("name", ["file", "file:stream"])
def test_nobody_comes_while_the_data_move(
    client: Client, engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    opened = stream(client)
    other = Client(engine).ready()
    write = Node.write
    statuses = []

    def late(node: Node, data: bytes, at: int) -> int:
        statuses.append(other.create(name, disposition=FILE_OPEN))
        return write(node, data, at)

    monkeypatch.setattr(Node, "write", late)
    assert rename(client, opened) is SUCCESS
    monkeypatch.undo()
    refused = NtStatus.SHARING_VIOLATION if name == "file" else NtStatus.DELETE_PENDING
    assert statuses == [refused]
    assert file.read_bytes() == b"text"
    client.close(other.open(name))


def test_what_macos_keeps_stays(serve: Serve) -> None:
    """A fork of 4 GiB does not go through memory."""
    client = serve()
    assert write(client, "file", b"") is SUCCESS
    for name in ("file:AFP_Resource", "file:AFP_AfpInfo"):
        assert rename(client, client.open(name)) is NtStatus.ACCESS_DENIED


def test_by_the_name_of_a_file_its_directory_is_opened(client: Client, engine: Engine) -> None:
    """[MS-FSA] 2.1.5.15.11: who has it with DELETE is in the way of that."""
    folder = client.open("dir", options=FILE_DIRECTORY_FILE, access=DELETE | FILE_READ_DATA)
    opened = client.open(r"dir\file:stream")
    assert rename(client, opened, r"dir\file:other") is NtStatus.SHARING_VIOLATION
    client.close(folder)
    assert rename(client, opened, r"dir\file:other") is NtStatus.INVALID_PARAMETER
