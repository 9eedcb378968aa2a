"""The Server Service remote protocol: shares and the server itself ([MS-SRVS])."""

import time
from collections.abc import Container, Sequence
from typing import Annotated, Any
from uuid import UUID

from usmbd.mountd.ipc.settings import ShareConfig, ShareType
from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Calls, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_MORE_DATA,
    NERR_NET_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.interfaces import shares
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Nothing,
    U32Pointer,
    Union,
    Unique,
    WideString,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.platform import PLATFORM_ID_NT, VERSION_MAJOR, VERSION_MINOR
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3)
"""[MS-SRVS] 1.9."""

interface = CALLS.bind

SV_TYPE_WORKSTATION = 0x00000001
SV_TYPE_SERVER = 0x00000002
SV_TYPE_SERVER_UNIX = 0x00000800
SV_TYPE_NT = 0x00001000
SV_TYPE_SERVER_NT = 0x00008000
SERVER_TYPE = (
    SV_TYPE_WORKSTATION | SV_TYPE_SERVER | SV_TYPE_SERVER_UNIX | SV_TYPE_NT | SV_TYPE_SERVER_NT
)
"""What the server says it is ([MS-SRVS] 2.2.2.7)."""

SV_USERS_UNLIMITED = 0xFFFFFFFF
SV_DISCONNECT_MINUTES = 15
SV_ANNOUNCE_SECONDS = 240
SV_ANNOUNCE_DELTA_MILLISECONDS = 3000
"""The values of level 102 that describe nothing here: Windows' defaults ([MS-SRVS] 2.2.4.42)."""

CLOCK_INTERVAL = 310
"""tod_tinterval, in tenths of a millisecond: what Windows answers ([MS-SRVS] 2.2.4.105)."""

STICKY_LEVELS = frozenset({0, 1, 2, 502})
"""The levels of NetrShareEnumSticky that are known here: 501 is none ([MS-SRVS] 3.1.4.9)."""


@structure
class ShareList:
    """SHARE_ENUM_STRUCT ([MS-SRVS] 2.2.4.38)."""

    level: U32
    shares: Annotated[tuple[int, list[Any] | None], shares.LIST]


@structure
class Server100:
    """SERVER_INFO_100 ([MS-SRVS] 2.2.4.40)."""

    platform_id: U32
    name: WideStringPointer


@structure
class Server101:
    """SERVER_INFO_101 ([MS-SRVS] 2.2.4.41)."""

    platform_id: U32
    name: WideStringPointer
    version_major: U32
    version_minor: U32
    type: U32
    comment: WideStringPointer


@structure
class Server102:
    """SERVER_INFO_102 ([MS-SRVS] 2.2.4.42)."""

    platform_id: U32
    name: WideStringPointer
    version_major: U32
    version_minor: U32
    type: U32
    comment: WideStringPointer
    users: U32
    disconnect: U32
    hidden: U32
    announce: U32
    announce_delta: U32
    licenses: U32
    user_path: WideStringPointer


OTHER_LEVELS = (*(502, 503, 599, 1005, 1010, 1016, 1017, 1018, 1107, *range(1501, 1557)),)
"""Levels that [MS-SRVS] 2.2.3.7 has and this server has not: of how Windows divides its memory."""

SAMBA_LEVELS = (402, 403)
"""Those for which Samba's client has a place in the answer."""

SERVER_INFO = Union(
    ndr.UINT32,
    {
        **dict.fromkeys((*OTHER_LEVELS, *SAMBA_LEVELS), Unique(Nothing())),
        100: Unique(ndr.of(Server100)),
        101: Unique(ndr.of(Server101)),
        102: Unique(ndr.of(Server102)),
    },
    Nothing(),
)


@structure
class TimeOfDay:
    """TIME_OF_DAY_INFO ([MS-SRVS] 2.2.4.105)."""

    elapsed: U32
    milliseconds: U32
    hours: U32
    minutes: U32
    seconds: U32
    hundredths: U32
    timezone: U32
    interval: U32
    day: U32
    month: U32
    year: U32
    weekday: U32


ListOfShares = tuple[ShareList, U32, U32Pointer]
"""The list, how many there are, where to go on."""


@CALLS.call(15)
def share_enum(
    view: View, server: WideStringPointer, wanted: ShareList, limit: U32, resume: U32Pointer
) -> Asking[ListOfShares]:
    """NetrShareEnum: all that are browseable, and IPC$ ([MS-SRVS] 3.1.4.8)."""
    # IPC$ is always listed, as every server does: clients know that it is none to browse.
    listed = yield from shares.seen(
        view,
        [
            share
            for share in view.snapshot.all_shares()
            if share.browseable or share.type is ShareType.PIPE
        ],
    )
    return (yield from _list(view, listed, shares.LIST_LEVELS, wanted, limit, resume))


@CALLS.call(36)
def share_enum_sticky(
    view: View, server: WideStringPointer, wanted: ShareList, limit: U32, resume: U32Pointer
) -> Asking[ListOfShares]:
    """NetrShareEnumSticky: the configured ones ([MS-SRVS] 3.1.4.9)."""
    listed = yield from shares.seen(
        view, [share for share in view.snapshot.shares if share.browseable and share.path]
    )
    return (yield from _list(view, listed, STICKY_LEVELS, wanted, limit, resume))


def _list(
    view: View,
    listed: Sequence[ShareConfig],
    levels: Container[int],
    wanted: ShareList,
    limit: int,
    resume: int | None,
) -> Asking[tuple[ShareList, int, int | None]]:
    """Answer an enumeration of `listed`.

    The limit cuts the list (ERROR_MORE_DATA); `resume` is the index of the first share that was
    not returned.
    """
    level = wanted.level
    nothing = ShareList(level, (level, None)), 0, resume
    if level not in levels or wanted.shares[0] != level:
        raise Status(ERROR_INVALID_LEVEL, *nothing)
    if not view.may_enumerate:
        raise Status(ERROR_ACCESS_DENIED, *nothing)
    if level in shares.PATH_LEVELS:
        yield from is_administrator(view)
    start = min(resume or 0, len(listed))
    chosen = shares.fitting(view, listed[start:], level, limit)
    end = start + len(chosen)
    more = end < len(listed)
    describe = shares.LEVELS[level][1]
    uses = yield from shares.ask_uses(level, chosen)
    found = [describe(share, view, used) for share, used in zip(chosen, uses, strict=True)]
    answer = (
        ShareList(level, (level, found)),
        len(listed) - start,
        None if resume is None else end if more else 0,
    )
    if more:
        raise Status(ERROR_MORE_DATA, *answer)
    return answer


@CALLS.call(16)
def share_get_info(
    view: View, server: WideStringPointer, name: WideString, level: U32
) -> Asking[Annotated[tuple[int, Any], shares.INFO]]:
    """NetrShareGetInfo: one share, browseable or not ([MS-SRVS] 3.1.4.10)."""
    if level not in shares.LEVELS:
        raise Status(ERROR_INVALID_LEVEL, (level, None))
    if not view.may_enumerate:
        raise Status(ERROR_ACCESS_DENIED, (level, None))
    share = view.snapshot.share(name)
    if share is None:
        raise Status(NERR_NET_NAME_NOT_FOUND, (level, None))
    if level in shares.PATH_LEVELS:
        yield from is_administrator(view)
    (used,) = yield from shares.ask_uses(level, [share])
    return level, shares.LEVELS[level][1](share, view, used)


@CALLS.call(21)
def server_get_info(
    view: View, server: WideStringPointer, level: U32
) -> Annotated[tuple[int, Any], SERVER_INFO]:
    """NetrServerGetInfo in levels 100, 101 and 102 ([MS-SRVS] 3.1.4.17)."""
    config = view.snapshot.config
    if level == 100:
        return level, Server100(PLATFORM_ID_NT, config.netbios_name)
    if level not in (101, 102):
        raise Status(ERROR_INVALID_LEVEL, (level, None))
    common = (
        *(PLATFORM_ID_NT, config.netbios_name, VERSION_MAJOR, VERSION_MINOR),
        *(SERVER_TYPE, config.server_string),
    )
    if level == 101:
        return level, Server101(*common)
    return level, Server102(
        *common,
        users=SV_USERS_UNLIMITED,
        disconnect=SV_DISCONNECT_MINUTES,
        hidden=0,
        announce=SV_ANNOUNCE_SECONDS,
        announce_delta=SV_ANNOUNCE_DELTA_MILLISECONDS,
        licenses=0,
        user_path="C:\\",
    )


@CALLS.call(28)
def remote_tod(
    view: View, server: WideStringPointer
) -> Annotated[TimeOfDay | None, Unique(ndr.of(TimeOfDay))]:
    """NetrRemoteTOD: the time of day in UTC ([MS-SRVS] 3.1.4.21)."""
    now = view.clock()
    utc = time.gmtime(now)
    return TimeOfDay(
        elapsed=int(now) & 0xFFFFFFFF,
        milliseconds=int(time.monotonic() * 1000) & 0xFFFFFFFF,
        hours=utc.tm_hour,
        minutes=utc.tm_min,
        seconds=utc.tm_sec,
        hundredths=int(now * 100) % 100,
        # Minutes from local time to UTC, positive to the west.
        timezone=-(time.localtime(now).tm_gmtoff // 60) & 0xFFFFFFFF,
        interval=CLOCK_INTERVAL,
        day=utc.tm_mday,
        month=utc.tm_mon,
        year=utc.tm_year,
        weekday=(utc.tm_wday + 1) % 7,
    )
