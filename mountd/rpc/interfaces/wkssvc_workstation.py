"""The Workstation Service's calls about what a workstation does and this server does not.

It uses nobody's shares, is in no domain, and has the one name that the configuration gives it.
"""

from typing import Annotated, Any, Final

from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_FILE_NOT_FOUND,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_NOT_SUPPORTED,
)
from usmbd.mountd.rpc.interfaces.wkssvc import CALLS, Transport
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Array,
    Counted,
    Nothing,
    U32Pointer,
    Union,
    Unique,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.view import View

RPC_E_REMOTE_DISABLED: Final = 0x8001011C
"""What Windows says to calls that it takes from programs of its own machine ([MS-ERREF] 2.1)."""

STATISTICS_SIZE: Final = 13 * 8 + 27 * 4 + 4
"""Bytes of STAT_WORKSTATION_0, filled up to a multiple of 8 ([MS-WKST] 2.2.5.11)."""

USE_LEVELS: Final = range(4)
"""[MS-WKST] 2.2.4.3."""


@structure
class Use:
    """USE_INFO_0 ([MS-WKST] 2.2.5.21), of which there is none."""

    local: WideStringPointer
    remote: WideStringPointer


@structure
class Uses:
    """USE_ENUM_STRUCT ([MS-WKST] 2.2.5.18)."""

    level: U32
    rows: Annotated[
        tuple[int, list[Any] | None],
        Union(ndr.UINT32, dict.fromkeys(USE_LEVELS, Unique(Counted(ndr.of(Use)))), Nothing()),
    ]


@CALLS.call(11)
def enumerate_uses(
    view: View, server: WideStringPointer, wanted: Uses, limit: U32, resume: U32Pointer
) -> tuple[Uses, U32, U32Pointer]:
    """NetrUseEnum: the server uses no other's shares ([MS-WKST] 3.2.4.10)."""
    level = wanted.level
    if level not in USE_LEVELS or wanted.rows[0] != level:
        raise Status(ERROR_INVALID_LEVEL, Uses(level, (level, None)), 0, resume)
    return Uses(level, (level, [])), 0, None if resume is None else 0


@CALLS.call(8)
def add_use(view: View, server: WideStringPointer, level: U32) -> Asking[U32Pointer]:
    """NetrUseAdd: nor does it begin to ([MS-WKST] 3.2.4.7)."""
    yield from _need_administrator(view)
    raise Status(ERROR_NOT_SUPPORTED if level in (1, 2, 3) else ERROR_INVALID_LEVEL)


@CALLS.call(6)
def add_transport(
    view: View, server: WideStringPointer, level: U32, row: Transport, wrong: U32Pointer
) -> Asking[U32Pointer]:
    """NetrWkstaTransportAdd: no device has another name than TCP's ([MS-WKST] 3.2.4.5)."""
    yield from _need_administrator(view)
    raise Status(ERROR_INVALID_PARAMETER if level == 0 else ERROR_INVALID_LEVEL, wrong)


@CALLS.call(7)
def delete_transport(view: View, server: WideStringPointer) -> Asking[None]:
    """NetrWkstaTransportDel: there is none to take away ([MS-WKST] 3.2.4.6)."""
    yield from _need_administrator(view)
    raise Status(ERROR_FILE_NOT_FOUND)


@CALLS.call(13)
def statistics(
    view: View, server: WideStringPointer, service: WideStringPointer, level: U32, options: U32
) -> Asking[Annotated[bytes | None, Unique(ndr.Bytes(STATISTICS_SIZE, 8))]]:
    """NetrWorkstationStatisticsGet: a client that is none has sent nothing ([MS-WKST] 3.2.4.11)."""
    if level:
        raise Status(ERROR_INVALID_LEVEL)
    if options:
        raise Status(ERROR_INVALID_PARAMETER)
    yield from _need_administrator(view)
    return bytes(STATISTICS_SIZE)


@CALLS.call(22, 23, 24, 27, 28, 29)
def domains_and_names(view: View) -> Asking[None]:
    """Refuse to join, leave or rename: the configuration says both ([MS-WKST] 3.2.4.13)."""
    yield from _need_administrator(view)
    raise Status(ERROR_NOT_SUPPORTED)


@CALLS.call(12, 14, 15, 16, 17, 18, 19)
def of_old(view: View) -> None:
    """Refuse what NT had and [MS-WKST] 3.2.4 leaves out, as Windows does."""
    raise Status(ERROR_NOT_SUPPORTED)


NAMES: Final = Unique(Array(Unique(ndr.WIDE_STRING)))


@CALLS.call(21)
def joinable_of_old(view: View) -> tuple[U32, Annotated[list[str] | None, NAMES]]:
    """Refuse NT's NetrGetJoinableOUs, as above."""
    raise Status(ERROR_NOT_SUPPORTED)


@CALLS.call(25)
def validate_name(view: View) -> None:
    """NetrValidateName2: from afar nobody asks a domain by this server ([MS-WKST] 3.2.4.18)."""
    raise Status(RPC_E_REMOTE_DISABLED)


@CALLS.call(26)
def joinable(view: View) -> tuple[U32, Annotated[list[str] | None, NAMES]]:
    """NetrGetJoinableOUs2: the same ([MS-WKST] 3.2.4.19)."""
    raise Status(RPC_E_REMOTE_DISABLED)


def _need_administrator(view: View) -> Asking[None]:
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED)
