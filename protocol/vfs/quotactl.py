"""quotactl_fd(2) (Linux 5.14): what a file system keeps of its users' and groups' use of it.

The file system is the one that a descriptor (O_PATH or not) is on. What it keeps at all anybody may
ask; the quotas of others than the process's own user and groups, and to set any, take
CAP_SYS_ADMIN.
"""

import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from typing import Final

# System calls since Linux 5.1 have one number on every architecture but alpha.
_NR_QUOTACTL_FD = ctypes.c_long(443)
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

USERS: Final = 0
GROUPS: Final = 1
"""Whose quotas are meant: USRQUOTA, GRPQUOTA."""

Q_GETQUOTA: Final = 0x800007
Q_SETQUOTA: Final = 0x800008
Q_GETNEXTQUOTA: Final = 0x800009
Q_XGETQSTATV: Final = 0x5808

BLOCK: Final = 1024
"""Bytes of a block in which limits are told (QIF_DQBLKSIZE), whatever the file system's are."""

LIMIT_MAX: Final = ((1 << 64) - 1) // BLOCK
"""Blocks of the largest limit; what a file system cannot keep it refuses itself (ERANGE)."""

_QIF_BLIMITS: Final = 1
# struct if_nextdqblk, which begins as struct if_dqblk: hard and soft limit, space, hard and soft
# limit of inodes, inodes, when the grace for space and for inodes ends, valid, id.
_DQBLK = struct.Struct("=8QII")
# struct fs_quota_statv: version, flags behind it; 156 bytes of numbers that nobody here asks for.
_STATV = struct.Struct("=bxH156x")
_STATV_VERSION: Final = 1
_UDQ_ACCT: Final = 1
_UDQ_ENFD: Final = 2
COUNTED: Final = _UDQ_ACCT | 4
"""Of `flags`: what users or groups take is counted (FS_QUOTA_UDQ_ACCT, FS_QUOTA_GDQ_ACCT)."""


@dataclass(frozen=True, slots=True)
class UserQuota:
    """What a user, or a group, has on a file system: bytes, 0 for no limit."""

    uid: int
    used: int
    soft: int
    hard: int
    grace_ends: int
    """When the soft limit becomes hard, in seconds since 1970; 0: it is not exceeded."""


def quotactl(
    file: int, command: int, uid: int, buffer: ctypes.Array[ctypes.c_char], whose: int = USERS
) -> None:
    """Make the call for the quotas of USERS or GROUPS; OSError."""
    what = ctypes.c_uint32(command << 8 | whose)
    if _syscall(_NR_QUOTACTL_FD, file, what, ctypes.c_uint32(uid), ctypes.byref(buffer)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def flags(file: int) -> int:
    """Return what the file system counts and refuses (FS_QUOTA_*); 0 where it has no quotas."""
    buffer = ctypes.create_string_buffer(_STATV.pack(_STATV_VERSION, 0), _STATV.size)
    try:
        quotactl(file, Q_XGETQSTATV, 0, buffer)
    except OSError:  # has no quotas, or the kernel no such call
        return 0
    return int(_STATV.unpack(buffer.raw)[1])


def kept(file: int) -> tuple[bool, bool]:
    """Return whether the file system counts what users take, and whether it refuses them more."""
    found = flags(file)
    return bool(found & _UDQ_ACCT), found & (_UDQ_ACCT | _UDQ_ENFD) == _UDQ_ACCT | _UDQ_ENFD


def read(file: int, uid: int, *, or_next: bool = False, whose: int = USERS) -> UserQuota | None:
    """Return a user's quota, or the first from that uid on; None when there is none; OSError.

    With `whose` GROUPS a group's.
    """
    buffer = ctypes.create_string_buffer(_DQBLK.size)
    try:
        quotactl(file, Q_GETNEXTQUOTA if or_next else Q_GETQUOTA, uid, buffer, whose)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return None
        raise
    hard, soft, used, _, _, _, grace, _, _, found = _DQBLK.unpack(buffer.raw)
    owner = found if or_next else uid
    return UserQuota(owner, used, soft * BLOCK, hard * BLOCK, grace)


def write(file: int, uid: int, soft: int, hard: int) -> None:
    """Set a user's limits, in blocks, 0 for none; OSError."""
    packed = _DQBLK.pack(hard, soft, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS, 0)
    quotactl(file, Q_SETQUOTA, uid, ctypes.create_string_buffer(packed, len(packed)))
