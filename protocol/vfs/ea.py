"""EAs of [MS-FSCC] 2.4.16 in the attributes `user.NAME`, as Samba maps them.

A file may have thousands of EAs, and a list of a client's as many: all of this comes in steps.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from usmbd.protocol.vfs import dos_attributes, kernel, xattrs
from usmbd.protocol.vfs.folding import fold
from usmbd.protocol.vfs.identity import retry_as_process
from usmbd.protocol.vfs.steps import Steps
from usmbd.protocol.vfs.xattrs import PREFIX, is_reserved
from usmbd.protocol.wire.fscc.ea import ExtendedAttribute, get_eas
from usmbd.protocol.wire.status import NtStatus, SmbError

if TYPE_CHECKING:
    from usmbd.protocol.vfs.node import Node

#: The longest name that an attribute can have behind its prefix (XATTR_NAME_MAX 255).
NAME_MAX: Final = 255 - len(PREFIX)
#: The longest value: FILE_FULL_EA_INFORMATION counts it in 16 bits.
VALUE_MAX: Final = 0xFFFF
#: The longest ExtendedAttributesLength, 64 KB - 5 bytes ([MS-FSA] 2.1.5.15.5).
TOTAL_MAX: Final = 0x10000 - 5

# The size of a list and of an entry beyond its name and value, in the form of OS/2 (FEALIST)
# that EaSize counts: u32 size; flags, name length, u16 value length, a NUL after the name.
_LIST_OVERHEAD: Final = 4
_ENTRY_OVERHEAD: Final = 5

# What the names of a file's attributes are where it has no EA.
_NO_EAS: Final = frozenset((b"", dos_attributes.XATTR_NAME_BYTES + b"\0"))

# Entries of a step: to read an attribute takes 5 to 10 us, an entry of a list 3.
_AT_ONCE: Final = 32


def list_eas(node: "Node", limit: int) -> Steps[list[ExtendedAttribute]]:
    """Read all EAs of a file, names as they are stored, to the first beyond `limit` bytes; OSError.

    Another program may have given it more than TOTAL_MAX.
    """
    found = []
    room = limit
    for count, attribute in enumerate(_names(node), 1):
        value = _value(node, attribute)
        if value is not None and len(value) <= VALUE_MAX:
            found.append(ExtendedAttribute(attribute[len(PREFIX) :], value))
            room -= _size(attribute, value)
            if room < 0:
                break
        if not count % _AT_ONCE:
            yield
    return found


def total_size(node: "Node") -> Steps[int]:
    """Return EaSize ([MS-FSA] 2.1.5.12.10): 0 when the file has no EA; OSError."""
    total = 0
    for count, attribute in enumerate(_names(node), 1):
        value = _value(node, attribute)
        if value is not None and len(value) <= VALUE_MAX:
            total += _size(attribute, value)
        if not count % _AT_ONCE:
            yield
    return total + _LIST_OVERHEAD if total else 0


def names_at(directory: int, name: bytes) -> list[str]:
    """List the attributes that are EAs of an entry of an open directory: most have none."""
    found = kernel.listxattr_at(directory, name)
    if found in _NO_EAS:
        return []
    names = (os.fsdecode(each) for each in found.split(b"\0"))
    return [each for each in names if each.startswith(PREFIX) and not is_reserved(each)]


def size_at(directory: int, name: bytes, attributes: list[str]) -> Steps[int]:
    """Return EaSize of an entry that has these EAs, as `total_size` has it of an open file."""
    path = os.fsencode(kernel.fd_path(directory)) + b"/" + name
    total = 0
    for count, attribute in enumerate(attributes, 1):
        with suppress(OSError):  # removed meanwhile
            value = retry_as_process(partial(os.getxattr, path, attribute, follow_symlinks=False))
            if len(value) <= VALUE_MAX:
                total += _size(attribute, value)
        if not count % _AT_ONCE:
            yield
    return total + _LIST_OVERHEAD if total else 0


def choose(node: "Node", wanted: memoryview, limit: int) -> Steps[list[ExtendedAttribute]]:
    """Read the EAs that a FILE_GET_EA_INFORMATION chain names, in its order, as `list_eas`.

    One that does not exist is answered with an empty value ([MS-FSA] 2.1.5.12.13). SmbError as
    `get_eas`.
    """
    stored = {fold(attribute): attribute for attribute in _names(node)}
    found = []
    room = limit
    for count, name in enumerate(get_eas(wanted), 1):
        attribute = stored.get(fold(PREFIX + name))
        value = None if attribute is None else _value(node, attribute)
        if attribute is None or value is None or len(value) > VALUE_MAX:
            found.append(ExtendedAttribute(name, b""))
        else:
            found.append(ExtendedAttribute(attribute[len(PREFIX) :], value))
        room -= _size(PREFIX + name, value or b"")
        if room < 0:
            break
        if not count % _AT_ONCE:
            yield
    return found


def set_eas(node: "Node", eas: Iterable[ExtendedAttribute]) -> Steps[None]:
    """Write several EAs, all or none ([MS-FSA] 2.1.5.15.5); an empty value removes one.

    Names are found in any case, and of several entries for one the last counts. EA_TOO_LARGE beyond
    TOTAL_MAX, INVALID_EA_FLAG for FILE_NEED_EA, which no attribute of Linux can keep,
    EAS_NOT_SUPPORTED where the share or the file has none, INVALID_EA_NAME, ACCESS_DENIED for a
    reserved name; OSError.
    """
    if not node.volume.options.ea_support or not node.has_xattrs:
        raise SmbError(NtStatus.EAS_NOT_SUPPORTED)
    changes = _Changes(node)
    yield from changes.measure()
    yield from changes.plan(eas)
    yield from changes.make()


class _Changes:
    """What a list of EAs makes of a file's."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        # By the folded name: the attribute as it is stored, the size of each EA, and what to write.
        self._stored: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self._wanted: dict[str, tuple[str, bytes]] = {}

    def measure(self) -> Steps[None]:
        """Learn what there is."""
        for count, attribute in enumerate(_names(self._node), 1):
            folded = fold(attribute)
            value = _value(self._node, attribute)
            if value is not None:
                self._stored[folded] = attribute
                self._sizes[folded] = _size(attribute, value)
            if not count % _AT_ONCE:
                yield

    def plan(self, eas: Iterable[ExtendedAttribute]) -> Steps[None]:
        """Check the list; nothing is written yet."""
        sizes = self._sizes
        total = sum(sizes.values())
        for count, ea in enumerate(eas, 1):
            _check(ea)
            attribute = PREFIX + ea.name
            folded = fold(attribute)
            total -= sizes.pop(folded, 0)
            if ea.value:
                sizes[folded] = _size(attribute, ea.value)
                total += sizes[folded]
                if total > TOTAL_MAX:
                    raise SmbError(NtStatus.EA_TOO_LARGE)
            self._wanted[folded] = self._stored.get(folded, attribute), ea.value
            if not count % _AT_ONCE:
                yield

    def make(self) -> Steps[None]:
        """Write what is planned; what had been written is undone when something fails."""
        before: list[tuple[str, bytes | None]] = []
        try:
            for count, (folded, (attribute, value)) in enumerate(self._wanted.items(), 1):
                there = folded in self._stored
                if value or there:
                    before.append((attribute, _value(self._node, attribute) if there else None))
                    _write(self._node, attribute, value)
                if not count % _AT_ONCE:
                    yield
        except (OSError, SmbError):
            for attribute, old in reversed(before):
                with suppress(OSError, SmbError):
                    _write(self._node, attribute, old or b"")
            raise


def _names(node: "Node") -> Iterator[str]:
    """Return the attributes that are EAs; none where the share has none."""
    found = xattrs.names(node) if node.volume.options.ea_support else ()
    return (attribute for attribute in found if not is_reserved(attribute))


def _value(node: "Node", attribute: str) -> bytes | None:
    """Read an attribute; None when it was removed meanwhile."""
    try:
        return xattrs.get(node, attribute)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise


def _size(attribute: str, value: bytes) -> int:
    """Return what an EA adds to ExtendedAttributesLength."""
    name = attribute[len(PREFIX) :].encode("utf-8", "surrogateescape")
    return _ENTRY_OVERHEAD + len(name) + len(value)


def _check(ea: ExtendedAttribute) -> None:
    """Refuse what no attribute can be."""
    if ea.flags:
        raise SmbError(NtStatus.INVALID_EA_FLAG)
    encoded = ea.name.encode("utf-8", "surrogateescape")
    if not encoded or len(encoded) > NAME_MAX or b"\0" in encoded:
        raise SmbError(NtStatus.INVALID_EA_NAME)
    if is_reserved(PREFIX + ea.name):
        raise SmbError(NtStatus.ACCESS_DENIED)
    if len(ea.value) > VALUE_MAX:
        raise SmbError(NtStatus.EA_TOO_LARGE)


def _write(node: "Node", attribute: str, value: bytes) -> None:
    """Write an attribute, or remove it; too much for the file system is EA_TOO_LARGE."""
    try:
        if value:
            xattrs.put(node, attribute, value)
        else:
            xattrs.remove(node, attribute)
    except OSError as error:
        if error.errno == errno.ENODATA:  # removed meanwhile
            return
        if error.errno in (errno.E2BIG, errno.ENOSPC):
            raise SmbError(NtStatus.EA_TOO_LARGE) from error
        if error.errno == errno.ENOTSUP:
            raise SmbError(NtStatus.EAS_NOT_SUPPORTED) from error
        raise
