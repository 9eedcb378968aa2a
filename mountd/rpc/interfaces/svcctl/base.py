"""What the calls of the Service Control Manager have in common ([MS-SCMR] 1.9, 3.1.4)."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from usmbd.mountd.rpc.access import Access
from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.errors import ERROR_ACCESS_DENIED
from usmbd.mountd.rpc.interfaces.svcctl.services import Service
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("367abb81-9844-35f1-ad32-98f038001003"), 2)

SC_MANAGER_ENUMERATE_SERVICE, SC_MANAGER_LOCK = 0x0004, 0x0008
SC_MANAGER_QUERY_LOCK_STATUS: Final = 0x0010
MANAGER: Final = Access(all=0x000F003F, read=0x20014, write=0x20022, execute=0x20009, everybody=0)
"""[MS-SCMR] 3.1.4: administrators alone see the services, as Windows has it over the network."""

SERVICE_QUERY_CONFIG, SERVICE_QUERY_STATUS = 0x0001, 0x0004
SERVICE_ENUMERATE_DEPENDENTS, SERVICE_START, SERVICE_STOP = 0x0008, 0x0010, 0x0020
SERVICE_PAUSE_CONTINUE, SERVICE_INTERROGATE, SERVICE_USER_DEFINED_CONTROL = 0x0040, 0x0080, 0x0100
SERVICE: Final = Access(all=0x000F01FF, read=0x2008D, write=0x20002, execute=0x20170, everybody=0)
"""[MS-SCMR] 3.1.4."""


@dataclass(frozen=True, slots=True)
class Manager:
    """The open list of services."""

    granted: int
    access = MANAGER


@dataclass(frozen=True, slots=True)
class OpenService:
    """An open service."""

    service: Service
    granted: int
    access = SERVICE


def manager(view: View, handle: bytes, needed: int) -> Manager:
    """Return the manager that a handle stands for, opened for this."""
    found = view.handles.get(handle, Manager)
    need(found.granted, needed)
    return found


def service(view: View, handle: bytes, needed: int) -> Service:
    """Return the service that a handle stands for, opened for this."""
    found = view.handles.get(handle, OpenService)
    need(found.granted, needed)
    return found.service


def need(granted: int, wanted: int) -> None:
    """Status(ERROR_ACCESS_DENIED) when a handle was opened without what a call needs."""
    if wanted & ~granted:
        raise Status(ERROR_ACCESS_DENIED)
