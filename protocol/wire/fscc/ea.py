"""Extended attributes: FILE_FULL_EA_INFORMATION and FILE_GET_EA_INFORMATION chains.

[MS-FSCC] 2.4.15, 2.4.15.1. The same chain comes in a SET_INFO, in a create context and as the
list of names of a QUERY_INFO.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from usmbd.protocol.wire.fscc.chain import build_chain
from usmbd.protocol.wire.status import NtStatus, SmbError

FILE_NEED_EA = 0x80

# NextEntryOffset, Flags, EaNameLength, EaValueLength.
_FULL_EA = struct.Struct("<IBBH")
# NextEntryOffset, EaNameLength.
_GET_EA = struct.Struct("<IB")
_ALIGNMENT = 4

#: The longest list of a client's. A file has 64 KB - 5 bytes of EAs at most, counted in a form
#: ([MS-FSA] 2.1.5.15.5) in which an entry takes 7 bytes at least where its list takes 12.
LIST_MAX = 128 * 1024

#: Characters that an EA's name may not have ([MS-FSCC] 2.4.15), besides the controls.
_INVALID_CHARACTERS = frozenset(b'"*+,/:;<=>?[\\]|')


@dataclass(frozen=True, slots=True)
class ExtendedAttribute:
    """One extended attribute; in a SET an empty `value` removes it ([MS-FSA] 2.1.5.15.5)."""

    name: str
    value: bytes
    flags: int = 0


def build_full_eas(attributes: Iterable[ExtendedAttribute]) -> bytes:
    """Return the FILE_FULL_EA_INFORMATION chain of `attributes`.

    Names are 8-bit: at most 255 bytes of UTF-8, values at most 65535 bytes (`struct.error`).
    """
    return build_chain(map(_build_full_ea, attributes), _ALIGNMENT)


def _build_full_ea(attribute: ExtendedAttribute) -> bytes:
    """Return one entry without its link."""
    name = attribute.name.encode("utf-8", "surrogateescape")
    head = _FULL_EA.pack(0, attribute.flags, len(name), len(attribute.value))
    return b"".join((head, name, b"\0", attribute.value))


def full_eas(buffer: memoryview) -> Iterator[ExtendedAttribute]:
    """Yield the attributes of a FILE_FULL_EA_INFORMATION chain, which may be empty.

    Raises SmbError(EA_LIST_INCONSISTENT) for a chain that leaves the buffer or does not go
    forward, SmbError(INVALID_EA_NAME) for a name that no EA may have, SmbError(EA_TOO_LARGE) for
    a list that no file could have.
    """
    if len(buffer) > LIST_MAX:
        raise SmbError(NtStatus.EA_TOO_LARGE)
    for start, end in _entries(buffer, _FULL_EA.size):
        _, flags, name_length, value_length = _FULL_EA.unpack_from(buffer, start)
        name_start = start + _FULL_EA.size
        value_start = name_start + name_length + 1
        if value_start + value_length > end:
            raise SmbError(NtStatus.EA_LIST_INCONSISTENT)
        if flags not in (0, FILE_NEED_EA):
            raise SmbError(NtStatus.INVALID_EA_FLAG)
        name = _name(buffer, name_start, name_length)
        value = bytes(buffer[value_start : value_start + value_length])
        yield ExtendedAttribute(name, value, flags)


def get_eas(buffer: memoryview) -> Iterator[str]:
    """Yield the names of a FILE_GET_EA_INFORMATION chain; errors as `full_eas`."""
    if len(buffer) > LIST_MAX:
        raise SmbError(NtStatus.EA_TOO_LARGE)
    for start, end in _entries(buffer, _GET_EA.size):
        _, name_length = _GET_EA.unpack_from(buffer, start)
        name_start = start + _GET_EA.size
        if name_start + name_length + 1 > end:
            raise SmbError(NtStatus.EA_LIST_INCONSISTENT)
        yield _name(buffer, name_start, name_length)


def _entries(buffer: memoryview, fixed: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each entry; every link leads past the entry's fixed part."""
    start = 0
    while start < len(buffer):
        if start + fixed > len(buffer):
            raise SmbError(NtStatus.EA_LIST_INCONSISTENT)
        following = int.from_bytes(buffer[start : start + 4], "little")
        if not following:
            yield start, len(buffer)
            return
        if following % _ALIGNMENT or following < fixed or start + following >= len(buffer):
            raise SmbError(NtStatus.EA_LIST_INCONSISTENT)
        yield start, start + following
        start += following


def _name(buffer: memoryview, start: int, length: int) -> str:
    """Return an EA's name, which a NUL must follow."""
    name = bytes(buffer[start : start + length])
    if buffer[start + length]:
        raise SmbError(NtStatus.EA_LIST_INCONSISTENT)
    if not name or any(c < 0x20 or c in _INVALID_CHARACTERS for c in name):
        raise SmbError(NtStatus.INVALID_EA_NAME)
    return name.decode("utf-8", "surrogateescape")
