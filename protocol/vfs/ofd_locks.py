"""Open file description locks of the kernel (fcntl(2), F_OFD_SETLK): others see and respect them.

They belong to an open file, not to a process, so each open of a client has its own, and they end
with its descriptor. Offsets are those of off_t: 0 to OFFSET_MAX.
"""

import fcntl
import struct
from typing import Final

from usmbd.protocol.vfs.node import OFFSET_MAX

SHARED: Final = fcntl.F_RDLCK
EXCLUSIVE: Final = fcntl.F_WRLCK
NONE: Final = fcntl.F_UNLCK

_FLOCK: Final = struct.Struct("@hhqqi0q")
"""struct flock: type, whence (0: from the beginning), start, length, and a pid that is 0 here."""


def lock(fd: int, kind: int, first: int, end: int) -> None:
    """Lock or unlock the bytes from `first` to before `end`; OSError.

    BlockingIOError where somebody has a lock that is in the way. Of what is locked already by `fd`
    the kind changes.
    """
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, 0, first, end - first, 0))


def unlock_all(fd: int) -> None:
    """Give up all locks of an open file; OSError."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(NONE, 0, 0, 0, 0))


def is_free(fd: int, kind: int, first: int, end: int) -> bool:
    """Tell whether nobody else has a lock that is in the way of this one; OSError."""
    asked = _FLOCK.pack(kind, 0, first, end - first, 0)
    return bool(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] == NONE)


def in_range(offset: int, length: int) -> tuple[int, int]:
    """Return (first, end) of what the kernel can lock of a range; nothing is (0, 0).

    As smbd: not a range of no length, which would be all up to the end of the file, nor what lies
    beyond OFFSET_MAX; a range that goes on beyond it ends there.
    """
    if not length or offset >= OFFSET_MAX:
        return 0, 0
    return offset, min(offset + length, OFFSET_MAX)
