"""What lies below a share: file systems that this kernel alone changes, and those that may hang.

The magic numbers are those of statfs(2), in linux/magic.h and in the sources of who keeps his own.
"""

import ctypes
import os
from typing import Final

from usmbd.mountd.confine.mountinfo import MOUNTS, Mount, mounts

_EXT: Final = 0xEF53
_XFS: Final = 0x58465342
_BTRFS: Final = 0x9123683E
_TMPFS: Final = 0x01021994
_RAMFS: Final = 0x858458F6

# What this kernel alone changes: inotify then tells every change.
LOCAL: Final = frozenset(
    {
        _EXT,  # ext2, ext3, ext4
        _XFS,
        _BTRFS,
        _TMPFS,
        _RAMFS,
        0x2FC12FC1,  # ZFS
        0xF2F52010,  # F2FS
        0xCA451A4E,  # bcachefs
        0x794C7630,  # overlayfs
    }
)

# What has no disk: to flush a file there is nothing to do (the kernel's noop_fsync).
MEMORY: Final = frozenset({_TMPFS, _RAMFS})

# What lists every attribute that can be read, to whoever asks: seen on Linux 6.18, as a user, with
# security.*, ACLs and user.*. Others may read some that they do not list, as FUSE's may.
LISTING: Final = frozenset({_EXT, _XFS, _BTRFS, _TMPFS})

# What compresses files that are flagged. ext4 keeps the flag as well, and compresses nothing.
COMPRESSING: Final = frozenset(
    {
        _BTRFS,
        0xF2F52010,  # F2FS
        0x24051905,  # UBIFS
    }
)

# What another machine or another process answers for, who may be gone: each call may take forever.
REMOTE: Final = frozenset(
    {
        0x6969,  # NFS
        0x65735546,  # FUSE
        0x0BD00BD0,  # Lustre
        0x00C36400,  # CephFS
        0x47504653,  # GPFS
        0x19830326,  # BeeGFS (FhGFS)
        0x01021997,  # 9p
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x517B,  # SMB, the kernel's first
        0x5346414F,  # AFS
        0x6B414653,  # AFS (the kernel's own)
        0x73757245,  # Coda
        0x01161970,  # GFS2
        0x7461636F,  # OCFS2
        0x20030528,  # OrangeFS
        0xAAD7AAEA,  # PanFS
        0x0187,  # autofs: the first who comes waits for the mount
        0x786F4256,  # VirtualBox shared folders
        0xBACBACBC,  # VMware shared folders
    }
)

# The same by the names of /proc/self/mountinfo, for what is mounted beneath a share: to ask the
# file system itself may take forever.
_REMOTE_TYPES: Final = frozenset(
    (
        "nfs", "nfs4", "lustre", "ceph", "gpfs", "beegfs", "9p", "cifs",
        "smb3", "smbfs", "afs", "coda", "gfs", "gfs2", "ocfs2", "pvfs2",
        "panfs", "autofs", "vboxsf", "vmhgfs", "virtiofs", "glusterfs", "fuse", "fuseblk",
    )
)  # fmt: skip
# Network block devices, RBD, DRBD; and loop devices, whose file may lie on any of the above.
_REMOTE_DEVICES: Final = ("nbd", "rbd", "drbd", "loop")

_FUSE: Final = "fuse."


_libc = ctypes.CDLL(None, use_errno=True)
_Statfs = ctypes.c_long * 64  # struct statfs, and room


def magic(fd: int) -> int:
    """Return the type of the file system of `fd`; 0 when it does not say."""
    buffer = _Statfs()
    return buffer[0] & 0xFFFFFFFF if _libc.fstatfs(fd, buffer) == 0 else 0


def means_compressed(fd: int) -> bool:
    """Whether a file's flag, which statx(2) tells, says anything where `fd` lies."""
    return magic(fd) != _EXT


def may_hang(root: int, path: str, *, cross_mounts: bool) -> bool:
    """Whether a call may take forever beneath `root`, the open directory `path` (a real path).

    With `cross_mounts` so may one in what is mounted beneath. OSError; may itself take forever.
    """
    if magic(root) in REMOTE or _is_remote_device(os.fstat(root).st_dev):
        return True
    return cross_mounts and _has_remote_mount(path)


def _is_remote_device(device: int) -> bool:
    """Whether the blocks of a file system come from another machine, or from a file anywhere."""
    try:
        name = os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    except OSError:  # no block device
        return False
    return os.path.basename(name).startswith(_REMOTE_DEVICES)


def _has_remote_mount(path: str, table: str = MOUNTS) -> bool:
    """Whether something that may hang is mounted beneath `path`."""
    return any(is_remote(mount) and is_below(mount.point, path) for mount in mounts(table))


def is_below(point: str, path: str) -> bool:
    """Whether a mount point is beneath the directory `path`; both are real paths."""
    return point.startswith(path.rstrip("/") + "/")


def is_remote(mount: Mount) -> bool:
    """Whether what is mounted may hang, as far as its type says."""
    return mount.kind in _REMOTE_TYPES or mount.kind.startswith(_FUSE)
