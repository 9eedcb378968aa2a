"""What a CREATE that is refused leaves behind: nothing."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from failing import failing
from smbengine import leases, requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.commands import create
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OVERWRITE_IF,
    FILE_SUPERSEDE,
)
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_ALLOCATION_SIZE
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_TEMPORARY
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS


@pytest.fixture
def file(engine: Engine) -> Path:
    path = engine.files / "file"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("disposition", [FILE_CREATE, FILE_OVERWRITE_IF, FILE_SUPERSEDE])
def test_an_allocation_size_that_is_refused_changes_nothing(
    client: Client, file: Path, disposition: int
) -> None:
    context = (SMB2_CREATE_ALLOCATION_SIZE, (1 << 60).to_bytes(8, "little"))
    for name in ("new", "file")[: 1 if disposition == FILE_CREATE else 2]:
        refused = client.create(name, disposition=disposition, contexts=[context])
        assert refused is NtStatus.DISK_FULL
    assert [path.name for path in file.parent.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"
    assert client.session.open_table == {}


def test_what_a_refused_create_has_made_goes_again(
    client: Client, other: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused late: by the disk, which has no room for attributes, by data that do not open."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", failing(errno.ENOSPC))
        assert client.create("file") is NtStatus.DISK_FULL
        assert client.create("folder", options=FILE_DIRECTORY_FILE) is NtStatus.DISK_FULL
    with monkeypatch.context() as patch:
        patch.setattr(Node, "open_data", failing(errno.EACCES))
        assert client.create("folder", options=FILE_DIRECTORY_FILE) is NtStatus.ACCESS_DENIED
    assert list(engine.files.iterdir()) == []
    assert other.create("folder", options=FILE_DIRECTORY_FILE) is SUCCESS


def test_a_stream_that_is_not_admitted_leaves_no_file(client: Client, engine: Engine) -> None:
    """The key of the lease is another file's."""
    leases.take(client, 1, name="other")
    refused = client.call(Command.CREATE, leases.body(1, name="file:stream"))
    assert refused.status is NtStatus.INVALID_PARAMETER
    assert [path.name for path in engine.files.iterdir()] == ["other"]


def test_no_directory_is_made_that_is_temporary(client: Client, engine: Engine) -> None:
    for disposition in (FILE_CREATE, FILE_OPEN_IF):
        for name, status in (("folder", NtStatus.INVALID_PARAMETER), ("file", SUCCESS)):
            made = client.create(
                f"{name}{disposition}",
                options=FILE_DIRECTORY_FILE if name == "folder" else 0,
                disposition=disposition,
                attributes=FILE_ATTRIBUTE_TEMPORARY,
            )
            assert made is status
    assert not list(engine.files.glob("folder*"))


@pytest.mark.parametrize("name", ["file", "file:stream", "old:stream"])
@pytest.mark.parametrize("written", [False, True])
def test_what_another_has_written_meanwhile_stays(
    client: Client,
    other: Client,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    written: bool,
) -> None:
    """He may open the file as soon as the store has admitted who makes it."""
    (engine.files / "old").write_bytes(b"old")
    tell = create._tell

    def refused(*arguments: Any) -> Any:
        if written:
            opened = other.open(name, disposition=FILE_OPEN)
            assert other.call(Command.WRITE, requests.write(opened, b"data")).status is SUCCESS
            other.close(opened)
        yield from tell(*arguments)
        raise OSError(errno.ENOSPC, "")

    with monkeypatch.context() as patch:
        patch.setattr(create, "_tell", refused)
        assert client.create(name) is NtStatus.DISK_FULL
    if written:
        opened = other.open(name, disposition=FILE_OPEN)
        assert other.call(Command.READ, requests.read(opened, 9)).data == b"data"
    else:
        assert [path.name for path in engine.files.iterdir()] == ["old"]
        assert other.create(name, disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert (engine.files / "old").read_bytes() == b"old"
