"""FILE_ATTRIBUTE_ARCHIVE: what a backup took away comes back with a change ([MS-FSA] 2.1.4.17)."""

import struct
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.create import FILE_OPEN
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_NORMAL,
)
from usmbd.protocol.wire.fscc.file_info import BasicInformation, FileBasicInformation
from usmbd.protocol.wire.fscc.set_info import (
    FileAllocationInformation,
    FileEndOfFileInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

Change = Callable[[Client, FileId], Reply]


def set_size(level: int, size: int) -> Change:
    return lambda client, file: client.call(
        Command.SET_INFO, requests.set_info(file, level, struct.pack("<Q", size))
    )


def set_zero(client: Client, file: FileId) -> Reply:
    body = requests.ioctl(file, fsctl.FSCTL_SET_ZERO_DATA, struct.pack("<QQ", 0, 2))
    return client.call(Command.IOCTL, body)


def rename(client: Client, file: FileId) -> Reply:
    return client.call(Command.SET_INFO, requests.rename(file, "renamed"))


CHANGES: dict[str, Change] = {
    "write": lambda client, file: client.call(Command.WRITE, requests.write(file, b"new")),
    "end of file": set_size(FileEndOfFileInformation, 2),
    "allocation": set_size(FileAllocationInformation, 0),
    "zeros": set_zero,
    "a new name": rename,
}


def attributes(client: Client, file: FileId) -> int:
    body = requests.query_info(file, FileBasicInformation)
    return BasicInformation.parse(client.call(Command.QUERY_INFO, body).data).file_attributes


def set_attributes(client: Client, name: str, wanted: int) -> None:
    """Do what a backup does behind its copy."""
    file = client.open(name, disposition=FILE_OPEN)
    body = requests.set_info(
        file, FileBasicInformation, struct.pack("<QQQQII", *[0] * 4, wanted, 0)
    )
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    assert not attributes(client, file) & FILE_ATTRIBUTE_ARCHIVE
    client.call(Command.CLOSE, requests.close(file))


@pytest.fixture
def saved(engine: Engine, client: Client) -> str:
    """Return the name of a file that has been backed up."""
    (engine.files / "file").write_bytes(b"data")
    set_attributes(client, "file", FILE_ATTRIBUTE_HIDDEN)
    return "file"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_sets_it(client: Client, saved: str, change: str) -> None:
    file = client.open(saved, disposition=FILE_OPEN)
    assert CHANGES[change](client, file).status is NtStatus.SUCCESS
    assert attributes(client, file) == FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_ARCHIVE


def test_a_look_does_not(client: Client, saved: str) -> None:
    file = client.open(saved, disposition=FILE_OPEN)
    client.call(Command.READ, requests.read(file, 4))
    client.call(Command.WRITE, requests.write(file, b""))
    client.call(Command.CLOSE, requests.close(file))
    file = client.open(saved, disposition=FILE_OPEN)
    assert attributes(client, file) == FILE_ATTRIBUTE_HIDDEN


def test_a_stream_is_its_files(client: Client, saved: str) -> None:
    stream = client.open("file:stream")
    client.call(Command.WRITE, requests.write(stream, b"new"))
    assert attributes(client, client.open(saved)) & FILE_ATTRIBUTE_ARCHIVE


def test_who_copies_sets_attributes_last(client: Client) -> None:
    """As `robocopy` does: what was copied has the attributes of its original."""
    file = client.open("new")
    client.call(Command.WRITE, requests.write(file, b"copy"))
    wanted = struct.pack("<QQQQII", *[0] * 4, FILE_ATTRIBUTE_NORMAL, 0)
    client.call(Command.SET_INFO, requests.set_info(file, FileBasicInformation, wanted))
    assert attributes(client, file) == FILE_ATTRIBUTE_NORMAL


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("before", [False, True])
def test_a_file_that_is_open_while_it_is_backed_up(
    engine: Engine, workers: int, before: bool
) -> None:
    """A database: what is written behind the backup's look is for the next one."""
    writer = Client(engine).ready()
    file = writer.open("file")
    if before:
        writer.call(Command.WRITE, requests.write(file, b"old"))
    assert attributes(writer, file) & FILE_ATTRIBUTE_ARCHIVE
    server = engine.another_worker() if workers == 2 else engine.server
    set_attributes(Client(engine, server=server).ready(), "file", FILE_ATTRIBUTE_NORMAL)
    engine.settle()
    assert not attributes(writer, file) & FILE_ATTRIBUTE_ARCHIVE
    for number in range(2):
        writer.call(Command.WRITE, requests.write(file, b"new", number))
        assert attributes(writer, file) & FILE_ATTRIBUTE_ARCHIVE
