"""The Directory Services Setup remote protocol: a server of no domain ([MS-DSSP])."""

from typing import Annotated, Any, Final
from uuid import UUID

from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.errors import ERROR_INVALID_PARAMETER
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.types import U32, Enum, Union, Unique, Uuid, WideStringPointer, structure
from usmbd.mountd.rpc.view import View

CALLS = Calls(UUID("3919286a-b10c-11d0-9ba8-00c04fd92ef5"), 0)
"""[MS-DSSP] 1.9."""

interface = CALLS.bind

STANDALONE_SERVER: Final = 2
"""DsRole_RoleStandaloneServer ([MS-DSSP] 2.2.4)."""


@structure
class Basic:
    """DSROLER_PRIMARY_DOMAIN_INFO_BASIC ([MS-DSSP] 2.2.5)."""

    role: Enum
    flags: U32
    flat_name: WideStringPointer
    dns_name: WideStringPointer
    forest_name: WideStringPointer
    domain: Uuid


@structure
class Upgrade:
    """DSROLE_UPGRADE_STATUS_INFO ([MS-DSSP] 2.2.7)."""

    state: U32
    previous_role: Enum


@structure
class Operation:
    """DSROLE_OPERATION_STATE_INFO ([MS-DSSP] 2.2.8)."""

    state: Enum


INFO = Union(ndr.Enumeration(), {1: ndr.of(Basic), 2: ndr.of(Upgrade), 3: ndr.of(Operation)})


@CALLS.call(0)
def get_role(view: View, level: Enum) -> Annotated[tuple[int, Any] | None, Unique(INFO)]:
    """DsRolerGetPrimaryDomainInformation ([MS-DSSP] 3.2.5.1)."""
    if level == 1:
        workgroup = view.snapshot.config.workgroup
        return level, Basic(STANDALONE_SERVER, 0, workgroup, None, None, UUID(int=0))
    if level == 2:
        return level, Upgrade(0, 0)
    if level == 3:
        return level, Operation(0)
    raise Status(ERROR_INVALID_PARAMETER)
