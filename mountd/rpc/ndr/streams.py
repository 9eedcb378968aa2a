"""The bytes of a stub under way: aligned, with what pointers lead to put off (C706 14.3.12)."""

import struct
from collections.abc import Callable
from typing import Any, Final, Literal

MAX_DEPTH: Final = 16
"""Pointers within what pointers lead to: no interface here has more than five."""

FIRST_REFERENT: Final = 0x20000
"""What stands for the first pointer that is not null, as from Windows; the next has 4 more."""

_NUMBERS: Final = {
    endian: {1 << power: struct.Struct(endian + code) for power, code in enumerate("BHIQ")}
    for endian in "<>"
}


class NdrError(ValueError):
    """A stub that is short, or says what its type cannot: nca_s_fault_ndr, BAD_STUB_DATA."""


class Reader:
    """Reads one stub."""

    __slots__ = ("_depth", "_later", "_numbers", "data", "endian", "ndr64", "position")

    def __init__(
        self, data: bytes, *, ndr64: bool = False, endian: Literal["<", ">"] = "<"
    ) -> None:
        """Begin at the first byte."""
        self.data = data
        self.position = 0
        self.ndr64 = ndr64
        self.endian = endian
        self._numbers = _NUMBERS[endian]
        self._later: list[Callable[[], None]] = []
        self._depth = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.position

    def number(self, size: int) -> int:
        """Read an unsigned number of `size` bytes, aligned to its size."""
        start = self.position + (-self.position % size)
        try:
            (value,) = self._numbers[size].unpack_from(self.data, start)
        except struct.error:
            raise NdrError("the stub is short") from None
        self.position = start + size
        return value  # type: ignore[no-any-return]

    def count(self) -> int:
        """Read what has the transfer syntax's own size: counts and referent identifiers."""
        return self.number(8 if self.ndr64 else 4)

    def elements(self, size: int = 1) -> int:
        """Read the count of elements of at least `size` bytes; NdrError when they are not there."""
        count = self.count()
        if count * size > self.left:
            raise NdrError(f"{count} elements in {self.left} bytes")
        return count

    def align(self, alignment: int) -> None:
        """Skip to a multiple of `alignment`."""
        self.position += -self.position % alignment

    def take(self, size: int) -> bytes:
        """Read so many bytes as they are."""
        start = self.position
        if not 0 <= size <= len(self.data) - start:
            raise NdrError("the stub is short")
        self.position = start + size
        return self.data[start : start + size]

    def later(self, read: Callable[[], None]) -> None:
        """Read what a pointer leads to, behind the construct that holds the pointer."""
        self._later.append(read)

    def finish(self) -> None:
        """Read all that was put off, each with what it puts off itself."""
        if not self._later:
            return
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NdrError("pointers in pointers without end")
        later, self._later = self._later, []
        for read in later:
            read()
            self.finish()
        self._depth -= 1


class Writer:
    """Writes one stub, little-endian."""

    __slots__ = ("_later", "_referent", "data", "ndr64")

    def __init__(self, *, ndr64: bool = False) -> None:
        """Begin with nothing."""
        self.data = bytearray()
        self.ndr64 = ndr64
        self._later: list[tuple[Callable[[Writer, Any], None], Any]] = []
        self._referent = FIRST_REFERENT

    def number(self, value: int, size: int) -> None:
        """Write an unsigned number of `size` bytes, aligned to its size."""
        self.data += bytes(-len(self.data) % size) + value.to_bytes(size, "little")

    def count(self, value: int) -> None:
        """Write what has the transfer syntax's own size."""
        self.number(value, 8 if self.ndr64 else 4)

    def align(self, alignment: int) -> None:
        """Fill up to a multiple of `alignment`."""
        self.data += bytes(-len(self.data) % alignment)

    def pointer(self, write: Callable[["Writer", Any], None], value: Any) -> None:
        """Write a pointer to what `write` writes, or a null pointer for None."""
        if value is None:
            self.count(0)
            return
        self.count(self._referent)
        self._referent += 4
        self._later.append((write, value))

    def finish(self) -> None:
        """Write all that was put off, each with what it puts off itself."""
        if not self._later:
            return
        later, self._later = self._later, []
        for write, value in later:
            write(self, value)
            self.finish()
