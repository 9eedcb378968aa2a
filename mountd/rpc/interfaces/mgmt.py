"""Remote management, which is there on every pipe: what else is there (C706 appendix Q)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.endpoint import Interface
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U16, U32, Reader, Type, Unique, Uuid, Writer, structure
from usmbd.mountd.rpc.pdu import Syntax
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("afa8bd80-7d8a-11c9-bef4-08002b102989"), 1)
"""C706 appendix Q."""

NOT_AUTHORIZED: Final = 5
"""rpc_s_access_denied, as Windows answers who would stop it or asks for what it does not tell."""


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


@CALLS.call(0)
def interfaces(view: View) -> Annotated[list[Identifier] | None, Unique(Vector())]:
    """rpc__mgmt_inq_if_ids: what is there beside this (C706 appendix Q)."""
    own = (*view.syntaxes, CALLS.syntax)
    return [Identifier(each.uuid, each.major, each.minor) for each in own]


@CALLS.call(2, status=False)
def is_listening(view: View) -> tuple[U32, U32]:
    """rpc__mgmt_is_server_listening: the status, and that it is (C706 appendix Q)."""
    return 0, 1


@CALLS.call(1, 3, 4)
def refused(view: View) -> None:
    """rpc__mgmt_inq_stats, stop_server_listening, inq_princ_name: not for clients."""
    raise Status(NOT_AUTHORIZED)
