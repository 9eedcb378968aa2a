"""Strings on the wire: UTF-16LE without terminator ([MS-SMB2] 2.2.13, 2.2.33).

A name on disk whose bytes are no UTF-8 reaches Python with lone surrogates (PEP 383); both
directions pass surrogates through, so such a name goes to the client and back unchanged.
"""

from usmbd.protocol.wire.base import Buffer
from usmbd.protocol.wire.status import NtStatus, SmbError


def encode(name: str) -> bytes:
    """Return `name` in UTF-16LE, lone surrogates as they are."""
    return name.encode("utf-16-le", "surrogatepass")


def decode(buffer: Buffer) -> str:
    """Return the name in `buffer`; SmbError(OBJECT_NAME_INVALID) when half a unit is left over."""
    if len(buffer) & 1:
        raise SmbError(NtStatus.OBJECT_NAME_INVALID)
    return str(buffer, "utf-16-le", "surrogatepass")
