"""What the server knows of one file: the value that all information classes are built from."""

import msgspec

from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_DIRECTORY


class FileStat(msgspec.Struct, gc=False):
    """What is known of one file or stream ([MS-FSA] 2.1.1.3, 2.1.1.5).

    Times are FILETIMEs (100 ns since 1601), `size` and `allocation` are bytes; `mode`, `uid`,
    `gid` are POSIX's. A stream has the times of its file, its own `size` and `allocation`.
    """

    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    size: int
    allocation: int
    creation_time: int
    last_access_time: int
    last_write_time: int
    change_time: int
    attributes: int
    reparse_tag: int = 0
    ea_size: int = 0
    special: int = 0
    """S_IF* of what a stored reparse point says that the file is; 0 where it says nothing."""

    @property
    def is_directory(self) -> bool:
        """Whether the file is a directory."""
        return self.attributes & FILE_ATTRIBUTE_DIRECTORY != 0
