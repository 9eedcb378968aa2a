"""The create context of the SMB3 POSIX extensions (smb3-posix-spec, as ksmbd and Samba have it)."""

import struct

from usmbd.protocol.wire.status import NtStatus, SmbError

# Its name is the identifier of the extensions, as in the negotiate context.
SMB2_CREATE_POSIX = bytes.fromhex("93ad25509cb411e7b42383de968bcd7c")

# Permission bits, set-id bits and the sticky bit; a client asks for nothing else.
MODE_MASK = 0o7777


def parse_posix_mode(data: memoryview) -> int:
    """Return the mode of the file to create; SmbError(INVALID_PARAMETER) on another size."""
    if len(data) != 4:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    return int.from_bytes(data, "little") & MODE_MASK


def posix_response(
    nlink: int, reparse_tag: int, mode: int, owner: bytes, group: bytes
) -> tuple[bytes, bytes]:
    """Return the context about the file opened; `owner` and `group` are packed SIDs."""
    fixed = struct.pack("<III", nlink, reparse_tag, mode & MODE_MASK)
    return SMB2_CREATE_POSIX, fixed + owner + group
