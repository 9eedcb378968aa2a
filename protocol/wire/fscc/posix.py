"""The levels of the SMB3 POSIX extensions, all of them 100 (smb3-posix-spec, as Samba answers)."""

import stat
import struct
from typing import Final

from usmbd.protocol.wire.base import Wire, u32, u64
from usmbd.protocol.wire.fscc.file_stat import FileStat
from usmbd.protocol.wire.sid import unix_group, unix_user

FilePosixInformation: Final = 100
"""Of a file, and of each entry of a listing."""
FileFsPosixInformation: Final = 100

_TYPES: Final = {
    stat.S_IFREG: 0,
    stat.S_IFDIR: 1,
    stat.S_IFLNK: 2,
    stat.S_IFCHR: 3,
    stat.S_IFBLK: 4,
    stat.S_IFIFO: 5,
    stat.S_IFSOCK: 6,
}
_TYPE_SHIFT: Final = 12

# Times, EndOfFile, AllocationSize, DosAttributes, Inode, DeviceId, Zero; what CREATE answers:
# HardLinks, ReparseTag, Mode, the SIDs of owner and group, of 16 bytes each.
POSIX_FIELDS: Final = "6QIQI4x3I16s16s"
_FILE: Final = struct.Struct("<" + POSIX_FIELDS)


class FsPosixInformation(Wire, size=56):
    """FILE_FS_POSIX_INFORMATION: space in blocks of `block_size`, as statvfs(3) has it."""

    optimal_transfer_size: u32
    block_size: u32
    total_blocks: u64
    blocks_available: u64
    user_blocks_available: u64
    total_file_nodes: u64
    free_file_nodes: u64
    file_system_identifier: u64


def wire_mode(found: FileStat) -> int:
    """Return permissions and type as these extensions write them; of a stored special file its."""
    kind = found.special or stat.S_IFMT(found.mode)
    return found.mode & 0o7777 | _TYPES.get(kind, 0) << _TYPE_SHIFT


def owner_sids(found: FileStat) -> tuple[bytes, bytes]:
    """Return owner and group as S-1-22-1-uid and S-1-22-2-gid, 16 bytes each."""
    return unix_user(found.uid).pack(), unix_group(found.gid).pack()


def posix_fields(found: FileStat) -> tuple[int | bytes, ...]:
    """Return what POSIX_FIELDS packs."""
    return (
        found.creation_time,
        found.last_access_time,
        found.last_write_time,
        found.change_time,
        found.size,
        found.allocation,
        found.attributes,
        found.ino,
        found.dev & 0xFFFFFFFF,
        found.nlink,
        found.reparse_tag,
        wire_mode(found),
        *owner_sids(found),
    )


def build_file_posix(found: FileStat) -> bytes:
    """Return FILE_POSIX_INFORMATION of a file."""
    return _FILE.pack(*posix_fields(found))
