"""What adds, replaces or links a name asks the stored descriptors as CREATE does."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import acl
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_ADD_FILE,
    FILE_ADD_SUBDIRECTORY,
    FILE_ALL_ACCESS,
    FILE_DELETE_CHILD,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OVERWRITE,
    FILE_SUPERSEDE,
)
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_READONLY
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import DACL_SECURITY_INFORMATION
from usmbd.protocol.wire.security import (
    ACCESS_ALLOWED_ACE_TYPE,
    SE_DACL_PRESENT,
    Ace,
    Acl,
    SecurityDescriptor,
)
from usmbd.protocol.wire.sid import EVERYONE
from usmbd.protocol.wire.status import NtStatus

RENAME, LINK, DISPOSITION = 10, 11, 13
DENIED, OK = NtStatus.ACCESS_DENIED, NtStatus.SUCCESS
READ_ONLY = FILE_READ_DATA | FILE_READ_ATTRIBUTES


@pytest.fixture(autouse=True)
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have descriptors count for the tests' own user, who may be root."""
    monkeypatch.setattr(acl, "overrides", lambda identity: False)


def allow(path: Path, mask: int) -> None:
    """Store a descriptor that gives everybody `mask`, and leave the permissions alone: 0777."""
    path.chmod(0o777)
    volume = Volume(str(path.parent))
    with volume.lookup(path.name) as node:
        ace = Ace(ACCESS_ALLOWED_ACE_TYPE, 0, mask, EVERYONE)
        new = SecurityDescriptor(dacl=Acl((ace,)), control=SE_DACL_PRESENT)
        descriptor = acl.from_posix(node).with_parts(new, DACL_SECURITY_INFORMATION)
        acl.store(node, descriptor)
    volume.close()


@pytest.fixture
def stored(engine: Engine) -> Client:
    """Return a client of a share that stores descriptors, with `guarded/precious` and `mine`."""
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=True)
    guarded = engine.files / "guarded"
    guarded.mkdir()
    (guarded / "precious").write_bytes(b"precious")
    (engine.files / "mine").write_bytes(b"mine")
    (engine.files / "folder").mkdir()
    allow(engine.files / "mine", FILE_ALL_ACCESS)
    allow(engine.files / "folder", FILE_ALL_ACCESS)
    return Client(engine).ready()


def move(client: Client, kind: int, file: FileId, to: str, replace: bool = False) -> NtStatus:
    """Rename or link."""
    data = requests.named(to, replace=replace)
    return client.call(Command.SET_INFO, requests.set_info(file, kind, data)).status


def opened(client: Client, name: str, access: int = FILE_ALL_ACCESS, options: int = 0) -> FileId:
    return client.open(name, access, FILE_OPEN, options=options)


ADDS: dict[str, tuple[int, Callable[[Client], NtStatus]]] = {
    "create": (FILE_ADD_FILE, lambda c: c.create("guarded\\new", FILE_WRITE_DATA, FILE_CREATE)),
    "mkdir": (
        FILE_ADD_SUBDIRECTORY,
        lambda c: c.create("guarded\\new", disposition=FILE_CREATE, options=FILE_DIRECTORY_FILE),
    ),
    "rename": (FILE_ADD_FILE, lambda c: move(c, RENAME, opened(c, "mine"), "guarded\\new")),
    "rename in any case": (
        FILE_ADD_FILE,
        lambda c: move(c, RENAME, opened(c, "mine"), "GUARDED\\new"),
    ),
    "rename of a folder": (
        FILE_ADD_SUBDIRECTORY,
        lambda c: move(c, RENAME, opened(c, "folder", options=FILE_DIRECTORY_FILE), "guarded\\new"),
    ),
    "link": (FILE_ADD_FILE, lambda c: move(c, LINK, opened(c, "mine"), "guarded\\new")),
}
"""By name: the right that is needed of the directory, and what needs it."""


@pytest.mark.parametrize("name", ADDS)
def test_to_add_a_name_takes_the_directorys_right(
    stored: Client, engine: Engine, name: str
) -> None:
    needed, call = ADDS[name]
    guarded = engine.files / "guarded"
    both = FILE_ADD_FILE | FILE_ADD_SUBDIRECTORY
    for mask in (READ_ONLY, READ_ONLY | FILE_DELETE_CHILD, READ_ONLY | both & ~needed):
        allow(guarded, mask)
        assert call(stored) is DENIED
        assert os.listdir(guarded) == ["precious"]
    allow(guarded, READ_ONLY | needed)
    assert call(stored) is OK
    assert sorted(os.listdir(guarded)) == ["new", "precious"]


REPLACES: dict[str, Callable[[Client], NtStatus]] = {
    "rename": lambda c: move(c, RENAME, opened(c, "mine"), "guarded\\precious", True),
    "rename in another case": lambda c: move(
        c, RENAME, opened(c, "mine"), "guarded\\PRECIOUS", True
    ),
    "link": lambda c: move(c, LINK, opened(c, "mine"), "guarded\\precious", True),
    "link in another case": lambda c: move(c, LINK, opened(c, "mine"), "guarded\\Precious", True),
}


@pytest.mark.parametrize("name", REPLACES)
@pytest.mark.parametrize("by", ["the file's right", "the folder's right"])
def test_to_replace_takes_the_right_to_delete(
    stored: Client, engine: Engine, name: str, by: str
) -> None:
    guarded, precious = engine.files / "guarded", engine.files / "guarded/precious"
    add = READ_ONLY | FILE_ADD_FILE
    allow(guarded, add)
    allow(precious, FILE_ALL_ACCESS & ~DELETE)
    assert REPLACES[name](stored) is DENIED
    assert precious.read_bytes() == b"precious"
    if by == "the file's right":
        allow(precious, DELETE)
    else:
        allow(guarded, add | FILE_DELETE_CHILD)
    assert REPLACES[name](stored) is OK
    (entry,) = guarded.iterdir()
    assert entry.read_bytes() == b"mine"
    assert [p.name for p in engine.files.iterdir() if "usmbd" in p.name] == []


def test_what_is_there_is_replaced_only_by_who_may(stored: Client, engine: Engine) -> None:
    """CREATE's own ways to replace: by the file's rights, and the folder's for DELETE."""
    allow(engine.files / "guarded", READ_ONLY | FILE_ADD_FILE)
    allow(engine.files / "guarded/precious", READ_ONLY)
    for disposition in (FILE_OVERWRITE, FILE_SUPERSEDE):
        assert stored.create("guarded\\precious", FILE_READ_DATA, disposition) is DENIED
    on_close = {"options": FILE_DELETE_ON_CLOSE}
    assert stored.create("guarded\\precious", DELETE, FILE_OPEN, **on_close) is DENIED
    file = opened(stored, "guarded\\precious", FILE_READ_DATA)
    body = requests.set_info(file, DISPOSITION, b"\1")
    assert stored.call(Command.SET_INFO, body).status is DENIED
    assert move(stored, RENAME, file, "away") is DENIED
    assert (engine.files / "guarded/precious").read_bytes() == b"precious"


def test_what_one_may_only_look_at_is_not_linked(stored: Client, engine: Engine) -> None:
    allow(engine.files, FILE_ALL_ACCESS)
    allow(engine.files / "mine", READ_ONLY)
    file = opened(stored, "mine", FILE_READ_ATTRIBUTES)
    assert move(stored, LINK, file, "kept") is DENIED
    allow(engine.files / "mine", READ_ONLY | FILE_WRITE_ATTRIBUTES)
    # Linux opens what it links for no more than this.
    assert move(stored, LINK, file, "kept") is OK


def test_a_symbolic_link_is_replaced_by_the_folders_right(stored: Client, engine: Engine) -> None:
    guarded = engine.files / "guarded"
    (guarded / "symlink").symlink_to("nowhere")
    allow(guarded, READ_ONLY | FILE_ADD_FILE | FILE_DELETE_CHILD)
    assert move(stored, RENAME, opened(stored, "mine"), "guarded\\symlink", True) is OK
    assert (guarded / "symlink").read_bytes() == b"mine"


def test_a_stream_is_renamed_by_who_may_write_the_file(stored: Client, engine: Engine) -> None:
    file = stored.open("mine:one", FILE_WRITE_DATA | DELETE, FILE_CREATE)
    allow(engine.files / "mine", READ_ONLY | DELETE)
    assert move(stored, RENAME, file, ":two") is DENIED
    allow(engine.files / "mine", READ_ONLY | FILE_WRITE_DATA)
    assert move(stored, RENAME, file, ":two") is OK


def test_a_link_replaces_as_a_rename_does(client: Client, engine: Engine) -> None:
    """Neither what is open, nor what is read-only ([MS-FSA] 2.1.5.15.6), nor after a deletion."""
    mine = client.open("mine", FILE_ALL_ACCESS, FILE_CREATE)
    client.open("taken", FILE_ALL_ACCESS, FILE_CREATE)
    assert move(client, LINK, mine, "taken", True) is DENIED
    kept = client.open("kept", FILE_READ_DATA, FILE_CREATE, attributes=FILE_ATTRIBUTE_READONLY)
    client.close(kept)
    assert move(client, LINK, mine, "kept", True) is DENIED
    assert client.call(Command.SET_INFO, requests.set_info(mine, DISPOSITION, b"\1")).status is OK
    assert move(client, LINK, mine, "saved") is DENIED
    stream = client.open("other:stream", FILE_ALL_ACCESS, FILE_CREATE)
    assert move(client, LINK, stream, "linked") is NtStatus.INVALID_PARAMETER
