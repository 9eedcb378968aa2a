"""The SMB3 POSIX extensions: names, modes, owners, links and deletion as POSIX has them."""

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from smbengine import durable, requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import acl
from usmbd.protocol.vfs.identity import Identity
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import DELETE, FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OPEN_REPARSE_POINT,
)
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.fscc.attributes import IO_REPARSE_TAG_SYMLINK
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILESYSTEM, SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.security import Ace, Acl, SecurityDescriptor
from usmbd.protocol.wire.sid import Sid
from usmbd.protocol.wire.status import NtStatus

NAME = bytes.fromhex("93ad25509cb411e7b42383de968bcd7c")
LEVEL = 100
SUCCESS = NtStatus.SUCCESS


def connected(engine: Engine, share: str = "data", *, extensions: bool = True) -> Client:
    client = Client(engine)
    client.negotiate(posix=extensions)
    client.login()
    client.connect(share)
    return client


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Have none, as a worker has none."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def posix(engine: Engine) -> Client:
    """Return a client that has negotiated the extensions."""
    return connected(engine)


def create(
    client: Client, name: str, *args: Any, mode: int = 0o644, posix: bool = True, **options: Any
) -> Reply:
    contexts = [(NAME, struct.pack("<I", mode))] if posix else []
    body = requests.create(name, *args, contexts=contexts, **options)
    return client.call(Command.CREATE, body)


class Info(NamedTuple):
    """FILE_POSIX_INFORMATION, by the layout of the Linux client's header."""

    times: tuple[int, ...]
    size: int
    attributes: int
    inode: int
    nlink: int
    tag: int
    mode: int
    owner: bytes
    group: bytes


def parse(data: bytes) -> Info:
    times = struct.unpack_from("<4Q", data)
    size, _allocation, attributes, inode, _device, zero = struct.unpack_from("<QQIQII", data, 32)
    nlink, tag, mode = struct.unpack_from("<III", data, 68)
    assert zero == 0
    return Info(times, size, attributes, inode, nlink, tag, mode, data[80:96], data[96:112])


def info(client: Client, file: FileId) -> Info:
    data = client.call(Command.QUERY_INFO, requests.query_info(file, LEVEL)).data
    assert len(data) == 112
    return parse(data)


def sid(authority: int, *subs: int) -> bytes:
    return struct.pack(f"<BB6s{len(subs)}I", 1, len(subs), authority.to_bytes(6, "big"), *subs)


def test_they_are_negotiated_where_both_want_them(engine: Engine) -> None:
    asked = Client(engine)
    reply = asked.negotiate(posix=True)
    assert asked.contexts.posix_extensions
    assert asked.connection.posix_extensions
    assert NAME in reply.message
    silent = Client(engine)
    silent.negotiate()
    assert not silent.contexts.posix_extensions
    other = Client(engine)
    other.negotiate(posix=bytes(16))
    assert not other.connection.posix_extensions, "another version of them"


def test_without_them_a_context_means_nothing(engine: Engine) -> None:
    client = connected(engine, extensions=False)
    (engine.files / "File").touch()
    reply = create(client, "file", FILE_READ_DATA, FILE_OPEN)
    assert reply.status is SUCCESS
    assert NAME not in reply.message
    body = requests.query_info(reply.file_id, LEVEL)
    assert client.call(Command.QUERY_INFO, body).status is NtStatus.INVALID_INFO_CLASS


def test_levels_are_answered_to_opens_by_the_extensions_alone(posix: Client) -> None:
    plain = create(posix, "file", posix=False).file_id
    root = create(posix, "", FILE_READ_DATA, FILE_OPEN, posix=False).file_id
    for body in (
        requests.query_info(plain, LEVEL),
        requests.query_info(plain, LEVEL, SMB2_0_INFO_FILESYSTEM),
    ):
        assert posix.call(Command.QUERY_INFO, body).status is NtStatus.INVALID_INFO_CLASS
    listing = posix.call(Command.QUERY_DIRECTORY, requests.query_directory(root, LEVEL))
    assert listing.status is NtStatus.INVALID_INFO_CLASS


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o777, 0o4755, 0o1777, 0o000])
@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_a_new_file_has_the_mode(posix: Client, engine: Engine, mode: int, options: int) -> None:
    """The share's masks are for those who cannot say it, as with Samba."""
    reply = create(posix, "new", mode=mode, options=options)
    found = (engine.files / "new").stat()
    assert stat.S_IMODE(found.st_mode) == mode
    # What CREATE answers, by the client's reading of it.
    start = reply.message.index(NAME) + 16
    nlink, tag, told = struct.unpack_from("<III", reply.message, start)
    assert (nlink, tag, told) == (found.st_nlink, 0, mode | (0o10000 if options else 0))
    owner, group = sid(22, 1, found.st_uid), sid(22, 2, found.st_gid)
    assert reply.message[start + 12 :][:32] == owner + group
    known = info(posix, reply.file_id)
    assert known.mode == told
    assert (known.owner, known.group, known.inode) == (owner, group, found.st_ino)


@pytest.mark.parametrize("mode", [0o4755, 0o2711, 0o1600])
@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_it_has_it_where_descriptors_are_stored(engine: Engine, mode: int, options: int) -> None:
    engine.shares["data"] = msgspec.structs.replace(engine.shares["data"], acl_xattr=True)
    with Volume(str(engine.files)).lookup("") as node:
        acl.store(node, acl.from_posix(node))
    create(connected(engine), "new", mode=mode, options=options)
    assert stat.S_IMODE((engine.files / "new").stat().st_mode) == mode


def test_an_existing_file_keeps_its_mode(posix: Client, engine: Engine) -> None:
    (engine.files / "file").touch()
    (engine.files / "file").chmod(0o640)
    create(posix, "file", disposition=FILE_OPEN_IF, mode=0o7777)
    assert stat.S_IMODE((engine.files / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_a_context_of_another_size(posix: Client, size: int) -> None:
    body = requests.create("file", contexts=[(NAME, bytes(size))])
    assert posix.call(Command.CREATE, body).status is NtStatus.INVALID_PARAMETER


def test_case_counts(posix: Client, engine: Engine) -> None:
    for name in ("file", "File", "FILE"):
        create(posix, name, disposition=FILE_CREATE)
    assert sorted(os.listdir(engine.files)) == ["FILE", "File", "file"]
    missing = create(posix, "fILE", FILE_READ_DATA, FILE_OPEN)
    assert missing.status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert create(posix, "fILE", FILE_READ_DATA, FILE_OPEN, posix=False).status is SUCCESS
    opened = create(posix, "file", DELETE, FILE_OPEN).file_id
    target = "new".encode("utf-16-le")
    rename = struct.pack("<BxxxxxxxQI", 0, 0, len(target)) + target
    body = requests.set_info(opened, 10, rename)
    assert posix.call(Command.SET_INFO, body).status is SUCCESS
    assert sorted(os.listdir(engine.files)) == ["FILE", "File", "new"]


@pytest.mark.parametrize(
    "name", ["a:b", "a:stream", r"back\slash", "con", "dot.", "space ", '?*<>|"', "日本", "\x07"]
)
def test_any_name(posix: Client, engine: Engine, name: str) -> None:
    opened = create(posix, name, disposition=FILE_CREATE).file_id
    assert os.listdir(engine.files) == [name]
    posix.close(opened)
    assert create(posix, f"/{name}", FILE_READ_DATA, FILE_OPEN).status is SUCCESS


@pytest.mark.parametrize("name", ["..", "a/../b", "./a", "a/.", "../outside", "a\0b"])
def test_no_path_leaves_the_share(posix: Client, engine: Engine, name: str) -> None:
    (engine.files / "a").mkdir()
    reply = create(posix, name, disposition=FILE_OPEN_IF)
    assert reply.status is NtStatus.OBJECT_NAME_INVALID
    assert os.listdir(engine.files) == ["a"]


def test_paths_have_slashes(posix: Client, engine: Engine) -> None:
    create(posix, "a", options=FILE_DIRECTORY_FILE, mode=0o755)
    create(posix, "a/b", options=FILE_DIRECTORY_FILE, mode=0o755)
    create(posix, "a//b/file")
    assert (engine.files / "a/b/file").is_file()


def listing(client: Client, name: str = "") -> dict[str, Info]:
    root = create(client, name, FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE).file_id
    data = client.call(Command.QUERY_DIRECTORY, requests.query_directory(root, LEVEL)).data
    found = {}
    while True:
        following, _ = struct.unpack_from("<II", data)
        (length,) = struct.unpack_from("<I", data, 120)
        found[data[124 : 124 + length].decode("utf-16-le")] = parse(data[8:120])
        if not following:
            return found
        data = data[following:]


def test_a_listing(posix: Client, engine: Engine) -> None:
    create(posix, "file", mode=0o640)
    create(posix, "folder", options=FILE_DIRECTORY_FILE, mode=0o750)
    (engine.files / "link").symlink_to("file")
    os.mkfifo(engine.files / "fifo", 0o600)
    (engine.files / "file").write_bytes(b"12345")
    found = listing(posix)
    assert {name: oct(each.mode) for name, each in found.items() if name not in (".", "..")} == {
        "file": "0o640",
        "folder": "0o10750",
        "link": "0o20777",
        "fifo": "0o50600",
    }
    assert found["file"].size == 5
    for name in ("file", "folder", "link", "fifo"):
        real = (engine.files / name).lstat()
        assert (found[name].inode, found[name].nlink) == (real.st_ino, real.st_nlink)
        assert (found[name].owner, found[name].group) == (
            sid(22, 1, real.st_uid),
            sid(22, 2, real.st_gid),
        )
    assert found["link"].tag == IO_REPARSE_TAG_SYMLINK


def test_a_link_is_itself_where_links_are_followed(engine: Engine) -> None:
    share = engine.shares["data"]
    options = {name: getattr(share, name) for name in share.__struct_fields__}
    engine.mountd.shares["data"] = type(share)(**options | {"follow_symlinks": True})
    client = connected(engine)
    (engine.files / "folder").mkdir()
    (engine.files / "folder/file").touch()
    (engine.files / "link").symlink_to("folder/file")
    opened = create(client, "link", FILE_READ_ATTRIBUTES, FILE_OPEN).file_id
    assert info(client, opened).mode == 0o20777
    assert listing(client)["link"].mode == 0o20777
    followed = create(client, "link", FILE_READ_ATTRIBUTES, FILE_OPEN, posix=False)
    assert followed.status is SUCCESS
    reply = client.call(Command.IOCTL, requests.ioctl(opened, fsctl.FSCTL_GET_REPARSE_POINT))
    fixed = reply.parse(IoctlResponse)
    output = reply.message[fixed.output_offset :][: fixed.output_count]
    assert output[20:].decode("utf-16-le") == "folder/file", "with the client's own separators"


def test_devices_are_what_they_were_made(posix: Client, engine: Engine) -> None:
    options = FILE_OPEN_REPARSE_POINT
    opened = create(posix, "null", disposition=FILE_CREATE, options=options, mode=0o660).file_id
    point = struct.pack("<IHHQII", 0x80000014, 16, 0, 0x524843, 1, 3)
    body = requests.ioctl(opened, fsctl.FSCTL_SET_REPARSE_POINT, point)
    assert posix.call(Command.IOCTL, body).status is SUCCESS
    assert info(posix, opened).mode == 0o30660
    assert listing(posix)["null"].mode == 0o30660
    assert stat.S_ISREG((engine.files / "null").stat().st_mode)


def test_a_fifo_has_the_mode(posix: Client, engine: Engine) -> None:
    options = FILE_OPEN_REPARSE_POINT
    opened = create(posix, "fifo", disposition=FILE_CREATE, options=options, mode=0o622).file_id
    point = struct.pack("<IHHQ", 0x80000014, 8, 0, 0x4F464946)
    body = requests.ioctl(opened, fsctl.FSCTL_SET_REPARSE_POINT, point)
    assert posix.call(Command.IOCTL, body).status is SUCCESS
    assert (engine.files / "fifo").stat().st_mode == stat.S_IFIFO | 0o622
    assert info(posix, opened).mode == 0o50622


def set_dacl(client: Client, file: FileId, *sids: Sid) -> NtStatus:
    sent = SecurityDescriptor(dacl=Acl(tuple(Ace(0, 0, 0, each) for each in sids)), control=4)
    body = requests.set_info(file, 0, sent.pack(), SMB2_0_INFO_SECURITY, 4)
    return client.call(Command.SET_INFO, body).status


@pytest.mark.parametrize("mode", [0o600, 0o777, 0o4711, 0o000])
def test_chmod(posix: Client, engine: Engine, mode: int) -> None:
    opened = create(posix, "file", 0x000E0080).file_id
    assert set_dacl(posix, opened, Sid(5, (88, 3, mode))) is SUCCESS
    assert stat.S_IMODE((engine.files / "file").stat().st_mode) == mode
    assert info(posix, opened).mode == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    ("owner", "group"),
    [(Sid(22, (1, 1)), Sid(22, (2, 2))), (Sid(5, (88, 1, 1)), Sid(5, (88, 2, 2)))],
)
def test_chown(posix: Client, engine: Engine, owner: Sid, group: Sid) -> None:
    opened = create(posix, "file", 0x000E0080).file_id
    sent = SecurityDescriptor(owner=owner, group=group).pack()
    body = requests.set_info(opened, 0, sent, SMB2_0_INFO_SECURITY, 3)
    assert posix.call(Command.SET_INFO, body).status is SUCCESS
    found = (engine.files / "file").stat()
    assert (found.st_uid, found.st_gid) == (1, 2)
    assert info(posix, opened).owner == sid(22, 1, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as users takes root")
@pytest.mark.parametrize("part", [1, 2], ids=["owner", "group"])
def test_who_gives_a_file_away_is_denied(engine: Engine, part: int) -> None:
    """As by chown(2): Linux makes EIO of INVALID_OWNER."""
    engine.files.chmod(0o777)
    engine.mountd.identities["alice"] = Identity(2001, 2001)
    client = connected(engine)
    opened = create(client, "file", 0x000E0080).file_id
    sent = SecurityDescriptor(owner=Sid(22, (1, 1)), group=Sid(22, (2, 2))).pack()
    body = requests.set_info(opened, 0, sent, SMB2_0_INFO_SECURITY, part)
    assert client.call(Command.SET_INFO, body).status is NtStatus.ACCESS_DENIED


def test_the_name_goes_at_once(posix: Client, engine: Engine) -> None:
    """Whoever has the file open goes on with it, and the name is free."""
    first = create(posix, "file").file_id
    posix.call(Command.WRITE, requests.write(first, b"words"))
    second = create(posix, "file", DELETE, FILE_OPEN, options=FILE_DELETE_ON_CLOSE).file_id
    assert posix.close(second) is SUCCESS
    assert os.listdir(engine.files) == []
    assert posix.call(Command.READ, requests.read(first, 5)).data == b"words"
    assert info(posix, first).nlink == 0
    new = create(posix, "file", disposition=FILE_CREATE)
    assert new.status is SUCCESS
    assert posix.close(first) is SUCCESS
    assert os.listdir(engine.files) == ["file"]
    third = create(posix, "file", DELETE, FILE_OPEN).file_id
    body = requests.set_info(third, 13, b"\1")
    assert posix.call(Command.SET_INFO, body).status is SUCCESS
    assert posix.close(third) is SUCCESS
    assert os.listdir(engine.files) == []
    assert posix.close(new.file_id) is SUCCESS


def rename(client: Client, source: str, target: str) -> NtStatus:
    opened = create(client, source, DELETE, FILE_OPEN, options=FILE_OPEN_REPARSE_POINT).file_id
    name = target.encode("utf-16-le")
    body = requests.set_info(opened, 10, struct.pack("<BxxxxxxxQI", 1, 0, len(name)) + name)
    status = client.call(Command.SET_INFO, body).status
    client.close(opened)
    return status


def test_rename_is_that_of_posix(posix: Client, engine: Engine) -> None:
    files = engine.files
    for name in ("one", "two"):
        (files / name).write_text(name)
    for name in ("empty", "full", "folder"):
        (files / name).mkdir()
    (files / "full/file").touch()
    held = create(posix, "two", FILE_READ_DATA, FILE_OPEN).file_id
    below = create(posix, "full/file", FILE_READ_DATA, FILE_OPEN).file_id
    assert rename(posix, "one", "two") is SUCCESS, "over a file that is open"
    assert posix.call(Command.READ, requests.read(held, 3)).data == b"two"
    assert (files / "two").read_text() == "one"
    assert rename(posix, "folder", "empty") is SUCCESS, "a directory over an empty one"
    assert rename(posix, "empty", "full") is NtStatus.DIRECTORY_NOT_EMPTY
    assert rename(posix, "two", "empty") is NtStatus.FILE_IS_A_DIRECTORY
    assert rename(posix, "full", "renamed") is SUCCESS, "with something open below"
    os.link(files / "two", files / "other")
    assert rename(posix, "two", "other") is SUCCESS, "which does nothing"
    assert sorted(os.listdir(files)) == ["empty", "other", "renamed", "two"]
    assert posix.close(below) is SUCCESS


def test_the_size_of_the_file_system(posix: Client, engine: Engine) -> None:
    root = create(posix, "", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE).file_id
    body = requests.query_info(root, LEVEL, SMB2_0_INFO_FILESYSTEM)
    data = posix.call(Command.QUERY_INFO, body).data
    _, size, total, *_, nodes, free_nodes, _ = struct.unpack("<II6Q", data)
    known = os.statvfs(engine.files)
    assert (size, total, nodes) == (known.f_frsize, known.f_blocks, known.f_files)
    assert free_nodes <= nodes
    short = requests.query_info(root, LEVEL, SMB2_0_INFO_FILESYSTEM, limit=55)
    assert posix.call(Command.QUERY_INFO, short).status is NtStatus.INFO_LENGTH_MISMATCH


def test_short_buffers(posix: Client) -> None:
    opened = create(posix, "file").file_id
    for limit, status in ((112, SUCCESS), (111, NtStatus.INFO_LENGTH_MISMATCH)):
        body = requests.query_info(opened, LEVEL, limit=limit)
        assert posix.call(Command.QUERY_INFO, body).status is status


def test_a_vetoed_name_stays_unseen(engine: Engine, tmp_path: Path) -> None:
    share = engine.shares["data"]
    options = {name: getattr(share, name) for name in share.__struct_fields__}
    engine.mountd.shares["data"] = type(share)(**options | {"veto_files": ["secret*"]})
    client = connected(engine)
    (engine.files / "secret").touch()
    reply = create(client, "secret", FILE_READ_DATA, FILE_OPEN)
    assert reply.status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert "secret" not in listing(client)


def test_chmod_of_a_fifo(posix: Client, engine: Engine) -> None:
    os.mkfifo(engine.files / "fifo", 0o600)
    opened = create(posix, "fifo", 0x00040000, FILE_OPEN, mode=0xFFFF).file_id
    assert set_dacl(posix, opened, Sid(5, (88, 3, 0o604))) is SUCCESS
    assert stat.S_IMODE((engine.files / "fifo").stat().st_mode) == 0o604


def test_a_descriptor_with_a_mode(posix: Client, engine: Engine) -> None:
    """Linux adds one to a CREATE with `idsfromsid`, without a mode: that of its context counts."""
    aces = (
        Ace(1, 0, 0, Sid(5, (88, 3, 0o7777))),
        Ace(0, 0, 0x10000000, Sid(5, (11,))),
    )
    owner = Sid(5, (88, 1, os.geteuid()))
    sent = SecurityDescriptor(owner=owner, dacl=Acl(aces), control=4).pack()
    contexts = [(NAME, struct.pack("<I", 0o640)), (b"SecD", sent)]
    reply = posix.call(Command.CREATE, requests.create("file", contexts=contexts))
    assert reply.status is SUCCESS
    found = (engine.files / "file").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o640, os.geteuid())


def test_a_durable_open_is_found_again_by_its_name_as_it_is(engine: Engine, posix: Client) -> None:
    """Beside others that differ in case alone, and with what no Windows name has."""
    name = "A:b"
    for other in ("a:b", name):
        (engine.files / other).write_text(other)
    mode = (NAME, struct.pack("<I", 0o644))
    lease = (SMB2_CREATE_REQUEST_LEASE, LeaseV2(lease_key=b"k" * 16, lease_state=7, epoch=1).pack())
    body = requests.create(
        name, FILE_READ_DATA, FILE_OPEN, oplock=255, contexts=[mode, lease, durable.v2()]
    )
    file = posix.call(Command.CREATE, body).file_id
    posix.disconnect()
    engine.settle()
    client = Client(engine, posix.guid)
    client.negotiate(posix=True)
    client.login()
    client.connect("data")
    again = durable.again(file, durable.GUID)
    for wrong in ("a:b", "A:B"):
        body = requests.create(wrong, FILE_READ_DATA, oplock=255, contexts=[mode, lease, again])
        assert client.call(Command.CREATE, body).status is NtStatus.INVALID_PARAMETER
    body = requests.create(name, FILE_READ_DATA, oplock=255, contexts=[mode, lease, again])
    reply = client.call(Command.CREATE, body)
    assert reply.status is SUCCESS
    assert NAME in durable.granted(reply)
    data = client.call(Command.READ, requests.read(reply.file_id, 10))
    assert data.data == name.encode()
