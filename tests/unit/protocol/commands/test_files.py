"""READ, WRITE, FLUSH, CLOSE of files and streams; what they leave on the disk."""

import os
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.marks import BY_MEMORY
from smbengine.requests import READ_WRITE_DELETE
from smbengine.server import Engine

from usmbd.protocol.commands.read import COPIED_SIZE
from usmbd.protocol.wire.access import DELETE, FILE_APPEND_DATA, FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.close import SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB, CloseResponse
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NO_INTERMEDIATE_BUFFERING,
    FILE_OPEN,
    FILE_OVERWRITE_IF,
    FILE_WRITE_THROUGH,
)
from usmbd.protocol.wire.fscc.file_info import FileStreamInformation
from usmbd.protocol.wire.fscc.set_info import FileDispositionInformationEx
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.wire.write import (
    SMB2_WRITEFLAG_WRITE_THROUGH,
    SMB2_WRITEFLAG_WRITE_UNBUFFERED,
    WriteResponse,
)
from usmbd.transport.base import FileSpan

DATA = bytes(range(256)) * 1024
TO_END = 2**64 - 1


@pytest.fixture
def file(engine: Engine) -> Path:
    path = engine.files / "file"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 10, DATA[:10]),
        (len(DATA) - 3, 10, DATA[-3:]),
        (len(DATA), 10, NtStatus.END_OF_FILE),
        (len(DATA) + 99, 10, NtStatus.END_OF_FILE),
        (0, 0, b""),
        (len(DATA) + 99, 0, b""),
        (2**63 - 10, 9, NtStatus.END_OF_FILE),
        (2**63, 1, NtStatus.INVALID_PARAMETER),
        (2**63 - 1, 1, NtStatus.INVALID_PARAMETER),
    ],
)
def test_reads(
    client: Client, file: Path, offset: int, length: int, expected: bytes | NtStatus
) -> None:
    reply = client.call(Command.READ, requests.read(client.open("file"), length, offset))
    if isinstance(expected, bytes):
        assert reply.status is NtStatus.SUCCESS
        assert reply.data == expected
    else:
        assert reply.status is expected


def test_less_than_the_minimum_is_the_end(client: Client, file: Path) -> None:
    opened = client.open("file")
    short = client.call(Command.READ, requests.read(opened, 10, len(DATA) - 5, minimum=6))
    assert short.status is NtStatus.END_OF_FILE
    enough = client.call(Command.READ, requests.read(opened, 10, len(DATA) - 5, minimum=5))
    assert enough.data == DATA[-5:]


@pytest.mark.parametrize("protection", ["plain", "signed", "sealed"])
@pytest.mark.parametrize("offset", [0, 7, len(DATA) - COPIED_SIZE - 1, len(DATA) - 100])
def test_large_reads_by_every_way(client: Client, file: Path, protection: str, offset: int) -> None:
    client.signs, client.seals = protection == "signed", protection == "sealed"
    opened = client.open("file")
    body = requests.read(opened, 2 * COPIED_SIZE, offset)
    reply = client.call(Command.READ, body, credit_charge=2)
    assert reply.data == DATA[offset : offset + 2 * COPIED_SIZE]


@BY_MEMORY
def test_a_plain_large_read_is_left_to_the_transport(
    client: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    send = client.connection.transport.send
    monkeypatch.setattr(
        client.connection.transport, "send", lambda parts: (sent.extend(parts), send(parts))
    )
    opened = client.open("file")
    for signs in (False, True):
        sent.clear()
        client.signs = signs
        client.call(Command.READ, requests.read(opened, COPIED_SIZE + 1), credit_charge=2)
        assert any(isinstance(part, FileSpan) for part in sent) is not signs


def test_writes_and_holes(client: Client, engine: Engine) -> None:
    opened = client.open("new")
    reply = client.call(Command.WRITE, requests.write(opened, b"end", 100))
    assert reply.parse(WriteResponse).count == 3
    client.call(Command.WRITE, requests.write(opened, b"begin"))
    assert (engine.files / "new").read_bytes() == b"begin".ljust(100, b"\0") + b"end"
    nothing = client.call(Command.WRITE, requests.write(opened, b"", 5000))
    assert nothing.parse(WriteResponse).count == 0
    assert (engine.files / "new").stat().st_size == 103


def test_writes_to_the_end(client: Client, file: Path) -> None:
    opened = client.open("file", FILE_APPEND_DATA)
    assert client.call(Command.WRITE, requests.write(opened, b"more", TO_END)).status == 0
    assert client.call(Command.WRITE, requests.write(opened, b"!", len(DATA) + 4)).status == 0
    assert file.read_bytes() == DATA + b"more!"


def test_who_may_only_append_does_not_overwrite(client: Client, file: Path) -> None:
    opened = client.open("file", FILE_APPEND_DATA | FILE_READ_DATA)
    for offset in (0, len(DATA) - 1):
        reply = client.call(Command.WRITE, requests.write(opened, b"X", offset))
        assert reply.status is NtStatus.ACCESS_DENIED
    assert file.read_bytes() == DATA


@pytest.mark.parametrize("offset", [2**63 - 2, 2**63, 2**64 - 2, 2**64 - 1])
def test_offsets_beyond_all_files(client: Client, offset: int) -> None:
    opened = client.open("new")
    reply = client.call(Command.WRITE, requests.write(opened, b"abc", offset))
    assert reply.status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("flags", [0, SMB2_WRITEFLAG_WRITE_THROUGH])
def test_write_through_is_flushed_by_a_thread(
    client: Client, engine: Engine, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = 0 if flags else FILE_WRITE_THROUGH
    opened = client.open("new", options=options)
    flushed = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: flushed.append(fd))
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(fd))
    before = engine.threads.submitted
    client.call(Command.WRITE, requests.write(opened, b"x", flags=flags))
    assert engine.threads.submitted == before + 1
    assert len(flushed) == 1


@pytest.mark.parametrize("flags", [0, SMB2_WRITEFLAG_WRITE_UNBUFFERED])
def test_what_is_unbuffered_is_not_flushed(
    client: Client, engine: Engine, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = READ_WRITE_DELETE & ~FILE_APPEND_DATA
    options = 0 if flags else FILE_NO_INTERMEDIATE_BUFFERING
    opened = client.open("new", access, options=options)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    monkeypatch.setattr(os, "fsync", flushed.append)
    client.call(Command.WRITE, requests.write(opened, b"x", flags=flags))
    assert flushed == []


def test_directories_have_no_data(client: Client) -> None:
    opened = client.open("dir", options=FILE_DIRECTORY_FILE)
    for command, body in (
        (Command.READ, requests.read(opened, 1)),
        (Command.WRITE, requests.write(opened, b"x")),
    ):
        assert client.call(command, body).status is NtStatus.INVALID_DEVICE_REQUEST


def test_close_may_tell_the_files_facts(client: Client, file: Path) -> None:
    body = requests.close(client.open("file"), SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB)
    closed = client.call(Command.CLOSE, body).parse(CloseResponse)
    assert closed.flags == SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB
    assert closed.end_of_file == len(DATA)
    silent = client.call(Command.CLOSE, requests.close(client.open("file"))).parse(CloseResponse)
    assert silent == CloseResponse()


def test_a_closed_open_is_gone(client: Client, engine: Engine, file: Path) -> None:
    opened = client.open("file")
    key, before = client.open_of(opened).key, len(os.listdir("/proc/self/fd"))
    assert client.close(opened) is NtStatus.SUCCESS
    assert client.close(opened) is NtStatus.FILE_CLOSED
    assert engine.store.opens(key) == []
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_no_operation_leaves_a_descriptor(client: Client, file: Path) -> None:
    client.close(client.open("file"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        client.close(client.open("file"))
        client.close(client.open("file:stream"))
        client.close(client.open("dir", options=FILE_DIRECTORY_FILE))
        client.create("file", FILE_READ_DATA, 2)
        client.create("no\\file")
        client.create("file", options=FILE_DIRECTORY_FILE)
    assert len(os.listdir("/proc/self/fd")) == before


# -- streams -----------------------------------------------------------------------------------


def test_a_stream_is_a_file_of_its_own(client: Client, file: Path) -> None:
    opened = client.open("file:notes")
    assert client.call(Command.WRITE, requests.write(opened, b"text", 2)).status == 0
    assert client.call(Command.READ, requests.read(opened, 99)).data == b"\0\0text"
    assert os.getxattr(file, "user.DosStream.notes:$DATA") == b"\0\0text\0"
    assert file.read_bytes() == DATA
    listed = client.call(
        Command.QUERY_INFO, requests.query_info(opened, FileStreamInformation)
    ).data
    assert "::$DATA".encode("utf-16-le") in listed
    assert ":notes:$DATA".encode("utf-16-le") in listed


def test_a_stream_makes_its_file(client: Client, engine: Engine) -> None:
    client.open("new:notes")
    assert (engine.files / "new").read_bytes() == b""
    assert client.create("gone:notes", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert client.create("new:other", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND


def test_streams_share_for_themselves(client: Client, engine: Engine, file: Path) -> None:
    client.open("file:one", share=0)
    other = Client(engine).ready()
    assert other.create("file:two", share=0) is NtStatus.SUCCESS
    assert other.create("FILE:ONE") is NtStatus.SHARING_VIOLATION
    assert other.create("file", FILE_READ_DATA) is NtStatus.SUCCESS
    assert other.create("file", DELETE) is NtStatus.SHARING_VIOLATION


def test_a_stream_is_deleted_without_its_file(client: Client, file: Path) -> None:
    client.close(client.open("file:notes", options=FILE_DELETE_ON_CLOSE))
    assert file.exists()
    assert not [n for n in os.listxattr(file) if "DosStream" in n]


def test_a_file_goes_with_the_last_of_its_streams(client: Client, file: Path) -> None:
    stream = client.open("file:notes")
    client.close(client.open("file", options=FILE_DELETE_ON_CLOSE))
    assert file.exists()
    assert client.create("file:notes") is NtStatus.DELETE_PENDING
    client.close(stream)
    assert not file.exists()


def test_overwriting_a_file_takes_its_streams(client: Client, file: Path) -> None:
    client.close(client.open("file:notes"))
    client.open("file", disposition=FILE_OVERWRITE_IF)
    assert file.read_bytes() == b""
    assert not [n for n in os.listxattr(file) if "DosStream" in n]


def test_the_data_stream_by_its_name(client: Client, file: Path) -> None:
    opened = client.open("file::$DATA", FILE_READ_DATA | FILE_WRITE_DATA)
    assert client.open_of(opened).stream is None
    assert client.call(Command.READ, requests.read(opened, 4)).data == DATA[:4]


def test_of_two_names_the_one_that_was_deleted_goes(client: Client, engine: Engine) -> None:
    (engine.files / "one").write_bytes(b"data")
    (engine.files / "two").hardlink_to(engine.files / "one")
    kept = client.open("two")
    deleted = client.open("one")
    delete = requests.set_info(deleted, 13, b"\1")
    assert client.call(Command.SET_INFO, delete).status is NtStatus.SUCCESS
    client.close(deleted)
    assert sorted(path.name for path in engine.files.iterdir()) == ["two"]
    client.close(kept)
    assert (engine.files / "two").read_bytes() == b"data"


def test_what_may_not_be_deleted_is_not_by_the_flag_either(client: Client, engine: Engine) -> None:
    """A folder that is not empty ([MS-FSA] 2.1.5.15.3)."""
    (engine.files / "dir").mkdir()
    opened = client.open("dir", options=FILE_DELETE_ON_CLOSE | FILE_DIRECTORY_FILE)

    def change(flags: bytes) -> NtStatus:
        body = requests.set_info(opened, FileDispositionInformationEx, flags)
        return client.call(Command.SET_INFO, body).status

    assert change(b"\x08\0\0\0") is NtStatus.SUCCESS
    (engine.files / "dir/inner").touch()
    refused = change(b"\x09\0\0\0")
    assert refused is NtStatus.DIRECTORY_NOT_EMPTY
