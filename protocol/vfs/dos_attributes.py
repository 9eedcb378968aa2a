"""The extended attribute `user.DOSATTRIB`: DOS attributes and creation time, as Samba keeps them.

NDR of `xattr_DOSATTRIB` (Samba's librpc/idl/xattr.idl): a text that old versions used, NUL
terminated, a u16 version, padding to 4, then the u16 version again with padding and the
structure of that version. Versions 3 (older Samba), 4 (ksmbd) and 5 (Samba 4.16 and later)
are read; 5 is written, as the current Samba does.

A change time that a client has set follows it: the inode's own cannot be set. Samba does not look
behind its structure. It counts until the inode is changed: with the file's data its write time is
another at once; what else this server changes forgets it (`Node.forget_change_time`); of the rest
the inode's change time tells, a moment later.
"""

import struct
from typing import Final

from usmbd.protocol.wire.fscc.attributes import (
    FILE_ATTRIBUTE_ARCHIVE,
    FILE_ATTRIBUTE_HIDDEN,
    FILE_ATTRIBUTE_NOT_CONTENT_INDEXED,
    FILE_ATTRIBUTE_OFFLINE,
    FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT,
    FILE_ATTRIBUTE_SPARSE_FILE,
    FILE_ATTRIBUTE_SYSTEM,
    FILE_ATTRIBUTE_TEMPORARY,
)

XATTR_NAME: Final = "user.DOSATTRIB"
XATTR_NAME_BYTES: Final = XATTR_NAME.encode()

_VALID_ATTRIB = 0x01
_VALID_CREATE_TIME = 0x10

#: The attributes that are kept; what else a file is follows from the file itself.
STORED: Final = (
    FILE_ATTRIBUTE_READONLY
    | FILE_ATTRIBUTE_HIDDEN
    | FILE_ATTRIBUTE_SYSTEM
    | FILE_ATTRIBUTE_ARCHIVE
    | FILE_ATTRIBUTE_TEMPORARY
    | FILE_ATTRIBUTE_SPARSE_FILE
    | FILE_ATTRIBUTE_REPARSE_POINT
    | FILE_ATTRIBUTE_OFFLINE
    | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED
)

#: Those of them that an FSCTL alone changes.
BY_FSCTL: Final = FILE_ATTRIBUTE_SPARSE_FILE | FILE_ATTRIBUTE_REPARSE_POINT

_HEADER_5 = b"\0\0\5\0\5\0\0\0"
_INFO_5 = struct.Struct("<IIQ")
_SIZE_5 = len(_HEADER_5) + _INFO_5.size

_CHANGE = struct.Struct("<QQQ")
#: The size of a value with a change time.
SIZE_WITH_CHANGE: Final = _SIZE_5 + _CHANGE.size
#: The inode is as it was when the time was set, if it was changed no later than this: 50 ms, in
#: FILETIMEs. The kernel's clock for inodes has ticks of up to 10 ms, and Windows' of 15.
_SAME_MOMENT: Final = 500_000


def pack(
    attributes: int, creation_time: int, change_time: int = 0, now: int = 0, write_time: int = 0
) -> bytes:
    """Make the attribute's value from FILE_ATTRIBUTE_* and a FILETIME.

    With a `change_time`, which counts while the inode was changed last at about `now`, and its data
    at `write_time`.
    """
    valid = _VALID_ATTRIB | _VALID_CREATE_TIME
    value = _HEADER_5 + _INFO_5.pack(valid, attributes, creation_time)
    return value + _CHANGE.pack(change_time, now, write_time) if change_time else value


def change_time(blob: bytes, inode: int, write_time: int) -> int:
    """Read the change time of a value with one; `inode`'s own when that was changed since."""
    wanted, since, written = _CHANGE.unpack_from(blob, _SIZE_5)
    same = written == write_time and abs(inode - since) <= _SAME_MOMENT
    return int(wanted) if same else inode


def parse(blob: bytes) -> tuple[int, int]:
    """Read the attribute's value: (attributes that are kept, creation time or 0 for unknown).

    What is not understood counts as absent: a broken attribute must not hide its file.
    """
    if len(blob) == _SIZE_5 and blob.startswith(_HEADER_5):
        valid, attributes, creation_time = _INFO_5.unpack_from(blob, len(_HEADER_5))
    else:
        valid, attributes, creation_time = _parse_other(blob)
    return (
        attributes & STORED if valid & _VALID_ATTRIB else 0,
        creation_time if valid & _VALID_CREATE_TIME else 0,
    )


def _parse_other(blob: bytes) -> tuple[int, int, int]:
    """Read what older servers wrote: (valid flags, attributes, creation time)."""
    text_end = blob.find(b"\0") + 1
    at = text_end + 1 & ~1
    try:
        version, again = struct.unpack_from("<H", blob, at)[0], at + 2 + 3 & ~3
        if not text_end or struct.unpack_from("<H", blob, again)[0] != version:
            return 0, 0, 0
        at = again + 4
        # NDR aligns the 64-bit times to 4 here: they are pairs of u32.
        if version == 3:
            valid, attributes, creation_time = struct.unpack_from("<II4x8x8xQ", blob, at)
        elif version == 4:
            valid, attributes, creation_time = struct.unpack_from("<II8xQ", blob, at)
        elif version == 5:
            valid, attributes, creation_time = struct.unpack_from("<IIQ", blob, at)
        else:
            return 0, 0, 0
    except struct.error:
        return 0, 0, 0
    return valid, attributes, creation_time
