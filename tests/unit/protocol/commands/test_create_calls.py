"""The system calls of opening, making and describing files: none asks what another has told.

They are counted where the share is watched for names in another case, and stores NT ACLs, of which
there are none; each costs 1 to 5 us, and 15 to 60 in the lab's guests.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import TRANSPORT, Engine

from usmbd.protocol.vfs import file_systems, kernel
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire.access import FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DIRECTORY_FILE, FILE_OPEN, FILE_OVERWRITE
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_TEMPORARY
from usmbd.protocol.wire.fscc.directory import FileDirectoryInformation
from usmbd.protocol.wire.fscc.file_info import FileAllInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

pytestmark = pytest.mark.skipif(TRANSPORT != "memory", reason="the fabric has memory of its own")

OF_FILES = (
    *("open", "dup", "scandir", "close", "stat", "fstat", "mkdir", "chmod", "readlink", "statvfs"),
    *("getxattr", "setxattr", "listxattr", "removexattr"),
)
"""What of `os` is called for a file, a system call each (scandir some)."""

_OPENAT2 = 437

Calls = list[str]
Made = tuple[Client, Calls]


@pytest.fixture(params=[False, True], ids=["permissions", "descriptors"])
def stored(request: pytest.FixtureRequest) -> bool:
    """Whether the share stores descriptors."""
    return bool(request.param)


@pytest.fixture
def made(engine: Engine, monkeypatch: pytest.MonkeyPatch, stored: bool) -> Iterator[Made]:
    """Return a user's client, and the calls for files that are made."""
    calls: Calls = []
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=stored)
    folder = engine.files / "folder"
    folder.mkdir()
    if os.geteuid() == 0:
        engine.mountd.identities["alice"] = Identity(2001, 2001)
        os.chown(folder, 2001, 2001)
    fd = os.open(folder, os.O_PATH)
    monkeypatch.setattr(file_systems, "LISTING", {file_systems.magic(fd)})
    os.close(fd)
    client = Client(engine).ready()
    client.signs = False
    client.open("folder\\before")  # the folder is watched from now on

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: (calls.append(name), function(*args, **named))[1]

    def syscall(number: ctypes.c_long, *args: Any) -> Any:
        if number.value == _OPENAT2:
            calls.append("openat2")
        return raw(number, *args)

    raw = kernel._syscall
    monkeypatch.setattr(kernel, "_syscall", syscall)
    for name in ("_statx", "_listxattr", "_flistxattr", "_utimensat"):
        monkeypatch.setattr(kernel, name, counted(name[1:], getattr(kernel, name)))
    for name in OF_FILES:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    yield client, calls
    monkeypatch.undo()
    become(None)


def test_a_name_that_is_not_there(made: Made) -> None:
    client, calls = made
    calls.clear()
    status = client.create("folder\\other", FILE_READ_ATTRIBUTES, FILE_OPEN)
    assert status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert calls == ["openat2", "openat2", "statx", "close"], calls


def test_a_new_file(made: Made, stored: bool) -> None:
    client, calls = made
    calls.clear()
    client.open("folder\\new", FILE_READ_DATA | FILE_WRITE_DATA, FILE_CREATE)
    missing, rights = ["openat2", "openat2", "statx"], ["listxattr"] if stored else []
    assert calls == [*missing, *rights, "openat2", "close", "statx", "setxattr", "statx"], calls


def test_a_new_directory(made: Made, stored: bool) -> None:
    client, calls = made
    calls.clear()
    client.open("folder\\new", FILE_READ_ATTRIBUTES, FILE_CREATE, options=FILE_DIRECTORY_FILE)
    missing, rights = ["openat2", "openat2", "statx"], ["listxattr"] if stored else []
    described = ["statx", "setxattr", "statx"]
    assert calls == [*missing, *rights, "mkdir", "open", "close", *described], calls


def test_what_is_there(made: Made, stored: bool) -> None:
    client, calls = made
    for name, options in ("folder\\before", 0), ("folder", FILE_DIRECTORY_FILE):
        calls.clear()
        file = client.open(name, FILE_READ_ATTRIBUTES, FILE_OPEN, options=options)
        assert calls == ["openat2", "statx", "getxattr", *(["listxattr"] if stored else [])], calls
        client.call(Command.CLOSE, requests.close(file))
        assert calls[-1] == "close"


def test_a_refused_creation_leaves_no_descriptor(made: Made) -> None:
    client, calls = made
    before = os.listdir("/proc/self/fd")
    calls.clear()
    status = client.create(
        "folder\\new",
        FILE_READ_ATTRIBUTES,
        FILE_CREATE,
        options=FILE_DIRECTORY_FILE,
        attributes=FILE_ATTRIBUTE_TEMPORARY,
    )
    assert status is NtStatus.INVALID_PARAMETER
    assert calls == ["openat2", "openat2", "statx", "close"], calls
    assert os.listdir("/proc/self/fd") == before


READ_WRITE = FILE_READ_DATA | FILE_WRITE_DATA | FILE_READ_ATTRIBUTES


def asked_at_once(
    client: Client, name: str, access: int, disposition: int, *between: tuple[int, bytes]
) -> bytes:
    """Open a file and ask what it is in one message; return what is told."""
    create = Command.CREATE, requests.create(name, access, disposition)
    query = Command.QUERY_INFO, requests.query_info(requests.RELATED, FileAllInformation)
    close = Command.CLOSE, requests.close(requests.RELATED)
    replies = client.compound(create, *between, query, close)
    assert [reply.status for reply in replies] == [NtStatus.SUCCESS] * len(replies)
    return replies[-2].data


def test_what_is_opened_to_be_described_is_looked_at_once(made: Made, stored: bool) -> None:
    client, calls = made
    calls.clear()
    asked_at_once(client, "folder\\before", FILE_READ_ATTRIBUTES, FILE_OPEN)
    rights = ["listxattr"] if stored else []
    name_and_eas = ["readlink", "listxattr"]
    assert calls == ["openat2", "statx", "getxattr", *rights, *name_and_eas, "close"], calls


@pytest.mark.parametrize("disposition", [FILE_OPEN, FILE_OVERWRITE, FILE_CREATE])
@pytest.mark.parametrize("written", [b"", b"data"])
def test_what_is_told_at_once_is_told_later(made: Made, disposition: int, written: bytes) -> None:
    """Whatever the CREATE has done to the file, and the requests between."""
    client, _ = made
    name = "folder\\new" if disposition == FILE_CREATE else "folder\\before"
    if disposition != FILE_CREATE:
        file = client.open(name)
        client.call(Command.WRITE, requests.write(file, bytes(100)))
    between = [(Command.WRITE, requests.write(requests.RELATED, written))] if written else []
    told = asked_at_once(client, name, READ_WRITE, disposition, *between)
    size = {FILE_OPEN: 100}.get(disposition, len(written))
    assert int.from_bytes(told[48:56], "little") == size
    assert told == asked_at_once(client, name, READ_WRITE, FILE_OPEN)


def test_a_listing_opens_its_directory_once(made: Made) -> None:
    client, calls = made
    folder = client.open("folder", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    calls.clear()
    body = requests.query_directory(folder, FileDirectoryInformation)
    assert client.call(Command.QUERY_DIRECTORY, body).status is NtStatus.SUCCESS
    assert calls == ["dup", "scandir", *["statx"] * 3, "close"], calls
