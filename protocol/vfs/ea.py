"""EAs of [MS-FSCC] 2.4.16 in the attributes `user.NAME`, as Samba maps them.

What servers keep for themselves under `user.` is neither shown nor to be written.
"""

import errno
from typing import Final

from usmbd.protocol.vfs import dos_attributes, extended
from usmbd.protocol.vfs.extended import PREFIX
from usmbd.protocol.vfs.names import fold
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.streams import PREFIX as STREAM_PREFIX
from usmbd.protocol.wire.status import NtStatus, SmbError

#: The longest name that an attribute can have behind its prefix (XATTR_NAME_MAX 255).
NAME_MAX: Final = 255 - len(PREFIX)
#: The longest value: FILE_FULL_EA_INFORMATION counts it in 16 bits.
VALUE_MAX: Final = 0xFFFF

_RESERVED: Final = frozenset(
    fold(name)
    for name in (dos_attributes.XATTR_NAME, "user.DosAttrib", "user.SAMBA_PAI", "user.SmbReparse")
)
# The size of a list and of an entry beyond its name and value, in the form of OS/2 (FEALIST)
# that EaSize counts: u32 size; flags, name length, u16 value length, a NUL after the name.
_LIST_OVERHEAD: Final = 4
_ENTRY_OVERHEAD: Final = 5


def _is_reserved(attribute: str) -> bool:
    """Whether the attribute belongs to a server and not to a client."""
    folded = fold(attribute)
    return folded in _RESERVED or folded.startswith(fold(STREAM_PREFIX))


def get_all(node: Node) -> list[tuple[str, bytes]]:
    """Read all EAs of a file as (name, value), names as they are stored; OSError."""
    found = []
    for attribute in extended.names(node) if node.volume.options.ea_support else ():
        if _is_reserved(attribute):
            continue
        try:
            value = extended.get(node, attribute)
        except OSError as error:
            if error.errno == errno.ENODATA:  # removed meanwhile
                continue
            raise
        if len(value) <= VALUE_MAX:
            found.append((attribute[len(PREFIX) :], value))
    return found


def size_of(node: Node) -> int:
    """Return EaSize ([MS-FSCC] 2.4.13): 0 when the file has no EA."""
    found = get_all(node)
    if not found:
        return 0
    return _LIST_OVERHEAD + sum(
        _ENTRY_OVERHEAD + len(name.encode("utf-8", "surrogateescape")) + len(value)
        for name, value in found
    )


def put(node: Node, name: str, value: bytes) -> None:
    """Write one EA, found in any case; an empty value removes it; OSError, SmbError.

    EAS_NOT_SUPPORTED where the share or the file has none, INVALID_EA_NAME, EA_TOO_LARGE,
    ACCESS_DENIED for a reserved name.
    """
    if not node.volume.options.ea_support or not node.has_xattrs:
        raise SmbError(NtStatus.EAS_NOT_SUPPORTED)
    encoded = name.encode("utf-8", "surrogateescape")
    if not encoded or len(encoded) > NAME_MAX or b"\0" in encoded:
        raise SmbError(NtStatus.INVALID_EA_NAME)
    if _is_reserved(PREFIX + name):
        raise SmbError(NtStatus.ACCESS_DENIED)
    if len(value) > VALUE_MAX:
        raise SmbError(NtStatus.EA_TOO_LARGE)
    folded = fold(PREFIX + name)
    stored = next((found for found in extended.names(node) if fold(found) == folded), None)
    if value:
        _write(node, stored or PREFIX + name, value)
    elif stored is not None:
        extended.remove(node, stored)


def _write(node: Node, attribute: str, value: bytes) -> None:
    """Write an attribute; too much for the file system is EA_TOO_LARGE."""
    try:
        extended.put(node, attribute, value)
    except OSError as error:
        if error.errno in (errno.E2BIG, errno.ENOSPC):
            raise SmbError(NtStatus.EA_TOO_LARGE) from error
        if error.errno == errno.ENOTSUP:
            raise SmbError(NtStatus.EAS_NOT_SUPPORTED) from error
        raise
