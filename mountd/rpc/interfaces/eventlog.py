"""The EventLog Remoting Protocol ([MS-EVEN]): logs that are there, and empty.

What the server has to say is in its own log, on the host. Clients neither read that nor write
into these: nobody has to keep what strangers report.
"""

from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Calls, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U16,
    U32,
    Handle,
    Octets,
    U32Pointer,
    UnicodeString,
    Unique,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_BUFFER_TOO_SMALL,
    STATUS_END_OF_FILE,
    STATUS_INVALID_LEVEL,
    STATUS_INVALID_PARAMETER,
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("82273fdc-e32a-18c3-3f78-827929dc23ea"), 0)
"""[MS-EVEN] 1.9."""

interface = CALLS.bind

LOGS: Final = ("Application", "Security", "System")
"""Event log names; another opens the first ([MS-EVEN] 1.8.2, 3.1.4.3)."""

SEQUENTIAL_READ, SEEK_READ, FORWARDS_READ, BACKWARDS_READ = 1, 2, 4, 8
READS: Final = {
    kind | way for kind in (SEQUENTIAL_READ, SEEK_READ) for way in (FORWARDS_READ, BACKWARDS_READ)
}
"""[MS-EVEN] 3.1.4.7: one way, and from where."""

MAX_BATCH_BUFF: Final = 0x7FFFF
MAX_INFORMATION: Final = 1024
"""Bytes of buffers ([MS-EVEN] 2.2.2, 3.1.4.20)."""

FULL_SIZE: Final = 4
"""Bytes of EVENTLOG_FULL_INFORMATION ([MS-EVEN] 2.2.4)."""

Server = Annotated[int | None, Unique(ndr.UINT16)]
"""EVENTLOG_HANDLE_W: of the server's name one character comes ([MS-EVEN] 2.2.7)."""

Buffer = Annotated[bytes, Octets()]


@dataclass(frozen=True, slots=True)
class Log:
    """An open log."""

    name: str


@CALLS.call(7)
def open_log(
    view: View, server: Server, name: UnicodeString, unused: UnicodeString, major: U32, minor: U32
) -> Asking[Handle]:
    """ElfrOpenELW ([MS-EVEN] 3.1.4.3)."""
    if not (yield from is_administrator(view)):
        raise Status(STATUS_ACCESS_DENIED)
    folded = (name or "").casefold()
    return view.handles.add(Log(next((log for log in LOGS if log.casefold() == folded), LOGS[0])))


@CALLS.call(2, 3)
def close(view: View, handle: Handle) -> Handle:
    """ElfrCloseEL, ElfrDeregisterEventSource ([MS-EVEN] 3.1.4.21, 3.1.4.22)."""
    return view.handles.close(handle)


@CALLS.call(4)
def number_of_records(view: View, handle: Handle) -> U32:
    """ElfrNumberOfRecords ([MS-EVEN] 3.1.4.18)."""
    view.handles.get(handle, Log)
    return 0


@CALLS.call(5)
def oldest_record(view: View, handle: Handle) -> U32:
    """ElfrOldestRecord: 0 where there is none ([MS-EVEN] 3.1.4.19)."""
    view.handles.get(handle, Log)
    return 0


@CALLS.call(10)
def read(view: View, handle: Handle, flags: U32, offset: U32, size: U32) -> tuple[Buffer, U32, U32]:
    """ElfrReadELW: at the end at once ([MS-EVEN] 3.1.4.7)."""
    view.handles.get(handle, Log)
    if size > MAX_BATCH_BUFF:
        raise CallError(Fault.BAD_STUB_DATA)
    if flags not in READS:
        raise Status(STATUS_INVALID_PARAMETER, bytes(size), 0, 0)
    raise Status(STATUS_END_OF_FILE, bytes(size), 0, 0)


@CALLS.call(22)
def information(view: View, handle: Handle, level: U32, size: U32) -> tuple[Buffer, U32]:
    """ElfrGetLogInformation: it is not full ([MS-EVEN] 3.1.4.20)."""
    view.handles.get(handle, Log)
    if size > MAX_INFORMATION:
        raise CallError(Fault.BAD_STUB_DATA)
    buffer = bytes(size)
    if level != 0:
        raise Status(STATUS_INVALID_LEVEL, buffer, 0)
    if size < FULL_SIZE:
        raise Status(STATUS_BUFFER_TOO_SMALL, buffer, FULL_SIZE)
    return buffer, FULL_SIZE


@CALLS.call(0)
def clear(
    view: View, handle: Handle, backup: Annotated[str | None, Unique(ndr.UNICODE_STRING)]
) -> None:
    """ElfrClearELFW: it stays empty, and no file is written ([MS-EVEN] 3.1.4.9)."""
    view.handles.get(handle, Log)
    if backup:
        raise Status(STATUS_ACCESS_DENIED)


@CALLS.call(1, 23)
def refused(view: View, handle: Handle) -> None:
    """ElfrBackupELFW, and to flush a log, which the service does itself: no files are written."""
    view.handles.get(handle, Log)
    raise Status(STATUS_ACCESS_DENIED)


@CALLS.call(8)
def register_source(
    view: View, server: Server, name: UnicodeString, unused: UnicodeString, major: U32, minor: U32
) -> Handle:
    """ElfrRegisterEventSourceW: nobody writes into the logs ([MS-EVEN] 3.1.4.5)."""
    raise Status(STATUS_ACCESS_DENIED)


@CALLS.call(9)
def open_backup(view: View, server: Server, name: UnicodeString, major: U32, minor: U32) -> Handle:
    """ElfrOpenBELW: there is no such file ([MS-EVEN] 3.1.4.1)."""
    raise Status(STATUS_OBJECT_NAME_NOT_FOUND)


@CALLS.call(11, 24)
def report(view: View, handle: Handle, time: U32, kind: U16) -> tuple[U32Pointer, U32Pointer]:
    """ElfrReportEventW, ElfrReportEventAndSourceW: nobody writes into the logs."""
    view.handles.get(handle, Log)
    raise Status(STATUS_ACCESS_DENIED)
