"""The Workstation Service remote protocol: the server as a computer ([MS-WKST])."""

from typing import Annotated
from uuid import UUID

from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.errors import ERROR_INVALID_LEVEL
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Nothing, Union, Unique, WideStringPointer, structure
from usmbd.mountd.rpc.platform import PLATFORM_ID_NT, VERSION_MAJOR, VERSION_MINOR
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("6bffd098-a112-3610-9833-46c3f87e345a"), 1)
"""[MS-WKST] 1.9."""

interface = CALLS.bind


@structure
class Info100:
    """WKSTA_INFO_100 ([MS-WKST] 2.2.5.1)."""

    platform_id: U32
    computer_name: WideStringPointer
    lan_group: WideStringPointer
    version_major: U32
    version_minor: U32


@structure
class Info101:
    """WKSTA_INFO_101 ([MS-WKST] 2.2.5.2)."""

    platform_id: U32
    computer_name: WideStringPointer
    lan_group: WideStringPointer
    version_major: U32
    version_minor: U32
    lan_root: WideStringPointer


@structure
class Info102:
    """WKSTA_INFO_102 ([MS-WKST] 2.2.5.3)."""

    platform_id: U32
    computer_name: WideStringPointer
    lan_group: WideStringPointer
    version_major: U32
    version_minor: U32
    lan_root: WideStringPointer
    logged_on_users: U32


INFO = Union(
    ndr.UINT32,
    {
        100: Unique(ndr.of(Info100)),
        101: Unique(ndr.of(Info101)),
        102: Unique(ndr.of(Info102)),
    },
    Nothing(),
)
Info = tuple[int, Info100 | Info101 | Info102 | None]


@CALLS.call(0)
def get_info(view: View, server: WideStringPointer, level: U32) -> Annotated[Info, INFO]:
    """NetrWkstaGetInfo in levels 100, 101 and 102 ([MS-WKST] 3.2.4.1)."""
    config = view.snapshot.config
    common = (
        *(PLATFORM_ID_NT, config.netbios_name, config.workgroup),
        *(VERSION_MAJOR, VERSION_MINOR),
    )
    if level == 100:
        return level, Info100(*common)
    if level == 101:
        return level, Info101(*common, lan_root="")
    if level == 102:
        return level, Info102(*common, lan_root="", logged_on_users=0)
    raise Status(ERROR_INVALID_LEVEL, (level, None))
