"""Strings, SIDs, lists, unions and structures, and the names that annotations use for types.

What the methods do is said once, in `Type`.
"""
# ruff: noqa: D102

import codecs
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar, dataclass_transform, get_args, get_type_hints
from uuid import UUID

from usmbd.mountd.rpc.ndr.basics import Array as Array
from usmbd.mountd.rpc.ndr.basics import Boxed as Boxed
from usmbd.mountd.rpc.ndr.basics import Bytes as Bytes
from usmbd.mountd.rpc.ndr.basics import ContextHandle as ContextHandle
from usmbd.mountd.rpc.ndr.basics import Enumeration as Enumeration
from usmbd.mountd.rpc.ndr.basics import Guid as Guid
from usmbd.mountd.rpc.ndr.basics import Integer as Integer
from usmbd.mountd.rpc.ndr.basics import Nothing as Nothing
from usmbd.mountd.rpc.ndr.basics import Octets as Octets
from usmbd.mountd.rpc.ndr.basics import Reference as Reference
from usmbd.mountd.rpc.ndr.basics import Size as Size
from usmbd.mountd.rpc.ndr.basics import Type as Type
from usmbd.mountd.rpc.ndr.basics import Unique as Unique
from usmbd.mountd.rpc.ndr.basics import VaryingArray as VaryingArray
from usmbd.mountd.rpc.ndr.streams import NdrError
from usmbd.mountd.rpc.ndr.streams import Reader as Reader
from usmbd.mountd.rpc.ndr.streams import Writer as Writer

T = TypeVar("T")

_DECODERS: Final = {"<": codecs.getdecoder("utf-16-le"), ">": codecs.getdecoder("utf-16-be")}
"""Loaded with this module: the RPC process opens no file later, not even Python's own."""


class WideCharacters(Type):
    """A conformant and varying string of UTF-16, with its NUL when it is `terminated`."""

    smallest = 12

    def __init__(self, *, terminated: bool = True) -> None:
        """Take whether a NUL ends it, as IDL's [string] has it."""
        self.terminated = terminated

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> str:
        maximum, offset, count = reader.count(), reader.count(), reader.count()
        if offset or count > maximum:
            raise NdrError("a string that is not within its size")
        data = reader.take(2 * count)
        text, _ = _DECODERS[reader.endian](data, "replace")
        if self.terminated:
            if not text.endswith("\0"):
                raise NdrError("a string without an end")
            return text[:-1].partition("\0")[0]
        return text

    def write(self, writer: Writer, value: str) -> None:
        data = encode_wide(value) + (b"\0\0" if self.terminated else b"")
        units = len(data) // 2
        for number in (units, 0, units):
            writer.count(number)
        writer.data += data

    def null(self) -> str:
        return ""


class CountedString(Type):
    """RPC_UNICODE_STRING ([MS-DTYP] 2.3.10): lengths in bytes, and a pointer. None: it is null.

    `large`: its maximum counts a NUL that is not sent, as Windows answers names.
    """

    smallest = 8

    def __init__(self, *, large: bool = False) -> None:
        """Take whether the maximum counts a NUL that is not sent."""
        self._large = large

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        reader.align(self.alignment(reader.ndr64))
        length, maximum = reader.number(2), reader.number(2)
        if length > maximum or length % 2:
            raise NdrError("a string whose length lies")
        container[key] = "" if length == 0 else None
        if reader.count():

            def read() -> None:
                text = _COUNTED.read(reader)
                container[key] = text[: length // 2]

            reader.later(read)
        elif length:
            raise NdrError("a string that is not there")

    def write(self, writer: Writer, value: str | None) -> None:
        writer.align(self.alignment(writer.ndr64))
        size = len(encode_wide(value)) if value is not None else 0
        more = 2 if self._large and value is not None else 0
        writer.number(size, 2)
        writer.number(size + more, 2)
        writer.pointer(_write_large if more else _COUNTED.write, value)


class CountedBytes(Type):
    """A string of octets like RPC_STRING and SAMPR_LOGON_HOURS' kind: u16 lengths, a pointer."""

    smallest = 8

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        reader.align(self.alignment(reader.ndr64))
        length, maximum = reader.number(2), reader.number(2)
        if length > maximum:
            raise NdrError("a string whose length lies")
        container[key] = b""
        if reader.count():

            def read() -> None:
                container[key] = _VARYING_OCTETS.read(reader)[:length]

            reader.later(read)
        elif length:
            raise NdrError("a string that is not there")

    def write(self, writer: Writer, value: bytes | None) -> None:
        writer.align(self.alignment(writer.ndr64))
        size = len(value) if value is not None else 0
        writer.number(size, 2)
        writer.number(size, 2)
        writer.pointer(_VARYING_OCTETS.write, value)


class Counted(Type):
    """A count and a pointer to an array of so many: what most lists of LSA and SAM are.

    None is a null pointer with the count 0.
    """

    smallest = 8

    def __init__(self, element: Type) -> None:
        """Take the type of an element."""
        self._array = Array(element)

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        reader.align(self.alignment(reader.ndr64))
        count = reader.number(4)
        container[key] = []
        if reader.count():

            def read() -> None:
                self._array.read_into(reader, container, key)
                if len(container[key]) != count:
                    raise NdrError("an array whose count lies")

            reader.later(read)
        elif count:
            raise NdrError("an array that is not there")

    def write(self, writer: Writer, value: Sequence[Any] | None) -> None:
        writer.align(self.alignment(writer.ndr64))
        writer.number(len(value) if value else 0, 4)
        writer.pointer(self._array.write, value)


class SidType(Type):
    """RPC_SID ([MS-DTYP] 2.4.2.3), as its text: S-1-5-32-544."""

    smallest = 12

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> str:
        count = reader.count()
        revision, own_count = reader.take(2)
        if count != own_count or count > MAX_SUB_AUTHORITIES or revision != 1:
            raise NdrError("no SID")
        authority = int.from_bytes(reader.take(6), "big")
        subs = struct.unpack(f"{reader.endian}{count}I", reader.take(4 * count))
        return "-".join(map(str, ("S-1", _authority(authority), *subs)))

    def write(self, writer: Writer, value: str) -> None:
        _, _, authority, *subs = value.split("-")
        writer.count(len(subs))
        writer.data += bytes((1, len(subs))) + int(authority, 0).to_bytes(6, "big")
        writer.data += struct.pack(f"<{len(subs)}I", *map(int, subs))


class Union(Type):
    """A union behind its discriminant: (tag, value) (C706 14.3.8, [MS-RPCE] 2.2.5.3.4.4)."""

    def __init__(
        self, tag: Type, arms: Mapping[int, Type | None], default: Type | None = None
    ) -> None:
        """Take the types by tag, None for an empty arm; with a `default`, other tags have that."""
        self.tag, self.arms, self.default = tag, arms, default
        self.smallest = tag.smallest

    def alignment(self, ndr64: bool) -> int:
        return max([self.tag.alignment(ndr64), self._arms_alignment(ndr64)])

    def _arms_alignment(self, ndr64: bool) -> int:
        return max([1, *(arm.alignment(ndr64) for arm in self.arms.values() if arm)])

    def _arm(self, tag: int) -> Type | None:
        if tag not in self.arms and self.default is None:
            raise NdrError(f"a union without an arm for {tag}")
        return self.arms.get(tag, self.default)

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        if reader.ndr64:
            reader.align(self.alignment(True))
        tag = self.tag.read(reader)
        if reader.ndr64:
            reader.align(self._arms_alignment(True))
        pair: list[Any] = [tag, None]
        container[key] = pair
        arm = self._arm(tag)
        if arm is not None:
            arm.read_into(reader, pair, 1)

    def write(self, writer: Writer, value: tuple[int, Any]) -> None:
        tag, content = value
        if writer.ndr64:
            writer.align(self.alignment(True))
        self.tag.write(writer, tag)
        if writer.ndr64:
            writer.align(self._arms_alignment(True))
        arm = self.arms.get(tag, self.default)
        if arm is not None:
            arm.write(writer, content)

    def null(self) -> tuple[int, Any]:
        return 0, None


class Structure(Type):
    """A dataclass, field by field."""

    def __init__(self, made: type[Any]) -> None:
        """Take the class, whose annotations say the fields' types."""
        self.made = made
        hints = get_type_hints(made, include_extras=True)
        self.fields = [(name, type_of(hint)) for name, hint in hints.items()]
        self.smallest = sum(each.smallest for _, each in self.fields)
        self._alignments = tuple(
            max([1, *(each.alignment(ndr64) for _, each in self.fields)]) for ndr64 in (False, True)
        )

    def alignment(self, ndr64: bool) -> int:
        return self._alignments[ndr64]

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        made = object.__new__(self.made)
        container[key] = made
        fields = made.__dict__
        alignment = self._alignments[reader.ndr64]
        reader.align(alignment)
        for name, each in self.fields:
            each.read_into(reader, fields, name)
        if reader.ndr64:
            reader.align(alignment)

    def write(self, writer: Writer, value: Any) -> None:
        alignment = self._alignments[writer.ndr64]
        writer.align(alignment)
        fields = value.__dict__
        for name, each in self.fields:
            each.write(writer, fields[name])
        if writer.ndr64:
            writer.align(alignment)

    def null(self) -> Any:
        made = object.__new__(self.made)
        made.__dict__.update({name: each.null() for name, each in self.fields})
        return made


_structures: dict[type[Any], Structure] = {}


@dataclass_transform()
def structure(cls: type[T]) -> type[T]:
    """Declare a structure: a dataclass whose fields are annotated with NDR types."""
    made = dataclass(cls)
    _structures[made] = Structure(made)
    return made


def of(cls: type[Any]) -> Structure:
    """Return the type of a declared structure."""
    return _structures[cls]


def type_of(hint: Any) -> Type:
    """Return the NDR type that an annotation names; TypeError when it names none."""
    for each in getattr(hint, "__metadata__", ()):
        if isinstance(each, Type):
            return each
    if hint in _structures:
        return _structures[hint]
    arguments = [each for each in get_args(hint) if each is not type(None)]
    if len(arguments) == 1:  # `Alias | None`, where the alias names a pointer
        return type_of(arguments[0])
    raise TypeError(f"{hint} names no NDR type")


def encode_wide(text: str) -> bytes:
    """Return UTF-16; what has none becomes a question mark."""
    return text.encode("utf-16-le", "replace")


def _authority(number: int) -> str:
    """Return the text of a SID's authority: hexadecimal from 2^32 on ([MS-DTYP] 2.4.2.1)."""
    return f"0x{number:012x}" if number >= 1 << 32 else str(number)


def _write_large(writer: Writer, value: str) -> None:
    """Write the characters of a string whose maximum has a NUL more."""
    data = encode_wide(value)
    for number in (len(data) // 2 + 1, 0, len(data) // 2):
        writer.count(number)
    writer.data += data


MAX_SUB_AUTHORITIES: Final = 15
"""[MS-DTYP] 2.4.2.2."""

_COUNTED = WideCharacters(terminated=False)
_VARYING_OCTETS = Octets(varying=True)

UINT8, UINT16, UINT32, UINT64 = Integer(1), Integer(2), Integer(4), Integer(8)
WIDE_STRING = WideCharacters()
UNICODE_STRING = CountedString()
SID = SidType()

U8 = Annotated[int, UINT8]
U16 = Annotated[int, UINT16]
U32 = Annotated[int, UINT32]
U64 = Annotated[int, UINT64]
SizeT = Annotated[int, Size()]
Enum = Annotated[int, Enumeration()]
Uuid = Annotated[UUID, Guid()]
WideString = Annotated[str, WIDE_STRING]
WideStringPointer = Annotated[str | None, Unique(WIDE_STRING)]
UnicodeString = Annotated[str | None, UNICODE_STRING]
LargeString = Annotated[str | None, CountedString(large=True)]
SidPointer = Annotated[str | None, Unique(SID)]
Sid = Annotated[str, SID]
U32Pointer = Annotated[int | None, Unique(UINT32)]
Handle = Annotated[bytes, ContextHandle()]
