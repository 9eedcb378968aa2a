"""What the calls of the Service Control Manager take and give ([MS-SCMR] 2.2)."""

import struct
from collections.abc import Sequence
from typing import Annotated, Any, Final

from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import NdrError
from usmbd.mountd.rpc.ndr.types import (
    U32,
    U64,
    Array,
    Bytes,
    Counted,
    Octets,
    Union,
    Unique,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.pdu import Fault

MAX_LIST: Final = 256 * 1024
"""Bytes of a buffer for lists and descriptors: BOUNDED_DWORD_256K ([MS-SCMR] 2.2.9)."""

MAX_CONFIG: Final = 8 * 1024
"""Bytes of a buffer for what a service is: BOUNDED_DWORD_8K ([MS-SCMR] 2.2.8)."""

Buffer = Annotated[bytes, Octets()]
OctetsPointer = Annotated[bytes | None, Unique(Octets())]


@structure
class ServiceStatus:
    """SERVICE_STATUS ([MS-SCMR] 2.2.47)."""

    type: U32
    state: U32
    controls: U32
    exit_code: U32
    specific_exit_code: U32
    check_point: U32
    wait_hint: U32

    def pack(self) -> bytes:
        """Return it as buffers have it."""
        return struct.pack("<7I", *vars(self).values())

    def pack_process(self) -> bytes:
        """Return SERVICE_STATUS_PROCESS: the host's processes are not told of."""
        return self.pack() + bytes(8)


@structure
class StatusProcess:
    """SERVICE_STATUS_PROCESS ([MS-SCMR] 2.2.49)."""

    status: Annotated[ServiceStatus, ndr.of(ServiceStatus)]
    process: U32
    flags: U32


@structure
class NotifyParams1:
    """SERVICE_NOTIFY_STATUS_CHANGE_PARAMS_1 ([MS-SCMR] 2.2.41)."""

    thread: U64
    mask: U32
    callback: Annotated[bytes, Bytes(16)]
    callback_parameter: Annotated[bytes, Bytes(16)]
    status: Annotated[StatusProcess, ndr.of(StatusProcess)]
    notification_status: U32
    sequence: U32


@structure
class NotifyParams2:
    """SERVICE_NOTIFY_STATUS_CHANGE_PARAMS_2 ([MS-SCMR] 2.2.41)."""

    thread: U64
    mask: U32
    callback: Annotated[bytes, Bytes(16)]
    callback_parameter: Annotated[bytes, Bytes(16)]
    status: Annotated[StatusProcess, ndr.of(StatusProcess)]
    notification_status: U32
    sequence: U32
    triggered: U32
    names: WideStringPointer


@structure
class NotifyParams:
    """SC_RPC_NOTIFY_PARAMS ([MS-SCMR] 2.2.42)."""

    level: U32
    params: Annotated[
        tuple[int, Any],
        Union(
            ndr.UINT32,
            {1: Unique(ndr.of(NotifyParams1)), 2: Unique(ndr.of(NotifyParams2))},
            ndr.Nothing(),
        ),
    ]


class NotifyListType(ndr.Type):
    """SC_RPC_NOTIFY_PARAMS_LIST ([MS-SCMR] 2.2.43): an array at its end, counted before."""

    smallest = 8

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the counts and the pointers."""
        return 8 if ndr64 else 4

    def read(self, reader: ndr.Reader) -> list[NotifyParams]:
        """Refuse: no request has one."""
        raise NdrError("a list of notifications from a client")

    def write(self, writer: ndr.Writer, value: Sequence[NotifyParams]) -> None:
        """Write the elements behind their counts."""
        writer.count(len(value))
        writer.number(len(value), 4)
        for each in value:
            ndr.of(NotifyParams).write(writer, each)


NotifyListPointer = Annotated[list[NotifyParams] | None, Unique(NotifyListType())]


@structure
class Config:
    """QUERY_SERVICE_CONFIGW ([MS-SCMR] 2.2.15)."""

    type: U32
    start_type: U32
    error_control: U32
    path: WideStringPointer
    load_order_group: WideStringPointer
    tag: U32
    dependencies: WideStringPointer
    account: WideStringPointer
    display_name: WideStringPointer

    @property
    def size(self) -> int:
        """Bytes that a client needs for it: nine numbers and pointers, and the strings."""
        texts = (each for each in vars(self).values() if isinstance(each, str))
        return 36 + sum(len(ndr.encode_wide(each)) + 2 for each in texts)


@structure
class LockStatus:
    """QUERY_SERVICE_LOCK_STATUSW ([MS-SCMR] 2.2.17)."""

    locked: U32
    owner: WideStringPointer
    duration: U32


@structure
class Trigger:
    """SERVICE_TRIGGER ([MS-SCMR] 2.2.53), of which there is none."""

    type: U32
    action: U32


@structure
class TriggerInformation:
    """SERVICE_TRIGGER_INFO ([MS-SCMR] 2.2.54)."""

    triggers: Annotated[Sequence[Trigger] | None, Counted(ndr.of(Trigger))]
    reserved: OctetsPointer


@structure
class ConfigInformation:
    """SC_RPC_CONFIG_INFOW, of which triggers alone go this way ([MS-SCMR] 2.2.22)."""

    level: U32
    info: Annotated[tuple[int, Any], Union(ndr.UINT32, {8: Unique(ndr.of(TriggerInformation))})]


@structure
class StopReason:
    """SERVICE_CONTROL_STATUS_REASON_IN_PARAMSW ([MS-SCMR] 2.2.30)."""

    reason: U32
    comment: WideStringPointer


CONTROL_IN = Union(ndr.UINT32, {1: Unique(ndr.of(StopReason))})
CONTROL_OUT = Union(ndr.UINT32, {1: Unique(ndr.of(StatusProcess))}, ndr.Nothing())
"""SC_RPC_SERVICE_CONTROL_IN_PARAMSW and its answer ([MS-SCMR] 2.2.32, 2.2.34)."""

Arguments = Annotated[list[str | None] | None, Unique(Array(Unique(ndr.WIDE_STRING)))]
"""UNIQUE_STRING_PTRSW ([MS-SCMR] 2.2.56)."""

NO_STATUS: Final = ServiceStatus(0, 0, 0, 0, 0, 0, 0)


def rows(entries: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, list[int]]:
    """Return ENUM_SERVICE_STATUSW, or its like with a longer status, and what each row takes.

    Two offsets from the begin, the status, and behind all rows the strings ([MS-SCMR] 2.2.11).
    """
    offset = sum(8 + len(status) for _, _, status in entries)
    head, strings, sizes = bytearray(), bytearray(), []
    for name, display_name, status in entries:
        begin = len(strings)
        offsets = []
        for each in (name, display_name):
            offsets.append(offset + len(strings))
            strings += ndr.encode_wide(each) + b"\0\0"
        head += struct.pack("<II", *offsets) + status
        sizes.append(8 + len(status) + len(strings) - begin)
    return bytes(head + strings), sizes


def room(size: int, limit: int) -> bytes:
    """Return an empty buffer of so many bytes; a bad stub for more than its [range] has."""
    if size > limit:
        raise CallError(Fault.BAD_STUB_DATA)
    return bytes(size)
