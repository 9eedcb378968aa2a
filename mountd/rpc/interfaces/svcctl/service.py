"""One service: what it is, and what it does ([MS-SCMR] 3.1.4.5 to 3.1.4.7, 3.1.4.17, 3.1.4.37)."""

import struct
from typing import Final

from usmbd.mountd.admin.descriptors import Descriptor, pack, parse
from usmbd.mountd.rpc.calls import Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.errors import (
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_PRIVILEGE_NOT_HELD,
)
from usmbd.mountd.rpc.interfaces.svcctl import base
from usmbd.mountd.rpc.interfaces.svcctl import types as scm
from usmbd.mountd.rpc.interfaces.svcctl.base import CALLS
from usmbd.mountd.rpc.interfaces.svcctl.services import Service
from usmbd.mountd.rpc.ndr.types import U32, Handle, encode_wide
from usmbd.mountd.rpc.view import View

OWNER, GROUP, DACL, SACL = 1, 2, 4, 8
"""SECURITY_INFORMATION ([MS-SCMR] 2.2.1)."""

READ_CONTROL: Final = 0x00020000

SERVICE_ERROR_NORMAL: Final = 1
"""dwErrorControl ([MS-SCMR] 2.2.15)."""

ENUM_VALUE_OUT_OF_RANGE: Final = 0x000006F5
"""RPC_X_ENUM_VALUE_OUT_OF_RANGE: a union's tag that has no arm ([MS-ERREF] 2.2)."""

TRIGGERS: Final = 8
"""SERVICE_CONFIG_TRIGGER_INFO ([MS-SCMR] 2.2.22)."""


def config_of(service: Service) -> scm.Config:
    """Return what a service is. All are one program, whose path is nobody's business here."""
    return scm.Config(
        type=service.status.type,
        start_type=service.start_type,
        error_control=SERVICE_ERROR_NORMAL,
        path="usmbd",
        load_order_group="",
        tag=0,
        dependencies="",
        account="LocalSystem",
        display_name=service.display_name,
    )


def _further(service: Service, level: int) -> bytes | None:
    """Return what RQueryServiceConfig2W tells; None: there is no such level."""
    if level == 1:  # SERVICE_DESCRIPTION_WOW64
        return struct.pack("<I", 4) + encode_wide(service.description) + b"\0\0"
    # SERVICE_FAILURE_ACTIONS_WOW64; flags that are not set; no privileges; no time to wait
    sizes = {2: 20, 3: 4, 4: 4, 5: 4, 6: 4, 7: 4}
    return bytes(sizes[level]) if level in sizes else None


def _filled(data: bytes, size: int, limit: int) -> tuple[bytes, int]:
    """Return a buffer with this in it, and the bytes that it takes."""
    buffer = scm.room(size, limit)
    if len(data) > size:
        raise Status(ERROR_INSUFFICIENT_BUFFER, buffer, len(data))
    return data + buffer[len(data) :], len(data)


@CALLS.call(6)
def query_status(view: View, handle: Handle) -> scm.ServiceStatus:
    """RQueryServiceStatus ([MS-SCMR] 3.1.4.7)."""
    return base.service(view, handle, base.SERVICE_QUERY_STATUS).status


@CALLS.call(40)
def query_status_ex(view: View, handle: Handle, level: U32, size: U32) -> tuple[scm.Buffer, U32]:
    """RQueryServiceStatusEx ([MS-SCMR] 3.1.4.38)."""
    service = base.service(view, handle, base.SERVICE_QUERY_STATUS)
    if level != 0:
        raise Status(ERROR_INVALID_LEVEL, scm.room(size, scm.MAX_CONFIG), 0)
    return _filled(service.status.pack_process(), size, scm.MAX_CONFIG)


@CALLS.call(17)
def query_config(view: View, handle: Handle, size: U32) -> tuple[scm.Config, U32]:
    """RQueryServiceConfigW ([MS-SCMR] 3.1.4.17)."""
    config = config_of(base.service(view, handle, base.SERVICE_QUERY_CONFIG))
    if config.size > size:
        nothing = scm.Config(0, 0, 0, None, None, 0, None, None, None)
        raise Status(ERROR_INSUFFICIENT_BUFFER, nothing, config.size)
    return config, config.size


@CALLS.call(39)
def query_config2(view: View, handle: Handle, level: U32, size: U32) -> tuple[scm.Buffer, U32]:
    """RQueryServiceConfig2W ([MS-SCMR] 3.1.4.37)."""
    service = base.service(view, handle, base.SERVICE_QUERY_CONFIG)
    data = _further(service, level)
    if data is None:
        raise Status(ERROR_INVALID_LEVEL, scm.room(size, scm.MAX_CONFIG), 0)
    return _filled(data, size, scm.MAX_CONFIG)


@CALLS.call(56)
def query_config_ex(view: View, handle: Handle, level: U32) -> scm.ConfigInformation:
    """RQueryServiceConfigEx: what starts a service, which is nothing ([MS-SCMR] 3.1.4.48)."""
    base.service(view, handle, base.SERVICE_QUERY_CONFIG)
    if level != TRIGGERS:
        raise CallError(ENUM_VALUE_OUT_OF_RANGE)
    return scm.ConfigInformation(level, (level, scm.TriggerInformation(None, None)))


@CALLS.call(13)
def enumerate_dependents(
    view: View, handle: Handle, state: U32, size: U32
) -> tuple[scm.Buffer, U32, U32]:
    """REnumDependentServicesW: none needs another ([MS-SCMR] 3.1.4.13)."""
    base.service(view, handle, base.SERVICE_ENUMERATE_DEPENDENTS)
    buffer = scm.room(size, scm.MAX_LIST)
    if not 1 <= state <= 3:
        raise Status(ERROR_INVALID_PARAMETER, buffer, 0, 0)
    return buffer, 0, 0


def opened(view: View, handle: bytes) -> base.Manager | base.OpenService:
    """Return what a handle stands for: the manager, or a service."""
    try:
        return view.handles.get(handle, base.OpenService)
    except CallError:
        return view.handles.get(handle, base.Manager)


@CALLS.call(4)
def query_security(view: View, handle: Handle, wanted: U32, size: U32) -> tuple[scm.Buffer, U32]:
    """RQueryServiceObjectSecurity ([MS-SCMR] 3.1.4.5)."""
    found = opened(view, handle)
    buffer = scm.room(size, scm.MAX_LIST)
    if not wanted or wanted & ~(OWNER | GROUP | DACL | SACL):
        raise Status(ERROR_INVALID_PARAMETER, buffer, 0)
    if wanted & SACL:
        raise Status(ERROR_PRIVILEGE_NOT_HELD, buffer, 0)
    base.need(found.granted, READ_CONTROL)
    whole = parse(found.access.descriptor())
    told = Descriptor(
        whole.owner if wanted & OWNER else None,
        whole.group if wanted & GROUP else None,
        whole.dacl if wanted & DACL else None,
    )
    return _filled(pack(told, dacl=bool(wanted & DACL)), size, scm.MAX_LIST)
