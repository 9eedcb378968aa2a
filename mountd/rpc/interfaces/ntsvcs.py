"""ntsvcs, plug and play: a server without devices, as Windows' management consoles ask for them.

There is no document of it; the calls are those of Samba's interface definition, and their statuses
are configuration manager's (CONFIGRET of Windows' cfgmgr32.h).
"""

from typing import Annotated, Final
from uuid import UUID

from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.ndr.types import U16, U32, UINT16, Octets, VaryingArray, WideString
from usmbd.mountd.rpc.ndr.types import WideStringPointer as Pointer
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("8d9f4e40-a03d-11ce-8f69-08003e30051b"), 1)

VERSION: Final = 0x0400

FILTER_SERVICE: Final = 0x00000002
"""CM_GETIDLIST_FILTER_SERVICE: the devices of a service."""

INVALID_POINTER: Final = 3
BUFFER_SMALL: Final = 0x1A
NO_SUCH_DEVICE: Final = 0x0D
ACCESS_DENIED: Final = 0x33

NOTHING: Final = [0]
"""An empty list of texts: its last NUL."""

Characters = Annotated[list[int], VaryingArray(UINT16)]
Data = Annotated[bytes, Octets(varying=True)]


def _check(view: View) -> None:
    """Refuse who has proved nothing."""
    if view.caller.guest or view.caller.anonymous:
        raise Status(ACCESS_DENIED)


def _check_filter(view: View, wanted: str | None, flags: int) -> None:
    """Refuse a list of a service's devices that names no service."""
    _check(view)
    if flags & FILTER_SERVICE and wanted is None:
        raise Status(INVALID_POINTER)


@CALLS.call(2)
def get_version(view: View) -> U16:
    """PNP_GetVersion."""
    return VERSION


@CALLS.call(6)
def validate_device(view: View, path: WideString, flags: U32) -> None:
    """PNP_ValidateDeviceInstance: none is there."""
    _check(view)
    raise Status(NO_SUCH_DEVICE)


@CALLS.call(10)
def list_devices(view: View, wanted: Pointer, room: U32, flags: U32) -> tuple[Characters, U32]:
    """PNP_GetDeviceList: none."""
    _check_filter(view, wanted, flags)
    if room < len(NOTHING):
        raise Status(BUFFER_SMALL)
    return NOTHING, len(NOTHING)


@CALLS.call(11)
def size_of_list(view: View, wanted: Pointer, flags: U32) -> U32:
    """PNP_GetDeviceListSize: in characters."""
    _check_filter(view, wanted, flags)
    return len(NOTHING)


@CALLS.call(13)
def get_property(
    view: View, path: WideString, what: U32, kind: U32, room: U32, needed: U32, flags: U32
) -> tuple[U32, Data, U32, U32]:
    """PNP_GetDeviceRegProp: of a device, and none is there."""
    _check(view)
    raise Status(NO_SUCH_DEVICE)
