"""The list of services ([MS-SCMR] 3.1.4.13 to 3.1.4.22, 3.1.4.40)."""

from collections.abc import Sequence
from typing import Final

from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_DATABASE_DOES_NOT_EXIST,
    ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_HANDLE,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_NAME,
    ERROR_INVALID_PARAMETER,
    ERROR_MORE_DATA,
    ERROR_SERVICE_DOES_NOT_EXIST,
)
from usmbd.mountd.rpc.interfaces.svcctl import base
from usmbd.mountd.rpc.interfaces.svcctl import types as scm
from usmbd.mountd.rpc.interfaces.svcctl.base import CALLS
from usmbd.mountd.rpc.interfaces.svcctl.services import (
    SERVICE_WIN32,
    Service,
    find,
    services,
)
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Handle,
    U32Pointer,
    WideString,
    WideStringPointer,
    encode_wide,
)
from usmbd.mountd.rpc.view import View

SERVICE_ACTIVE, SERVICE_INACTIVE = 1, 2
"""dwServiceState ([MS-SCMR] 3.1.4.14)."""

TYPES: Final = 0x0000013F
"""Bits of dwServiceType that mean anything."""

DATABASES: Final = ("", "servicesactive")
"""The names of the database; ServicesFailed is none that is kept."""

MAX_NAME: Final = 256
"""Characters of a service's name ([MS-SCMR] 2.2.36)."""


@CALLS.call(0)
def close(view: View, handle: Handle) -> Handle:
    """RCloseServiceHandle ([MS-SCMR] 3.1.4.1)."""
    return view.handles.close(handle)


@CALLS.call(15)
def open_manager(
    view: View, machine: WideStringPointer, database: WideStringPointer, desired: U32
) -> Asking[Handle]:
    """ROpenSCManagerW ([MS-SCMR] 3.1.4.15)."""
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED)
    folded = (database or "").casefold()
    if folded not in DATABASES:
        known = folded == "servicesfailed"
        raise Status(ERROR_DATABASE_DOES_NOT_EXIST if known else ERROR_INVALID_NAME)
    granted = base.MANAGER.granted(desired, True, ERROR_ACCESS_DENIED)
    return view.handles.add(base.Manager(granted))


@CALLS.call(16)
def open_service(view: View, handle: Handle, name: WideString, desired: U32) -> Handle:
    """ROpenServiceW ([MS-SCMR] 3.1.4.16)."""
    base.manager(view, handle, 0)
    if not name or len(name) > MAX_NAME or {"/", "\\"} & set(name):
        raise Status(ERROR_INVALID_NAME)
    found = find(view, name)
    if found is None:
        raise Status(ERROR_SERVICE_DOES_NOT_EXIST)
    granted = base.SERVICE.granted(desired, True, ERROR_ACCESS_DENIED)
    return view.handles.add(base.OpenService(found, granted))


def _list(
    view: View,
    handle: bytes,
    kinds: int,
    state: int,
    size: int,
    resume: int | None,
    group: str | None,
    *,
    process: bool,
) -> tuple[bytes, int, int, int | None]:
    """Return the services of these kinds, in this state: as many as there is room for.

    Of groups there is none: the empty one has them all.
    """
    base.manager(view, handle, base.SC_MANAGER_ENUMERATE_SERVICE)
    nothing = 0, 0, resume and 0
    buffer = scm.room(size, scm.MAX_LIST)
    if not kinds or kinds & ~TYPES or not 1 <= state <= 3:
        raise Status(ERROR_INVALID_PARAMETER, buffer, *nothing)
    if group:
        raise Status(ERROR_SERVICE_DOES_NOT_EXIST, buffer, *nothing)
    wanted = [
        each
        for each in services(view)
        if kinds & SERVICE_WIN32 & each.status.type
        and state & (SERVICE_ACTIVE if each.running else SERVICE_INACTIVE)
    ]
    left = wanted[resume or 0 :]
    _, sizes = scm.rows(_entries(left, process=process))
    count = total = 0
    while count < len(left) and total + sizes[count] <= size:
        total += sizes[count]
        count += 1
    data, _ = scm.rows(_entries(left[:count], process=process))
    buffer = data + buffer[len(data) :]
    if count < len(left):
        following = None if resume is None else (resume or 0) + count
        raise Status(ERROR_MORE_DATA, buffer, sum(sizes[count:]), count, following)
    return buffer, 0, count, None if resume is None else 0


def _entries(found: Sequence[Service], *, process: bool) -> list[tuple[str, str, bytes]]:
    return [
        (
            each.name,
            each.display_name,
            each.status.pack_process() if process else each.status.pack(),
        )
        for each in found
    ]


@CALLS.call(14)
def enumerate_services(
    view: View, handle: Handle, kinds: U32, state: U32, size: U32, resume: U32Pointer
) -> tuple[scm.Buffer, U32, U32, U32Pointer]:
    """REnumServicesStatusW ([MS-SCMR] 3.1.4.14)."""
    return _list(view, handle, kinds, state, size, resume, None, process=False)


@CALLS.call(35)
def enumerate_group(
    view: View,
    handle: Handle,
    kinds: U32,
    state: U32,
    size: U32,
    resume: U32Pointer,
    group: WideStringPointer,
) -> tuple[scm.Buffer, U32, U32, U32Pointer]:
    """REnumServiceGroupW ([MS-SCMR] 3.1.4.33)."""
    return _list(view, handle, kinds, state, size, resume, group, process=False)


@CALLS.call(42)
def enumerate_with_processes(
    view: View,
    handle: Handle,
    level: U32,
    kinds: U32,
    state: U32,
    size: U32,
    resume: U32Pointer,
    group: WideStringPointer,
) -> tuple[scm.Buffer, U32, U32, U32Pointer]:
    """REnumServicesStatusExW ([MS-SCMR] 3.1.4.40)."""
    if level != 0:
        nothing = 0, 0, resume
        raise Status(ERROR_INVALID_LEVEL, scm.room(size, scm.MAX_LIST), *nothing)
    return _list(view, handle, kinds, state, size, resume, group, process=True)


@CALLS.call(20)
def get_display_name(
    view: View, handle: Handle, name: WideString, room: U32
) -> tuple[WideString, U32]:
    """RGetServiceDisplayNameW: by the name ([MS-SCMR] 3.1.4.20)."""
    base.manager(view, handle, 0)
    found = find(view, name)
    if found is None:
        raise Status(ERROR_SERVICE_DOES_NOT_EXIST, "", room)
    return _fitting(found.display_name, room)


@CALLS.call(21)
def get_key_name(
    view: View, handle: Handle, display_name: WideString, room: U32
) -> tuple[WideString, U32]:
    """RGetServiceKeyNameW: by the name that is shown ([MS-SCMR] 3.1.4.21)."""
    base.manager(view, handle, 0)
    folded = display_name.casefold()
    for each in services(view):
        if each.display_name.casefold() == folded:
            return _fitting(each.name, room)
    raise Status(ERROR_SERVICE_DOES_NOT_EXIST, "", room)


def _fitting(text: str, room: int) -> tuple[str, int]:
    """Return a text with its length in characters, which has to be less than the room."""
    length = len(encode_wide(text)) // 2
    if length >= room:
        raise Status(ERROR_INSUFFICIENT_BUFFER, "", length)
    return text, length


@CALLS.call(3)
def lock(view: View, handle: Handle) -> Handle:
    """RLockServiceDatabase: nothing is ever started, so nothing is locked ([MS-SCMR] 3.1.4.4)."""
    base.manager(view, handle, base.SC_MANAGER_LOCK)
    raise Status(ERROR_ACCESS_DENIED)


@CALLS.call(8)
def unlock(view: View, handle: Handle) -> Handle:
    """RUnlockServiceDatabase: of locks there are none ([MS-SCMR] 3.1.4.9)."""
    raise Status(ERROR_INVALID_HANDLE)


@CALLS.call(18)
def query_lock(view: View, handle: Handle, size: U32) -> tuple[scm.LockStatus, U32]:
    """RQueryServiceLockStatusW: it is not locked ([MS-SCMR] 3.1.4.18)."""
    base.manager(view, handle, base.SC_MANAGER_QUERY_LOCK_STATUS)
    free, needed = scm.LockStatus(0, "", 0), 14
    if size < needed:
        raise Status(ERROR_INSUFFICIENT_BUFFER, scm.LockStatus(0, None, 0), needed)
    return free, needed
