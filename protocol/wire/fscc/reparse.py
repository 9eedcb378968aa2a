"""REPARSE_DATA_BUFFER of symbolic links and special files ([MS-FSCC] 2.1.2)."""

import struct

from usmbd.protocol.wire.fscc.attributes import IO_REPARSE_TAG_SYMLINK
from usmbd.protocol.wire.names import encode

SYMLINK_FLAG_RELATIVE = 0x00000001

_HEADER = struct.Struct("<IHH")
_SYMLINK = struct.Struct("<HHHHI")


def build_reparse_point(tag: int, data: bytes = b"") -> bytes:
    """Return a REPARSE_DATA_BUFFER ([MS-FSCC] 2.1.2.2); the tags of WSL's files have no data."""
    return _HEADER.pack(tag, len(data), 0) + data


def build_relative_symlink(target: str) -> bytes:
    """Return a Symbolic Link Reparse Data Buffer ([MS-FSCC] 2.1.2.4) of a relative target.

    SubstituteName and PrintName are the same bytes, once.
    """
    name = encode(target)
    fixed = _SYMLINK.pack(0, len(name), 0, len(name), SYMLINK_FLAG_RELATIVE)
    return build_reparse_point(IO_REPARSE_TAG_SYMLINK, fixed + name)
