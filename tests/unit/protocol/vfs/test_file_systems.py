"""Which file systems may hang: by what they say themselves, and what is mounted beneath."""

import array
import fcntl
import os
import re
from pathlib import Path

import pytest

from usmbd.protocol.vfs import file_systems, kernel
from usmbd.protocol.vfs.volume import Volume
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_COMPRESSED

MOUNT = "36 35 98:0 / {point} rw,noatime shared:1 - {kind} {source} rw,errors=continue\n"


@pytest.fixture
def root(tmp_path: Path) -> int:
    return os.open(tmp_path, os.O_PATH)


def mounts(tmp_path: Path, *rows: tuple[str, str]) -> str:
    """Write a table of mounts: (where, type)."""
    file = tmp_path / "mountinfo"
    file.write_text("".join(MOUNT.format(point=p, kind=k, source="x:/y") for p, k in rows))
    return str(file)


# linux/magic.h
OF_THE_KERNEL = {
    "EXT4_SUPER_MAGIC": 0xEF53, "BTRFS_SUPER_MAGIC": 0x9123683E, "TMPFS_MAGIC": 0x01021994,
    "RAMFS_MAGIC": 0x858458F6, "F2FS_SUPER_MAGIC": 0xF2F52010, "OVERLAYFS_SUPER_MAGIC": 0x794C7630,
    "XFS_SUPER_MAGIC": 0x58465342,
}  # fmt: skip
OF_OTHERS = {
    "NFS_SUPER_MAGIC": 0x6969, "FUSE_SUPER_MAGIC": 0x65735546, "CEPH_SUPER_MAGIC": 0x00C36400,
    "V9FS_MAGIC": 0x01021997, "CIFS_SUPER_MAGIC": 0xFF534D42, "SMB2_SUPER_MAGIC": 0xFE534D42,
    "SMB_SUPER_MAGIC": 0x517B, "AFS_SUPER_MAGIC": 0x5346414F, "AFS_FS_MAGIC": 0x6B414653,
    "CODA_SUPER_MAGIC": 0x73757245, "OCFS2_SUPER_MAGIC": 0x7461636F,
    "AUTOFS_SUPER_MAGIC": 0x0187,
}  # fmt: skip
# of file systems that are not in it: by their own sources (ZFS and bcachefs; Lustre, GPFS, BeeGFS,
# GFS2, OrangeFS, PanFS, VirtualBox's and VMware's shared folders)
ELSEWHERE = {0x2FC12FC1, 0xCA451A4E}
ELSEWHERE_REMOTE = {0x0BD00BD0, 0x47504653, 0x19830326, 0x01161970, 0x20030528, 0xAAD7AAEA} | {
    *(0x786F4256, 0xBACBACBC)
}


def test_magics() -> None:
    assert ELSEWHERE | set(OF_THE_KERNEL.values()) == file_systems.LOCAL
    assert ELSEWHERE_REMOTE | set(OF_OTHERS.values()) == file_systems.REMOTE
    header = Path("/usr/include/linux/magic.h")
    if header.exists():
        told = dict(re.findall(r"#define\s+(\w+)\s+(0x[0-9a-fA-F]+)", header.read_text()))
        for name, value in (OF_THE_KERNEL | OF_OTHERS).items():
            if name in told:
                assert value == int(told[name], 16), name


def test_this_machines_own_does_not_hang(tmp_path: Path, root: int) -> None:
    assert file_systems.magic(root) not in file_systems.REMOTE
    if not file_systems._is_remote_device(os.fstat(root).st_dev):
        assert not file_systems.may_hang(root, str(tmp_path), cross_mounts=True)
    assert not file_systems.LOCAL & file_systems.REMOTE
    assert {OF_THE_KERNEL[f"{name}_MAGIC"] for name in ("TMPFS", "RAMFS")} == file_systems.MEMORY


def test_a_volume_knows_whether_it_is_in_memory(tmp_path: Path) -> None:
    for directory in (tmp_path, Path("/dev/shm")):
        volume = Volume(str(directory))
        with volume.lookup("") as node:
            there = file_systems.magic(node.fd) in file_systems.MEMORY
            assert volume.in_memory(node) is there
            assert volume.posix_view().in_memory(node) is there
        volume.close()


@pytest.mark.parametrize("magic", sorted(file_systems.REMOTE))
def test_what_others_answer_for_may_hang(
    tmp_path: Path, root: int, monkeypatch: pytest.MonkeyPatch, magic: int
) -> None:
    monkeypatch.setattr(file_systems, "magic", lambda _: magic)
    assert file_systems.may_hang(root, str(tmp_path), cross_mounts=False)


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "fuse.sshfs", "fuse", "lustre", "ceph", "gpfs", "beegfs", "9p", "cifs", "smb3"],
)
def test_a_mount_beneath_may_hang(tmp_path: Path, kind: str) -> None:
    beneath = file_systems._has_remote_mount
    table = mounts(tmp_path, ("/", "ext4"), ("/srv/data/far\\040away", kind))
    assert beneath("/srv/data", table)
    assert beneath("/srv", table)
    assert beneath("/", table)
    assert not beneath("/srv/dat", table)
    assert not beneath("/srv/data/other", table)
    assert not beneath("/srv/data", mounts(tmp_path, ("/srv/data/near", "ext4")))


def test_an_escaped_name_is_compared_as_it_is(tmp_path: Path) -> None:
    table = mounts(tmp_path, ("/srv/a\\040b\\134c/far", "nfs"))
    assert file_systems._has_remote_mount("/srv/a b\\c", table)


def test_a_loop_device_may_lie_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = {"7:3": "../../devices/virtual/block/loop3", "8:1": "../../devices/pci/block/sda/sda1"}
    monkeypatch.setattr(os, "readlink", lambda path: links[path.rpartition("/")[2]])
    assert file_systems._is_remote_device(os.makedev(7, 3))
    assert not file_systems._is_remote_device(os.makedev(8, 1))


def test_ext4_compresses_nothing_that_is_flagged(tmp_path: Path) -> None:
    """Neither an open file nor a listing shows chattr +c of ext4 as compressed."""
    path = tmp_path / "file"
    path.touch()
    with path.open() as file:
        if file_systems.magic(file.fileno()) != 0xEF53:
            pytest.skip("needs ext4")
        fcntl.ioctl(file, 0x40086602, array.array("I", [0x00080004]))  # FS_COMPR_FL and extents
        assert kernel.statx_fd(file.fileno())[1] & kernel.STATX_ATTR_COMPRESSED
    volume = Volume(str(tmp_path))
    with volume.lookup("file") as node, volume.lookup("") as root:
        listed = next(entry[2] for entry in root.scan() if entry and entry[0] == "file")
        for stat in (node.last_stat, node.stat(), listed):
            assert not stat.attributes & FILE_ATTRIBUTE_COMPRESSED
