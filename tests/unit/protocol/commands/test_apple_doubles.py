"""Files `._NAME` (`fruit:resource = file`): resource forks, and what macOS has put there."""

import errno
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from failing import failing
from smbengine import requests
from smbengine.client import Client
from smbengine.macos import (
    INFO,
    Serve,
    aapl,
    copy,
    double,
    files,
    listing,
    names,
    of_macos,
    read,
    write,
)

from usmbd.protocol.commands import apple
from usmbd.protocol.vfs import apple_convert, apple_double, apple_fork
from usmbd.protocol.vfs.apple_convert import BLANK
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OVERWRITE,
)
from usmbd.protocol.wire.fscc.file_info import FileStandardInformation
from usmbd.protocol.wire.fscc.set_info import (
    FileEndOfFileInformation,
    FileLinkInformation,
    FileRenameInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError

SUCCESS, NOT_FOUND = NtStatus.SUCCESS, NtStatus.OBJECT_NAME_NOT_FOUND
FORK = "file:AFP_Resource"
MIB = 1 << 20


def rename(client: Client, old: str, new: str) -> NtStatus:
    opened = client.open(old, 0x10080, FILE_OPEN)
    name = new.encode("utf-16-le")
    data = struct.pack("<B7xQI", 1, 0, len(name)) + name
    status = client.call(
        Command.SET_INFO, requests.set_info(opened, FileRenameInformation, data)
    ).status
    client.close(opened)
    return status


def test_a_fork_is_kept_beside_the_file_as_samba_keeps_it(serve: Serve) -> None:
    client = serve()
    assert write(client, "file", b"data") is SUCCESS
    assert write(client, FORK, b"the fork") is SUCCESS
    assert files(client) == {"file": b"data", "._file": double(b"the fork")}
    assert write(client, FORK, b"FORK!", 4) is SUCCESS
    assert files(client)["._file"] == double(b"the FORK!")
    assert read(client, FORK) == b"the FORK!"
    assert read(client, FORK, 3, 5) == b"ORK"
    assert read(client, FORK, 3, 9) == b""
    assert names(client, "file") == ["::$DATA", ":AFP_Resource:$DATA"]
    opened = client.open(FORK)
    data = client.call(
        Command.QUERY_INFO, requests.query_info(opened, FileStandardInformation)
    ).data
    assert struct.unpack_from("<QQ", data) == (9, 9)
    body = requests.set_info(opened, FileEndOfFileInformation, struct.pack("<Q", 3))
    assert client.call(Command.SET_INFO, body).status is SUCCESS
    client.close(opened)
    assert files(client)["._file"] == double(b"the")
    assert "user.DosStream.AFP_Resource:$DATA" not in os.listxattr(client.engine.files / "file")


def test_a_fork_may_be_large(serve: Serve) -> None:
    client = serve()
    data = os.urandom(2 * MIB)
    opened = client.open(FORK)
    for offset in range(0, len(data), 65536):
        body = requests.write(opened, data[offset : offset + 65536], offset)
        assert client.call(Command.WRITE, body).status is SUCCESS
    far = requests.write(opened, b"x", 0xFFFFFFFF)
    assert client.call(Command.WRITE, far).status is NtStatus.DISK_FULL
    client.close(opened)
    assert files(client)["._file"] == double(data)


def test_a_fork_that_the_disk_has_no_room_for_leaves_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve()
    for there in ({}, {"file": b"data"}):
        for name, data in there.items():
            assert write(client, name, data) is SUCCESS
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", failing(errno.ENOSPC))
            assert client.create(FORK) is NtStatus.DISK_FULL
        assert files(client) == there
    assert write(client, FORK, b"fork") is SUCCESS


def test_the_files_are_vetoed(serve: Serve) -> None:
    client = serve()
    assert write(client, FORK, b"fork") is SUCCESS
    assert "._file" not in listing(client)
    assert client.create("._file", 0x1, FILE_OPEN) is NOT_FOUND
    client = serve("fruit:veto_appledouble = no")
    assert write(client, FORK, b"fork") is SUCCESS
    assert "._file" in listing(client)
    assert read(client, "._file", 200) == double(b"fork")
    assert client.create("._file:AFP_Resource", 0x3, FILE_CREATE) is NtStatus.OBJECT_NAME_INVALID
    opened = client.open("._file", 0x10000, FILE_OPEN, options=FILE_DELETE_ON_CLOSE)
    client.close(opened)
    assert client.create(FORK, 0x1, FILE_OPEN) is NOT_FOUND
    streams = serve("fruit:resource = stream")
    assert write(streams, "._file", b"a file like others") is SUCCESS
    assert write(streams, FORK, b"fork") is SUCCESS
    assert files(streams) == {"._file": b"a file like others", "file": b""}


def test_it_goes_where_the_file_goes(serve: Serve) -> None:
    client = serve()
    client.close(client.open("folder", 0x81, FILE_CREATE, options=FILE_DIRECTORY_FILE))
    assert write(client, FORK, b"fork") is SUCCESS
    assert rename(client, "file", "other") is SUCCESS
    assert set(files_of(client)) == {"folder", "other", "._other"}
    assert rename(client, "other", "folder\\file") is SUCCESS
    assert set(files_of(client)) == {"folder"}
    assert read(client, "folder\\file:AFP_Resource") == b"fork"
    assert rename(client, "folder\\file", "FILE") is SUCCESS
    # One that is replaced leaves no fork to what replaces it, in whatever case it is named.
    assert write(client, "new", b"data") is SUCCESS
    assert rename(client, "new", "file") is SUCCESS
    assert set(files_of(client)) == {"folder", "file"}
    assert client.create(FORK, 0x1, FILE_OPEN) is NOT_FOUND
    assert write(client, FORK, b"fork") is SUCCESS
    client.close(client.open("file", 0x10000, FILE_OPEN, options=FILE_DELETE_ON_CLOSE))
    assert set(files_of(client)) == {"folder"}


def files_of(client: Client) -> list[str]:
    return [path.name for path in client.engine.files.iterdir()]


def test_a_file_that_is_overwritten_loses_its_fork(serve: Serve) -> None:
    """[MS-FSA] 2.1.5.1.2."""
    client = serve()
    assert write(client, FORK, b"fork") is SUCCESS
    client.close(client.open("file", 0x3, FILE_OVERWRITE))
    assert files(client) == {"file": b""}


def test_an_empty_fork_is_none_to_macos(serve: Serve) -> None:
    client = serve()
    client.close(client.open(FORK))
    assert names(client, "file") == ["::$DATA"]
    aapl(client)
    assert client.create(FORK, 0x1, FILE_OPEN) is NOT_FOUND
    client.close(client.open(FORK, options=FILE_DELETE_ON_CLOSE))
    assert files_of(client) == ["file"]
    assert write(client, FORK, b"fork") is SUCCESS
    client.close(client.open(FORK, options=FILE_DELETE_ON_CLOSE))
    assert read(client, FORK) == b"fork"  # macOS does not delete one by itself
    folder = client.open("folder", 0x81, FILE_CREATE, options=FILE_DIRECTORY_FILE)
    client.close(folder)
    made = client.create("folder:AFP_Resource", 0x3, FILE_CREATE)
    assert made is NtStatus.OBJECT_NAME_INVALID


def test_its_rights_are_those_of_the_file(serve: Serve) -> None:
    client = serve("create mask = 0640")
    assert write(client, FORK, b"fork") is SUCCESS
    place = client.engine.files / "._file"
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


def test_listings_tell_its_size(serve: Serve) -> None:
    for line, size, finder in (
        ("", 6, b"TEXTttxt"),
        ("readdir_attr:aapl_rsize = no", 0, b"TEXTttxt"),
        ("readdir_attr:aapl_finder_info = no", 6, bytes(8)),
    ):
        client = serve(line)
        assert write(client, "file:AFP_AfpInfo", INFO) is SUCCESS
        assert write(client, FORK, b"a fork") is SUCCESS
        aapl(client)
        entry = listing(client)["file"]
        assert struct.unpack_from("<I2xQ8s", entry, 64)[1:] == (size, finder), line


def test_listings_tell_rights(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apple.security, "maximal_access", lambda *_: 0x120089)
    for line, told in (("", 0x120089), ("readdir_attr:aapl_max_access = no", 0x1F01FF)):
        client = serve(line)
        (client.engine.files / "file").touch()
        (tree,) = client.session.tree_connect_table.values()
        tree.lists_finder_info = True
        opened = client.call(Command.CREATE, requests.create("", 0x81, FILE_OPEN))
        entry = listing(client)["file"] if opened.status is SUCCESS else b""
        assert struct.unpack_from("<I", entry, 64) == (told,)


def test_a_copy_has_it_too(serve: Serve) -> None:
    client = serve("fruit:copyfile = yes")
    fork = os.urandom(3 * MIB + 1)
    assert write(client, "file", b"data") is SUCCESS
    (client.engine.files / "._file").write_bytes(double(fork))
    aapl(client)
    assert copy(client, "file", "copy")[0] is SUCCESS
    assert files(client)["._copy"] == double(fork)
    assert copy(client, "copy", "file")[0] is SUCCESS


def test_what_is_no_such_file_is_none(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    client.close(client.open("file"))
    place = client.engine.files / "._file"
    for data in (
        b"",
        b"text of a program" * 9,
        double(b"fork")[:81],
        struct.pack(">II16sH", 0x51607, 0x20000, b"", 900),
        double(b"fork").replace(b"\0\0\0\x09", b"\0\0\0\x08", 1),
        double(b"", finder=bytes(31)),
    ):
        place.write_bytes(data)
        assert names(client, "file") == ["::$DATA"]
        assert client.create(FORK, 0x1, FILE_OPEN) is NOT_FOUND
        assert client.create(FORK, 0x3, FILE_CREATE) is NtStatus.OBJECT_NAME_COLLISION
        assert place.read_bytes() == data
    place.write_bytes(double(b"fork"))
    opened = client.open(FORK, 0x3, FILE_OPEN)
    place.write_bytes(b"no fork any more")
    for body, command in (
        (requests.write(opened, b"x", 0), Command.WRITE),
        (requests.read(opened, 9), Command.READ),
    ):
        assert client.call(command, body).status is NtStatus.FILE_CORRUPT_ERROR
    client.close(opened)
    # A fork that says that it is longer than the file.
    place.write_bytes(double(b"fork" * 3)[:-4])
    assert read(client, FORK) == b"fork" * 2
    # A link leads nowhere, nor is a folder one.
    outside = tmp_path / "outside"
    outside.write_bytes(double(b"fork of another"))
    place.unlink()
    place.symlink_to(outside)
    assert client.create(FORK, 0x3, FILE_OPEN) is not SUCCESS
    assert names(client, "file") == ["::$DATA"]
    assert outside.read_bytes() == double(b"fork of another")
    place.unlink()
    os.mkfifo(place)
    assert client.create(FORK, 0x3, FILE_OPEN) is NOT_FOUND


# -- what macOS has put there --------------------------------------------------------------------

TAGS = "com.apple.metadata\uf022_kMDItemUserTags"
ATTRIBUTES = {b"com.apple.metadata:_kMDItemUserTags": b"bplist00", b"foo:bar": b"baz", b"none": b""}


@pytest.mark.parametrize("kind", ["netatalk", "stream"])
def test_attributes_and_finder_info_become_streams(serve: Serve, kind: str) -> None:
    client = serve(f"fruit:metadata = {kind}")
    client.close(client.open("file"))
    place = client.engine.files / "._file"
    place.write_bytes(of_macos(b"the fork", ATTRIBUTES))
    place.chmod(0o640)
    assert names(client, "file") == ["::$DATA", ":AFP_Resource:$DATA"]  # it is not asked for them
    assert read(client, FORK) == b"the fork"
    assert place.read_bytes() == double(b"the fork")
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
    assert set(files_of(client)) == {"file", "._file"}
    assert read(client, "file:AFP_AfpInfo") == INFO
    for name, value in ((TAGS, b"bplist00"), ("foo\uf022bar", b"baz"), ("none", b"")):
        assert read(client, f"file:{name}") == value
    assert len(names(client, "file")) == 6
    # Once: what is changed then stays.
    assert write(client, "file:AFP_AfpInfo", INFO.replace(b"TEXT", b"text")) is SUCCESS
    assert read(client, FORK) == b"the fork"
    assert read(client, "file:AFP_AfpInfo") == INFO.replace(b"TEXT", b"text")


def test_a_listing_does_so_for_all(serve: Serve) -> None:
    client = serve()
    client.close(client.open("file"))
    (client.engine.files / "._file").write_bytes(of_macos(b"the fork", {}))
    aapl(client)
    assert struct.unpack_from("<Q8s", listing(client)["file"], 70) == (8, b"TEXTttxt")
    assert read(client, "file:AFP_AfpInfo") == INFO
    assert files(client)["._file"] == double(b"the fork")


def test_nothing_is_changed_where_that_is_not_wanted(serve: Serve) -> None:
    data = of_macos(b"the fork", ATTRIBUTES)
    client = serve("fruit:convert_adouble = no")
    (client.engine.files / "file").touch()
    (client.engine.files / "._file").write_bytes(data)
    assert client.create("file:AFP_AfpInfo", 0x1, FILE_OPEN) is NOT_FOUND
    assert read(client, FORK) == b"the fork"
    assert files(client)["._file"] == data


def test_a_blank_fork_goes(serve: Serve) -> None:
    assert len(BLANK) == 286
    for lines, left in (
        ((), double(BLANK)),
        (("fruit:wipe_intentionally_left_blank_rfork = yes",), double(b"")),
        (
            (
                "fruit:wipe_intentionally_left_blank_rfork = yes",
                "fruit:delete_empty_adfiles = yes",
            ),
            None,
        ),
    ):
        client = serve(*lines)
        (client.engine.files / "file").touch()
        (client.engine.files / "._file").write_bytes(of_macos(BLANK, {b"a": b"b"}))
        client.create(FORK, 0x1, FILE_OPEN)
        assert files(client).get("._file") == left
        assert read(client, "file:a") == b"b"


def test_an_empty_one_goes_where_that_is_wanted(serve: Serve) -> None:
    for lines, left in (((), True), (("fruit:delete_empty_adfiles = yes",), False)):
        client = serve("fruit:resource = stream", *lines)
        (client.engine.files / "file").touch()
        (client.engine.files / "._file").write_bytes(of_macos(b"", {}))
        assert read(client, "file:AFP_AfpInfo") == INFO
        assert ("._file" in files_of(client)) is left


BROKEN = [
    (b"ATTR", b"attr"),  # another magic
    (struct.pack(">H", 3), struct.pack(">H", 4)),  # more than there are
    (b"foo:bar", b"foo\xffbar"),  # no UTF-8
]


@pytest.mark.parametrize(("old", "new"), BROKEN)
def test_what_cannot_be_read_stays(serve: Serve, old: bytes, new: bytes) -> None:
    client = serve()
    (client.engine.files / "file").touch()
    data = of_macos(b"the fork", ATTRIBUTES)
    at = data.index(old, 84)
    data = data[:at] + new + data[at + len(old) :]
    (client.engine.files / "._file").write_bytes(data)
    assert read(client, FORK) == b"the fork"
    assert files(client)["._file"] == data
    assert names(client, "file") == ["::$DATA", ":AFP_Resource:$DATA"]


def test_bounds_of_the_attributes() -> None:
    """No offset leads out of what was read; whatever bytes there are, it says so or reads them."""
    whole = of_macos(b"", {b"name": b"value"})
    layout = apple_double.parse(whole, len(whole))
    assert layout is not None
    found = apple_convert._attributes(whole, layout)
    assert found == [("name", b"value")]
    for at in range(84, len(whole)):
        for value in (0, 0x7F, 0xFF):
            data = whole[:at] + bytes((value,)) + whole[at + 1 :]
            with suppress(SmbError):
                for name, content in apple_convert._attributes(data, layout):
                    assert name
                    assert len(content) <= len(data)


def test_many_attributes_are_for_a_thread(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(apple_convert, "long_call", lambda: calls.append(1))
    client = serve()
    (client.engine.files / "file").touch()
    for data, count in (
        (of_macos(b"", {b"%d" % n: b"" for n in range(33)}), 1),
        (of_macos(b"", {b"a": b""}), 0),
        (of_macos(bytes(MIB + 1), {}), 1),
    ):
        calls.clear()
        (client.engine.files / "._file").write_bytes(data)
        client.close(client.open(FORK, 0x1, FILE_OPEN))
        assert len(calls) == count


def test_a_file_that_a_link_replaces_takes_its_fork_along(serve: Serve) -> None:
    client = serve()
    assert write(client, "file", b"data") is SUCCESS
    assert write(client, "other:AFP_Resource", b"fork of the old one") is SUCCESS
    opened = client.open("file", 0x10080, FILE_OPEN)
    name = "other".encode("utf-16-le")
    data = struct.pack("<B7xQI", 1, 0, len(name)) + name
    body = requests.set_info(opened, FileLinkInformation, data)
    assert client.call(Command.SET_INFO, body).status is SUCCESS
    client.close(opened)
    assert files(client) == {"file": b"data", "other": b"data"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("before", "asked", "after", "links"),
    [
        (0o664, 0o600, 0o600, 1),
        (0o600, 0o600, 0o600, 1),  # which the owner cannot open
        (0o644, 0o666, 0o644, 1),
        (0o664, 0o600, 0o664, 2),
    ],
)
def test_a_fork_that_another_has_made_loses_the_rights_that_its_file_loses(
    serve: Serve, before: int, asked: int, after: int, links: int
) -> None:
    files = serve().engine.files
    files.chmod(0o777)
    (files / "file").touch()
    beside = files / "._file"
    beside.write_bytes(double(b"fork"))
    beside.chmod(before)
    os.chown(files / "file", 31001, 31000)
    os.chown(beside, 31002, 31000)
    if links > 1:
        os.link(beside, files / "another's")
    volume = Volume(str(files), VolumeOptions(forks_in_files=True))
    become(Identity(31001, 31000))
    try:
        with volume.lookup("file") as node:
            node.set_mode(asked)
            apple_fork.follow_mode(node)
    finally:
        become(None)
        volume.close()
    assert stat.S_IMODE((files / "file").stat().st_mode) == asked
    assert stat.S_IMODE(beside.stat().st_mode) == after
