"""What a CREATE that is refused leaves behind: nothing."""

import errno
import os
from pathlib import Path

import pytest
from failing import failing
from smbengine import leases
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DIRECTORY_FILE,
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
