"""What statx(2) and `user.DOSATTRIB` say together, as SMB's view of a file.

Creation time: the one in DOSATTRIB, else the birth time of the file system (statx brings it for
no extra cost, and it is truer than Samba's guess, the oldest of the other three, which serves
where there is none). Change time: the inode's, unless a client has set one and the inode is
unchanged since. Allocation size: `st_blocks` * 512 as Samba reports it; its parameter
`allocation roundup size`, which once made 1 MiB of every file, is 0 by default since 4.14. The
block that a file has for its extended attributes is not counted: it is no room for data. Where a
file has just one block more than its data needs that is taken for it.

The tag of a stored reparse point is in an attribute of its own, which whoever has the file adds
(`stored_reparse.describe`) where FILE_ATTRIBUTE_REPARSE_POINT is set.
"""

import stat
from collections.abc import Callable
from os import makedev
from typing import Final

from usmbd.protocol.vfs import dos_attributes
from usmbd.protocol.vfs.file_systems import means_compressed
from usmbd.protocol.vfs.kernel import STATX_ATTR_COMPRESSED, STATX_BTIME, StatxTuple
from usmbd.protocol.vfs.options import VolumeOptions
from usmbd.protocol.wire.filetime import EPOCH
from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_COMPRESSED,
    FILE_ATTRIBUTE_DIRECTORY,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_SPARSE_FILE,
    IO_REPARSE_TAG_AF_UNIX,
    IO_REPARSE_TAG_LX_BLK,
    IO_REPARSE_TAG_LX_CHR,
    IO_REPARSE_TAG_LX_FIFO,
    IO_REPARSE_TAG_SYMLINK,
)
from usmbd.protocol.wire.fscc.file_stat import FileStat

_BLOCK = 512  # the unit of st_blocks, whatever the file system's own
_ATTRIBUTE_BLOCKS = (
    8  # ext4 and XFS keep what of a file's EAs its inode cannot hold in 4 KiB: no data
)

# Special files show as reparse points with the tags of the Windows Subsystem for Linux, as
# ksmbd shows them: clients see what they are and do not try to read them.
_REPARSE_TAGS: Final = {
    stat.S_IFLNK: IO_REPARSE_TAG_SYMLINK,
    stat.S_IFIFO: IO_REPARSE_TAG_LX_FIFO,
    stat.S_IFSOCK: IO_REPARSE_TAG_AF_UNIX,
    stat.S_IFCHR: IO_REPARSE_TAG_LX_CHR,
    stat.S_IFBLK: IO_REPARSE_TAG_LX_BLK,
}

SmbStat = Callable[[StatxTuple, bytes | None, str, int], FileStat]


def smb_stat_for(options: VolumeOptions) -> SmbStat:
    """Make the function (statx, DOSATTRIB or None, name, descriptor) -> FileStat of a share.

    The descriptor is the file's or its directory's: its file system is asked what a flag means.
    """
    hide_dot_files = options.hide_dot_files
    hidden = options.hidden
    map_read_only = not options.store_dos_attributes
    parse = dos_attributes.parse

    def smb_stat(sx: StatxTuple, dos: bytes | None, name: str, fd: int) -> FileStat:
        (
            mask, inode_attributes, nlink, uid, gid, mode, ino, size, blocks, atime, atime_ns,
            btime, btime_ns, ctime, ctime_ns, mtime, mtime_ns, major, minor,
        ) = sx  # fmt: skip
        access = atime * 10_000_000 + atime_ns // 100 + EPOCH
        write = mtime * 10_000_000 + mtime_ns // 100 + EPOCH
        change = ctime * 10_000_000 + ctime_ns // 100 + EPOCH
        if dos is None:
            attributes = creation = 0
        else:
            attributes, creation = parse(dos)
            if len(dos) == dos_attributes.SIZE_WITH_CHANGE:
                change = dos_attributes.change_time(dos, change, write)
        if not creation:
            if mask & STATX_BTIME:
                creation = btime * 10_000_000 + btime_ns // 100 + EPOCH
            else:
                creation = min(access, write, change)
        if inode_attributes & STATX_ATTR_COMPRESSED and means_compressed(fd):
            attributes |= FILE_ATTRIBUTE_COMPRESSED
        room = size + 4095 >> 12 << 3
        if blocks - room == _ATTRIBUTE_BLOCKS or (not size and blocks < _ATTRIBUTE_BLOCKS):
            blocks = room
        allocation = blocks * _BLOCK
        tag = 0
        kind = mode & 0o170000
        if kind == 0o040000:
            attributes = attributes & ~FILE_ATTRIBUTE_SPARSE_FILE | FILE_ATTRIBUTE_DIRECTORY
            # Directories have no data of their own ([MS-FSA] 2.1.5.12.30).
            size = allocation = 0
        elif kind != 0o100000:
            attributes |= FILE_ATTRIBUTE_REPARSE_POINT
            tag = _REPARSE_TAGS.get(kind, 0)
            size = allocation = 0
        if map_read_only and not mode & 0o200 and kind == 0o100000:
            attributes |= FILE_ATTRIBUTE_READONLY
        if hide_dot_files and name.startswith(".") and name not in (".", ".."):
            attributes |= FILE_ATTRIBUTE_HIDDEN
        if hidden is not None and hidden(name):
            attributes |= FILE_ATTRIBUTE_HIDDEN
        return FileStat(
            makedev(major, minor),
            ino, mode, nlink, uid, gid, size, allocation, creation, access, write, change,
            attributes or FILE_ATTRIBUTE_NORMAL, tag,
        )  # fmt: skip

    salt = options.inode_salt
    if not salt:
        return smb_stat

    def salted(sx: StatxTuple, dos: bytes | None, name: str, fd: int) -> FileStat:
        found = smb_stat(sx, dos, name, fd)
        found.ino ^= salt
        return found

    return salted
