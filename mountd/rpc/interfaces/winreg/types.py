"""What the calls of winreg take and give ([MS-RRP] 2.2)."""
# ruff: noqa: D102

from dataclasses import dataclass
from typing import Annotated, Any, Final

from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_CHILD_MUST_BE_VOLATILE,
    ERROR_FILE_NOT_FOUND,
    ERROR_INVALID_PARAMETER,
    ERROR_NO_MORE_ITEMS,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import NdrError
from usmbd.mountd.rpc.ndr.types import U8, U32, Unique, structure
from usmbd.mountd.rpc.pdu import Fault

ERRORS: Final = {
    Result.DENIED: ERROR_ACCESS_DENIED,
    Result.NOT_FOUND: ERROR_FILE_NOT_FOUND,
    Result.INVALID: ERROR_INVALID_PARAMETER,
    Result.NOT_EMPTY: ERROR_ACCESS_DENIED,
    Result.VOLATILE: ERROR_CHILD_MUST_BE_VOLATILE,
    Result.END: ERROR_NO_MORE_ITEMS,
    Result.FIXED: ERROR_ACCESS_DENIED,
}

REG_OPTION_VOLATILE: Final = 1
REG_OPTION_CREATE_LINK: Final = 2
REG_CREATED_NEW_KEY, REG_OPENED_EXISTING_KEY = 1, 2
"""[MS-RRP] 3.1.5.7."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that a client has open."""

    path: tuple[str, ...]
    granted: int

    def below(self, name: str | None) -> tuple[str, ...]:
        """Return the path of what a client names from here."""
        return (*self.path, *(each for each in (name or "").split("\\") if each))


@dataclass(frozen=True, slots=True)
class Text:
    """RRP_UNICODE_STRING: characters, and the bytes that there is room for ([MS-RRP] 2.2.4)."""

    value: str | None
    size: int = 0

    @property
    def length(self) -> int:
        """Bytes with the NUL that its length counts."""
        return 0 if self.value is None else len(ndr.encode_wide(self.value)) + 2


class TextType(ndr.Type):
    """RRP_UNICODE_STRING ([MS-RRP] 2.2.4)."""

    smallest = 8

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read_into(self, reader: ndr.Reader, container: Any, key: Any) -> None:
        reader.align(self.alignment(reader.ndr64))
        length, maximum = reader.number(2), reader.number(2)
        if length > maximum or length % 2:
            raise NdrError("a string whose length lies")
        container[key] = Text(None, maximum)
        if reader.count():

            def read() -> None:
                found = _CHARACTERS.read(reader)
                container[key] = Text(found[: length // 2].partition("\0")[0], maximum)

            reader.later(read)
        elif length:
            raise NdrError("a string that is not there")

    def write(self, writer: ndr.Writer, value: Text) -> None:
        writer.align(self.alignment(writer.ndr64))
        writer.number(value.length, 2)
        writer.number(max(value.size, value.length), 2)
        writer.pointer(_write_characters, value if value.value is not None else None)

    def null(self) -> Text:
        return Text(None)


_CHARACTERS = ndr.WideCharacters(terminated=False)


def _write_characters(writer: ndr.Writer, value: Text) -> None:
    data = ndr.encode_wide(value.value or "") + b"\0\0"
    for number in (max(value.size, value.length) // 2, 0, len(data) // 2):
        writer.count(number)
    writer.data += data


class RoomType(ndr.Type):
    """Octets in a buffer that may have room for more: read as octets, written as (octets, room)."""

    smallest = 12

    def alignment(self, ndr64: bool) -> int:
        return 8 if ndr64 else 4

    def read(self, reader: ndr.Reader) -> bytes:
        return _OCTETS.read(reader)

    def write(self, writer: ndr.Writer, value: tuple[bytes, int]) -> None:
        data, room = value
        for number in (max(room, len(data)), 0, len(data)):
            writer.count(number)
        writer.data += data


_OCTETS = ndr.Octets(varying=True)
TEXT = TextType()
RegistryText = Annotated[Text, TEXT]
Room = Annotated[bytes | None, Unique(RoomType())]
RoomOut = Annotated[tuple[bytes, int] | None, Unique(RoomType())]


@structure
class Time:
    """FILETIME ([MS-DTYP] 2.3.3)."""

    low: U32
    high: U32


TimePointer = Annotated[Time | None, Unique(ndr.of(Time))]
TextPointer = Annotated[Text | None, Unique(TEXT)]


@structure
class Security:
    """RPC_SECURITY_DESCRIPTOR ([MS-RRP] 2.2.8)."""

    descriptor: Room
    room: U32
    length: U32


@structure
class SecurityOut:
    """RPC_SECURITY_DESCRIPTOR, as an answer has it."""

    descriptor: RoomOut
    room: U32
    length: U32


@structure
class SecurityAttributes:
    """RPC_SECURITY_ATTRIBUTES ([MS-RRP] 2.2.7)."""

    length: U32
    security: Annotated[Security, ndr.of(Security)]
    inherit: U8


@structure
class ValueEntry:
    """RVALENT ([MS-RRP] 2.2.9)."""

    name: TextPointer
    length: U32
    offset: U32
    type: U32


def file_time(number: int) -> Time:
    """Return a FILETIME in its halves."""
    return Time(number & 0xFFFFFFFF, number >> 32)


def ask(message: Any, kind: type[Any], *values: Any) -> Asking[Any]:
    """Ask mountd; return an answer of that kind, else Status, with `values`, or a fault."""
    answer = yield message
    if isinstance(answer, kind) and not isinstance(answer, Outcome):
        return answer
    if not isinstance(answer, Outcome) or answer.result is Result.FAILED:
        raise CallError(Fault.SERVER_TOO_BUSY)
    if answer.result is not Result.DONE:
        raise Status(ERRORS[answer.result], *values)
    return answer
