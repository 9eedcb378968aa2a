"""The Workstation Service remote protocol: the server as a computer ([MS-WKST])."""

from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.ipc.messages import ListKind
from usmbd.mountd.ipc.rows import ConnectionRow, SessionRow
from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Calls, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_MORE_DATA,
    ERROR_NOT_CONNECTED,
)
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Counted,
    Enum,
    Nothing,
    U32Pointer,
    Union,
    Unique,
    WideString,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.platform import PLATFORM_ID_NT, VERSION_MAJOR, VERSION_MINOR
from usmbd.mountd.rpc.running import list_running, of_kind, page
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("6bffd098-a112-3610-9833-46c3f87e345a"), 1)
"""[MS-WKST] 1.9."""

interface = CALLS.bind


@structure
class Info100:
    """WKSTA_INFO_100 ([MS-WKST] 2.2.5.1)."""

    platform_id: U32
    computer_name: WideStringPointer
    lan_group: WideStringPointer
    version_major: U32
    version_minor: U32


@structure
class Info101:
    """WKSTA_INFO_101 ([MS-WKST] 2.2.5.2)."""

    platform_id: U32
    computer_name: WideStringPointer
    lan_group: WideStringPointer
    version_major: U32
    version_minor: U32
    lan_root: WideStringPointer


@structure
class Info102:
    """WKSTA_INFO_102 ([MS-WKST] 2.2.5.3)."""

    platform_id: U32
    computer_name: WideStringPointer
    lan_group: WideStringPointer
    version_major: U32
    version_minor: U32
    lan_root: WideStringPointer
    logged_on_users: U32


OTHER_LEVELS = (502, *range(1010, 1014), 1018, 1023, 1027, 1028, *range(1032, 1063))
"""Levels that [MS-WKST] 2.2.4.1 has and this server has not: of the SMB client that it is not."""

INFO = Union(
    ndr.UINT32,
    {
        **dict.fromkeys(OTHER_LEVELS, Unique(Nothing())),
        100: Unique(ndr.of(Info100)),
        101: Unique(ndr.of(Info101)),
        102: Unique(ndr.of(Info102)),
    },
    Nothing(),
)
Info = tuple[int, Info100 | Info101 | Info102 | None]

TRANSPORT: Final = "\\Device\\NetbiosSmb"
"""What Windows calls SMB over TCP without NetBIOS."""

WORKGROUP_NAME: Final = 2
"""NetSetupWorkgroupName ([MS-WKST] 2.2.3.1): the computer is in no domain."""

ALL_NAMES: Final = 2
"""NetAllComputerNames: the primary one and others ([MS-WKST] 2.2.3.3)."""


@structure
class User0:
    """WKSTA_USER_INFO_0 ([MS-WKST] 2.2.5.9)."""

    name: WideStringPointer


@structure
class User1:
    """WKSTA_USER_INFO_1 ([MS-WKST] 2.2.5.10)."""

    name: WideStringPointer
    domain: WideStringPointer
    other_domains: WideStringPointer
    server: WideStringPointer


@structure
class Users:
    """WKSTA_USER_ENUM_STRUCT ([MS-WKST] 2.2.5.14)."""

    level: U32
    rows: Annotated[
        tuple[int, list[Any] | None],
        Union(
            ndr.UINT32,
            {0: Unique(Counted(ndr.of(User0))), 1: Unique(Counted(ndr.of(User1)))},
            Nothing(),
        ),
    ]


@structure
class Transport:
    """WKSTA_TRANSPORT_INFO_0 ([MS-WKST] 2.2.5.11)."""

    quality: U32
    circuits: U32
    name: WideStringPointer
    address: WideStringPointer
    wide_area: U32


@structure
class Transports:
    """WKSTA_TRANSPORT_ENUM_STRUCT ([MS-WKST] 2.2.5.16)."""

    level: U32
    rows: Annotated[
        tuple[int, list[Any] | None],
        Union(ndr.UINT32, {0: Unique(Counted(ndr.of(Transport)))}, Nothing()),
    ]


@structure
class ComputerNames:
    """NET_COMPUTER_NAME_ARRAY ([MS-WKST] 2.2.5.20)."""

    names: Annotated[list[str] | None, Counted(ndr.UNICODE_STRING)]


@CALLS.call(0)
def get_info(view: View, server: WideStringPointer, level: U32) -> Annotated[Info, INFO]:
    """NetrWkstaGetInfo in levels 100, 101 and 102 ([MS-WKST] 3.2.4.1)."""
    config = view.snapshot.config
    common = (
        *(PLATFORM_ID_NT, config.netbios_name, config.workgroup),
        *(VERSION_MAJOR, VERSION_MINOR),
    )
    if level == 100:
        return level, Info100(*common)
    if level == 101:
        return level, Info101(*common, lan_root="")
    if level == 102:
        return level, Info102(*common, lan_root="", logged_on_users=0)
    raise Status(ERROR_INVALID_LEVEL, (level, None))


@CALLS.call(2)
def enumerate_users(
    view: View, server: WideStringPointer, wanted: Users, limit: U32, resume: U32Pointer
) -> Asking[tuple[Users, U32, U32Pointer]]:
    """NetrWkstaUserEnum: who is logged on, which are the users of sessions ([MS-WKST] 3.2.4.3).

    As Samba has it; nobody sits at a server.
    """
    level = wanted.level
    nothing = Users(level, (level, None)), 0, resume
    if level not in (0, 1) or wanted.rows[0] != level:
        raise Status(ERROR_INVALID_LEVEL, *nothing)
    rows = of_kind((yield from list_running(view, ListKind.SESSIONS, denied=nothing)), SessionRow)
    host = view.snapshot.config.netbios_name
    names = sorted({row.user for row in rows if row.user})
    made: list[Any] = [User0(name) if level == 0 else User1(name, host, "", host) for name in names]
    chosen, total, following = page(made, limit, resume)
    answer = Users(level, (level, list(chosen))), total, None if resume is None else following
    if following:
        raise Status(ERROR_MORE_DATA, *answer)
    return answer


@CALLS.call(5)
def enumerate_transports(
    view: View, server: WideStringPointer, wanted: Transports, limit: U32, resume: U32Pointer
) -> Asking[tuple[Transports, U32, U32Pointer]]:
    """NetrWkstaTransportEnum: TCP, and how many are connected ([MS-WKST] 3.2.4.4)."""
    level = wanted.level
    nothing = Transports(level, (level, None)), 0, resume
    if level != 0 or wanted.rows[0] != level:
        raise Status(ERROR_INVALID_LEVEL, *nothing)
    rows = yield from list_running(view, ListKind.CONNECTIONS, denied=nothing)
    row = Transport(0xFFFF, len(of_kind(rows, ConnectionRow)), TRANSPORT, "000000000000", 1)
    return Transports(level, (level, [row])), 1, None if resume is None else 0


@CALLS.call(9)
def get_use(
    view: View, server: WideStringPointer, name: WideString, level: U32
) -> Annotated[tuple[int, None], Union(ndr.UINT32, {}, Unique(Nothing()))]:
    """NetrUseGetInfo: this server uses no other's shares ([MS-WKST] 3.2.4.8)."""
    if level > 3:
        raise Status(ERROR_INVALID_LEVEL, (level, None))
    raise Status(ERROR_NOT_CONNECTED, (level, None))


@CALLS.call(10)
def delete_use(view: View, server: WideStringPointer, name: WideString, force: U32) -> None:
    """NetrUseDel: there is none ([MS-WKST] 3.2.4.9)."""
    raise Status(ERROR_INVALID_PARAMETER if force > 2 else ERROR_NOT_CONNECTED)


@CALLS.call(20)
def get_join_information(
    view: View, server: WideStringPointer, name: WideStringPointer
) -> tuple[WideStringPointer, Enum]:
    """NetrGetJoinInformation ([MS-WKST] 3.2.4.15)."""
    return view.snapshot.config.workgroup, WORKGROUP_NAME


@CALLS.call(30)
def enumerate_names(
    view: View, server: WideStringPointer, kind: Enum, reserved: U32
) -> Asking[Annotated[ComputerNames | None, Unique(ndr.of(ComputerNames))]]:
    """NetrEnumerateComputerNames ([MS-WKST] 3.2.4.23)."""
    if kind > ALL_NAMES or reserved:
        raise Status(ERROR_INVALID_PARAMETER)
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED)
    name = view.snapshot.config.netbios_name
    return ComputerNames([name] if kind != 1 else [])
