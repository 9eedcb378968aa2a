"""The create context of the SMB3 POSIX extensions (smb3-posix-spec, as ksmbd and Samba have it)."""

import struct

from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.status import NtStatus, SmbError

# Its name is the identifier of the extensions, as in the negotiate context.
SMB2_CREATE_POSIX = bytes.fromhex("93ad25509cb411e7b42383de968bcd7c")

# Permission bits, set-id bits and the sticky bit; a client asks for nothing else.
MODE_MASK = 0o7777
# The bits of a file's type, all of them: no mode at all. Linux says so where it has none to say.
_NO_MODE = 0o170000


def parse_posix_mode(data: Buffer) -> int | None:
    """Return the mode of the file to create, None where the client leaves it to the server.

    SmbError(INVALID_PARAMETER) on another size.
    """
    if len(data) != 4:
        raise SmbError(NtStatus.INVALID_PARAMETER)
    mode = int.from_bytes(data, "little")
    return None if mode & _NO_MODE == _NO_MODE else mode & MODE_MASK


def posix_response(
    nlink: int, reparse_tag: int, mode: int, owner: bytes, group: bytes
) -> tuple[bytes, bytes]:
    """Return the context about the file opened; `mode` has its type, the others are packed SIDs."""
    fixed = struct.pack("<III", nlink, reparse_tag, mode)
    return SMB2_CREATE_POSIX, fixed + owner + group
