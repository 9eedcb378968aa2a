"""CREATE by names that are not quite those on disk: spellings, links, streams of the root."""

import os
import struct
from pathlib import Path

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import MangledNames
from usmbd.protocol.vfs import rights
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import LongCallError
from usmbd.protocol.vfs.resolve import Resolver
from usmbd.protocol.vfs.short_names import short_name
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_NON_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OPEN_REPARSE_POINT,
    FILE_OVERWRITE_IF,
)
from usmbd.protocol.wire.fscc.directory import FileBothDirectoryInformation, FileNamesInformation
from usmbd.protocol.wire.fscc.file_info import (
    FileAlternateNameInformation,
    FileAttributeTagInformation,
    FileNormalizedNameInformation,
    FileStreamInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_directory import SMB2_REOPEN
from usmbd.protocol.wire.status import NtStatus, SmbError

FILE_RENAME_INFORMATION, FILE_DISPOSITION_INFORMATION = 10, 13
IO_REPARSE_TAG_SYMLINK = 0xA000000C


def status(client: Client, name: str, *arguments: int, **more: int) -> NtStatus:
    reply = client.call(Command.CREATE, requests.create(name, *arguments, **more))
    if reply.status is NtStatus.SUCCESS:
        client.close(reply.file_id)
    return reply.status


def listing(client: Client, path: str, level: int = FileNamesInformation) -> list[bytes]:
    directory = client.open(path, FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    data = client.call(Command.QUERY_DIRECTORY, requests.query_directory(directory, level)).data
    client.close(directory)
    found = []
    while data:
        (following,) = struct.unpack_from("<I", data)
        found.append(data[: following or len(data)])
        data = data[following:] if following else b""
    return found


def names(client: Client, path: str) -> set[str]:
    found = set()
    for entry in listing(client, path):
        (length,) = struct.unpack_from("<I", entry, 8)
        found.add(entry[12 : 12 + length].decode("utf-16-le"))
    return found - {".", ".."}


def read(client: Client, file_id: FileId) -> bytes:
    return client.call(Command.READ, requests.read(file_id, 100)).data


def query(client: Client, file_id: FileId, level: int) -> bytes:
    reply = client.call(Command.QUERY_INFO, requests.query_info(file_id, level))
    assert reply.status is NtStatus.SUCCESS
    return reply.data


def rename(client: Client, file_id: FileId, name: str) -> NtStatus:
    return client.call(Command.SET_INFO, requests.rename(file_id, name, replace=True)).status


# -- spellings -----------------------------------------------------------------------------------


def test_everything_by_the_names_of_the_listing(client: Client, engine: Engine) -> None:
    folder = engine.files / "d"
    folder.mkdir()
    odd = [b"12:30 meeting.txt", b"what?", b"a|b", b"Jr.", b"sp ", b"CON", b"caf\xe9", b"x\\y"]
    for name in odd:
        (folder / os.fsdecode(name)).write_bytes(name)
    shown = names(client, "d")
    assert len(shown) == len(odd)
    for name in shown:
        opened = client.open(f"d\\{name}", disposition=FILE_OPEN)
        on_disk = read(client, opened)
        assert on_disk in odd
        said = query(client, opened, FileNormalizedNameInformation)[4:].decode("utf-16-le")
        assert said == f"d\\{name}"
        short = query(client, opened, FileAlternateNameInformation)[4:].decode("utf-16-le")
        client.close(opened)
        assert short.isascii()
        opened = client.open(f"d\\{short}", disposition=FILE_OPEN)
        assert read(client, opened) == on_disk
        # Saved by a program that writes another file and renames it over the old.
        new = client.open("d\\new", disposition=FILE_CREATE)
        client.close(opened)
        assert rename(client, new, f"d\\{name}") is NtStatus.SUCCESS
        client.close(new)
        assert (folder / os.fsdecode(on_disk)).read_bytes() == b""
        assert status(client, f"d\\{name}", DELETE, options=FILE_DELETE_ON_CLOSE) is (
            NtStatus.SUCCESS
        )
    assert status(client, "d", DELETE, FILE_OPEN, options=FILE_DELETE_ON_CLOSE) is NtStatus.SUCCESS
    assert not folder.exists()


def test_no_file_is_meant_by_a_name_with_a_backslash_at_its_end(
    client: Client, engine: Engine
) -> None:
    """[MS-FSA] 2.1.5.1; the same of what is there and what is not, and with smbd."""
    (engine.files / "dir").mkdir()
    (engine.files / "file").touch()
    for name in ("dir\\", "file\\", "new\\", "new/"):
        found = client.create(name, options=FILE_NON_DIRECTORY_FILE)
        assert found is NtStatus.OBJECT_NAME_INVALID, name
    assert not (engine.files / "new").exists()
    assert client.create("dir\\", options=FILE_DIRECTORY_FILE) is NtStatus.SUCCESS


def test_two_backslashes_are_one(client: Client, engine: Engine) -> None:
    (engine.files / "d" / "sub").mkdir(parents=True)
    assert status(client, "d\\\\sub\\\\\\new", disposition=FILE_CREATE) is NtStatus.SUCCESS
    assert (engine.files / "d/sub/new").exists()
    opened = client.open("d\\\\sub\\new")
    assert rename(client, opened, "d\\\\newer") is NtStatus.SUCCESS
    assert (engine.files / "d/newer").exists()
    assert status(client, "\\\\d") is NtStatus.INVALID_PARAMETER


def test_short_names_that_are_worked_out_anew_are_not_told(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing does not wait for them ([MS-FSCC] 2.4.8: ShortNameLength is 0 without one)."""
    engine.shares["data"] = replace(engine.shares["data"], mangled_names=MangledNames.YES)
    (engine.files / "a long name.text").touch()

    def later(*_: object) -> str:
        raise LongCallError

    client = Client(engine).ready()
    monkeypatch.setattr(Resolver, "short_name", later)
    entries = listing(client, "", FileBothDirectoryInformation)
    assert "a long name".encode("utf-16-le") in b"".join(bytes(entry) for entry in entries)
    assert [entry[68] for entry in entries] == [0] * len(entries)


def test_short_names_in_listings_where_the_share_says_so(engine: Engine) -> None:
    (engine.files / "a long name.text").touch()
    (engine.files / "short.txt").touch()
    engine.shares["yes"] = replace(
        engine.shares["data"], name="yes", mangled_names=MangledNames.YES
    )
    for share, told in (("data", 0), ("yes", 1)):
        client = Client(engine).ready(share=share)
        entries = listing(client, "", FileBothDirectoryInformation)
        assert sum(entry[68] > 0 for entry in entries) == told


def test_a_listing_s_pattern_may_be_an_8_3_name(client: Client, engine: Engine) -> None:
    """As programs ask for the long name of a path ([MS-FSA] 2.1.5.6.3); so with smbd."""
    for name in ("a long name.text", "another long name", "what: a name", "short.txt"):
        (engine.files / name).touch()
    root = client.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)

    def found(pattern: str) -> NtStatus | bytes:
        body = requests.query_directory(root, FileNamesInformation, pattern, SMB2_REOPEN)
        reply = client.call(Command.QUERY_DIRECTORY, body)
        return reply.data if reply.status is NtStatus.SUCCESS else reply.status

    for name in ("a long name.text", "another long name"):
        short, said = short_name(name), name.encode("utf-16-le")
        for pattern in (short, short.lower(), short[:7] + "*"):
            assert said in bytes(found(pattern))  # type: ignore[arg-type]
    assert "what\uf022 a name".encode("utf-16-le") in bytes(found(short_name("what: a name")))
    assert found("SHORT~1.TXT") is NtStatus.NO_SUCH_FILE
    assert found("*.tex") is NtStatus.NO_SUCH_FILE  # the 8.3 name's extension is no reason to match


# -- links that are not followed -------------------------------------------------------------------


@pytest.fixture
def link(engine: Engine) -> Path:
    path = engine.files / "link"
    path.symlink_to("nothing")
    return path


def test_a_link_is_opened_itself_for_all_but_its_data(client: Client, link: Path) -> None:
    opened = client.open("LINK", DELETE | FILE_READ_ATTRIBUTES, FILE_OPEN)
    _, tag = struct.unpack("<II", query(client, opened, FileAttributeTagInformation))
    assert tag == IO_REPARSE_TAG_SYMLINK
    assert rename(client, opened, "renamed") is NtStatus.SUCCESS
    assert os.readlink(link.parent / "renamed") == "nothing"
    opened = client.open("renamed", MAXIMUM_ALLOWED, FILE_OPEN)
    assert not client.open_of(opened).granted_access & (FILE_READ_DATA | FILE_WRITE_DATA)


@pytest.mark.parametrize(
    ("access", "disposition", "expected"),
    [
        (FILE_READ_DATA, FILE_OPEN, NtStatus.ACCESS_DENIED),
        (FILE_WRITE_DATA, FILE_OPEN_IF, NtStatus.ACCESS_DENIED),
        (DELETE, FILE_OVERWRITE_IF, NtStatus.ACCESS_DENIED),
        (DELETE, FILE_CREATE, NtStatus.OBJECT_NAME_COLLISION),
    ],
)
@pytest.mark.parametrize("options", [0, FILE_OPEN_REPARSE_POINT])
def test_a_link_has_no_data(
    client: Client, link: Path, access: int, disposition: int, expected: NtStatus, options: int
) -> None:
    """Who does not want the link itself is told where it leads, if it may be told."""
    if not options and expected is NtStatus.ACCESS_DENIED:
        expected = NtStatus.STOPPED_ON_SYMLINK
    assert status(client, "link", access, disposition, options=options) is expected
    link.unlink()
    link.symlink_to("/etc/passwd")
    if expected is NtStatus.STOPPED_ON_SYMLINK:
        expected = NtStatus.ACCESS_DENIED
    assert status(client, "link", access, disposition, options=options) is expected
    assert not (link.parent / "nothing").exists()


@pytest.mark.parametrize("options", [0, FILE_OPEN_REPARSE_POINT])
@pytest.mark.parametrize("on_close", [False, True])
def test_a_folder_with_links_is_emptied_and_removed(
    client: Client, engine: Engine, tmp_path: Path, options: int, on_close: bool
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    folder = engine.files / "d"
    folder.mkdir()
    for name, target in {"a": "nothing", "b": outside, "c?": outside / "kept"}.items():
        (folder / name).symlink_to(target)
    shown = names(client, "d")
    assert len(shown) == 3
    for name in shown:
        how = options | FILE_NON_DIRECTORY_FILE | (FILE_DELETE_ON_CLOSE if on_close else 0)
        opened = client.open(f"d\\{name}", DELETE, FILE_OPEN, options=how)
        if not on_close:
            body = requests.set_info(opened, FILE_DISPOSITION_INFORMATION, b"\1")
            assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
        client.close(opened)
    assert status(client, "d", DELETE, FILE_OPEN, options=FILE_DELETE_ON_CLOSE) is NtStatus.SUCCESS
    assert not folder.exists()
    assert (outside / "kept").exists()


def test_a_link_to_what_is_vetoed_leads_nowhere(engine: Engine) -> None:
    engine.shares["veto"] = replace(engine.shares["data"], name="veto", veto_files=["*secret*"])
    (engine.files / "secret").write_bytes(b"kept")
    (engine.files / "link").symlink_to("secret")
    client = Client(engine).ready(share="veto")
    assert names(client, "") == {"link"}
    for access in (FILE_READ_DATA, FILE_WRITE_DATA):
        assert status(client, "link", access, FILE_OPEN) is NtStatus.ACCESS_DENIED
    assert status(client, "link", disposition=FILE_CREATE) is NtStatus.OBJECT_NAME_COLLISION
    assert status(client, "LINK:stream") is NtStatus.ACCESS_DENIED
    assert status(client, "secret:stream") is NtStatus.OBJECT_NAME_NOT_FOUND
    assert status(client, "link", DELETE, options=FILE_DELETE_ON_CLOSE) is NtStatus.SUCCESS
    assert os.listdir(engine.files) == ["secret"]
    assert os.listxattr(engine.files / "secret") == []


# -- others come and go meanwhile ------------------------------------------------------------------


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_file_that_goes_while_it_is_opened(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    file = engine.files / "file"
    file.touch()
    maximal_access = rights.maximal_access

    def deleted(node: Node, *arguments: int) -> int:
        monkeypatch.setattr(rights, "maximal_access", maximal_access)
        file.rename(file.parent / "away")
        if comes_back:
            file.write_bytes(b"new")
        (file.parent / "away").unlink()
        return maximal_access(node, *arguments)

    monkeypatch.setattr(rights, "maximal_access", deleted)
    expected = NtStatus.SUCCESS if comes_back else NtStatus.OBJECT_NAME_NOT_FOUND
    assert status(client, "file", DELETE, FILE_OPEN) is expected


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        (FILE_OPEN, NtStatus.OBJECT_NAME_NOT_FOUND),
        (FILE_OPEN_IF, NtStatus.SHARING_VIOLATION),
    ],
)
def test_a_file_that_always_goes_while_it_is_opened(
    client: Client,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    disposition: int,
    expected: NtStatus,
) -> None:
    def deleted(node: Node, *_: int) -> int:
        raise SmbError(NtStatus.FILE_DELETED)

    (engine.files / "file").touch()
    monkeypatch.setattr(rights, "maximal_access", deleted)
    assert status(client, "file", DELETE, disposition) is expected


# -- streams of the share's root -------------------------------------------------------------------


def test_streams_of_the_root(client: Client, engine: Engine) -> None:
    stream = client.open(":notes", disposition=FILE_CREATE)
    client.call(Command.WRITE, requests.write(stream, b"12345"))
    client.close(stream)
    assert os.getxattr(engine.files, "user.DosStream.notes:$DATA") == b"12345\0"
    assert read(client, client.open(":NOTES:$DATA", FILE_READ_DATA, FILE_OPEN)) == b"12345"
    client.close(client.open(":other"))
    root = client.open("", FILE_READ_ATTRIBUTES, FILE_OPEN)
    said = query(client, root, FileStreamInformation).decode("utf-16-le")
    assert ":notes:$DATA" in said
    assert ":other:$DATA" in said


@pytest.mark.parametrize("on_close", [False, True])
def test_a_stream_of_the_root_is_deleted(client: Client, engine: Engine, on_close: bool) -> None:
    client.close(client.open(":notes"))
    options = FILE_DELETE_ON_CLOSE if on_close else 0
    stream = client.open(":notes", DELETE, FILE_OPEN, options=options)
    if not on_close:
        body = requests.set_info(stream, FILE_DISPOSITION_INFORMATION, b"\1")
        assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    client.close(stream)
    assert os.listxattr(engine.files) == []
    assert status(client, ":notes", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    # The root itself is not to be had so.
    assert status(client, "", DELETE, FILE_OPEN) is NtStatus.ACCESS_DENIED


def stopped(client: Client, name: str, **options: int) -> tuple[NtStatus, str, int]:
    """Open a file by a link; return the status, where the link leads, and UnparsedPathLength."""
    body = requests.create(name, FILE_READ_DATA, FILE_OPEN, **options)
    reply = client.call(Command.CREATE, body)
    if reply.status is not NtStatus.STOPPED_ON_SYMLINK:
        return reply.status, "", 0
    size, tag, kind, length, unparsed, at, count, _, _, flags = struct.unpack_from(
        "<I4sIHHHHHHI", reply.message, 64 + 8
    )
    assert (tag, kind, flags) == (b"SYML", IO_REPARSE_TAG_SYMLINK, 1)
    assert (size, length) == (24 + 2 * count, 12 + 2 * count)
    start = 64 + 8 + 28 + at
    return reply.status, reply.message[start : start + count].decode("utf-16-le"), unparsed


def test_a_link_in_the_middle_sends_the_client_on(client: Client, engine: Engine) -> None:
    """What is behind it was not parsed: its bytes, from the separator on."""
    there = engine.files / "there"
    (there / "sub").mkdir(parents=True)
    (there / "sub" / "file").write_bytes(b"data")
    (engine.files / "link").symlink_to("there")
    (there / "up").symlink_to("../there/sub")
    (engine.files / "out").symlink_to("/etc")
    (engine.files / "above").symlink_to("../..")
    sent = NtStatus.STOPPED_ON_SYMLINK
    for name, target, rest in (
        (r"link\sub\file", "there", r"\sub\file"),
        (r"LINK\sub", "there", r"\sub"),
        (r"link\sub\file:stream:$DATA", "there", r"\sub\file:stream:$DATA"),
        (r"there\up\file", r"..\there\sub", r"\file"),
        (r"link\nothing\new", "there", r"\nothing\new"),
        (r"link\\sub\file", "there", r"\\sub\file"),
        ("link/sub/file", "there", r"\sub\file"),
        (r"link/sub\file", "there", r"\sub\file"),
    ):
        assert stopped(client, name) == (sent, target, 2 * len(rest)), name
    assert stopped(client, r"link\sub\file", options=FILE_OPEN_REPARSE_POINT)[0] is sent
    for name in (r"out\passwd", r"above\x", r"link\sub\..\file", "link/sub/../file"):
        assert stopped(client, name)[0] is NtStatus.ACCESS_DENIED, name
    assert status(client, r"link\new", FILE_WRITE_DATA, FILE_CREATE) is sent
    assert not (there / "new").exists()
    assert status(client, r"there\nothing\new", FILE_READ_DATA, FILE_OPEN) is (
        NtStatus.OBJECT_PATH_NOT_FOUND
    )


@pytest.mark.parametrize("stream", ["::$INDEX_ALLOCATION", ":$I30:$Index_Allocation"])
def test_the_entries_of_a_directory_are_the_directory(
    client: Client, engine: Engine, stream: str
) -> None:
    (engine.files / "dir").mkdir()
    (engine.files / "file").touch()
    assert client.create(f"dir{stream}") is NtStatus.SUCCESS
    assert client.create(f"file{stream}") is NtStatus.NOT_A_DIRECTORY
    other = client.create(f"dir{stream}", options=FILE_NON_DIRECTORY_FILE)
    assert other is NtStatus.FILE_IS_A_DIRECTORY
    made = status(client, f"dir\\new{stream}", FILE_READ_DATA, FILE_OPEN_IF)
    assert made is NtStatus.SUCCESS
    assert (engine.files / "dir/new").is_dir()
    emptied = status(client, f"dir{stream}", FILE_WRITE_DATA, FILE_OVERWRITE_IF)
    assert emptied is NtStatus.INVALID_PARAMETER
    assert client.create(f"dir:$I31{stream[-18:]}") is NtStatus.OBJECT_NAME_INVALID
