"""The Server Service's calls about what runs: sessions, connections, open files ([MS-SRVS])."""

import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from usmbd.mountd.ipc.messages import ListKind
from usmbd.mountd.ipc.rows import OpenRow, SessionRow
from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_MORE_DATA,
    NERR_CLIENT_NAME_NOT_FOUND,
    NERR_FILE_ID_NOT_FOUND,
    NERR_USER_NOT_FOUND,
)
from usmbd.mountd.rpc.interfaces import shares, tables
from usmbd.mountd.rpc.interfaces.srvsvc import CALLS
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Nothing,
    U32Pointer,
    Union,
    Unique,
    WideStringPointer,
)
from usmbd.mountd.rpc.running import close_running, list_running, of_kind, page
from usmbd.mountd.rpc.view import View

SESS_GUEST: Final = 1
"""[MS-SRVS] 2.2.2.3."""

PERM_FILE_READ, PERM_FILE_WRITE = 1, 2
"""[MS-SRVS] 2.2.2.3 and 2.2.4.7."""

READS, WRITES = 0x00000021, 0x00000006
"""FILE_READ_DATA and FILE_EXECUTE; FILE_WRITE_DATA and FILE_APPEND_DATA ([MS-SMB2] 2.2.13.1.1)."""

TRANSPORT: Final = "\\Device\\NetbiosSmb"

IPC: Final = "ipc$"

T = TypeVar("T", tables.ConnectionList, tables.FileList, tables.SessionList)
FILE_INFO = Union(
    ndr.UINT32,
    {2: Unique(ndr.of(tables.File2)), 3: Unique(ndr.of(tables.File3))},
    Nothing(),
)


def file_id(row: OpenRow) -> int:
    """Return the 31 bits that stand for an open, whose own number has 64.

    `net rpc file` prints a number with bit 31 as a negative one, which it takes for an option
    then. Those of one worker's opens differ as long as it makes no 2^28 while they are open.
    """
    return zlib.crc32(row.open_id.to_bytes(8, "little")) & 0x7FFFFFFF


def _level(wanted: T, levels: Union, resume: int | None) -> int:
    """Return the level of an enumeration; Status(ERROR_INVALID_LEVEL) when there is none such."""
    level = wanted.level
    if level not in levels.arms or wanted.rows[0] != level:
        raise Status(ERROR_INVALID_LEVEL, *_nothing(wanted, resume))
    return level


def _nothing(wanted: T, resume: int | None) -> tuple[T, int, int | None]:
    """Return what the answer of a call that failed holds."""
    return type(wanted)(wanted.level, (wanted.level, None)), 0, resume and 0


def _answer(
    wanted: T, rows: Sequence[Any], limit: int, resume: int | None
) -> tuple[T, int, int | None]:
    """Return a part of a list; Status(ERROR_MORE_DATA) with it where it is not the last."""
    level = wanted.level
    chosen, total, following = page(rows, limit, resume)
    more = bool(following)
    answer = (
        type(wanted)(level, (level, list(chosen))),
        total,
        None if resume is None else following,
    )
    if more:
        raise Status(ERROR_MORE_DATA, *answer)
    return answer


def _computer(name: str | None) -> str:
    r"""Return a client as it is compared, of `\\name` or `name`."""
    return (name or "").lstrip("\\").casefold()


# -- sessions ------------------------------------------------------------------------------------


def _flags(row: SessionRow) -> int:
    return SESS_GUEST if row.guest else 0


SESSION: dict[int, Callable[[SessionRow], Any]] = {
    0: lambda row: tables.Session0(row.client_address),
    1: lambda row: tables.Session1(
        row.client_address, row.user, row.opens, row.age, row.idle, _flags(row)
    ),
    2: lambda row: tables.Session2(
        row.client_address, row.user, row.opens, row.age, row.idle, _flags(row), ""
    ),
    10: lambda row: tables.Session10(row.client_address, row.user, row.age, row.idle),
    502: lambda row: tables.Session502(
        row.client_address, row.user, row.opens, row.age, row.idle, _flags(row), "", TRANSPORT
    ),
}


def _sessions(rows: Sequence[SessionRow], client: str | None, user: str | None) -> list[SessionRow]:
    """Return the sessions of a client, of a user, or of both."""
    wanted, name = _computer(client), (user or "").casefold()
    return [
        row
        for row in rows
        if (not wanted or row.client_address.casefold() == wanted)
        and (not name or row.user.casefold() == name)
    ]


@CALLS.call(12)
def session_enum(
    view: View,
    server: WideStringPointer,
    client: WideStringPointer,
    user: WideStringPointer,
    wanted: tables.SessionList,
    limit: U32,
    resume: U32Pointer,
) -> Asking[tuple[tables.SessionList, U32, U32Pointer]]:
    """NetrSessionEnum: who is logged in, for administrators ([MS-SRVS] 3.1.4.5)."""
    level = _level(wanted, tables.SESSIONS, resume)
    nothing = _nothing(wanted, resume)
    rows = of_kind((yield from list_running(view, ListKind.SESSIONS, denied=nothing)), SessionRow)
    found = _sessions(rows, client, user)
    if not found and (client or user):
        raise Status(NERR_CLIENT_NAME_NOT_FOUND if client else NERR_USER_NOT_FOUND, *nothing)
    return _answer(wanted, [SESSION[level](row) for row in found], limit, resume)


@CALLS.call(13)
def session_del(
    view: View, server: WideStringPointer, client: WideStringPointer, user: WideStringPointer
) -> Asking[None]:
    """NetrSessionDel: end the sessions of a client, of a user, or of both ([MS-SRVS] 3.1.4.6)."""
    rows = of_kind((yield from list_running(view, ListKind.SESSIONS)), SessionRow)
    if not _computer(client) and not user:
        raise Status(ERROR_INVALID_PARAMETER)
    found = _sessions(rows, client, user)
    if not found:
        raise Status(NERR_CLIENT_NAME_NOT_FOUND)
    yield from close_running(view, sessions=[row.session_id for row in found])


# -- connections ---------------------------------------------------------------------------------


@CALLS.call(8)
def connection_enum(
    view: View,
    server: WideStringPointer,
    qualifier: WideStringPointer,
    wanted: tables.ConnectionList,
    limit: U32,
    resume: U32Pointer,
) -> Asking[tuple[tables.ConnectionList, U32, U32Pointer]]:
    """NetrConnectionEnum: of a share, who uses it; of a computer, what it uses ([MS-SRVS] 3.1.4.1).

    A session that has connected a share twice has one connection.
    """
    level = _level(wanted, tables.CONNECTIONS, resume)
    nothing = _nothing(wanted, resume)
    kinds = ListKind.SESSIONS, ListKind.OPENS
    rows = yield from list_running(view, *kinds, denied=nothing)
    if not qualifier:
        raise Status(ERROR_INVALID_PARAMETER, *nothing)
    opens: dict[tuple[int, str], int] = {}
    for row in of_kind(rows, OpenRow):
        place = row.session_id, row.share
        opens[place] = opens.get(place, 0) + 1
    by_computer = qualifier.startswith("\\\\")
    folded = _computer(qualifier)
    found: list[Any] = []
    for session in of_kind(rows, SessionRow):
        if by_computer and session.client_address.casefold() != folded:
            continue
        for name in dict.fromkeys(session.shares):
            if not by_computer and name.casefold() != folded:
                continue
            share = view.snapshot.share(name)
            if level == 0:
                found.append(tables.Connection0(session.session_id))
                continue
            found.append(
                tables.Connection1(
                    id=session.session_id,
                    type=shares.share_type(share) if share is not None else shares.STYPE_DISKTREE,
                    opens=opens.get((session.session_id, name), 0),
                    users=1,
                    time=session.age,
                    user=session.user,
                    share=name if by_computer else session.client_address,
                )
            )
    return _answer(wanted, found, limit, resume)


# -- open files ----------------------------------------------------------------------------------


def _path(view: View, row: OpenRow) -> str:
    """Return where an open file is: on drive C:, as shares' paths, or a pipe."""
    if row.share.casefold() == IPC:
        return f"\\PIPE\\{row.path}"
    share = view.snapshot.share(row.share)
    base = shares.share_path(share, visible=True) if share is not None else f"\\{row.share}"
    inside = row.path.replace("/", "\\").strip("\\")
    return f"{base.rstrip(chr(92))}\\{inside}"


def _file(view: View, row: OpenRow, level: int) -> Any:
    """Return an open in level 2 or 3."""
    if level == 2:
        return tables.File2(file_id(row))
    permissions = (PERM_FILE_READ if row.access & READS else 0) | (
        PERM_FILE_WRITE if row.access & WRITES else 0
    )
    return tables.File3(file_id(row), permissions, row.locks, _path(view, row), row.user)


@CALLS.call(9)
def file_enum(
    view: View,
    server: WideStringPointer,
    path: WideStringPointer,
    user: WideStringPointer,
    wanted: tables.FileList,
    limit: U32,
    resume: U32Pointer,
) -> Asking[tuple[tables.FileList, U32, U32Pointer]]:
    """NetrFileEnum: what is open, beneath a path or of a user ([MS-SRVS] 3.1.4.2)."""
    level = _level(wanted, tables.FILES, resume)
    nothing = _nothing(wanted, resume)
    rows = of_kind((yield from list_running(view, ListKind.OPENS, denied=nothing)), OpenRow)
    prefix, name = (path or "").casefold(), (user or "").casefold()
    found = [
        _file(view, row, level)
        for row in rows
        if (not name or row.user.casefold() == name)
        and (not prefix or _path(view, row).casefold().startswith(prefix))
    ]
    return _answer(wanted, found, limit, resume)


def _find(rows: Sequence[OpenRow], number: int, *values: Any) -> OpenRow:
    """Return the open that a number stands for; Status when none does, or two do."""
    found = [row for row in rows if file_id(row) == number]
    if len(found) != 1:
        raise Status(NERR_FILE_ID_NOT_FOUND, *values)
    return found[0]


@CALLS.call(10)
def file_get_info(
    view: View, server: WideStringPointer, number: U32, level: U32
) -> Asking[Annotated[tuple[int, Any], FILE_INFO]]:
    """NetrFileGetInfo: one open file ([MS-SRVS] 3.1.4.3)."""
    if level not in FILE_INFO.arms:
        raise Status(ERROR_INVALID_LEVEL, (level, None))
    nothing = ((level, None),)
    rows = of_kind((yield from list_running(view, ListKind.OPENS, denied=nothing)), OpenRow)
    return level, _file(view, _find(rows, number, *nothing), level)


@CALLS.call(11)
def file_close(view: View, server: WideStringPointer, number: U32) -> Asking[None]:
    """NetrFileClose: its client finds it closed ([MS-SRVS] 3.1.4.4, [MS-SMB2] 3.3.4.17)."""
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED)
    row = _find(of_kind((yield from list_running(view, ListKind.OPENS)), OpenRow), number)
    yield from close_running(view, opens=[(row.session_id, row.open_id)])
