"""The endpoint mapper: by which pipe an interface is reached (C706 appendix O)."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.endpoint import CallError, Interface
from usmbd.mountd.rpc.handles import NO_HANDLE
from usmbd.mountd.rpc.interfaces.mgmt import Identifier
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import NdrError
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Handle,
    Reader,
    Type,
    Unique,
    Uuid,
    Writer,
    structure,
)
from usmbd.mountd.rpc.pdu import NDR_SYNTAX, Fault, Syntax
from usmbd.mountd.rpc.view import Endpoint, View

CALLS = Calls(UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), 3)
"""C706 appendix O."""

NOT_REGISTERED: Final = 0x16C9A0D6
"""ept_s_not_registered (C706 appendix E)."""

MAX_ENTRIES: Final = 500
"""Entries in one answer ([MS-RPCE] 2.2.1.2.4)."""

MAX_TOWER: Final = 2000
"""Octets of a tower ([MS-RPCE] 2.2.1.2.5)."""

UUID_FLOOR, CONNECTION_FLOOR, PIPE_FLOOR, HOST_FLOOR = 0x0D, 0x0B, 0x0F, 0x11
"""Identifiers of a tower's floors (C706 appendix I)."""
ALL_ENTRIES, BY_INTERFACE, BY_OBJECT, BY_BOTH = range(4)


@dataclass(frozen=True, slots=True)
class Listing:
    """A list under way: the entries that are left."""

    left: tuple[Endpoint, ...]


class Tower(Type):
    """twr_t: a conformant structure of octets (C706 appendix N)."""

    smallest = 8

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the count."""
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> bytes:
        """Read the octets; NdrError when there are too many."""
        count, length = reader.elements(), reader.number(4)
        if count != length or count > MAX_TOWER:
            raise NdrError("a tower whose length lies")
        return reader.take(length)

    def write(self, writer: Writer, value: bytes) -> None:
        """Write the octets."""
        writer.count(len(value))
        writer.number(len(value), 4)
        writer.data += value


class Varying(Type):
    """An array whose size the client said: what is there is less (C706 14.3.3.4)."""

    def __init__(self, element: Type) -> None:
        """Take the type of an element."""
        self.element = element

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the counts."""
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> Any:
        """Read nothing: servers alone send it."""
        raise NotImplementedError

    def write(self, writer: Writer, value: tuple[int, list[Any]]) -> None:
        """Write the size, and the elements that are there."""
        size, elements = value
        for number in (size, 0, len(elements)):
            writer.count(number)
        for each in elements:
            self.element.write(writer, each)

    def null(self) -> tuple[int, list[Any]]:
        """Return no elements."""
        return 0, []


class Annotation(Type):
    """A varying string of octets (C706 appendix O: annotation)."""

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the counts."""
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> Any:
        """Read nothing: servers alone send it."""
        raise NotImplementedError

    def write(self, writer: Writer, value: bytes) -> None:
        """Write the octets with a NUL."""
        writer.count(0)
        writer.count(len(value) + 1)
        writer.data += value + b"\0"


TOWER_POINTER: Final = Unique(Tower())


@structure
class Entry:
    """ept_entry_t (C706 appendix O)."""

    object: Uuid
    tower: Annotated[bytes | None, TOWER_POINTER]
    annotation: Annotated[bytes, Annotation()]


def interface(view: View, endpoints: Mapping[str, tuple[Syntax, ...]]) -> Interface:
    """Return the interface for one opened pipe, which tells of these others by their pipes."""
    known = tuple(
        Endpoint(syntax, pipe) for pipe, syntaxes in endpoints.items() for syntax in syntaxes
    )
    return CALLS.bind(replace(view, endpoints=known))


def build_tower(endpoint: Endpoint, host: str) -> bytes:
    """Return a tower: the interface, NDR, the protocol, the pipe, the host (C706 appendix L)."""
    syntax = endpoint.syntax
    floors = (
        (_uuid_floor(syntax), struct.pack("<H", syntax.minor)),
        (_uuid_floor(NDR_SYNTAX), struct.pack("<H", 0)),
        (bytes([CONNECTION_FLOOR]), struct.pack("<H", 0)),
        (bytes([PIPE_FLOOR]), f"\\PIPE\\{endpoint.pipe}\0".encode()),
        (bytes([HOST_FLOOR]), f"\\\\{host}\0".encode()),
    )
    parts = b"".join(struct.pack("<H", len(each)) + each for floor in floors for each in floor)
    return struct.pack("<H", len(floors)) + parts


def _uuid_floor(syntax: Syntax) -> bytes:
    return bytes([UUID_FLOOR]) + syntax.uuid.bytes_le + struct.pack("<H", syntax.major)


Object = Annotated[UUID | None, Unique(ndr.Guid())]
Entries = Annotated[tuple[int, list[Entry]], Varying(ndr.of(Entry))]
Towers = Annotated[tuple[int, list[bytes]], Varying(TOWER_POINTER)]


@CALLS.call(2)
def lookup(
    view: View,
    kind: U32,
    wanted: Object,
    by: Annotated[Identifier | None, Unique(ndr.of(Identifier))],
    version: U32,
    handle: Handle,
    limit: U32,
) -> tuple[Handle, U32, Entries]:
    """ept_lookup: the entries, in parts (C706 appendix O)."""
    if handle == NO_HANDLE:
        known: tuple[Endpoint, ...] = view.endpoints
        if kind in (BY_INTERFACE, BY_BOTH) and by is not None:
            known = tuple(each for each in known if each.syntax.uuid == by.uuid)
    else:
        known = view.handles.get(handle, Listing).left
        view.handles.close(handle)
    if not known:
        raise Status(NOT_REGISTERED, NO_HANDLE, 0, (limit, []))
    count = min(limit, MAX_ENTRIES)
    host = view.snapshot.config.netbios_name
    found = [Entry(UUID(int=0), build_tower(each, host), b"") for each in known[:count]]
    rest = known[count:]
    # After a part that is full clients ask again, by the null handle they would begin anew.
    again = view.handles.add(Listing(rest)) if len(found) == count else NO_HANDLE
    return again, len(found), (limit, found)


@CALLS.call(3)
def map_tower(
    view: View,
    wanted: Object,
    tower: Annotated[bytes | None, TOWER_POINTER],
    handle: Handle,
    limit: U32,
) -> tuple[Handle, U32, Towers]:
    """ept_map: the towers of the interface that the client's tower begins with."""
    if handle != NO_HANDLE:
        view.handles.close(handle)
    syntax = _interface_of(tower or b"")
    found = [
        build_tower(each, view.snapshot.config.netbios_name)
        for each in view.endpoints
        if (each.syntax.uuid, each.syntax.major) == syntax
    ][: min(limit, MAX_ENTRIES)]
    if not found:
        raise Status(NOT_REGISTERED, NO_HANDLE, 0, (limit, []))
    return NO_HANDLE, len(found), (limit, found)


@CALLS.call(4)
def free_handle(view: View, handle: Handle) -> Handle:
    """ept_lookup_handle_free: end a list (C706 appendix O)."""
    return view.handles.close(handle)


def _interface_of(tower: bytes) -> tuple[UUID, int]:
    """Return the identifier and the version in a tower's first floor."""
    if len(tower) < 23 or tower[2:5] != b"\x13\0\x0d":
        raise CallError(Fault.BAD_STUB_DATA)
    return UUID(bytes_le=tower[5:21]), int.from_bytes(tower[21:23], "little")
