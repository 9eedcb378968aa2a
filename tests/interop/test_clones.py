"""Files that share blocks or are compressed, by file systems that can: btrfs and XFS in images."""

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbtest import client as smb
from smbtest.client import Client, refused
from smbtest.images import CannotMountError, mounted_image
from smbtest.peer import peer
from smbtest.samples import MIB, content
from smbtest.server import Options, Server
from smbtest.smbd import Smbd
from smbtest.torture import SHARE, Smbtorture, add_shares
from smbtest.usmbd import Usmbd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts images: needs root")

DUPLICATE_EXTENTS = 0x00098344
FS_ATTRIBUTES, FILE_SYSTEM, BLOCK_REFCOUNTING = 5, 2, 0x08000000
SET_COMPRESSION, FILE_COMPRESSION = 0x0009C040, 0x00000010
INVALID_DEVICE_REQUEST, NOT_SUPPORTED = 0xC0000010, 0xC00000BB

TORTURE = [
    "smb2.ioctl.dup_extents_simple",
    "smb2.ioctl.dup_extents_len_beyond_dest",
    "smb2.ioctl.dup_extents_len_beyond_src",
    "smb2.ioctl.dup_extents_len_zero",
    "smb2.ioctl.dup_extents_sparse_src",
    "smb2.ioctl.dup_extents_sparse_dest",
    "smb2.ioctl.dup_extents_sparse_both",
    "smb2.ioctl.dup_extents_src_is_dest",
    "smb2.ioctl.dup_extents_src_is_dest_overlap",
    "smb2.ioctl.dup_extents_bad_handle",
    "smb2.ioctl.dup_extents_src_lock",
    "smb2.ioctl.dup_extents_dest_lock",
]

COMPRESSION = [
    "smb2.ioctl.compress_file_flag",
    "smb2.ioctl.compress_dir_inherit",
    "smb2.ioctl.compress_invalid_format",
    "smb2.ioctl.compress_invalid_buf",
    "smb2.ioctl.compress_query_file_attr",
    "smb2.ioctl.compress_create_with_attr",
    "smb2.ioctl.compress_inherit_disable",
    "smb2.ioctl.compress_set_file_attr",
    "smb2.ioctl.compress_perms",
    "smb2.ioctl.sparse_compressed",
    "smb2.ioctl.dup_extents_compressed_src",
    "smb2.ioctl.dup_extents_compressed_dest",
]
"""XFS compresses nothing."""


@pytest.fixture(scope="module", params=["btrfs", "xfs"])
def mounted(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Make a file system in a file and mount it."""
    try:
        with mounted_image(request.param) as point:
            yield point
    except CannotMountError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def clones(mounted: Path) -> Iterator[Server]:
    """Serve it, also as the share of smbtorture."""
    server = {"usmbd": Usmbd, "smbd": Smbd}[peer()](Options())
    add_shares(server)
    modules = "streams_xattr btrfs" if server.kind == "smbd" else "streams_xattr"
    for name in ("data", SHARE):
        server.shares[name] |= {"path": str(mounted), "vfs objects": modules}
    server.data = mounted
    with server.running():
        yield server


def announced(client: Client) -> int:
    """Return FileSystemAttributes."""
    root = client.open("", smb.READ_ATTRIBUTES)
    (value,) = struct.unpack_from("<I", client.query(root, FS_ATTRIBUTES, FILE_SYSTEM))
    root.close()
    return int(value)


def test_blocks_are_shared(clones: Server) -> None:
    """16 MiB in two files take the room of one."""
    data = content(16 * MIB + 5)
    (clones.data / "source").write_bytes(data)
    os.sync()
    with Client(clones) as client:
        assert announced(client) & BLOCK_REFCOUNTING
        source = client.open("source", smb.READ)
        target = client.open("target", smb.READ | smb.WRITE, smb.OPEN_IF)
        client.set(target, 20, struct.pack("<Q", len(data)))
        before = os.statvfs(clones.data)
        asked = source.file_id + struct.pack("<QQQ", 0, 0, len(data))
        client.ioctl(target.file_id, DUPLICATE_EXTENTS, asked)
        os.sync()
        after = os.statvfs(clones.data)
        source.close()
        target.close()
    assert (clones.data / "target").read_bytes() == data
    assert (before.f_bfree - after.f_bfree) * after.f_frsize < MIB


def compressed(server: Server) -> bool:
    """Tell whether the file system compresses; smbd's module says so of XFS as well."""
    found = subprocess.run(
        ["findmnt", "-t", "btrfs", server.data], check=False, capture_output=True
    )
    if found.returncode and server.kind == "smbd":
        pytest.skip("vfs_btrfs announces compression wherever it is loaded")
    return not found.returncode


def test_smbtorture_on_xfs(clones: Server) -> None:
    if compressed(clones):
        return  # test_smbtorture.py has it
    outcomes = Smbtorture(clones).run(TORTURE + COMPRESSION)
    expected = dict.fromkeys(TORTURE, "success") | dict.fromkeys(COMPRESSION, "skip")
    found = {name: outcome.status for name, outcome in outcomes.items()}
    assert found == expected, outcomes


def test_what_compresses(clones: Server) -> None:
    """What repeats itself takes little room, and the kernel's tools say why."""
    compresses = compressed(clones)
    with Client(clones) as client:
        folder = client.open(
            "compressed", smb.READ | smb.WRITE, smb.OPEN_IF, options=smb.DIRECTORY_FILE
        )
        assert bool(announced(client) & FILE_COMPRESSION) == compresses
        if not compresses:
            with refused(NOT_SUPPORTED):
                client.ioctl(folder.file_id, SET_COMPRESSION, b"\2\0")
            return
        client.ioctl(folder.file_id, SET_COMPRESSION, b"\2\0")
        file = client.open(r"compressed\file", smb.READ | smb.WRITE, smb.OPEN_IF)
        before = os.statvfs(clones.data)
        for at in range(0, 32 * MIB, MIB):
            file.write(bytes(range(256)) * 4096, at)
        os.sync()
        after = os.statvfs(clones.data)
        file.close()
        folder.close()
    flags = subprocess.run(
        ["lsattr", clones.data / "compressed/file"], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert "c" in flags
    assert (before.f_bfree - after.f_bfree) * after.f_frsize < 8 * MIB


def test_where_none_are_shared(server: Server, folder: Path) -> None:
    """Ext4 cannot, and says so before it is asked."""
    (folder / "probe").write_bytes(b"x")
    probe = ["cp", "--reflink=always", folder / "probe", folder / "copy"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        pytest.skip("the tests' shares lie where blocks can be shared")
    (folder / "source").write_bytes(bytes(65536))
    (folder / "target").write_bytes(bytes(65536))
    (folder / "target").chmod(0o666)
    with Client(server) as client:
        assert not announced(client) & BLOCK_REFCOUNTING
        source = client.open(rf"{folder.name}\source", smb.READ)
        target = client.open(rf"{folder.name}\target", smb.READ | smb.WRITE)
        asked = source.file_id + struct.pack("<QQQ", 0, 0, 65536)
        with refused(INVALID_DEVICE_REQUEST):
            client.ioctl(target.file_id, DUPLICATE_EXTENTS, asked)
