"""The Workstation Service remote protocol: the server as a computer ([MS-WKST])."""

from functools import partial
from typing import Any
from uuid import UUID

from scapy.layers.msrpce.raw import ms_wkst as idl

from usmbd.mountd.rpc import ndr
from usmbd.mountd.rpc.endpoint import Encoding, Interface
from usmbd.mountd.rpc.errors import ERROR_INVALID_LEVEL, ERROR_SUCCESS
from usmbd.mountd.rpc.pdu import Syntax
from usmbd.mountd.rpc.platform import PLATFORM_ID_NT, VERSION_MAJOR, VERSION_MINOR
from usmbd.mountd.rpc.view import View

SYNTAX = Syntax(UUID("6bffd098-a112-3610-9833-46c3f87e345a"), 1, 0)
"""[MS-WKST] 1.9."""


def interface(view: View) -> Interface:
    """Return the interface for one opened pipe ([MS-WKST] 3.2.4)."""
    return Interface(
        SYNTAX, {0: ndr.call(idl.NetrWkstaGetInfo_Request, partial(wksta_get_info, view))}
    )


def wksta_get_info(view: View, request: Any, encoding: Encoding) -> Any:
    """NetrWkstaGetInfo (opnum 0) in levels 100, 101 and 102 ([MS-WKST] 3.2.4.1)."""
    config = view.snapshot.config
    info: Any = None
    if request.Level == 100:
        info = idl.LPWKSTA_INFO_100(
            wki100_platform_id=PLATFORM_ID_NT,
            wki100_computername=ndr.string(config.netbios_name),
            wki100_langroup=ndr.string(config.workgroup),
            wki100_ver_major=VERSION_MAJOR,
            wki100_ver_minor=VERSION_MINOR,
        )
    elif request.Level == 101:
        info = idl.LPWKSTA_INFO_101(
            wki101_platform_id=PLATFORM_ID_NT,
            wki101_computername=ndr.string(config.netbios_name),
            wki101_langroup=ndr.string(config.workgroup),
            wki101_ver_major=VERSION_MAJOR,
            wki101_ver_minor=VERSION_MINOR,
            wki101_lanroot=ndr.string(""),
        )
    elif request.Level == 102:
        info = idl.LPWKSTA_INFO_102(
            wki102_platform_id=PLATFORM_ID_NT,
            wki102_computername=ndr.string(config.netbios_name),
            wki102_langroup=ndr.string(config.workgroup),
            wki102_ver_major=VERSION_MAJOR,
            wki102_ver_minor=VERSION_MINOR,
            wki102_lanroot=ndr.string(""),
            wki102_logged_on_users=0,
        )
    return idl.NetrWkstaGetInfo_Response(
        WkstaInfo=ndr.union(request.Level, info),
        status=ERROR_INVALID_LEVEL if info is None else ERROR_SUCCESS,
    )
