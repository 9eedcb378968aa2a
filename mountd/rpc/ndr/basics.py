"""What all types are made of: numbers, octets, pointers and arrays (C706 14.2, 14.3).

Each reads itself, writes itself, and knows its alignment: what the methods do is said in `Type`.
"""
# ruff: noqa: D102

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from usmbd.mountd.rpc.ndr.streams import NdrError, Reader, Writer


class Type:
    """What all types have in common."""

    smallest = 1
    """The least bytes that a value takes: what bounds the counts of arrays."""

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment in bytes."""
        raise NotImplementedError

    def read(self, reader: Reader) -> Any:
        """Read a value that holds no pointer."""
        raise NotImplementedError

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        """Put the value in its place: at once, or what a pointer leads to when it comes."""
        container[key] = self.read(reader)

    def write(self, writer: Writer, value: Any) -> None:
        """Write a value."""
        raise NotImplementedError

    def null(self) -> Any:
        """Return the value that stands in the answer of a call that failed."""
        return None


class Integer(Type):
    """An unsigned number of 1, 2, 4 or 8 bytes."""

    def __init__(self, size: int) -> None:
        """Take the size in bytes."""
        self.size = self.smallest = size

    def alignment(self, ndr64: bool) -> int:
        return self.size

    def read(self, reader: Reader) -> int:
        return reader.number(self.size)

    def write(self, writer: Writer, value: int) -> None:
        writer.number(value, self.size)

    def null(self) -> int:
        return 0


class Size(Type):
    """A number as wide as the transfer syntax counts: size_t, and lengths of structures."""

    smallest = 4

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> int:
        return reader.count()

    def write(self, writer: Writer, value: int) -> None:
        writer.count(value)

    def null(self) -> int:
        return 0


class Boxed(Type):
    """A value in a list of its own: behind a pointer to a pointer, to tell which one is null."""

    smallest = 4

    def __init__(self, inner: Type) -> None:
        """Take the type of what is in it."""
        self.inner = inner

    def alignment(self, ndr64: bool) -> int:
        return self.inner.alignment(ndr64)

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        box: list[Any] = [None]
        container[key] = box
        self.inner.read_into(reader, box, 0)

    def write(self, writer: Writer, value: list[Any]) -> None:
        self.inner.write(writer, value[0])


class Enumeration(Type):
    """An enum: 16 bits, in NDR64 32 (C706 14.2.6, [MS-RPCE] 2.2.5.1)."""

    smallest = 2

    def alignment(self, ndr64: bool) -> int:
        return 4 if ndr64 else 2

    def read(self, reader: Reader) -> int:
        return reader.number(4 if reader.ndr64 else 2)

    def write(self, writer: Writer, value: int) -> None:
        writer.number(value, 4 if writer.ndr64 else 2)

    def null(self) -> int:
        return 0


class Bytes(Type):
    """A fixed number of octets, with the alignment of what they stand for."""

    def __init__(self, size: int, alignment: int = 1) -> None:
        """Take the size and the alignment in bytes."""
        self.size = self.smallest = size
        self._alignment = alignment

    def alignment(self, ndr64: bool) -> int:
        return self._alignment

    def read(self, reader: Reader) -> bytes:
        reader.align(self._alignment)
        return reader.take(self.size)

    def write(self, writer: Writer, value: bytes) -> None:
        writer.align(self._alignment)
        writer.data += value

    def null(self) -> bytes:
        return bytes(self.size)


class Guid(Type):
    """A UUID ([MS-DTYP] 2.3.4)."""

    smallest = 16

    def alignment(self, ndr64: bool) -> int:
        return 4

    def read(self, reader: Reader) -> UUID:
        reader.align(4)
        data = reader.take(16)
        return UUID(bytes_le=data) if reader.endian == "<" else UUID(bytes=data)

    def write(self, writer: Writer, value: UUID) -> None:
        writer.align(4)
        writer.data += value.bytes_le

    def null(self) -> UUID:
        return UUID(int=0)


class ContextHandle(Type):
    """A context handle, as its 20 bytes in little endian (ndr_context_handle, C706 appendix N).

    To its client it is a number and a UUID, which one with another order of bytes turns round.
    """

    smallest = 20

    def alignment(self, ndr64: bool) -> int:
        return 4

    def read(self, reader: Reader) -> bytes:
        reader.align(4)
        data = reader.take(20)
        if reader.endian == "<":
            return data
        return data[3::-1] + UUID(bytes=data[4:]).bytes_le

    def write(self, writer: Writer, value: bytes) -> None:
        writer.align(4)
        writer.data += value

    def null(self) -> bytes:
        return bytes(20)


class Unique(Type):
    """A pointer that may be null, to something that is not shared (C706 14.3.10)."""

    smallest = 4

    def __init__(self, target: Type) -> None:
        """Take what it leads to."""
        self.target = target

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        container[key] = None
        if reader.count():
            reader.later(lambda: self.target.read_into(reader, container, key))

    def write(self, writer: Writer, value: Any) -> None:
        writer.pointer(self.target.write, value)


class Reference(Unique):
    """A pointer in a structure that is never null; a null one is a bad stub (C706 14.3.10.1)."""

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        if not reader.count():
            raise NdrError("a reference is null")
        reader.later(lambda: self.target.read_into(reader, container, key))

    def null(self) -> Any:
        return self.target.null()


class Array(Type):
    """A conformant array: a list with its count before it (C706 14.3.3.2)."""

    smallest = 4

    def __init__(self, element: Type) -> None:
        """Take the type of an element."""
        self.element = element

    def alignment(self, ndr64: bool) -> int:
        return max(8 if ndr64 else 4, self.element.alignment(ndr64))

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        count = reader.elements(self.element.smallest)
        values: list[Any] = [None] * count
        container[key] = values
        for index in range(count):
            self.element.read_into(reader, values, index)

    def write(self, writer: Writer, value: Sequence[Any]) -> None:
        writer.count(len(value))
        for each in value:
            self.element.write(writer, each)

    def null(self) -> list[Any]:
        return []


class VaryingArray(Array):
    """A conformant and varying array: of its size only a part is there (C706 14.3.3.4)."""

    def read_into(self, reader: Reader, container: Any, key: Any) -> None:
        maximum = reader.count()
        offset, count = reader.count(), reader.elements(self.element.smallest)
        if offset or count > maximum:
            raise NdrError("a varying array that is not within its size")
        values: list[Any] = [None] * count
        container[key] = values
        for index in range(count):
            self.element.read_into(reader, values, index)

    def write(self, writer: Writer, value: Sequence[Any]) -> None:
        for number in (len(value), 0):
            writer.count(number)
        super().write(writer, value)


class Octets(Type):
    """A conformant array of octets, as bytes; `varying`: a part of it."""

    smallest = 4

    def __init__(self, *, varying: bool = False, maximum: int | None = None) -> None:
        """Take whether the count of what is there follows that of the whole, and what that is."""
        self.varying = varying
        self.maximum = maximum

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> bytes:
        count = maximum = reader.count()
        if self.varying:
            offset, count = reader.count(), reader.count()
            if offset or count > maximum:
                raise NdrError("a varying array that is not within its size")
        return reader.take(count)

    def write(self, writer: Writer, value: bytes) -> None:
        writer.count(len(value) if self.maximum is None else self.maximum)
        if self.varying:
            writer.count(0)
            writer.count(len(value))
        writer.data += value

    def null(self) -> bytes:
        return b""


class Nothing(Type):
    """What takes no bytes: the arm of a union for all other tags ([default];)."""

    smallest = 0

    def alignment(self, ndr64: bool) -> int:
        return 1

    def read(self, reader: Reader) -> None:
        return None

    def write(self, writer: Writer, value: object) -> None:
        return None
