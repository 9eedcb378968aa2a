"""Reparse points that clients make: links that stay in the share, special files, others' tags."""

import errno
import os
import stat
import struct
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import kernel, reparse_points
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    FILE_WRITE_EA,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_REPARSE_POINT,
    FILE_OVERWRITE_IF,
)
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_SUPPORTS_REPARSE_POINTS,
    IO_REPARSE_TAG_AF_UNIX,
    IO_REPARSE_TAG_LX_CHR,
    IO_REPARSE_TAG_LX_FIFO,
    IO_REPARSE_TAG_LX_SYMLINK,
    IO_REPARSE_TAG_MOUNT_POINT,
    IO_REPARSE_TAG_NFS,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.fscc.directory import FileIdExtdDirectoryInformation
from usmbd.protocol.wire.fscc.file_info import FileAttributeTagInformation
from usmbd.protocol.wire.fscc.fs_info import FileFsAttributeInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.query_info import SMB2_0_INFO_FILESYSTEM
from usmbd.protocol.wire.status import NtStatus

GET, SET, DELETE_POINT = (
    fsctl.FSCTL_GET_REPARSE_POINT,
    fsctl.FSCTL_SET_REPARSE_POINT,
    fsctl.FSCTL_DELETE_REPARSE_POINT,
)
# As the Linux client opens what it makes a reparse point of.
ACCESS = DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES
NFS_FIFO, NFS_SOCK, NFS_CHR, NFS_LNK = 0x4F464946, 0x4B434F53, 0x524843, 0x014B4E4C
VENDOR_TAG, VENDOR_GUID = 0x00000043, bytes(range(16))  # Microsoft's have the uppermost bit


def point(tag: int, data: bytes = b"", guid: bytes = b"") -> bytes:
    return struct.pack("<IHH", tag, len(data), 0) + guid + data


def symlink(target: str, flags: int = 1) -> bytes:
    """Build a link as Windows does: the name twice."""
    name = target.encode("utf-16-le")
    fixed = struct.pack("<HHHHI", len(name), len(name), 0, len(name), flags)
    return point(IO_REPARSE_TAG_SYMLINK, fixed + name + name)


def nfs(kind: int, data: bytes = b"") -> bytes:
    return point(IO_REPARSE_TAG_NFS, struct.pack("<Q", kind) + data)


def wsl_link(target: str) -> bytes:
    return point(IO_REPARSE_TAG_LX_SYMLINK, struct.pack("<I", 2) + target.encode())


def new(client: Client, name: str = "file", options: int = 0, access: int = ACCESS) -> FileId:
    return client.open(name, access, FILE_CREATE, options=options | FILE_OPEN_REPARSE_POINT)


def control(client: Client, file: FileId, code: int, data: bytes = b"") -> Reply:
    return client.call(Command.IOCTL, requests.ioctl(file, code, data, 16384))


def get(client: Client, name: str) -> bytes:
    opened = client.open(name, FILE_READ_ATTRIBUTES, FILE_OPEN, options=FILE_OPEN_REPARSE_POINT)
    reply = control(client, opened, GET)
    assert reply.status is NtStatus.SUCCESS, reply.status
    fixed = reply.parse(IoctlResponse)
    client.call(Command.CLOSE, requests.close(opened))
    return reply.message[fixed.output_offset :][: fixed.output_count]


def told(client: Client, file: FileId) -> tuple[int, int]:
    """Return FILE_ATTRIBUTE_* and the reparse tag."""
    body = requests.query_info(file, FileAttributeTagInformation)
    attributes, tag = struct.unpack("<II", client.call(Command.QUERY_INFO, body).data)
    return attributes, tag


def opens(client: Client, name: str, access: int = FILE_READ_ATTRIBUTES, **more: int) -> Reply:
    options = more.pop("options", 0)
    disposition = more.pop("disposition", FILE_OPEN)
    return client.call(Command.CREATE, requests.create(name, access, disposition, options=options))


def listed_tag(client: Client, name: str) -> int:
    """Return the tag that a listing tells of an entry."""
    root = client.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    body = requests.query_directory(root, FileIdExtdDirectoryInformation, pattern=name)
    data = client.call(Command.QUERY_DIRECTORY, body).data
    attributes, tag = struct.unpack_from("<I", data, 56)[0], struct.unpack_from("<I", data, 68)[0]
    assert bool(attributes & FILE_ATTRIBUTE_REPARSE_POINT) is bool(tag)
    return int(tag)


@pytest.mark.parametrize(
    ("buffer", "target"),
    [
        (symlink("nothing"), "nothing"),
        (symlink(r"d\..\Ü"), "d/../Ü"),
        (nfs(NFS_LNK, "d/other".encode("utf-16-le")), "d/other"),
        (wsl_link("d/日本"), "d/日本"),
    ],
)
@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_links(client: Client, engine: Engine, buffer: bytes, target: str, options: int) -> None:
    """A link is one for local programs as well; the open goes on with it."""
    opened = new(client, "link", options)
    assert control(client, opened, SET, buffer).status is NtStatus.SUCCESS
    assert os.readlink(engine.files / "link") == target
    assert told(client, opened) == (FILE_ATTRIBUTE_REPARSE_POINT, IO_REPARSE_TAG_SYMLINK)
    assert os.listdir(engine.files) == ["link"]
    assert client.call(Command.CLOSE, requests.close(opened)).status is NtStatus.SUCCESS
    back = get(client, "link")
    start, length = struct.unpack_from("<HH", back, 8)
    assert back[20 + start :][:length].decode("utf-16-le") == target.replace("/", "\\")
    # To follow it is the client's affair.
    reply = opens(client, "link", FILE_READ_DATA)
    assert reply.status is NtStatus.STOPPED_ON_SYMLINK
    assert target.replace("/", "\\").encode("utf-16-le") in reply.message
    again = opens(client, "link", ACCESS, options=FILE_OPEN_REPARSE_POINT | FILE_DELETE_ON_CLOSE)
    assert client.call(Command.CLOSE, requests.close(again.file_id)).status is NtStatus.SUCCESS
    assert not os.path.lexists(engine.files / "link")


@pytest.mark.parametrize(
    "buffer",
    [
        symlink(r"..\outside"),
        symlink(r"d\..\..\outside"),
        symlink(r"\??\C:\Windows", 0),
        symlink("/etc/passwd"),
        symlink(r"\etc\passwd"),
        symlink("nothing", 0),
        symlink("na:me"),
        nfs(NFS_LNK, "/etc/passwd".encode("utf-16-le")),
        nfs(NFS_LNK, "../outside".encode("utf-16-le")),
        wsl_link("/etc/passwd"),
        wsl_link("a/../../outside"),
        point(
            IO_REPARSE_TAG_MOUNT_POINT,
            struct.pack("<HHHH", 0, 12, 14, 0) + r"\??\C:".encode("utf-16-le") + bytes(4),
        ),
    ],
)
def test_links_that_leave_the_share(client: Client, engine: Engine, buffer: bytes) -> None:
    opened = new(client)
    assert control(client, opened, SET, buffer).status is NtStatus.ACCESS_DENIED
    assert (engine.files / "file").is_file()
    assert not (engine.files / "file").is_symlink()
    assert told(client, opened)[1] == 0


@pytest.mark.parametrize(
    ("buffer", "kind", "tag"),
    [
        (nfs(NFS_FIFO), stat.S_IFIFO, IO_REPARSE_TAG_LX_FIFO),
        (nfs(NFS_SOCK), stat.S_IFSOCK, IO_REPARSE_TAG_AF_UNIX),
        (point(IO_REPARSE_TAG_LX_FIFO), stat.S_IFIFO, IO_REPARSE_TAG_LX_FIFO),
        (point(IO_REPARSE_TAG_AF_UNIX), stat.S_IFSOCK, IO_REPARSE_TAG_AF_UNIX),
    ],
)
def test_special_files(client: Client, engine: Engine, buffer: bytes, kind: int, tag: int) -> None:
    opened = new(client)
    mode = stat.S_IMODE((engine.files / "file").stat().st_mode)
    assert control(client, opened, SET, buffer).status is NtStatus.SUCCESS
    assert (engine.files / "file").stat().st_mode == kind | mode
    assert told(client, opened) == (FILE_ATTRIBUTE_REPARSE_POINT, tag)
    assert listed_tag(client, "file") == tag
    assert control(client, opened, DELETE_POINT, point(tag)).status is NtStatus.SUCCESS
    assert stat.S_ISREG((engine.files / "file").stat().st_mode)
    assert told(client, opened)[1] == 0
    assert os.listdir(engine.files) == ["file"]


@pytest.mark.parametrize(
    "buffer",
    [
        nfs(NFS_CHR, struct.pack("<II", 5, 1)),
        point(IO_REPARSE_TAG_LX_CHR),
        point(0x80000042, b"anything"),
        point(VENDOR_TAG, b"data", VENDOR_GUID),
        point(0x80000042, bytes(3000)),
    ],
)
@pytest.mark.parametrize("options", [0, FILE_DIRECTORY_FILE])
def test_what_is_kept_with_the_file(
    client: Client, engine: Engine, buffer: bytes, options: int
) -> None:
    """A device is never made; what is not the file system's comes back as it was sent."""
    opened = new(client, "file", options)
    assert control(client, opened, SET, buffer).status is NtStatus.SUCCESS
    path = engine.files / "file"
    assert os.getxattr(path, "user.SmbReparse") == buffer
    assert path.is_dir() if options else path.is_file()
    (tag,) = struct.unpack_from("<I", buffer)
    kind = FILE_ATTRIBUTE_DIRECTORY if options else FILE_ATTRIBUTE_ARCHIVE
    assert told(client, opened) == (kind | FILE_ATTRIBUTE_REPARSE_POINT, tag)
    assert listed_tag(client, "file") == tag
    assert get(client, "file") == buffer
    for access, disposition in ((FILE_READ_ATTRIBUTES, FILE_OPEN), (DELETE, FILE_OVERWRITE_IF)):
        reply = opens(client, "file", access, disposition=disposition)
        assert reply.status is NtStatus.IO_REPARSE_TAG_NOT_HANDLED
    assert opens(client, "file", disposition=FILE_CREATE).status is NtStatus.OBJECT_NAME_COLLISION
    # Attributes that are set leave it one, and another point of the same tag takes its place.
    basic = struct.pack("<QQQQI4x", 0, 0, 0, 0, 2)
    body = requests.set_info(opened, 4, basic)
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    assert told(client, opened)[1] == tag
    other = point(0x80000044)
    assert control(client, opened, SET, other).status is NtStatus.IO_REPARSE_TAG_MISMATCH
    assert control(client, opened, DELETE_POINT, other).status is NtStatus.IO_REPARSE_TAG_MISMATCH
    guid = VENDOR_GUID if tag == VENDOR_TAG else b""
    refused = control(client, opened, DELETE_POINT, point(tag, b"x", guid))
    assert refused.status is NtStatus.IO_REPARSE_DATA_INVALID
    deleted = control(client, opened, DELETE_POINT, point(tag, guid=guid))
    assert deleted.status is NtStatus.SUCCESS
    assert told(client, opened) == (FILE_ATTRIBUTE_DIRECTORY | 2 if options else 2, 0)
    assert "user.SmbReparse" not in os.listxattr(path)
    again = control(client, opened, DELETE_POINT, point(tag, guid=guid))
    assert again.status is NtStatus.NOT_A_REPARSE_POINT


def test_the_guid_of_a_vendor(client: Client) -> None:
    opened = new(client)
    mine = point(VENDOR_TAG, b"data", VENDOR_GUID)
    assert control(client, opened, SET, mine).status is NtStatus.SUCCESS
    other = point(VENDOR_TAG, b"data", bytes(16))
    conflict = NtStatus.REPARSE_ATTRIBUTE_CONFLICT
    assert control(client, opened, SET, other).status is conflict
    assert (
        control(client, opened, DELETE_POINT, point(VENDOR_TAG, guid=bytes(16))).status is conflict
    )


@pytest.mark.parametrize(
    ("buffer", "status"),
    [
        (b"", NtStatus.IO_REPARSE_DATA_INVALID),
        (bytes(7), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(0), NtStatus.IO_REPARSE_TAG_INVALID),
        (point(1), NtStatus.IO_REPARSE_TAG_INVALID),
        (point(0x80000042, b"abc")[:-1], NtStatus.IO_REPARSE_DATA_INVALID),
        (point(0x80000042, b"abc") + b"d", NtStatus.IO_REPARSE_DATA_INVALID),
        (point(VENDOR_TAG, b"abc"), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(0x80000042, bytes(16385 - 8)), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(IO_REPARSE_TAG_SYMLINK), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(IO_REPARSE_TAG_SYMLINK, struct.pack("<HHHHI", 0, 2, 0, 0, 1)),
         NtStatus.IO_REPARSE_DATA_INVALID),
        (point(IO_REPARSE_TAG_SYMLINK, struct.pack("<HHHHI", 0, 1, 0, 0, 1) + b"a\0"),
         NtStatus.IO_REPARSE_DATA_INVALID),
        (symlink(""), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(IO_REPARSE_TAG_NFS), NtStatus.IO_REPARSE_DATA_INVALID),
        (nfs(12345), NtStatus.IO_REPARSE_DATA_INVALID),
        (nfs(NFS_FIFO, b"x"), NtStatus.IO_REPARSE_DATA_INVALID),
        (nfs(NFS_CHR), NtStatus.IO_REPARSE_DATA_INVALID),
        (nfs(NFS_LNK), NtStatus.IO_REPARSE_DATA_INVALID),
        (nfs(NFS_LNK, b"x"), NtStatus.OBJECT_NAME_INVALID),
        (point(IO_REPARSE_TAG_LX_FIFO, b"x"), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(IO_REPARSE_TAG_LX_SYMLINK, b"\2\0\0\0\xff"), NtStatus.IO_REPARSE_DATA_INVALID),
        (point(IO_REPARSE_TAG_LX_SYMLINK, b"\3\0\0\0a"), NtStatus.IO_REPARSE_DATA_INVALID),
    ],
)  # fmt: skip
def test_malformed(client: Client, engine: Engine, buffer: bytes, status: NtStatus) -> None:
    opened = new(client)
    assert control(client, opened, SET, buffer).status is status
    assert "user.SmbReparse" not in os.listxattr(engine.files / "file")
    assert told(client, opened)[1] == 0


def test_rights(client: Client) -> None:
    """To write data or attributes is what it takes ([MS-FSA] 2.1.5.10.38)."""
    for access, status in (
        (FILE_READ_DATA | FILE_WRITE_EA | DELETE, NtStatus.ACCESS_DENIED),
        (FILE_WRITE_ATTRIBUTES, NtStatus.SUCCESS),
        (FILE_WRITE_DATA, NtStatus.SUCCESS),
    ):
        opened = new(client, f"of {access:x}", access=access)
        for code in (SET, DELETE_POINT):
            assert control(client, opened, code, point(0x80000042)).status is status


def test_on_a_read_only_share(engine: Engine) -> None:
    (engine.files / "file").touch()
    client = Client(engine).ready(share="readonly")
    opened = client.open("file", FILE_READ_ATTRIBUTES, FILE_OPEN)
    assert control(client, opened, SET, symlink("x")).status is NtStatus.ACCESS_DENIED


def test_a_directory_that_is_not_empty(client: Client, engine: Engine) -> None:
    opened = new(client, "d", FILE_DIRECTORY_FILE)
    (engine.files / "d/file").touch()
    for buffer in (symlink("x"), point(0x80000042)):
        assert control(client, opened, SET, buffer).status is NtStatus.DIRECTORY_NOT_EMPTY


def test_a_file_that_was_exchanged_meanwhile(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has the name by now stays, and nothing else is left."""
    path = engine.files / "file"
    opened = new(client)
    rename, renamed = kernel.rename, []

    def late(directory: int, name: bytes, *to: Any) -> None:
        if not renamed:
            path.unlink()
            path.write_bytes(b"another")
        renamed.append(name)
        rename(directory, name, *to)

    monkeypatch.setattr(kernel, "rename", late)
    assert control(client, opened, SET, symlink("x")).status is NtStatus.FILE_DELETED
    assert len(renamed) == 2
    assert os.listdir(engine.files) == ["file"]
    assert path.read_bytes() == b"another"


def test_a_link_that_cannot_be_made_is_kept(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file, where the file system has no links; what was begun is gone."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "none here")

    for name, of in (("symlink", os), ("rename", kernel)):
        opened = new(client, name)
        with monkeypatch.context() as patch:
            patch.setattr(of, name, fail)
            assert control(client, opened, SET, symlink("x")).status is NtStatus.SUCCESS
        assert (engine.files / name).is_file()
        assert os.getxattr(engine.files / name, "user.SmbReparse") == symlink("x")
    assert sorted(os.listdir(engine.files)) == ["rename", "symlink"]


@pytest.mark.parametrize("why", ["data", "EA", "stream", "link", "open"])
def test_what_a_link_could_not_have_is_kept(client: Client, engine: Engine, why: str) -> None:
    """The file stays what it is, and has the point beside its data."""
    path = engine.files / "file"
    opened = new(client, access=ACCESS | FILE_WRITE_EA | FILE_WRITE_DATA)
    if why == "data":
        path.write_bytes(b"data")
    elif why == "EA":
        os.setxattr(path, "user.ea", b"value")
    elif why == "stream":
        client.open("file:stream")
    elif why == "link":
        os.link(path, engine.files / "other")
    else:
        client.open("file", FILE_READ_ATTRIBUTES)
    for name, buffer in (("link", symlink("nothing")), ("fifo", nfs(NFS_FIFO))):
        assert control(client, opened, SET, buffer).status is NtStatus.SUCCESS, name
        assert os.getxattr(path, "user.SmbReparse") == buffer
        assert get(client, "file") == buffer
        reply = opens(client, "file")
        if name == "link":
            assert reply.status is NtStatus.STOPPED_ON_SYMLINK
        else:
            assert reply.status is NtStatus.IO_REPARSE_TAG_NOT_HANDLED
        assert control(client, opened, DELETE_POINT, buffer[:4] + bytes(4)).status is (
            NtStatus.SUCCESS
        )
    assert path.is_file()
    assert path.read_bytes() == (b"data" if why == "data" else b"")


@pytest.mark.parametrize("name", ["file", "file:stream"])
@pytest.mark.parametrize("fails", [False, True])
def test_nobody_opens_what_is_being_replaced(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, fails: bool
) -> None:
    """Such as by another worker: he would have a file without a name, or the open none at all."""
    opened = new(client, access=ACCESS | FILE_WRITE_DATA)
    other = Client(engine).ready()
    real = reparse_points.set_point
    come: list[NtStatus] = []

    def late(*args: Any, **options: Any) -> Any:
        come.append(other.create(name))
        if fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **options)

    monkeypatch.setattr(reparse_points, "set_point", late)
    status = control(client, opened, SET, symlink("nothing")).status
    assert come == [NtStatus.DELETE_PENDING]
    assert status is (NtStatus.DISK_FULL if fails else NtStatus.SUCCESS)
    assert (engine.files / "file").is_symlink() is not fails
    client.close(opened)
    again = opens(other, "file", ACCESS, options=FILE_OPEN_REPARSE_POINT | FILE_DELETE_ON_CLOSE)
    assert again.status is NtStatus.SUCCESS
    other.close(again.file_id)
    assert os.listdir(engine.files) == []


def test_a_kept_link_that_was_moved(client: Client, engine: Engine) -> None:
    """It is judged by where it is now, as the file system's own."""
    (engine.files / "d").mkdir()
    opened = new(client, r"d\link")
    os.setxattr(engine.files / "d/link", "user.ea", b"value")
    assert control(client, opened, SET, symlink(r"..\x")).status is NtStatus.SUCCESS
    assert control(client, opened, GET).status is NtStatus.SUCCESS
    os.rename(engine.files / "d/link", engine.files / "link")
    assert control(client, opened, GET).status is NtStatus.NOT_SUPPORTED
    assert opens(client, "link").status is NtStatus.IO_REPARSE_TAG_NOT_HANDLED


@pytest.mark.parametrize("stored", [b"", b"short", symlink("x")[:-1], wsl_link("/etc/passwd")])
def test_what_somebody_else_has_stored(client: Client, engine: Engine, stored: bytes) -> None:
    """Nothing that a local user writes there leads a client astray."""
    opened = new(client)
    assert control(client, opened, SET, point(0x80000042)).status is NtStatus.SUCCESS
    os.setxattr(engine.files / "file", "user.SmbReparse", stored)
    reply = opens(client, "file")
    (tag,) = struct.unpack_from("<I", stored.ljust(4, b"\0"))
    if len(stored) < 8:
        assert reply.status is NtStatus.SUCCESS
        assert control(client, opened, GET).status is NtStatus.NOT_A_REPARSE_POINT
    else:
        assert reply.status is NtStatus.IO_REPARSE_TAG_NOT_HANDLED, hex(tag)
        assert control(client, opened, GET).status in (
            NtStatus.NOT_SUPPORTED,
            NtStatus.IO_REPARSE_DATA_INVALID,
        )


def test_a_link_to_be_deleted_on_close(client: Client, engine: Engine) -> None:
    """What its open was asked to do at its end is done to what has taken the file's place."""
    opened = new(client, "link", FILE_DELETE_ON_CLOSE)
    assert control(client, opened, SET, symlink("nothing")).status is NtStatus.SUCCESS
    assert (engine.files / "link").is_symlink()
    assert client.call(Command.CLOSE, requests.close(opened)).status is NtStatus.SUCCESS
    assert os.listdir(engine.files) == []


def test_another_target(client: Client, engine: Engine) -> None:
    (engine.files / "link").symlink_to("one")
    opened = client.open("link", ACCESS, FILE_OPEN, options=FILE_OPEN_REPARSE_POINT)
    assert control(client, opened, SET, symlink("two")).status is NtStatus.SUCCESS
    assert os.readlink(engine.files / "link") == "two"
    refused = control(client, opened, SET, nfs(NFS_FIFO))
    assert refused.status is NtStatus.IO_REPARSE_TAG_MISMATCH
    assert control(client, opened, DELETE_POINT, symlink("")[:4] + bytes(4)).status is (
        NtStatus.SUCCESS
    )
    assert (engine.files / "link").read_bytes() == b""
    assert not (engine.files / "link").is_symlink()


def test_the_share_says_so(client: Client) -> None:
    root = client.open("", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    body = requests.query_info(root, FileFsAttributeInformation, SMB2_0_INFO_FILESYSTEM)
    (attributes,) = struct.unpack_from("<I", client.call(Command.QUERY_INFO, body).data)
    assert attributes & FILE_SUPPORTS_REPARSE_POINTS
