"""Remote management, which is there on every pipe: what else is there (C706 appendix Q)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.endpoint import Interface
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U16,
    U32,
    UINT32,
    Array,
    Reader,
    Type,
    Unique,
    Uuid,
    Writer,
    structure,
)
from usmbd.mountd.rpc.pdu import Syntax
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), 1)
"""C706 appendix Q."""

NOT_AUTHORIZED: Final = 5
"""rpc_s_access_denied, as Windows answers who would stop it."""

UNKNOWN_SERVICE: Final = 1747
"""RPC_S_UNKNOWN_AUTHN_SERVICE ([MS-ERREF] 2.2): no name is registered for that one."""


def interface(view: View, syntaxes: tuple[Syntax, ...] = ()) -> Interface:
    """Return the interface for one opened pipe, on which there are these others."""
    return CALLS.bind(replace(view, syntaxes=syntaxes))


@structure
class Identifier:
    """rpc_if_id_t (C706 appendix N)."""

    uuid: Uuid
    major: U16
    minor: U16


class Vector(Type):
    """rpc_if_id_vector_t: a count, and pointers to so many identifiers (C706 appendix N)."""

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the pointers."""
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> Any:
        """Read nothing: servers alone send it."""
        raise NotImplementedError

    def write(self, writer: Writer, value: Sequence[Identifier]) -> None:
        """Write the identifiers."""
        writer.count(len(value))
        writer.number(len(value), 4)
        for each in value:
            writer.pointer(ndr.of(Identifier).write, each)


class NoText(Type):
    """An empty string of octets in an array whose size the client has said."""

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the counts."""
        return 8 if ndr64 else 4

    def read(self, reader: Reader) -> Any:
        """Read nothing: servers alone send it."""
        raise NotImplementedError

    def write(self, writer: Writer, value: int) -> None:
        """Write its NUL."""
        for number in (max(value, 1), 0, 1):
            writer.count(number)
        writer.data += b"\0"


@CALLS.call(0)
def interfaces(view: View) -> Annotated[list[Identifier] | None, Unique(Vector())]:
    """rpc__mgmt_inq_if_ids: what is there beside this (C706 appendix Q)."""
    own = (*view.syntaxes, CALLS.syntax)
    return [Identifier(each.uuid, each.major, each.minor) for each in own]


@CALLS.call(2, status=False)
def is_listening(view: View) -> tuple[U32, U32]:
    """rpc__mgmt_is_server_listening: the status, and that it is (C706 appendix Q)."""
    return 0, 1


@CALLS.call(1)
def statistics(view: View, most: U32) -> tuple[U32, Annotated[list[int], Array(UINT32)]]:
    """rpc__mgmt_inq_stats: calls in and out, PDUs in and out, of all (C706 appendix Q)."""
    if view.caller.anonymous:
        raise Status(NOT_AUTHORIZED)
    had = view.traffic
    counts = [each & 0xFFFFFFFF for each in (had.calls, 0, had.received, had.sent)][:most]
    return len(counts), counts


@CALLS.call(3)
def stop(view: View) -> None:
    """rpc__mgmt_stop_server_listening: not for clients (C706 appendix Q)."""
    raise Status(NOT_AUTHORIZED)


@CALLS.call(4)
def principal(view: View, service: U32, size: U32) -> Annotated[int, NoText()]:
    """rpc__mgmt_inq_princ_name: what a login on a bind needs no name for (C706 appendix Q)."""
    raise Status(UNKNOWN_SERVICE, size)
