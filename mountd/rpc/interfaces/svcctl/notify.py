"""Notifications of a service's state, for which a client waits ([MS-SCMR] 3.1.4.43 to 3.1.4.45).

Services change with the configuration alone: none is made or deleted, none is about to start.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ALREADY_REGISTERED,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_PARAMETER,
    ERROR_REQUEST_ABORTED,
)
from usmbd.mountd.rpc.handles import NO_HANDLE
from usmbd.mountd.rpc.interfaces.svcctl import base
from usmbd.mountd.rpc.interfaces.svcctl import types as scm
from usmbd.mountd.rpc.interfaces.svcctl.base import CALLS
from usmbd.mountd.rpc.interfaces.svcctl.service import opened
from usmbd.mountd.rpc.interfaces.svcctl.services import SERVICE_RUNNING, SERVICE_STOPPED, find
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Handle, Uuid
from usmbd.mountd.rpc.outside import Awaits
from usmbd.mountd.rpc.view import View

STATES: Final = {SERVICE_STOPPED: 0x0001, SERVICE_RUNNING: 0x0008}
"""The bits of the states that services have here ([MS-SCMR] 2.2.41)."""

OF_SERVICES: Final = 0x027F
OF_THE_MANAGER: Final = 0x0180
"""Bits that may be asked for: states, and that a service is made or deleted."""

NOBODY: Final = UUID(int=0)


@dataclass(slots=True, eq=False)
class Notification:
    """What a client waits to hear of."""

    opened: base.OpenService | base.Manager
    level: int
    params: Any
    """As the client gave them: it gets them back with the state in them."""
    told: int = 0
    """The state of which it was told."""
    ended: bool = False
    listening: list[View] = field(default_factory=list)
    """The view of the call that waits."""

    def triggered(self, view: View) -> scm.ServiceStatus | None:
        """Return a state that is wanted and new, if the service is in one."""
        if not isinstance(self.opened, base.OpenService):
            return None
        service = find(view, self.opened.service.name)
        if service is None or service.status.state == self.told:
            return None
        return service.status if STATES[service.status.state] & self.params.mask else None

    def end(self) -> None:
        """Have the call that waits end."""
        self.ended = True
        for view in self.listening:
            heard = view.listeners.pop(id(self), None)
            if heard is not None:
                heard()


@CALLS.call(47)
def notify_status_change(
    view: View,
    handle: Handle,
    wanted: Annotated[scm.NotifyParams, ndr.of(scm.NotifyParams)],
    client: Uuid,
) -> tuple[Uuid, U32, Handle]:
    """RNotifyServiceStatusChange: of a service, or of the list of all."""
    found, (level, params) = opened(view, handle), wanted.params
    manages = isinstance(found, base.Manager)
    base.need(
        found.granted, base.SC_MANAGER_ENUMERATE_SERVICE if manages else base.SERVICE_QUERY_STATUS
    )
    nothing = NOBODY, 0, NO_HANDLE
    if level not in (1, 2) or level != wanted.level:
        raise Status(ERROR_INVALID_LEVEL, *nothing)
    allowed = OF_THE_MANAGER if manages else OF_SERVICES
    if params is None or not params.mask or params.mask & ~allowed:
        raise Status(ERROR_INVALID_PARAMETER, *nothing)
    if any(each.opened is found for each in view.handles.all(Notification)):
        raise Status(ERROR_ALREADY_REGISTERED, *nothing)
    return NOBODY, 0, view.handles.add(Notification(found, level, params))


@CALLS.call(48)
def get_notify_results(view: View, handle: Handle) -> Asking[scm.NotifyListPointer]:
    """RGetNotifyResults: wait until there is something to hear."""
    note = view.handles.get(handle, Notification)
    if note.listening:
        raise Status(ERROR_INVALID_PARAMETER)
    while (status := note.triggered(view)) is None:
        note.listening.append(view)
        yield Awaits(lambda heard: view.listeners.update({id(note): heard}))
        note.listening.clear()
        if note.ended:
            raise Status(ERROR_REQUEST_ABORTED)
    note.told = status.state
    params = replace(note.params, status=scm.StatusProcess(status, 0, 0), notification_status=0)
    if note.level == 2:
        params = replace(params, triggered=STATES[status.state])
    return [scm.NotifyParams(note.level, (note.level, params))]


@CALLS.call(49)
def close_notify(view: View, handle: Handle) -> tuple[Handle, U32]:
    """RCloseNotifyHandle: whoever waits hears no more."""
    note = view.handles.get(handle, Notification)
    closed = view.handles.close(handle)
    note.end()
    return closed, 0
