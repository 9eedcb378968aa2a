"""Renames and links: into which directories, onto which files, and who has to agree."""

import os
import struct
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.access import (
    DELETE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
)
from usmbd.protocol.wire.create import (
    FILE_DIRECTORY_FILE,
    FILE_SHARE_ALL,
    FILE_SHARE_WRITE,
)
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_READONLY
from usmbd.protocol.wire.fscc.set_info import (
    FileLinkInformation,
    FileRenameInformationEx,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS


@pytest.fixture
def file(engine: Engine) -> Path:
    path = engine.files / "file"
    path.write_bytes(b"content")
    return path


def change(client: Client, file: FileId, level: int, data: bytes) -> NtStatus:
    return client.call(Command.SET_INFO, requests.set_info(file, level, data)).status


def rename(client: Client, file: FileId, name: str, replace: bool = False) -> NtStatus:
    return client.call(Command.SET_INFO, requests.rename(file, name, replace=replace)).status


def test_a_rename_moves_the_file(client: Client, engine: Engine, file: Path) -> None:
    (engine.files / "dir").mkdir()
    opened = client.open("file")
    assert rename(client, opened, "dir\\moved") is SUCCESS
    assert (engine.files / "dir" / "moved").read_bytes() == b"content"
    assert not file.exists()
    assert rename(client, opened, "dir\\MOVED") is SUCCESS
    assert os.listdir(engine.files / "dir") == ["MOVED"]
    assert client.call(Command.READ, requests.read(opened, 3)).data == b"con"


def test_a_target_is_replaced_only_where_asked_and_closed(
    client: Client, engine: Engine, file: Path
) -> None:
    target = engine.files / "target"
    target.write_bytes(b"other")
    opened = client.open("file")
    assert rename(client, opened, "target") is NtStatus.OBJECT_NAME_COLLISION
    other = Client(engine).ready()
    held = other.open("target", FILE_READ_DATA)
    assert rename(client, opened, "target", replace=True) is NtStatus.ACCESS_DENIED
    other.close(held)
    assert rename(client, opened, "target", replace=True) is SUCCESS
    assert os.listdir(engine.files) == ["target"]
    assert target.read_bytes() == b"content"


def test_a_rename_onto_another_name_of_the_same_file(
    client: Client, engine: Engine, file: Path
) -> None:
    """It is open, and may be replaced all the same: by itself ([MS-FSA] 2.1.5.15.11)."""
    os.link(file, engine.files / "other")
    opened = client.open(file.name)
    assert rename(client, opened, "other", replace=True) is NtStatus.SUCCESS
    assert (engine.files / "other").exists()


def test_a_rename_needs_the_right_and_the_others_consent(
    client: Client, engine: Engine, file: Path
) -> None:
    assert rename(client, client.open("file", FILE_READ_DATA), "x") is NtStatus.ACCESS_DENIED
    attributes_only = Client(engine).ready()
    attributes_only.open("file", FILE_READ_ATTRIBUTES, share=0)
    opened = client.open("file", DELETE)
    assert rename(client, opened, "x") is SUCCESS


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("", NtStatus.ACCESS_DENIED),
        ("no\\where", NtStatus.OBJECT_PATH_NOT_FOUND),
        ("..\\out", NtStatus.OBJECT_PATH_SYNTAX_BAD),
        ("a*b", NtStatus.OBJECT_NAME_INVALID),
        ("x:stream", NtStatus.INVALID_PARAMETER),
    ],
)
def test_names_that_cannot_be(
    client: Client, engine: Engine, file: Path, name: str, status: NtStatus
) -> None:
    result = rename(client, client.open("file"), name)
    assert result is status or (not name and result is NtStatus.INVALID_PARAMETER)
    assert os.listdir(engine.files) == ["file"]


@pytest.mark.parametrize(
    ("access", "share", "renames", "links"),
    [
        (FILE_READ_DATA, FILE_SHARE_ALL, True, True),
        (FILE_READ_DATA, FILE_SHARE_WRITE, True, True),
        (FILE_READ_DATA, FILE_SHARE_ALL & ~FILE_SHARE_WRITE, False, False),
        (FILE_READ_ATTRIBUTES, 0, True, True),
        (DELETE, FILE_SHARE_ALL, False, True),
        (DELETE, 0, False, False),
    ],
)
@pytest.mark.parametrize("where", ["", "dir"])
def test_a_directory_that_somebody_has_for_himself(
    client: Client,
    engine: Engine,
    file: Path,
    where: str,
    access: int,
    share: int,
    renames: bool,
    links: bool,
) -> None:
    """It takes no new names; that of the old name may be anybody's."""
    (engine.files / "dir").mkdir()
    held = Client(engine).ready().open("dir", access, share=share, options=FILE_DIRECTORY_FILE)
    assert held
    opened = client.open("file")
    link = change(client, opened, FileLinkInformation, requests.named("dir\\link"))
    assert link is (SUCCESS if links else NtStatus.SHARING_VIOLATION)
    moved = rename(client, opened, "dir\\moved" if where else "moved")
    assert moved is (SUCCESS if renames or not where else NtStatus.SHARING_VIOLATION)


@pytest.mark.parametrize("slow", [False, True])
def test_a_directory_with_something_open_below_stays(
    client: Client, engine: Engine, slow: bool
) -> None:
    (engine.files / "dir" / "sub").mkdir(parents=True)
    other = Client(engine).ready()
    held = other.open("dir\\sub\\file")
    if slow:
        client.session.tree_connect_table[client.tree_id].speed.slow_until = float("inf")
    opened = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert rename(client, opened, "moved") is NtStatus.ACCESS_DENIED
    other.close(held)
    assert rename(client, opened, "moved") is SUCCESS
    assert (engine.files / "moved" / "sub" / "file").exists()


def test_a_file_deleted_on_the_server_hinders_no_rename(
    client: Client, engine: Engine, file: Path
) -> None:
    (engine.files / "dir").mkdir()
    client.open("file")
    file.unlink()
    opened = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert rename(client, opened, "moved") is SUCCESS


def test_a_link_is_another_name(client: Client, engine: Engine, file: Path) -> None:
    opened = client.open("file")
    assert change(client, opened, FileLinkInformation, requests.named("second")) is SUCCESS
    assert (engine.files / "second").samefile(file)
    again = change(client, opened, FileLinkInformation, requests.named("second"))
    assert again is NtStatus.OBJECT_NAME_COLLISION


def renamed(client: Client, opened: FileId, name: str, flags: int) -> NtStatus:
    raw = name.encode("utf-16-le")
    data = struct.pack("<IIQI", flags, 0, 0, len(raw)) + raw
    return change(client, opened, FileRenameInformationEx, data)


def test_a_posix_rename_replaces_what_is_open(client: Client, engine: Engine, file: Path) -> None:
    (engine.files / "target").write_bytes(b"old")
    target, opened = client.open("target"), client.open("file")
    assert renamed(client, opened, "target", 1) is NtStatus.ACCESS_DENIED
    assert renamed(client, opened, "target", 3) is SUCCESS
    assert client.call(Command.READ, requests.read(target, 3)).data == b"old"
    assert (engine.files / "target").read_bytes() == b"content"


def test_a_rename_replaces_what_is_read_only_by_force(client: Client, file: Path) -> None:
    client.close(client.open("target", attributes=FILE_ATTRIBUTE_READONLY))
    opened = client.open("file")
    assert renamed(client, opened, "target", 0x1) is NtStatus.ACCESS_DENIED
    assert renamed(client, opened, "target", 0x41) is SUCCESS
    assert renamed(client, opened, "other", 0x80) is NtStatus.NOT_SUPPORTED


def test_a_directory_does_not_replace_a_file(client: Client, engine: Engine, file: Path) -> None:
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert rename(client, directory, "file", replace=True) is NtStatus.OBJECT_NAME_COLLISION
    assert rename(client, directory, "file") is NtStatus.OBJECT_NAME_COLLISION
    assert rename(client, client.open("file"), "dir", replace=True) is NtStatus.ACCESS_DENIED
    assert file.read_bytes() == b"content"
