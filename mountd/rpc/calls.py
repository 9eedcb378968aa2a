"""How an interface declares its calls: an opnum, a function, and what it takes and returns.

    CALLS = Calls(UUID("12345778-1234-abcd-ef00-0123456789ab"), 0)

    @CALLS.call(0)
    def close(view: View, handle: Handle) -> Handle:
        ...

The parameters' annotations are what the request holds, in its order; the return annotation is
what the answer holds: nothing (None), one value, or several (a tuple). A status follows it: 0, or
what the function raised as `Status`. A function that has to ask mountd is a generator that yields
the message and is sent the answer: its annotation is then `Asking[...]`.
"""

import inspect
from collections.abc import Callable, Generator
from functools import partial
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from usmbd.mountd.rpc.endpoint import CallError, Encoding, Interface, Stub
from usmbd.mountd.rpc.ndr.streams import NdrError, Reader, Writer
from usmbd.mountd.rpc.ndr.types import Type, type_of
from usmbd.mountd.rpc.outside import Question, Told
from usmbd.mountd.rpc.pdu import Fault, Syntax
from usmbd.mountd.rpc.view import View

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

Asking = Generator[Question, Told, T]
"""What a call is that asks mountd, or its worker, before it answers."""


class Status(Exception):
    """What a call answers with another status than 0: with `values`, or with nothing but it."""

    def __init__(self, code: int, *values: Any) -> None:
        """Take an NTSTATUS or a Windows error code, and all that the answer holds beside it."""
        super().__init__(f"{code:#010x}")
        self.code = code
        self.values = values


class Call:
    """One call: a function, with the types of what it takes and returns."""

    def __init__(self, function: Callable[..., Any], *, status: bool) -> None:
        """Read the annotations; TypeError when they say no types."""
        self._function = function
        hints = get_type_hints(function, include_extras=True)
        returned = hints.pop("return")
        parameters = list(inspect.signature(function).parameters)[1:]
        self._takes = [type_of(hints[name]) for name in parameters]
        if get_origin(returned) is Generator:
            returned = get_args(returned)[2]
        self._single = get_origin(returned) is not tuple
        self._returns: list[Type] = (
            []
            if returned in (None, NoneType)
            else [type_of(returned)]
            if self._single
            else [type_of(each) for each in get_args(returned)]
        )
        self._status = status

    def run(self, view: View, stub: bytes, encoding: Encoding) -> Stub:
        """Read the request, run the function, write the answer."""
        reader = Reader(stub, ndr64=encoding.ndr64, endian=encoding.endian)
        values: list[Any] = [None] * len(self._takes)
        try:
            for index, each in enumerate(self._takes):
                each.read_into(reader, values, index)
                reader.finish()
        except NdrError as error:
            raise CallError(Fault.BAD_STUB_DATA) from error
        try:
            answer = self._function(view, *values)
        except Status as status:
            return self._failed(status, encoding)
        if isinstance(answer, Generator):
            return self._asking(answer, encoding)
        return self._answer(answer, encoding)

    def _asking(self, answer: Generator[Question, Told, Any], encoding: Encoding) -> Asking[bytes]:
        """Let the function ask, and write its answer."""
        try:
            values = yield from answer
        except Status as status:
            return self._failed(status, encoding)
        return self._answer(values, encoding)

    def _answer(self, answer: Any, encoding: Encoding) -> bytes:
        if not self._returns:
            return self._write((), 0, encoding)
        return self._write((answer,) if self._single else answer, 0, encoding)

    def _failed(self, status: Status, encoding: Encoding) -> bytes:
        values = status.values or tuple(each.null() for each in self._returns)
        return self._write(values, status.code, encoding)

    def _write(self, values: tuple[Any, ...], code: int, encoding: Encoding) -> bytes:
        writer = Writer(ndr64=encoding.ndr64)
        for each, value in zip(self._returns, values, strict=True):
            each.write(writer, value)
            writer.finish()
        if self._status:
            writer.number(code, 4)
        return bytes(writer.data)


class Calls:
    """The calls of one interface."""

    def __init__(self, uuid: UUID, major: int, minor: int = 0) -> None:
        """Take the interface's identifier and version."""
        self.syntax: Final = Syntax(uuid, major, minor)
        self.calls: dict[int, Call] = {}

    def call(self, *opnums: int, status: bool = True) -> Callable[[F], F]:
        """Declare a function as the call of these numbers; `status`: a status ends its answer."""

        def declare(function: F) -> F:
            for opnum in opnums:
                assert opnum not in self.calls, opnum
                self.calls[opnum] = Call(function, status=status)
            return function

        return declare

    def bind(self, view: View) -> Interface:
        """Return the interface for one opened pipe."""
        return Interface(
            self.syntax, {opnum: partial(call.run, view) for opnum, call in self.calls.items()}
        )
