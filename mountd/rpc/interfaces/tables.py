"""Connections, sessions and open files in the levels of the Server Service ([MS-SRVS] 2.2.4)."""

from typing import Annotated, Any

from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Counted,
    Nothing,
    Type,
    Union,
    Unique,
    WideStringPointer,
    structure,
)


@structure
class Connection0:
    """CONNECTION_INFO_0 ([MS-SRVS] 2.2.4.1)."""

    id: U32


@structure
class Connection1:
    """CONNECTION_INFO_1 ([MS-SRVS] 2.2.4.2)."""

    id: U32
    type: U32
    opens: U32
    users: U32
    time: U32
    user: WideStringPointer
    share: WideStringPointer


@structure
class File2:
    """FILE_INFO_2 ([MS-SRVS] 2.2.4.6)."""

    id: U32


@structure
class File3:
    """FILE_INFO_3 ([MS-SRVS] 2.2.4.7)."""

    id: U32
    permissions: U32
    locks: U32
    path: WideStringPointer
    user: WideStringPointer


@structure
class Session0:
    """SESSION_INFO_0 ([MS-SRVS] 2.2.4.11)."""

    client: WideStringPointer


@structure
class Session1:
    """SESSION_INFO_1 ([MS-SRVS] 2.2.4.12)."""

    client: WideStringPointer
    user: WideStringPointer
    opens: U32
    time: U32
    idle: U32
    flags: U32


@structure
class Session2:
    """SESSION_INFO_2 ([MS-SRVS] 2.2.4.13)."""

    client: WideStringPointer
    user: WideStringPointer
    opens: U32
    time: U32
    idle: U32
    flags: U32
    client_type: WideStringPointer


@structure
class Session10:
    """SESSION_INFO_10 ([MS-SRVS] 2.2.4.14)."""

    client: WideStringPointer
    user: WideStringPointer
    time: U32
    idle: U32


@structure
class Session502:
    """SESSION_INFO_502 ([MS-SRVS] 2.2.4.15)."""

    client: WideStringPointer
    user: WideStringPointer
    opens: U32
    time: U32
    idle: U32
    flags: U32
    client_type: WideStringPointer
    transport: WideStringPointer


def _lists(levels: dict[int, type[Any]]) -> Union:
    """Return the union of the containers of these levels."""
    arms: dict[int, Type | None] = {
        level: Unique(Counted(ndr.of(made))) for level, made in levels.items()
    }
    return Union(ndr.UINT32, arms, Nothing())


CONNECTIONS = _lists({0: Connection0, 1: Connection1})
FILES = _lists({2: File2, 3: File3})
SESSIONS = _lists({0: Session0, 1: Session1, 2: Session2, 10: Session10, 502: Session502})

Rows = tuple[int, list[Any] | None]


@structure
class ConnectionList:
    """CONNECT_ENUM_STRUCT ([MS-SRVS] 2.2.4.5)."""

    level: U32
    rows: Annotated[Rows, CONNECTIONS]


@structure
class FileList:
    """FILE_ENUM_STRUCT ([MS-SRVS] 2.2.4.10)."""

    level: U32
    rows: Annotated[Rows, FILES]


@structure
class SessionList:
    """SESSION_ENUM_STRUCT ([MS-SRVS] 2.2.4.21)."""

    level: U32
    rows: Annotated[Rows, SESSIONS]
