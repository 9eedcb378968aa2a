"""What macOS is told by AAPL and by listings, and keeps with files: `vfs objects = fruit`."""

import os
import struct

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.macos import FINDER, INFO, QUERY, Serve, aapl, copy, listing, names, read, write
from smbengine.quotas import FakeQuotas

from usmbd.mountd.errors import ConfigError
from usmbd.protocol.vfs.apple import METADATA
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
)
from usmbd.protocol.wire.fscc.fs_info import FileFsSizeInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.query_info import (
    DACL_SECURITY_INFORMATION,
    SMB2_0_INFO_FILESYSTEM,
    SMB2_0_INFO_SECURITY,
)
from usmbd.protocol.wire.security import SecurityDescriptor
from usmbd.protocol.wire.sid import nfs_mode, nfs_sids
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS
STREAM = "user.DosStream.AFP_AfpInfo:$DATA"


def test_aapl_tells_what_there_is(serve: Serve) -> None:
    model = "Xserve".encode("utf-16-le")
    everything = struct.pack("<IIQQQII", 1, 0, 7, 0xF, 4, 0, len(model)) + model
    options = ("fruit:model = Xserve", "fruit:copyfile = yes", "time machine = yes")
    assert aapl(serve(*options)) == everything
    least = serve("fruit:nfs_aces = no", "case sensitive = yes")
    assert aapl(least, struct.pack("<IIQQ", 1, 0, 3, 0)) == struct.pack("<IIQQQ", 1, 0, 3, 4, 2)
    assert aapl(serve("fruit:aapl = no")) is None
    assert aapl(serve(modules="streams_xattr")) is None


@pytest.mark.parametrize("query", [b"", QUERY[:-1], QUERY + b"\0", struct.pack("<IIQ", 2, 0, 1)])
def test_other_commands_are_refused(serve: Serve, query: bytes) -> None:
    body = requests.create("", 0x81, FILE_OPEN, contexts=[(b"AAPL", query)])
    assert serve().call(Command.CREATE, body).status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize("kind", ["netatalk", "stream"])
def test_finder_info_is_kept_as_samba_keeps_it(serve: Serve, kind: str) -> None:
    client = serve(f"fruit:metadata = {kind}")
    file = client.engine.files / "file"
    assert write(client, "file", b"data") is SUCCESS
    assert names(client, "file") == ["::$DATA"]
    assert write(client, "file:afp_afpinfo", INFO) is SUCCESS
    assert read(client, "file:AFP_AfpInfo") == INFO
    assert read(client, "file:AFP_AfpInfo", 8, 16) == INFO[:8]  # macOS' server: from 0
    assert read(client, "file:AFP_AfpInfo", 8, 61) == b""
    assert names(client, "file") == ["::$DATA", ":AFP_AfpInfo:$DATA"]
    if kind == "stream":
        assert os.getxattr(file, STREAM) == INFO + b"\0"
    else:
        kept = os.getxattr(file, METADATA)
        assert len(kept) == 402
        assert kept[:26] == bytes.fromhex("0005160700020000") + b"Netatalk        " + b"\0\x08"
        # netatalk's: comment, dates, the AFP server's, and what its database has of a file
        rows = ((9, 122, 32), (4, 154, 0), (8, 354, 16), (14, 370, 4))
        empty = zip(
            (b"\x80DEV", b"\x80INO", b"\x80SYN", b"\x80SV~"), range(374, 406, 8), strict=True
        )
        told = b"".join(struct.pack(">III", *row) for row in rows)
        assert kept[26:122] == told + b"".join(
            kind + struct.pack(">II", at, 0) for kind, at in empty
        )
        assert kept[122:154] == FINDER
        os.setxattr(file, METADATA, kept[:154] + b"a comment" + kept[163:])
        other = b"x" * 32
        assert write(client, "file:AFP_AfpInfo", INFO[:16] + other + INFO[48:]) is SUCCESS
        again = os.getxattr(file, METADATA)
        assert again[122:163] == other + b"a comment"  # what else is there stays
    assert write(client, "file:AFP_AfpInfo", INFO[:16] + bytes(44)) is SUCCESS
    assert names(client, "file") == ["::$DATA"]
    assert not [name for name in os.listxattr(file) if name in (METADATA, STREAM)]


@pytest.mark.parametrize("kind", ["netatalk", "stream"])
def test_what_is_no_finder_info_is_refused(serve: Serve, kind: str) -> None:
    client = serve(f"fruit:metadata = {kind}")
    assert write(client, "file", b"data") is SUCCESS
    bad = NtStatus.INVALID_PARAMETER
    name = "file:AFP_AfpInfo"
    assert write(client, name, b"AF") is bad
    assert write(client, name, b"XYZ" + INFO[3:]) is bad
    assert write(client, name, b"AFP\0\xff" + INFO[5:]) is bad
    assert write(client, name, INFO[16:], 16) is bad
    assert write(client, name, INFO[:16]) is SUCCESS  # and nothing more
    assert names(client, "file") == ["::$DATA"]
    opened = client.open(name)
    assert client.call(Command.WRITE, requests.write(opened, INFO)).status is SUCCESS
    for size, status in ((0, SUCCESS), (60, SUCCESS), (61, NtStatus.ALLOTTED_SPACE_EXCEEDED)):
        reply = client.call(
            Command.SET_INFO, requests.set_info(opened, 20, struct.pack("<Q", size))
        )
        assert reply.status is status
    client.close(opened)
    assert read(client, name) == INFO


@pytest.mark.parametrize("value", [b"", b"\0" * 402, b"\0\5\x16\7\0\2\0\0" + b"\xff" * 20])
def test_broken_metadata_is_none(serve: Serve, value: bytes) -> None:
    client = serve()
    assert write(client, "file", b"data") is SUCCESS
    os.setxattr(client.engine.files / "file", METADATA, value)
    assert names(client, "file") == ["::$DATA"]
    assert client.create("file:AFP_AfpInfo", 0x1, FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert write(client, "file:AFP_AfpInfo", INFO) is SUCCESS
    assert read(client, "file:AFP_AfpInfo") == INFO


def test_an_empty_fork_is_none_to_macos_and_lives_as_long_as_the_file(serve: Serve) -> None:
    client = serve("fruit:resource = stream")
    assert write(client, "file", b"data") is SUCCESS
    client.close(client.open("file:AFP_Resource"))
    assert names(client, "file") == ["::$DATA", ":AFP_Resource:$DATA"]
    client.close(client.open("file:AFP_Resource", 0x1, FILE_OPEN))
    aapl(client)
    assert names(client, "file") == ["::$DATA"]
    assert client.create("file:AFP_Resource", 0x1, FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert write(client, "file:AFP_Resource", b"fork") is SUCCESS
    client.close(client.open("file:AFP_Resource", options=FILE_DELETE_ON_CLOSE))
    assert read(client, "file:AFP_Resource") == b"fork"


def test_listings_tell_what_finder_shows(serve: Serve) -> None:
    client = serve()
    assert write(client, "file", b"data") is SUCCESS
    assert write(client, "file:AFP_AfpInfo", INFO) is SUCCESS
    assert write(client, "file:AFP_Resource", b"a fork") is SUCCESS
    client.close(client.open("folder", 0x81, FILE_CREATE, options=FILE_DIRECTORY_FILE))
    inode = (client.engine.files / "file").stat().st_ino
    plain = listing(client)["file"]
    assert plain[68] == 0
    assert struct.unpack_from("<Q", plain, 96) == (inode,)
    aapl(client)
    entry = listing(client)["file"]
    access, length, fork, finder = struct.unpack_from("<IBxQ12s", entry, 64)
    mode, file_id = struct.unpack_from("<HQ", entry, 94)
    assert (access & 0x3, length, fork) == (0x3, 24, 6)
    assert finder == b"TEXTttxt" + bytes(2) + bytes(2)
    assert mode == (client.engine.files / "file").stat().st_mode
    assert file_id == 0
    folder = listing(client)["folder"]
    assert folder[78:94] == bytes(12) + b"\x80\0\0\0"
    assert struct.unpack_from("<H", folder, 94)[0] & 0o170000 == 0o040000
    told = serve("fruit:zero_file_id = no")
    assert write(told, "file", b"data") is SUCCESS
    aapl(told)
    (file_id,) = struct.unpack_from("<Q", listing(told)["file"], 96)
    assert file_id == (told.engine.files / "file").stat().st_ino


def test_a_long_listing_makes_room_for_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry opens its file, so that a step has fewer of them."""
    client = serve()
    for number in range(20):
        (client.engine.files / f"file{number}").touch()
    looks: list[int] = []
    turns = client.connection.server.turns
    monkeypatch.setattr(turns, "over", lambda: bool(looks.append(1)))
    assert len(listing(client)) == 22
    before = len(looks)
    aapl(client)
    looks.clear()
    assert len(listing(client)) == 22
    assert len(looks) > before + 2


def test_a_copy_without_chunks_is_of_all_streams(serve: Serve) -> None:
    client = serve("fruit:copyfile = yes")
    data = os.urandom((3 << 20) + 5)
    (client.engine.files / "file").write_bytes(data)
    assert write(client, "file:AFP_AfpInfo", INFO) is SUCCESS
    assert write(client, "file:AFP_Resource", b"a fork") is SUCCESS
    assert write(client, "file:other", b"") is SUCCESS
    aapl(client)
    assert copy(client, "file", "copy") == (SUCCESS, struct.pack("<III", 0, 0, len(data)))
    assert (client.engine.files / "copy").read_bytes() == data
    assert read(client, "copy:AFP_AfpInfo") == INFO
    assert read(client, "copy:AFP_Resource") == b"a fork"
    other = serve()
    assert write(other, "file", b"data") is SUCCESS
    aapl(other)
    copy(other, "file", "copy")
    assert (other.engine.files / "copy").read_bytes() == b""


def dacl(client: Client, opened: requests.FileId) -> SecurityDescriptor:
    asked = requests.query_info(
        opened, 0, SMB2_0_INFO_SECURITY, additional=DACL_SECURITY_INFORMATION
    )
    return SecurityDescriptor.parse(client.call(Command.QUERY_INFO, asked).data)


def test_modes_are_told_and_set_by_entries_of_the_dacl(serve: Serve) -> None:
    client = serve()
    assert write(client, "file", b"data") is SUCCESS
    file = client.engine.files / "file"
    opened = client.open("file", 0x000E0003, FILE_OPEN)
    said = dacl(client, opened).dacl
    assert said is not None
    assert not [ace for ace in said.aces if nfs_mode(ace.sid) is not None]
    aapl(client)
    said = dacl(client, opened).dacl
    assert said is not None
    stat = file.stat()
    expected = nfs_sids(stat.st_uid, stat.st_gid, stat.st_mode)
    assert [ace.sid for ace in said.aces[-3:]] == list(expected)
    change = SecurityDescriptor(
        dacl=type(said)(
            tuple(
                type(ace)(ace.type, 0, 0, sid)
                for ace, sid in zip(said.aces[-3:], nfs_sids(1, 1, 0o100640), strict=True)
            )
        )
    )
    body = requests.set_info(opened, 0, change.pack(), SMB2_0_INFO_SECURITY, additional=4)
    assert client.call(Command.SET_INFO, body).status is SUCCESS
    assert file.stat().st_mode & 0o7777 == 0o640
    after = dacl(client, opened).dacl
    assert after is not None
    assert len([ace for ace in after.aces if nfs_mode(ace.sid) is not None]) == 1
    other = serve("fruit:nfs_aces = no")
    assert write(other, "file", b"data") is SUCCESS
    aapl(other)
    quiet = dacl(other, other.open("file", 0x000E0003, FILE_OPEN)).dacl
    assert quiet is not None
    assert not [ace for ace in quiet.aces if nfs_mode(ace.sid) is not None]


def test_a_folder_is_renamed_with_open_files(serve: Serve) -> None:
    for word, status in (("yes", SUCCESS), ("no", NtStatus.ACCESS_DENIED)):
        client = serve(f"fruit:posix_rename = {word}")
        aapl(client)
        folder = client.open("folder", 0x110081, FILE_CREATE, options=FILE_DIRECTORY_FILE)
        client.open("folder\\file")
        name = "other".encode("utf-16-le")
        data = bytes(16) + struct.pack("<I", len(name)) + name
        assert client.call(Command.SET_INFO, requests.set_info(folder, 10, data)).status is status


PLIST = b"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>band-size</key><integer>8192</integer></dict></plist>
"""


def test_time_machine_sees_a_volume_of_its_size(serve: Serve) -> None:
    options = ("fruit:time machine = yes", "fruit:time machine max size = 64K")
    client = serve(*options)
    opened = client.open("", 0x81, FILE_OPEN)

    def size() -> tuple[int, int]:
        asked = requests.query_info(opened, FileFsSizeInformation, SMB2_0_INFO_FILESYSTEM)
        data = client.call(Command.QUERY_INFO, asked).data
        total, available, sectors, sector = struct.unpack("<QQII", data)
        return total * sectors * sector, available * sectors * sector

    assert size() == (65536, 65536)
    backup = client.engine.files / "mac.sparsebundle"
    (backup / "bands").mkdir(parents=True)
    (backup / "bands" / "0").touch()
    for text, used in (
        (b"", 0),
        (b"no plist", 0),
        (PLIST.replace(b"8192", b"-1"), 0),
        (PLIST + b" " * 65536, 0),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><plist><string>&b;</string></plist>', 0),
        (PLIST, 8192),
    ):
        (backup / "Info.plist").write_bytes(text)
        assert size() == (65536, 65536 - used), text
    for band in range(1, 20):
        (backup / "bands" / f"{band:x}").touch()
    assert size() == (65536, 0)
    (client.engine.files / "empty.sparsebundle").mkdir()
    assert size() == (65536, 0)


def test_time_machine_is_promised_no_more_than_the_disk_has(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a backup begins that cannot end; here a quota stands for a small disk."""
    quotas = FakeQuotas()
    quotas.install(monkeypatch)
    client = serve("fruit:time machine = yes", "fruit:time machine max size = 64K")
    opened = client.open("", 0x81, FILE_OPEN)
    (tree,) = client.session.tree_connect_table.values()
    quotas.give(tree.identity.uid, 8192, hard=24576)
    asked = requests.query_info(opened, FileFsSizeInformation, SMB2_0_INFO_FILESYSTEM)
    data = client.call(Command.QUERY_INFO, asked).data
    total, available, sectors, sector = struct.unpack("<QQII", data)
    assert (total * sectors * sector, available * sectors * sector) == (65536, 16384)


def test_what_cannot_be_is_an_error(serve: Serve) -> None:
    for line in (
        "fruit:metadata = elsewhere",
        "fruit:resource = elsewhere",
        "fruit:resource = xattr",
        "fruit:time machine max size = much",
        "fruit:time machine max size = 99999999T",
    ):
        with pytest.raises(ConfigError):
            serve(line, modules="fruit streams_xattr")
