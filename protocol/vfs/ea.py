"""EAs of [MS-FSCC] 2.4.16 in the attributes `user.NAME`, as Samba maps them."""

import errno
from collections.abc import Iterable
from typing import Final

from usmbd.protocol.vfs import xattrs
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.xattrs import PREFIX, is_reserved
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute, parse_get_eas
from usmbd.protocol.wire.status import NtStatus, SmbError

#: The longest name that an attribute can have behind its prefix (XATTR_NAME_MAX 255).
NAME_MAX: Final = 255 - len(PREFIX)
#: The longest value: FILE_FULL_EA_INFORMATION counts it in 16 bits.
VALUE_MAX: Final = 0xFFFF

# The size of a list and of an entry beyond its name and value, in the form of OS/2 (FEALIST)
# that EaSize counts: u32 size; flags, name length, u16 value length, a NUL after the name.
_LIST_OVERHEAD: Final = 4
_ENTRY_OVERHEAD: Final = 5


def list_eas(node: Node) -> list[ExtendedAttribute]:
    """Read all EAs of a file, names as they are stored; OSError."""
    found = []
    for attribute in xattrs.names(node) if node.volume.options.ea_support else ():
        if is_reserved(attribute):
            continue
        try:
            value = xattrs.get(node, attribute)
        except OSError as error:
            if error.errno == errno.ENODATA:  # removed meanwhile
                continue
            raise
        if len(value) <= VALUE_MAX:
            found.append(ExtendedAttribute(attribute[len(PREFIX) :], value))
    return found


def total_size(node: Node) -> int:
    """Return EaSize ([MS-FSCC] 2.4.13): 0 when the file has no EA; OSError."""
    found = list_eas(node)
    if not found:
        return 0
    return _LIST_OVERHEAD + sum(
        _ENTRY_OVERHEAD + len(ea.name.encode("utf-8", "surrogateescape")) + len(ea.value)
        for ea in found
    )


def choose(eas: Iterable[ExtendedAttribute], wanted: memoryview) -> list[ExtendedAttribute]:
    """Pick the EAs that a FILE_GET_EA_INFORMATION chain names, in its order.

    One that does not exist is answered with an empty value ([MS-FSA] 2.1.5.12.13). SmbError as
    `parse_get_eas`.
    """
    by_name = {fold(ea.name): ea for ea in eas}
    return [
        by_name.get(fold(name)) or ExtendedAttribute(name, b"") for name in parse_get_eas(wanted)
    ]


def set_eas(node: Node, eas: Iterable[ExtendedAttribute]) -> None:
    """Write several EAs, in order; errors as `put`, those before it are written.

    INVALID_EA_FLAG for FILE_NEED_EA, which no attribute of Linux can keep: nothing is written.
    """
    eas = list(eas)
    if any(ea.flags for ea in eas):
        raise SmbError(NtStatus.INVALID_EA_FLAG)
    for ea in eas:
        put(node, ea.name, ea.value)


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
    if is_reserved(PREFIX + name):
        raise SmbError(NtStatus.ACCESS_DENIED)
    if len(value) > VALUE_MAX:
        raise SmbError(NtStatus.EA_TOO_LARGE)
    folded = fold(PREFIX + name)
    stored = next((found for found in xattrs.names(node) if fold(found) == folded), None)
    if value:
        _write(node, stored or PREFIX + name, value)
    elif stored is not None:
        xattrs.remove(node, stored)


def _write(node: Node, attribute: str, value: bytes) -> None:
    """Write an attribute; too much for the file system is EA_TOO_LARGE."""
    try:
        xattrs.put(node, attribute, value)
    except OSError as error:
        if error.errno in (errno.E2BIG, errno.ENOSPC):
            raise SmbError(NtStatus.EA_TOO_LARGE) from error
        if error.errno == errno.ENOTSUP:
            raise SmbError(NtStatus.EAS_NOT_SUPPORTED) from error
        raise
