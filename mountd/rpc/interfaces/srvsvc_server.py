"""The Server Service's calls about the server itself, on the interface of `srvsvc` ([MS-SRVS])."""

from typing import Annotated, Any, Final

from usmbd.mountd.ipc.settings import ShareType
from usmbd.mountd.rpc.access import is_administrator
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.errors import (
    ERROR_ACCESS_DENIED,
    ERROR_INVALID_LEVEL,
    ERROR_INVALID_NAME,
    ERROR_INVALID_PARAMETER,
    ERROR_NOT_SUPPORTED,
    NERR_DEVICE_NOT_SHARED,
)
from usmbd.mountd.rpc.interfaces import shares
from usmbd.mountd.rpc.interfaces.srvsvc import CALLS
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Counted,
    Nothing,
    Octets,
    U32Pointer,
    Union,
    Unique,
    VaryingArray,
    WideString,
    WideStringPointer,
    structure,
)
from usmbd.mountd.rpc.view import View

TRANSPORT: Final = "\\Device\\NetbiosSmb"
"""What Windows calls SMB over TCP without NetBIOS ([MS-SRVS] 2.2.4.93)."""

MAX_SHARE_NAME: Final = 80
"""Characters of a share's name ([MS-SRVS] 3.1.4.22)."""

NAMETYPE_SHARE: Final = 9
NAMETYPES: Final = range(1, 15)
"""[MS-SRVS] 2.2.2.9: passwords, events, paths and other names beside those of shares."""

FORBIDDEN: Final = frozenset('"/\\[]:|<>+=;,*?') | frozenset(map(chr, range(32)))
"""What a share's name has not ([MS-SRVS] 2.2.2.12)."""


@structure
class Transport0:
    """SERVER_TRANSPORT_INFO_0 ([MS-SRVS] 2.2.4.93)."""

    connections: U32
    name: WideStringPointer
    address: Annotated[bytes | None, Unique(Octets())]
    address_length: U32
    network_address: WideStringPointer


@structure
class Transport1:
    """SERVER_TRANSPORT_INFO_1 ([MS-SRVS] 2.2.4.94)."""

    connections: U32
    name: WideStringPointer
    address: Annotated[bytes | None, Unique(Octets())]
    address_length: U32
    network_address: WideStringPointer
    domain: WideStringPointer


@structure
class Transports:
    """SERVER_XPORT_ENUM_STRUCT ([MS-SRVS] 2.2.4.101)."""

    level: U32
    rows: Annotated[
        tuple[int, list[Any] | None],
        Union(
            ndr.UINT32,
            {
                0: Unique(Counted(ndr.of(Transport0))),
                1: Unique(Counted(ndr.of(Transport1))),
                # Levels 2 and 3 are not answered, but clients have a place for them.
                **dict.fromkeys((2, 3), Unique(Counted(ndr.UINT32))),
            },
            Nothing(),
        ),
    ]


class Drive(ndr.Type):
    """DISK_INFO ([MS-SRVS] 2.2.4.90): three characters, varying, which no conformance precedes."""

    smallest = 8

    def alignment(self, ndr64: bool) -> int:
        """Return the alignment of the counts."""
        return 8 if ndr64 else 4

    def read(self, reader: ndr.Reader) -> str:
        """Read the name of a drive."""
        reader.count()
        return reader.take(2 * reader.elements(2)).decode("utf-16-le", "replace").rstrip("\0")

    def write(self, writer: ndr.Writer, value: str) -> None:
        """Write the name of a drive."""
        data = ndr.encode_wide(value + "\0")
        writer.count(0)
        writer.count(len(data) // 2)
        writer.data += data


@structure
class Drives:
    """DISK_ENUM_CONTAINER ([MS-SRVS] 2.2.4.92)."""

    count: U32
    drives: Annotated[list[str] | None, Unique(VaryingArray(Drive()))]


@structure
class Devices:
    """What LAN Manager had for serial lines, of which there are none."""

    level: U32
    rows: Annotated[
        tuple[int, list[Any] | None],
        Union(
            ndr.UINT32,
            dict.fromkeys((0, 1), Unique(Counted(ndr.UINT32))),
            Nothing(),
        ),
    ]


@CALLS.call(0)
def device_enum(
    view: View, server: WideStringPointer, wanted: Devices, limit: U32, resume: U32Pointer
) -> tuple[Devices, U32, U32Pointer]:
    """Refuse LAN Manager's NetrCharDevEnum as Windows does ([MS-SRVS] 3.1.4 leaves it out)."""
    raise Status(ERROR_NOT_SUPPORTED, Devices(wanted.level, (wanted.rows[0], None)), 0, resume)


@CALLS.call(3)
def device_queue_enum(
    view: View,
    server: WideStringPointer,
    user: WideStringPointer,
    wanted: Devices,
    limit: U32,
    resume: U32Pointer,
) -> tuple[Devices, U32, U32Pointer]:
    """Refuse LAN Manager's NetrCharDevQEnum, as above."""
    return device_enum(view, server, wanted, limit, resume)


@CALLS.call(20)
def share_check(view: View, server: WideStringPointer, device: WideString) -> Asking[U32]:
    """NetrShareCheck: of which type is the share of this folder ([MS-SRVS] 3.1.4.13)."""
    if not view.may_enumerate:
        raise Status(ERROR_ACCESS_DENIED)
    yield from is_administrator(view)
    folder = device.rstrip("\\").casefold()
    for share in view.snapshot.all_shares():
        path = shares.share_path(share, view.may_see_paths)
        is_pipes = share.type is ShareType.PIPE
        if (path or is_pipes) and path.rstrip("\\").casefold() == folder:
            return shares.share_type(share)
    raise Status(NERR_DEVICE_NOT_SHARED)


@CALLS.call(23)
def disk_enum(
    view: View,
    server: WideStringPointer,
    level: U32,
    wanted: Drives,
    limit: U32,
    resume: U32Pointer,
) -> Asking[tuple[Drives, U32, U32Pointer]]:
    """NetrServerDiskEnum: the one drive that shares' paths are shown on ([MS-SRVS] 3.1.4.19)."""
    if level != 0:
        raise Status(ERROR_INVALID_LEVEL, Drives(0, None), 0, resume)
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED, Drives(0, None), 0, resume)
    return Drives(1, ["C:"]), 1, None if resume is None else 0


@CALLS.call(26)
def transport_enum(
    view: View, server: WideStringPointer, wanted: Transports, limit: U32, resume: U32Pointer
) -> Asking[tuple[Transports, U32, U32Pointer]]:
    """NetrServerTransportEnum: TCP ([MS-SRVS] 3.1.4.24)."""
    level = wanted.level
    nothing = Transports(level, (level, None)), 0, resume
    if level not in (0, 1) or wanted.rows[0] != level:
        raise Status(ERROR_INVALID_LEVEL, *nothing)
    if not (yield from is_administrator(view)):
        raise Status(ERROR_ACCESS_DENIED, *nothing)
    config = view.snapshot.config
    address = config.netbios_name.encode("ascii", "replace")
    common = 0, TRANSPORT, address, len(address), "000000000000"
    row = Transport0(*common) if level == 0 else Transport1(*common, config.workgroup)
    return Transports(level, (level, [row])), 1, None if resume is None else 0


@CALLS.call(33)
def name_validate(
    view: View, server: WideStringPointer, name: WideString, kind: U32, flags: U32
) -> None:
    """NetprNameValidate: may a share, or something else, be called so ([MS-SRVS] 3.1.4.22)."""
    if kind not in NAMETYPES or flags not in (0, 0x80000000):
        raise Status(ERROR_INVALID_PARAMETER)
    if kind != NAMETYPE_SHARE:
        raise Status(ERROR_NOT_SUPPORTED)
    longest = 13 if flags else MAX_SHARE_NAME
    if not 0 < len(name) <= longest or FORBIDDEN.intersection(name):
        raise Status(ERROR_INVALID_NAME)
