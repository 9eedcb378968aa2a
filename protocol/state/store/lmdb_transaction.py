"""What the tables of the store use of LMDB: not all of its versions come with types."""

from collections.abc import Iterator
from typing import Protocol, Self, overload


class Cursor(Protocol):
    """A place among the records, which are in the order of their keys."""

    def set_range(self, key: bytes, /) -> bool:
        """Go to the first record whose key is not below `key`; False when there is none."""

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records from here on."""


class Transaction(Protocol):
    """What is read at one moment or, by the one writer, written at one moment."""

    @overload
    def get(self, key: bytes, /) -> bytes | None: ...
    @overload
    def get(self, key: bytes, default: bytes, /) -> bytes: ...
    def get(self, key: bytes, default: bytes | None = None, /) -> bytes | None:
        """Return the value of a record."""

    def put(self, key: bytes, value: bytes, /, *, overwrite: bool = True) -> bool:
        """Add or replace a record; False when it is there and stays. lmdb.MapFullError."""

    def delete(self, key: bytes, /) -> bool:
        """Remove a record; False when there is none."""

    def cursor(self) -> Cursor:
        """Return a place before the first record."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *error: object) -> None:
        """Commit, or abort after an exception."""


class Begin(Protocol):
    """How an environment begins a transaction."""

    def __call__(self, *, write: bool = False) -> Transaction:
        """Begin one; who writes waits for who writes now."""
