"""The Server Service remote protocol: shares and the server itself ([MS-SRVS])."""

import time
from collections.abc import Container, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from scapy.layers.msrpce.raw import ms_srvs as idl

from usmbd.mountd.ipc.settings import ShareConfig, ShareType
from usmbd.mountd.rpc import ndr
from usmbd.mountd.rpc.endpoint import Encoding, Interface
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_MORE_DATA,
    ERROR_SUCCESS,
    NERR_NET_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.interfaces import shares
from usmbd.mountd.rpc.pdu import Syntax
from usmbd.mountd.rpc.platform import PLATFORM_ID_NT, VERSION_MAJOR, VERSION_MINOR
from usmbd.mountd.rpc.view import View

SYNTAX = Syntax(UUID("4b324fc8-1670-01d3-1278-5a47bf6ee188"), 3, 0)
"""[MS-SRVS] 1.9."""

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

CONNECTION_CONTAINERS = {0: idl.CONNECT_INFO_0_CONTAINER, 1: idl.CONNECT_INFO_1_CONTAINER}
FILE_CONTAINERS = {2: idl.FILE_INFO_2_CONTAINER, 3: idl.FILE_INFO_3_CONTAINER}
SESSION_CONTAINERS = {
    0: idl.SESSION_INFO_0_CONTAINER,
    1: idl.SESSION_INFO_1_CONTAINER,
    2: idl.SESSION_INFO_2_CONTAINER,
    10: idl.SESSION_INFO_10_CONTAINER,
    502: idl.SESSION_INFO_502_CONTAINER,
}


def interface(view: View) -> Interface:
    """Return the interface for one opened pipe ([MS-SRVS] 3.1.4)."""
    sticky = [share for share in view.snapshot.shares if share.browseable and share.path]
    # IPC$ is always listed, as every server does: clients know that it is none to browse.
    listed = [
        share
        for share in view.snapshot.all_shares()
        if share.browseable or share.type is ShareType.PIPE
    ]
    return Interface(
        SYNTAX,
        {
            8: ndr.call(idl.NetrConnectionEnum_Request, partial(connection_enum, view)),
            9: ndr.call(idl.NetrFileEnum_Request, partial(file_enum, view)),
            12: ndr.call(idl.NetrSessionEnum_Request, partial(session_enum, view)),
            15: ndr.call(
                idl.NetrShareEnum_Request,
                partial(share_enum, view, idl.NetrShareEnum_Response, listed, shares.CONTAINERS),
            ),
            16: ndr.call(idl.NetrShareGetInfo_Request, partial(share_get_info, view)),
            21: ndr.call(idl.NetrServerGetInfo_Request, partial(server_get_info, view)),
            28: ndr.call(idl.NetrRemoteTOD_Request, partial(remote_tod, view)),
            36: ndr.call(
                idl.NetrShareEnumSticky_Request,
                partial(share_enum, view, idl.NetrShareEnumSticky_Response, sticky, STICKY_LEVELS),
            ),
        },
    )


def share_enum(
    view: View,
    answer: type[Any],
    listed: Sequence[ShareConfig],
    levels: Container[int],
    request: Any,
    encoding: Encoding,
) -> Any:
    """NetrShareEnum (opnum 15) and NetrShareEnumSticky (36, [MS-SRVS] 3.1.4.8, 3.1.4.9).

    `listed` are the shares that may be seen: those that are browseable, IPC$ among them; the
    sticky ones are the configured ones. `PreferedMaximumLength` cuts the list
    (ERROR_MORE_DATA), `ResumeHandle` is the index of the first share that was not returned.
    """
    level = request.InfoStruct.Level
    resume = request.valueof("ResumeHandle")
    if level not in levels or request.InfoStruct.ShareInfo.tag != level:
        return _share_list(answer, level, None, 0, resume, ERROR_INVALID_LEVEL)
    if not view.may_enumerate:
        return _share_list(answer, level, None, 0, resume, ERROR_ACCESS_DENIED)
    start = min(resume or 0, len(listed))
    chosen = shares.fitting(listed[start:], level, request.PreferedMaximumLength)
    end = start + len(chosen)
    more = end < len(listed)

    def build() -> bytes:
        describe = shares.LEVELS[level]
        container = shares.CONTAINERS[level](
            Buffer=[describe(share, view.may_see_paths) for share in chosen]
        )
        packet = _share_list(
            answer,
            level,
            container,
            len(listed) - start,
            None if resume is None else end if more else 0,
            ERROR_MORE_DATA if more else ERROR_SUCCESS,
        )
        return ndr.encode(packet, encoding)

    if start or more:
        return build()
    key = (answer.__name__, level, view.may_see_paths, encoding.ndr64, resume is None)
    return view.snapshot.cached(key, build)


def _share_list(
    answer: type[Any], level: int, container: Any, total: int, resume: int | None, status: int
) -> Any:
    """Return the answer to a share enumeration; `container` None is a null pointer."""
    return answer(
        InfoStruct=idl.LPSHARE_ENUM_STRUCT(Level=level, ShareInfo=ndr.union(level, container)),
        TotalEntries=total,
        ResumeHandle=resume,
        status=status,
    )


def share_get_info(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrShareGetInfo (opnum 16): one share, browseable or not ([MS-SRVS] 3.1.4.10)."""
    level = request.Level
    info, status = None, ERROR_SUCCESS
    share = view.snapshot.share(ndr.text(request.valueof("NetName")))
    if level not in shares.LEVELS:
        status = ERROR_INVALID_LEVEL
    elif not view.may_enumerate:
        status = ERROR_ACCESS_DENIED
    elif share is None:
        status = NERR_NET_NAME_NOT_FOUND
    else:
        info = shares.LEVELS[level](share, view.may_see_paths)
    return idl.NetrShareGetInfo_Response(InfoStruct=ndr.union(level, info), status=status)


def server_get_info(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrServerGetInfo (opnum 21) in levels 100, 101 and 102 ([MS-SRVS] 3.1.4.17)."""
    config = view.snapshot.config
    info: Any = None
    if request.Level == 100:
        info = idl.LPSERVER_INFO_100(
            sv100_platform_id=PLATFORM_ID_NT, sv100_name=ndr.string(config.netbios_name)
        )
    elif request.Level == 101:
        info = idl.LPSERVER_INFO_101(
            sv101_platform_id=PLATFORM_ID_NT,
            sv101_name=ndr.string(config.netbios_name),
            sv101_version_major=VERSION_MAJOR,
            sv101_version_minor=VERSION_MINOR,
            sv101_version_type=SERVER_TYPE,
            sv101_comment=ndr.string(config.server_string),
        )
    elif request.Level == 102:
        info = idl.LPSERVER_INFO_102(
            sv102_platform_id=PLATFORM_ID_NT,
            sv102_name=ndr.string(config.netbios_name),
            sv102_version_major=VERSION_MAJOR,
            sv102_version_minor=VERSION_MINOR,
            sv102_type=SERVER_TYPE,
            sv102_comment=ndr.string(config.server_string),
            sv102_users=SV_USERS_UNLIMITED,
            sv102_disc=SV_DISCONNECT_MINUTES,
            sv102_announce=SV_ANNOUNCE_SECONDS,
            sv102_anndelta=SV_ANNOUNCE_DELTA_MILLISECONDS,
            sv102_licenses=0,
            sv102_userpath=ndr.string("C:\\"),
        )
    return idl.NetrServerGetInfo_Response(
        InfoStruct=ndr.union(request.Level, info),
        status=ERROR_INVALID_LEVEL if info is None else ERROR_SUCCESS,
    )


def remote_tod(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrRemoteTOD (opnum 28): the time of day in UTC ([MS-SRVS] 3.1.4.21)."""
    now = view.clock()
    utc = time.gmtime(now)
    info = idl.LPTIME_OF_DAY_INFO(
        tod_elapsedt=int(now) & 0xFFFFFFFF,
        tod_msecs=int(time.monotonic() * 1000) & 0xFFFFFFFF,
        tod_hours=utc.tm_hour,
        tod_mins=utc.tm_min,
        tod_secs=utc.tm_sec,
        tod_hunds=int(now * 100) % 100,
        # Minutes from local time to UTC, positive to the west.
        tod_timezone=-(time.localtime(now).tm_gmtoff // 60),
        tod_tinterval=CLOCK_INTERVAL,
        tod_day=utc.tm_mday,
        tod_month=utc.tm_mon,
        tod_year=utc.tm_year,
        tod_weekday=(utc.tm_wday + 1) % 7,
    )
    return idl.NetrRemoteTOD_Response(BufferPtr=info, status=ERROR_SUCCESS)


def connection_enum(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrConnectionEnum (opnum 8): see `_no_rows` ([MS-SRVS] 3.1.4.1)."""
    return _no_rows(
        view,
        request,
        idl.NetrConnectionEnum_Response,
        idl.LPCONNECT_ENUM_STRUCT,
        "ConnectInfo",
        CONNECTION_CONTAINERS,
    )


def file_enum(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrFileEnum (opnum 9): see `_no_rows` ([MS-SRVS] 3.1.4.2)."""
    return _no_rows(
        view, request, idl.NetrFileEnum_Response, idl.PFILE_ENUM_STRUCT, "FileInfo", FILE_CONTAINERS
    )


def session_enum(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrSessionEnum (opnum 12): see `_no_rows` ([MS-SRVS] 3.1.4.5)."""
    return _no_rows(
        view,
        request,
        idl.NetrSessionEnum_Response,
        idl.PSESSION_ENUM_STRUCT,
        "SessionInfo",
        SESSION_CONTAINERS,
    )


def _no_rows(
    view: View,
    request: Any,
    answer: type[Any],
    structure: type[Any],
    union_name: str,
    containers: dict[int, type[Any]],
) -> Any:
    """Answer an enumeration of what the engine holds with no rows.

    Connections, sessions and open files live in the workers, and what they hold is nothing that
    any client may see: administrators ask `usmbd.control`. An empty list, unlike an error, lets
    clients go on that ask for these before what they want.
    """
    level = request.InfoStruct.Level
    container, status = None, ERROR_INVALID_LEVEL
    if level in containers and request.InfoStruct.getfieldval(union_name).tag == level:
        container, status = containers[level](), ERROR_SUCCESS
        if not view.may_enumerate:
            container, status = None, ERROR_ACCESS_DENIED
    return answer(
        InfoStruct=structure(Level=level, **{union_name: ndr.union(level, container)}),
        TotalEntries=0,
        ResumeHandle=None if request.valueof("ResumeHandle") is None else 0,
        status=status,
    )
