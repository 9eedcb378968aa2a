"""Previous versions: listed, opened by `@GMT-` tokens and by time, read only, within the share."""

import os
import struct
import time
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.configured import Configured

from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.vfs.options import SnapshotOptions, VolumeOptions
from usmbd.protocol.vfs.snapshots import open_snapshot, snapshot_times
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
    MAXIMUM_ALLOWED,
)
from usmbd.protocol.wire.create import (
    FILE_CREATE,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OPEN_IF,
    FILE_OVERWRITE,
)
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_TIMEWARP_TOKEN
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.status import NtStatus, SmbError

YESTERDAY, LAST_YEAR = "@GMT-2026.11.28-03.00.00", "@GMT-2025.11.28-23.59.59"
# 2026-11-28 03:00:00 UTC, from 1601 and in 100 ns, by another reckoning than the server's.
FILETIME = (1_795_834_800 + 11_644_473_600) * 10_000_000

SHARE = """
[data]
  path = {path}/data
  read only = no
  vfs objects = streams_xattr shadow_copy2
  shadow:mountpoint = {path}
  shadow:snapdir = snapshots
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the folder with the share `data` and two snapshots of it."""
    (tmp_path / "data/folder").mkdir(parents=True)
    (tmp_path / "data/file").write_bytes(b"today")
    for name, text in ((YESTERDAY, b"yesterday"), (LAST_YEAR, b"last year")):
        folder = tmp_path / "snapshots" / name / "data/folder"
        folder.mkdir(parents=True)
        (folder.parent / "file").write_bytes(text)
        (folder / "inner").write_bytes(b"inner " + text)
    (tmp_path / "snapshots/other").mkdir()
    (tmp_path / "snapshots/@GMT-2026.02.30-00.00.00").mkdir()  # no day
    return tmp_path


def served(tree: Path, text: str = SHARE) -> Client:
    return Client(Configured(tree, text)).ready()


def enumerate_snapshots(client: Client, name: str = "file", limit: int = 4096) -> tuple[int, ...]:
    file = client.open(name, FILE_READ_DATA, FILE_OPEN)
    body = requests.ioctl(file, fsctl.FSCTL_SRV_ENUMERATE_SNAPSHOTS, limit=limit)
    output = data(client.call(Command.IOCTL, body))
    there, returned, size = struct.unpack_from("<III", output)
    names = output[12:].decode("utf-16-le").split("\0")[:-2] if returned else []
    assert len(names) == returned
    assert not returned or len(output) == 12 + size
    return there, size, *names


def data(reply: Reply) -> bytes:
    assert reply.status is NtStatus.SUCCESS, reply.status
    fixed = reply.parse(IoctlResponse)
    return reply.message[fixed.output_offset :][: fixed.output_count]


def create(
    client: Client,
    name: str,
    access: int = FILE_READ_DATA,
    disposition: int = FILE_OPEN,
    when: int | None = None,
    options: int = 0,
) -> Reply:
    contexts = []
    if when is not None:
        contexts.append((SMB2_CREATE_TIMEWARP_TOKEN, struct.pack("<Q", when)))
    body = requests.create(name, access, disposition, options=options, contexts=contexts)
    return client.call(Command.CREATE, body)


def read(client: Client, name: str, when: int | None = None) -> bytes:
    opened = create(client, name, when=when).file_id
    found = client.call(Command.READ, requests.read(opened, 100)).data
    client.close(opened)
    return found


def test_enumeration(tree: Path) -> None:
    """Newest first, as vfs_shadow_copy2 does; what has no time in its name is none."""
    client = served(tree)
    size = 2 * (2 * 25 + 1)
    assert enumerate_snapshots(client) == (2, size, YESTERDAY, LAST_YEAR)
    assert enumerate_snapshots(client, "folder") == (2, size, YESTERDAY, LAST_YEAR)
    assert enumerate_snapshots(client, limit=12 + size) == (2, size, YESTERDAY, LAST_YEAR)
    assert enumerate_snapshots(client, limit=11 + size) == (2, size)
    assert enumerate_snapshots(client, limit=16) == (2, size)
    file = client.open("file", FILE_READ_DATA, FILE_OPEN)
    body = requests.ioctl(file, fsctl.FSCTL_SRV_ENUMERATE_SNAPSHOTS, limit=15)
    assert client.call(Command.IOCTL, body).status is NtStatus.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("order", "names"), [("asc", (LAST_YEAR, YESTERDAY)), ("desc", (YESTERDAY, LAST_YEAR))]
)
def test_order(tree: Path, order: str, names: tuple[str, ...]) -> None:
    client = served(tree, f"{SHARE}  shadow:sort = {order}\n")
    assert enumerate_snapshots(client)[2:] == names


def test_no_descriptor_stays_open(tree: Path) -> None:
    client = served(tree)
    read(client, rf"{YESTERDAY}\file")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        enumerate_snapshots(client)
        read(client, rf"{YESTERDAY}\file")
        assert create(client, r"@GMT-2026.11.28-03.00.01\file").status is not NtStatus.SUCCESS
    client.close(client.open("file", FILE_READ_DATA, FILE_OPEN))
    assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_a_share_without(tree: Path) -> None:
    """Nothing is listed, and a name with a token is a name."""
    client = served(tree, SHARE.replace(" shadow_copy2", ""))
    assert enumerate_snapshots(client) == (0, 2)
    (tree / "data" / YESTERDAY).mkdir()
    (tree / "data" / YESTERDAY / "file").write_bytes(b"a folder's")
    assert read(client, f"{YESTERDAY}\\file") == b"a folder's"
    assert create(client, "file", when=FILETIME).status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert read(client, "file", when=0) == b"today"


def test_no_snapshots_yet(tree: Path) -> None:
    client = served(tree, SHARE.replace("snapdir = snapshots", "snapdir = nowhere"))
    assert enumerate_snapshots(client) == (0, 2)
    assert create(client, f"{YESTERDAY}\\file").status is NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (rf"{YESTERDAY}\file", b"yesterday"),
        (rf"{LAST_YEAR}\FILE", b"last year"),
        (rf"{YESTERDAY}\folder\inner", b"inner yesterday"),
        (rf"folder\{YESTERDAY}\inner", b"inner yesterday"),
        (rf"folder\inner\{LAST_YEAR}", b"inner last year"),
    ],
)
def test_tokens(tree: Path, name: str, text: bytes) -> None:
    assert read(served(tree), name) == text


def test_a_folder_that_has_the_name_of_a_time(tree: Path) -> None:
    """`snapdir` in the share: `find` on a mount walks through it, as with smbd."""
    inside = tree / "data/snapshots"
    (inside / YESTERDAY / "folder").mkdir(parents=True)
    (inside / YESTERDAY / "file").write_bytes(b"yesterday inside")
    text = SHARE.replace("{path}\n  shadow:snapdir", "{path}/data\n  shadow:snapdir")
    client = served(tree, text)
    assert read(client, rf"snapshots\{YESTERDAY}\file") == b"yesterday inside"
    opened = create(client, rf"snapshots\{YESTERDAY}", options=FILE_DIRECTORY_FILE)
    assert opened.status is NtStatus.SUCCESS
    missing = create(client, rf"snapshots\{YESTERDAY}\missing")
    assert missing.status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert read(client, rf"{YESTERDAY}\file") == b"yesterday inside"
    assert read(client, rf"folder\..\{YESTERDAY}\file") == b"yesterday inside"
    beside = create(client, rf"snapshots\{LAST_YEAR}\file")
    assert beside.status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_a_time_in_a_context(tree: Path) -> None:
    client = served(tree)
    assert read(client, "file", when=FILETIME) == b"yesterday"
    assert read(client, "file", when=FILETIME + 9_999_999) == b"yesterday"
    assert read(client, r"folder\inner", when=FILETIME) == b"inner yesterday"
    assert read(client, "file", when=0) == b"today"
    for when in (FILETIME - 1, FILETIME + 10_000_000, 1, 2**63 - 1, 2**64 - 1):
        assert create(client, "file", when=when).status is NtStatus.OBJECT_NAME_NOT_FOUND
    contexts = [(SMB2_CREATE_TIMEWARP_TOKEN, bytes(7))]
    body = requests.create("file", FILE_READ_DATA, FILE_OPEN, contexts=contexts)
    assert client.call(Command.CREATE, body).status is NtStatus.INVALID_PARAMETER


def test_the_root_of_a_snapshot_is_listed(tree: Path) -> None:
    client = served(tree)
    for name, when in ((YESTERDAY, None), ("", FILETIME)):
        opened = create(client, name, when=when, options=FILE_DIRECTORY_FILE).file_id
        body = requests.query_directory(opened, FileNamesInformation)
        listed = client.call(Command.QUERY_DIRECTORY, body).data
        assert "folder".encode("utf-16-le") in listed
        assert "file".encode("utf-16-le") in listed


def test_nothing_can_be_changed(tree: Path) -> None:
    client = served(tree)
    name = rf"{YESTERDAY}\file"
    protected = NtStatus.MEDIA_WRITE_PROTECTED
    for access in (FILE_WRITE_DATA, DELETE, FILE_WRITE_ATTRIBUTES, 0x40000000):
        assert create(client, name, access).status is protected, hex(access)
    assert create(client, name, FILE_READ_DATA, FILE_OVERWRITE).status is protected
    on_close = create(client, name, DELETE, options=FILE_DELETE_ON_CLOSE)
    assert on_close.status is protected
    for disposition in (FILE_CREATE, FILE_OPEN_IF):
        for options in (0, FILE_DIRECTORY_FILE):
            new = create(client, rf"{YESTERDAY}\new", FILE_READ_DATA, disposition, options=options)
            assert new.status is protected
    stream = create(client, rf"{name}:stream", FILE_READ_DATA, FILE_OPEN_IF)
    assert stream.status in (protected, NtStatus.ACCESS_DENIED)
    opened = create(client, name, MAXIMUM_ALLOWED).file_id
    granted = client.open_of(opened).granted_access
    assert granted & FILE_READ_DATA
    assert not granted & (FILE_WRITE_DATA | DELETE | FILE_WRITE_ATTRIBUTES)
    # A hard link into the share would let it be changed there.
    target = "linked".encode("utf-16-le")
    body = requests.set_info(opened, 11, struct.pack("<BxxxxxxxQI", 0, 0, len(target)) + target)
    assert client.call(Command.SET_INFO, body).status is NtStatus.ACCESS_DENIED
    assert sorted(os.listdir(tree / "snapshots" / YESTERDAY / "data")) == ["file", "folder"]
    assert (tree / "snapshots" / YESTERDAY / "data/file").read_bytes() == b"yesterday"
    assert sorted(os.listdir(tree / "data")) == ["file", "folder"]


@pytest.mark.parametrize("name", [YESTERDAY, rf"{YESTERDAY}\new", rf"folder\{LAST_YEAR}"])
@pytest.mark.parametrize("kind", [10, 11])
def test_no_file_of_the_present_gets_the_name_of_a_time(tree: Path, name: str, kind: int) -> None:
    """By a rename or a link: nobody could open it by that."""
    client = served(tree)
    opened = client.open("file")

    def give(name: str) -> NtStatus:
        target = name.encode("utf-16-le")
        data = struct.pack("<BxxxxxxxQI", 0, 0, len(target)) + target
        return client.call(Command.SET_INFO, requests.set_info(opened, kind, data)).status

    assert give(name) is NtStatus.MEDIA_WRITE_PROTECTED
    assert sorted(os.listdir(tree / "data")) == ["file", "folder"]
    assert os.listdir(tree / "data/folder") == []
    assert give("@GMT-2026.02.30-00.00.00") is NtStatus.SUCCESS  # no day, so a name


def test_links_lead_nowhere(tree: Path) -> None:
    """Not in a snapshot, not in its place, and not where snapshots are."""
    (tree / "secret").mkdir()
    (tree / "secret/file").write_bytes(b"secret")
    inside = tree / "snapshots" / YESTERDAY / "data"
    (inside / "out").symlink_to(tree / "secret")
    (inside / "up").symlink_to("../../../secret/file")
    (inside / "folder/within").symlink_to("../file")
    (tree / "snapshots/@GMT-2024.01.01-00.00.00").symlink_to(tree / "secret")
    (tree / "snapshots/@GMT-2023.01.01-00.00.00").mkdir()
    (tree / "snapshots/@GMT-2023.01.01-00.00.00/data").symlink_to(tree / "secret")
    client = served(tree, f"{SHARE}  follow symlinks = yes\n")
    for name in (
        rf"{YESTERDAY}\out\file",
        rf"{YESTERDAY}\up",
        r"@GMT-2024.01.01-00.00.00\file",
        r"@GMT-2023.01.01-00.00.00\file",
    ):
        assert create(client, name).status is not NtStatus.SUCCESS, name
    assert create(client, rf"{YESTERDAY}\folder\within").status is NtStatus.STOPPED_ON_SYMLINK
    (tree / "snapshots").rename(tree / "elsewhere")
    (tree / "snapshots").symlink_to("elsewhere")
    assert create(client, rf"{YESTERDAY}\file").status is NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize("path", [r"..\data\file", r"..\..\secret", r"..\..\..\etc\passwd"])
def test_no_path_climbs_out_of_a_snapshot(tree: Path, path: str) -> None:
    reply = create(served(tree), rf"{YESTERDAY}\{path}")
    assert reply.status in (
        NtStatus.OBJECT_PATH_SYNTAX_BAD,
        NtStatus.OBJECT_NAME_NOT_FOUND,
        NtStatus.OBJECT_PATH_NOT_FOUND,
    )


def test_a_directory_of_users(tree: Path) -> None:
    """A share that holds its snapshots: whoever may write there makes no way out."""
    folder = tree / "data/.snapshots"
    folder.mkdir()
    text = SHARE.replace("{path}\n  shadow:snapdir = snapshots", "{path}/data")
    for snapdir in ("", "  shadow:snapdir = {path}/data/.snapshots\n"):
        client = served(tree, text + snapdir)
        (folder / LAST_YEAR).mkdir(exist_ok=True)
        (folder / LAST_YEAR / "file").write_bytes(b"kept")
        assert read(client, rf"{LAST_YEAR}\file") == b"kept"
        folder.rename(tree / "moved")
        folder.symlink_to(tree / "moved")
        assert create(client, rf"{LAST_YEAR}\file").status is NtStatus.OBJECT_NAME_NOT_FOUND
        folder.unlink()
        (tree / "moved").rename(folder)


def test_a_place_in_a_snapshot(tree: Path) -> None:
    """`basedir` and `snapsharepath` say what a snapshot is the image of."""
    flat = tree / "flat" / YESTERDAY
    (flat / "copies/of data").mkdir(parents=True)
    (flat / "file").write_bytes(b"flat")
    (flat / "copies/of data/file").write_bytes(b"a copy")
    text = SHARE.replace("snapdir = snapshots", "snapdir = flat")
    for more, found in (
        ("shadow:basedir = {path}/data", b"flat"),
        ("shadow:snapsharepath = copies/of data", b"a copy"),
    ):
        assert read(served(tree, f"{text}  {more}\n"), rf"{YESTERDAY}\file") == found
    outside = served(tree, f"{text}  shadow:basedir = {tree}/flat\n")
    assert create(outside, rf"{YESTERDAY}\file").status is NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("shadow:format = snap-%Y%m%d%H%M%S", "snap-20261128030000"),
        ("shadow:format = auto_%Y-%m-%d_%H.%M.%S_UTC",
         "auto_2026-11-28_03.00.00_UTC"),
        ("shadow:format = .daily.%lu\n  shadow:sscanf = yes", ".daily.1795834800"),
        ("shadow:format = %Y-%m-%d %H:%M:%S\n  shadow:localtime = yes", "2026-11-28 08:30:00"),
    ],
)  # fmt: skip
def test_formats(tree: Path, monkeypatch: pytest.MonkeyPatch, options: str, name: str) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        (tree / "snapshots" / YESTERDAY).rename(tree / "snapshots" / name)
        client = served(tree, f"{SHARE}  {options}\n")
        assert enumerate_snapshots(client)[2:] == (YESTERDAY,)
        assert read(client, rf"{YESTERDAY}\file") == b"yesterday"
        assert read(client, "file", when=FILETIME) == b"yesterday"
        assert create(client, rf"{LAST_YEAR}\file").status is NtStatus.OBJECT_NAME_NOT_FOUND
    finally:
        monkeypatch.undo()
        time.tzset()


def test_inode_numbers(tree: Path) -> None:
    """Some file systems give a file and its snapshot one number: they are two files."""
    twin = tree / "snapshots" / YESTERDAY / "data/file"
    twin.unlink()
    os.link(tree / "data/file", twin)
    for fix, status in (("no", NtStatus.SHARING_VIOLATION), ("yes", NtStatus.SUCCESS)):
        client = served(tree, f"{SHARE}  shadow:fixinodes = {fix}\n")
        client.call(Command.CREATE, requests.create("file", FILE_WRITE_DATA, FILE_OPEN, share=0))
        assert create(client, rf"{YESTERDAY}\file").status is status


def test_durable_handles_are_of_the_present(tree: Path) -> None:
    client = served(tree)
    body = requests.create(
        rf"{YESTERDAY}\file",
        FILE_READ_DATA,
        FILE_OPEN,
        contexts=[(b"DHnQ", bytes(16))],
        oplock=9,
    )
    reply = client.call(Command.CREATE, body)
    assert client.open_of(reply.file_id).durable is None
    assert b"DHnQ" not in reply.message


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to act as another user")
def test_rights_are_the_user_s(tree: Path) -> None:
    """Who may not enter the folder of snapshots sees none, whatever the files' modes say."""
    for path in tree.rglob("*"):
        path.chmod(0o755)
    (tree / "snapshots" / YESTERDAY / "data/file").chmod(0o600)
    parents = [parent for parent in tree.parents if parent.stat().st_mode & 0o001 == 0]
    modes = {parent: parent.stat().st_mode & 0o7777 for parent in (tree, *parents)}
    for parent in modes:
        parent.chmod(0o755)
    snapshots = SnapshotOptions(directory="snapshots", mount_point=str(tree))
    volume = Volume(str(tree / "data"), VolumeOptions(snapshots=snapshots))
    try:
        become(Identity(12345, 12345, (12345,)))
        assert len(snapshot_times(volume)) == 2
        assert len(volume.snapshots) == 0
        old = open_snapshot(volume, 1_795_834_800)
        assert open_snapshot(volume, 1_795_834_800) is old
        with old.lookup("file") as node, pytest.raises(PermissionError):
            node.open_data(read=True, write=False)
        become(None)
        (tree / "snapshots").chmod(0o700)
        become(Identity(12345, 12345, (12345,)))
        with pytest.raises(PermissionError):
            snapshot_times(volume)
        with pytest.raises(SmbError) as refused:
            open_snapshot(volume, 1_795_834_800)
        assert refused.value.status is NtStatus.ACCESS_DENIED
    finally:
        become(None)
        for parent, mode in modes.items():
            parent.chmod(mode)
        volume.close()


@pytest.mark.parametrize("name", [rf"{YESTERDAY}\file", "file"])
def test_the_present_is_left_alone(tree: Path, name: str) -> None:
    """A copy from yesterday to today is how a file is restored."""
    client = served(tree)
    old = create(client, name, FILE_READ_DATA | FILE_READ_ATTRIBUTES).file_id
    found = client.call(Command.READ, requests.read(old, 100)).data
    new = client.open("restored")
    client.call(Command.WRITE, requests.write(new, found))
    assert (tree / "data/restored").read_bytes() == found
