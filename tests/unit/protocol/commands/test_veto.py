"""`veto files`: every way to a name that a client could try, and none leads there."""

import os
from pathlib import Path

import msgspec
import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.macos import Serve
from smbengine.server import Engine

from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.access import DELETE, FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_BY_FILE_ID,
    FILE_OPEN_IF,
    FILE_OPEN_REPARSE_POINT,
    FILE_OVERWRITE,
    FILE_OVERWRITE_IF,
    FILE_SUPERSEDE,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

RENAME, LINK = 10, 11
LEVEL = 37
HIDDEN = (
    NtStatus.OBJECT_NAME_NOT_FOUND,
    NtStatus.OBJECT_PATH_NOT_FOUND,
    NtStatus.OBJECT_NAME_INVALID,
    NtStatus.OBJECT_PATH_SYNTAX_BAD,
    NtStatus.INVALID_PARAMETER,
    NtStatus.ACCESS_DENIED,
    NtStatus.NOT_SUPPORTED,
)
CONTENT = b"secret"


def short(path: Path) -> str:
    """Return a file's 8.3 name."""
    volume = Volume(str(path.parent))
    with volume.lookup(path.name) as node:
        name = directory_entry.short_name(node)
    volume.close()
    assert name
    return name


@pytest.fixture
def vetoed(engine: Engine) -> Client:
    """Return a client of a share with vetoed names, and links that lead to them."""
    engine.shares["data"] = msgspec.structs.replace(
        engine.shares["data"], veto_files=["secret file*", "secret folder", "a:b"]
    )
    root = engine.files
    (root / "secret folder").mkdir()
    (root / "open").mkdir()
    for name in ("secret file", "secret folder/inner", "a:b", "Secret File 2"):
        (root / name).write_bytes(CONTENT)
    (root / "open/link").symlink_to("../secret file")
    (root / "open/absolute").symlink_to(root / "secret file")
    (root / "open/folder").symlink_to("../secret folder")
    return Client(engine).ready()


def ways(root: Path) -> list[str]:
    """Return spellings that would lead to a vetoed file if nobody looked."""
    file, folder, odd = (short(root / n) for n in ("secret file", "secret folder", "a:b"))
    return [
        *("secret file", "SECRET FILE", "sEcReT fIlE", "Secret File 2", "secret file 2"),
        *(file, file.lower(), odd, odd.lower(), "a\uf022b", "A\uf022B", "a\uf07f\uf022b"),
        *("secret file\\", "secret file\\\\", "secret file::$DATA", "secret file:$DATA"),
        *("secret file:stream", "secret file:stream:$DATA", f"{file}:stream", f"{file}::$data"),
        *("secret folder\\inner", "SECRET FOLDER\\INNER", f"{folder}\\inner"),
        *(f"{folder}\\{'INNER'}", "secret folder\\\\inner", "secret folder\\inner:stream"),
        *("open\\..\\secret file", ".\\secret file", "open\\.\\..\\secret file"),
        *("..\\" + root.name + "\\secret file", "secret folder\\..\\secret file"),
        *("open/../secret file", "/secret file", "\\secret file", "secret file."),
        *("secret file ", "secret file\uf029", "secret file\uf028", "secret\uf020file"),
        *("open\\link", "OPEN\\LINK", "open\\link:stream", "open\\absolute", "open\\absolute:s"),
        *("open\\folder\\inner", "OPEN\\FOLDER\\inner", "open\\folder\\inner:stream"),
        *("secret file\0", "secret file*", "secret fil?", "secret fil>", "secret<", "s*"),
    ]


def is_untouched(root: Path) -> bool:
    """Whether all that is vetoed is as it was."""
    files = ("secret file", "secret folder/inner", "a:b", "Secret File 2")
    return all(
        (root / name).read_bytes() == CONTENT
        and (root / name).stat().st_nlink == 1
        and not any("Stream" in attribute for attribute in os.listxattr(root / name))
        for name in files
    )


@pytest.mark.parametrize("options", [0, FILE_OPEN_REPARSE_POINT, FILE_DELETE_ON_CLOSE])
def test_no_name_opens_it(vetoed: Client, engine: Engine, options: int) -> None:
    access = FILE_READ_DATA | FILE_READ_ATTRIBUTES | DELETE
    for name in ways(engine.files):
        reply = vetoed.call(
            Command.CREATE, requests.create(name, access, FILE_OPEN, options=options)
        )
        if reply.status is NtStatus.SUCCESS:
            # A link is an entry of its own; what it leads to is not to be read.
            assert name.casefold().startswith("open"), name
            read = vetoed.call(Command.READ, requests.read(reply.file_id, 10))
            assert read.status is not NtStatus.SUCCESS
            assert vetoed.close(reply.file_id) is NtStatus.SUCCESS
        else:
            assert reply.status in HIDDEN, (name, reply.status)
    assert is_untouched(engine.files)


@pytest.mark.parametrize(
    "disposition",
    [FILE_OPEN_IF, FILE_OVERWRITE, FILE_OVERWRITE_IF, FILE_SUPERSEDE, FILE_CREATE],
)
@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_no_way_of_creating_touches_it(
    vetoed: Client, engine: Engine, disposition: int, options: int
) -> None:
    """Some spellings are free for a name of their own, and make that."""
    for name in ways(engine.files):
        vetoed.create(name, disposition=disposition, options=options)
        assert is_untouched(engine.files), name


@pytest.mark.parametrize("kind", [RENAME, LINK])
@pytest.mark.parametrize("replace", [False, True])
def test_no_rename_or_link_gets_to_it(
    vetoed: Client, engine: Engine, kind: int, replace: bool
) -> None:
    for made, name in enumerate(ways(engine.files)):
        file = vetoed.open(f"mine{made}", disposition=FILE_CREATE)
        data = requests.named(name, replace=replace)
        status = vetoed.call(Command.SET_INFO, requests.set_info(file, kind, data)).status
        vetoed.close(file)
        assert is_untouched(engine.files), (name, status)
        if name.casefold() in ("secret file", "secret folder\\inner"):
            assert status in HIDDEN


@pytest.mark.parametrize("disposition", [FILE_OPEN, FILE_OPEN_IF, FILE_CREATE])
def test_a_folder_on_the_way_is_a_path_that_is_not_there(
    vetoed: Client, engine: Engine, disposition: int
) -> None:
    """As of any folder that is not there, by whatever name."""
    other = short(engine.files / "secret folder")
    for folder in ("secret folder", "SECRET FOLDER", other, "missing"):
        for name in ("inner", "new", "a\\b"):
            status = vetoed.create(f"{folder}\\{name}", disposition=disposition)
            assert status is NtStatus.OBJECT_PATH_NOT_FOUND, (folder, name)
    for name in ("secret folder", "open\\secret file"):
        status = vetoed.create(name, disposition=disposition)
        assert status is NtStatus.OBJECT_NAME_NOT_FOUND, name
    file = vetoed.open("mine", disposition=FILE_CREATE)
    data = requests.named("secret folder\\mine", replace=False)
    status = vetoed.call(Command.SET_INFO, requests.set_info(file, RENAME, data)).status
    assert status is NtStatus.OBJECT_PATH_NOT_FOUND
    assert is_untouched(engine.files)


def test_no_listing_shows_it(vetoed: Client, engine: Engine) -> None:
    for pattern in ("*", "secret file", "SECRET*", short(engine.files / "secret file"), "a*"):
        root = vetoed.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
        reply = vetoed.call(Command.QUERY_DIRECTORY, requests.query_directory(root, LEVEL, pattern))
        for name in ("secret", "a\uf022b", "a:b"):
            assert name.encode("utf-16-le") not in reply.message.lower()


def test_it_is_not_opened_by_its_file_id(vetoed: Client) -> None:
    """There is no way by number at all, so none around a name."""
    body = requests.create("four", FILE_READ_DATA, FILE_OPEN, options=FILE_OPEN_BY_FILE_ID)
    assert vetoed.call(Command.CREATE, body).status is NtStatus.NOT_SUPPORTED


def test_vetoed_goes_with_its_folder(serve: Serve) -> None:
    """`delete veto files`: else a folder that looks empty cannot be deleted."""
    delete = {"options": FILE_DIRECTORY_FILE | FILE_DELETE_ON_CLOSE}
    for line, goes in (("", False), ("delete veto files = yes", True)):
        client = serve("veto files = /secret*/", line, modules="")
        root = client.engine.files
        (root / "folder/secret folder/deep").mkdir(parents=True)
        (root / "folder/secret folder/deep/file").write_bytes(CONTENT)
        (root / "folder/secret link").symlink_to(root / "kept")
        (root / "kept").write_bytes(CONTENT)
        (root / "folder/seen").write_bytes(CONTENT)
        for attempt in range(2):
            opened = client.call(
                Command.CREATE, requests.create("folder", DELETE, FILE_OPEN, **delete)
            )
            client.close(opened.file_id)
            assert (root / "folder").exists() is not (goes and attempt == 1)
            assert (root / "folder/secret folder/deep/file").exists() is not (goes and attempt == 1)
            (root / "folder/seen").unlink(missing_ok=True)
        assert (root / "kept").read_bytes() == CONTENT
        (root / "again/secret").mkdir(parents=True)
        opened_again = client.open("again", DELETE, FILE_OPEN)
        body = requests.set_info(opened_again, 13, b"\1")
        status = client.call(Command.SET_INFO, body).status
        assert status is (NtStatus.SUCCESS if goes else NtStatus.DIRECTORY_NOT_EMPTY)
        client.close(opened_again)
        assert (root / "again").exists() is not goes
