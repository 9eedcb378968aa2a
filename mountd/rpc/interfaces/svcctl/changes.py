"""What would start, stop or change a service: refused, for the host has the server in its hands.

An administrator learns what is the case: that a service runs already, or takes no controls.
"""

from typing import Annotated, Any, Final

from usmbd.mountd.admin.descriptors import parse
from usmbd.mountd.rpc.calls import Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_INVALID_SERVICE_CONTROL,
    ERROR_PRIVILEGE_NOT_HELD,
    ERROR_SERVICE_ALREADY_RUNNING,
    ERROR_SERVICE_DISABLED,
    ERROR_SERVICE_NOT_ACTIVE,
)
from usmbd.mountd.rpc.interfaces.svcctl import base
from usmbd.mountd.rpc.interfaces.svcctl import types as scm
from usmbd.mountd.rpc.interfaces.svcctl.base import CALLS
from usmbd.mountd.rpc.interfaces.svcctl.service import DACL, SACL, config_of, opened
from usmbd.mountd.rpc.interfaces.svcctl.services import Service
from usmbd.mountd.rpc.ndr.types import U32, Handle, U32Pointer, WideStringPointer
from usmbd.mountd.rpc.view import View

STOP, INTERROGATE = 1, 4
RIGHTS: Final = {
    STOP: base.SERVICE_STOP,
    INTERROGATE: base.SERVICE_INTERROGATE,
    **dict.fromkeys((2, 3, 6, 7, 8, 9, 10), base.SERVICE_PAUSE_CONTINUE),
    **dict.fromkeys(range(128, 256), base.SERVICE_USER_DEFINED_CONTROL),
}
"""What each control needs ([MS-SCMR] 3.1.4.2)."""

PLANNED_OR_NOT: Final = 0x50000000
"""A reason to stop says one of them ([MS-SCMR] 2.2.30)."""

NO_CHANGE: Final = 0xFFFFFFFF
"""SERVICE_NO_CHANGE ([MS-SCMR] 3.1.4.11)."""

WRITE_DAC, WRITE_OWNER = 0x00040000, 0x00080000


def _control(service: Service, control: int) -> int:
    """Return what becomes of a control ([MS-SCMR] 3.1.4.2)."""
    if not service.running:
        return ERROR_SERVICE_NOT_ACTIVE
    return 0 if control == INTERROGATE else ERROR_INVALID_SERVICE_CONTROL


@CALLS.call(1)
def control_service(view: View, handle: Handle, control: U32) -> scm.ServiceStatus:
    """RControlService ([MS-SCMR] 3.1.4.2)."""
    if control not in RIGHTS:
        base.service(view, handle, 0)
        raise Status(ERROR_INVALID_PARAMETER, scm.NO_STATUS)
    service = base.service(view, handle, RIGHTS[control])
    raise Status(_control(service, control), service.status)


@CALLS.call(51)
def control_service_ex(
    view: View,
    handle: Handle,
    control: U32,
    level: U32,
    wanted: Annotated[list[Any], scm.CONTROL_IN],
) -> Annotated[tuple[int, Any], scm.CONTROL_OUT]:
    """RControlServiceExW: a control, with the reason for it ([MS-SCMR] 3.1.4.47)."""
    nothing = level, None
    tag, reason = wanted
    if level != 1 or tag != level:
        raise Status(ERROR_INVALID_LEVEL, nothing)
    if (
        control not in RIGHTS
        or reason is None
        or (control == STOP and not reason.reason & PLANNED_OR_NOT)
    ):
        base.service(view, handle, 0)
        raise Status(ERROR_INVALID_PARAMETER, nothing)
    service = base.service(view, handle, RIGHTS[control])
    status = scm.StatusProcess(service.status, 0, 0)
    raise Status(_control(service, control), (level, status))


@CALLS.call(19)
def start(view: View, handle: Handle, count: U32, arguments: scm.Arguments) -> None:
    """RStartServiceW ([MS-SCMR] 3.1.4.19)."""
    service = base.service(view, handle, base.SERVICE_START)
    raise Status(ERROR_SERVICE_ALREADY_RUNNING if service.running else ERROR_SERVICE_DISABLED)


@CALLS.call(11)
def change_config(
    view: View,
    handle: Handle,
    kind: U32,
    start_type: U32,
    error_control: U32,
    path: WideStringPointer,
    load_order_group: WideStringPointer,
    tag: U32Pointer,
    dependencies: scm.OctetsPointer,
    dependencies_size: U32,
    account: WideStringPointer,
    password: scm.OctetsPointer,
    password_size: U32,
    display_name: WideStringPointer,
) -> U32Pointer:
    """RChangeServiceConfigW: to what it is already, and to nothing else ([MS-SCMR] 3.1.4.11)."""
    config = config_of(base.service(view, handle, 0x0002))
    numbers = (
        (kind, config.type),
        (start_type, config.start_type),
        (error_control, config.error_control),
    )
    texts = (path, config.path), (account, config.account), (display_name, config.display_name)
    same = (
        all(new in (NO_CHANGE, old) for new, old in numbers)
        and all(new in (None, old) for new, old in texts)
        and not (load_order_group or dependencies or password or tag)
    )
    if not same:
        raise Status(ERROR_ACCESS_DENIED, tag)
    return tag


@CALLS.call(5)
def set_security(view: View, handle: Handle, wanted: U32, data: scm.Buffer, size: U32) -> None:
    """RSetServiceObjectSecurity: to what it is already ([MS-SCMR] 3.1.4.6)."""
    found = opened(view, handle)
    if wanted & SACL:
        raise Status(ERROR_PRIVILEGE_NOT_HELD)
    if not wanted:
        raise Status(ERROR_INVALID_PARAMETER)
    base.need(found.granted, WRITE_DAC if wanted & DACL else WRITE_OWNER)
    try:
        new = parse(data)
    except ValueError:
        raise Status(ERROR_INVALID_PARAMETER) from None
    old = parse(found.access.descriptor())
    if wanted != DACL or new.dacl != old.dacl:
        raise Status(ERROR_ACCESS_DENIED)


@CALLS.call(2)
def delete(view: View, handle: Handle) -> None:
    """RDeleteService ([MS-SCMR] 3.1.4.3)."""
    base.service(view, handle, 0)
    raise Status(ERROR_ACCESS_DENIED)


@CALLS.call(12)
def create(view: View, handle: Handle) -> tuple[U32Pointer, Handle]:
    """RCreateServiceW: nothing that clients send is run here ([MS-SCMR] 3.1.4.12)."""
    base.manager(view, handle, 0)
    raise Status(ERROR_ACCESS_DENIED)


@CALLS.call(37)
def change_config2(view: View, handle: Handle) -> None:
    """RChangeServiceConfig2W ([MS-SCMR] 3.1.4.35)."""
    base.service(view, handle, 0)
    raise Status(ERROR_ACCESS_DENIED)
