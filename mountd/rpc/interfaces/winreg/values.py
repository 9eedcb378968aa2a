"""Values of the registry's keys ([MS-RRP] 3.1.5.9, 3.1.5.11, 3.1.5.17, 3.1.5.22, 3.1.5.25)."""

from typing import Annotated

from usmbd.mountd.ipc.registry import (
    MAX_VALUE,
    MAX_VALUE_NAME,
    DeleteValue,
    FindValue,
    SetValue,
    ValueFound,
)
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import ERROR_INVALID_PARAMETER, ERROR_MORE_DATA
from usmbd.mountd.rpc.interfaces.winreg.base import CALLS, KEY_QUERY_VALUE, KEY_SET_VALUE, find
from usmbd.mountd.rpc.interfaces.winreg.types import (
    RegistryText,
    Room,
    RoomOut,
    Text,
    ValueEntry,
    ask,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Handle, Octets, U32Pointer, VaryingArray
from usmbd.mountd.rpc.view import View

MAX_VALUES = 64
"""Values that one BaseRegQueryMultipleValues asks for."""

Entries = Annotated[list[ValueEntry], VaryingArray(ndr.of(ValueEntry))]


@CALLS.call(8)
def delete_value(view: View, handle: Handle, name: RegistryText) -> Asking[None]:
    """BaseRegDeleteValue ([MS-RRP] 3.1.5.9)."""
    key = find(view, handle, KEY_SET_VALUE)
    yield from ask(DeleteValue(view.caller.user, [*key.path], _name(name)), ValueFound)


def _name(name: Text) -> str:
    """Return the name of a value, empty for the one without; Status when it is too long."""
    value = name.value or ""
    if len(value) > MAX_VALUE_NAME:
        raise Status(ERROR_INVALID_PARAMETER)
    return value


@CALLS.call(22)
def set_value(
    view: View,
    handle: Handle,
    name: RegistryText,
    kind: U32,
    data: Annotated[bytes, Octets()],
    size: U32,
) -> Asking[None]:
    """BaseRegSetValue ([MS-RRP] 3.1.5.22)."""
    key = find(view, handle, KEY_SET_VALUE)
    if size != len(data) or size > MAX_VALUE:
        raise Status(ERROR_INVALID_PARAMETER)
    yield from ask(SetValue(view.caller.user, [*key.path], _name(name), kind, data), ValueFound)


@CALLS.call(10)
def enumerate_value(
    view: View,
    handle: Handle,
    index: U32,
    name: RegistryText,
    kind: U32Pointer,
    data: Room,
    size: U32Pointer,
    length: U32Pointer,
) -> Asking[tuple[RegistryText, U32Pointer, RoomOut, U32Pointer, U32Pointer]]:
    """BaseRegEnumValue ([MS-RRP] 3.1.5.11)."""
    key = find(view, handle, KEY_QUERY_VALUE)
    nothing = Text(None), kind, None, size, length and 0
    message = FindValue(view.caller.user, [*key.path], None, index)
    found = yield from ask(message, ValueFound, *nothing)
    answer = Text(found.name, name.size)
    if answer.length > name.size:
        raise Status(ERROR_MORE_DATA, *nothing)
    return (answer, *_told(found, kind, data, size, length, answer))


def _told(
    found: ValueFound,
    kind: int | None,
    data: bytes | None,
    size: int | None,
    length: int | None,
    *before: Text,
) -> tuple[int | None, tuple[bytes, int] | None, int | None, int | None]:
    """Return type, octets and sizes of a value, as far as they are asked for.

    Status(ERROR_MORE_DATA) with the size when there is not enough room.
    """
    needed = len(found.data)
    told_kind = None if kind is None else found.kind
    if data is None:
        return told_kind, None, None if size is None else needed, None if length is None else 0
    if size is None or size < needed:
        rest = told_kind, None, None if size is None else needed, None if length is None else 0
        raise Status(ERROR_MORE_DATA, *before, *rest)
    return told_kind, (found.data, needed), needed, None if length is None else needed


@CALLS.call(17)
def query_value(
    view: View,
    handle: Handle,
    name: RegistryText,
    kind: U32Pointer,
    data: Room,
    size: U32Pointer,
    length: U32Pointer,
) -> Asking[tuple[U32Pointer, RoomOut, U32Pointer, U32Pointer]]:
    """BaseRegQueryValue ([MS-RRP] 3.1.5.17)."""
    key = find(view, handle, KEY_QUERY_VALUE)
    nothing = kind, None, size, length
    if name.value is None or kind is None or size is None or length is None:
        raise Status(ERROR_INVALID_PARAMETER, *nothing)
    message = FindValue(view.caller.user, [*key.path], _name(name))
    found = yield from ask(message, ValueFound, *nothing)
    return _told(found, kind, data, size, length)


def _several(
    view: View, handle: bytes, entries: list[ValueEntry], number: int
) -> Asking[tuple[list[ValueEntry], bytes]]:
    """Return the entries of values, and all their octets one behind the other."""
    key = find(view, handle, KEY_QUERY_VALUE)
    if number != len(entries) or number > MAX_VALUES:
        raise Status(ERROR_INVALID_PARAMETER, [], None, 0)
    told, octets = [], bytearray()
    for entry in entries:
        name = entry.name or Text(None)
        message = FindValue(view.caller.user, [*key.path], _name(name))
        found = yield from ask(message, ValueFound, entries, None, 0)
        octets += bytes(-len(octets) % 4)
        told.append(ValueEntry(entry.name, len(found.data), len(octets), found.kind))
        octets += found.data
    return told, bytes(octets)


def _several_in(
    view: View, handle: Handle, entries: Entries, number: U32, buffer: Room, size: U32
) -> Asking[tuple[Entries, RoomOut, U32]]:
    """Return several values in the client's room, with the size that they need."""
    told, octets = yield from _several(view, handle, entries, number)
    if octets and (len(octets) > size or buffer is None):
        raise Status(ERROR_MORE_DATA, entries, None, len(octets))
    return told, None if buffer is None else (octets, len(octets)), len(octets)


@CALLS.call(29)
def query_multiple_values(
    view: View, handle: Handle, entries: Entries, number: U32, buffer: Room, size: U32
) -> Asking[tuple[Entries, RoomOut, U32]]:
    """BaseRegQueryMultipleValues ([MS-RRP] 3.1.5.25)."""
    return (yield from _several_in(view, handle, entries, number, buffer, size))


@CALLS.call(34)
def query_multiple_values2(
    view: View, handle: Handle, entries: Entries, number: U32, buffer: Room, size: U32
) -> Asking[tuple[Entries, RoomOut, U32]]:
    """BaseRegQueryMultipleValues2 ([MS-RRP] 3.1.5.30)."""
    return (yield from _several_in(view, handle, entries, number, buffer, size))
