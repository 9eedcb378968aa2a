"""The policy: what the server is ([MS-LSAD] 3.1.4.4)."""

from typing import Annotated, Final
from uuid import UUID

from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    CALLS,
    KINDS,
    POLICY,
    POLICY_SERVER_ADMIN,
    POLICY_VIEW_AUDIT_INFORMATION,
    POLICY_VIEW_LOCAL_INFORMATION,
    Policy,
)
from usmbd.mountd.rpc.ndr.types import (
    U32,
    UINT16,
    UNICODE_STRING,
    Boxed,
    Enum,
    Handle,
    Unique,
    WideStringPointer,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_PARAMETER,
    STATUS_NOT_SUPPORTED,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

READ_CONTROL: Final = 0x00020000

PRIMARY_DOMAIN: Final = 3
"""PolicyPrimaryDomainInformation ([MS-LSAD] 2.2.4.1)."""

PRIMARY: Final = 3
"""PolicyServerRolePrimary: its accounts are its own ([MS-LSAD] 2.2.4.8)."""

AUDITING: Final = (1, 2)
"""The levels of what is audited, which is nothing: an empty log, and no events."""

OF_OTHERS: Final = (9, 10, 11)
"""Levels of domain controllers and of the event log's own ([MS-LSAD] 3.1.4.4.4)."""


@CALLS.call(0)
def close(view: View, handle: Handle) -> Handle:
    """LsarClose ([MS-LSAD] 3.1.4.9.4)."""
    return view.handles.close(handle)


@CALLS.call(1)
def delete(view: View, handle: Handle) -> None:
    """LsarDelete, which no server has any more: objects go by LsarDeleteObject."""
    raise Status(STATUS_NOT_SUPPORTED)


@CALLS.call(6)
def open_policy(
    view: View,
    system: Annotated[int | None, Unique(UINT16)],
    attributes: lsa.ObjectAttributes,
    desired: U32,
) -> Asking[Handle]:
    """LsarOpenPolicy: of the system's name one character comes ([MS-LSAD] 3.1.4.4.2)."""
    return (yield from _open(view, attributes, desired))


@CALLS.call(44)
def open_policy2(
    view: View, system: WideStringPointer, attributes: lsa.ObjectAttributes, desired: U32
) -> Asking[Handle]:
    """LsarOpenPolicy2 ([MS-LSAD] 3.1.4.4.1)."""
    return (yield from _open(view, attributes, desired))


def _open(view: View, attributes: lsa.ObjectAttributes, desired: int) -> Asking[bytes]:
    if attributes.root_directory is not None:
        raise Status(STATUS_INVALID_PARAMETER)
    if not view.may_look_up:
        raise Status(STATUS_ACCESS_DENIED)
    granted = POLICY.granted(desired, (yield from is_administrator(view)))
    return view.handles.add(Policy(granted))


@CALLS.call(3)
def query_security(view: View, handle: Handle, what: U32) -> lsa.DescriptorPointer:
    """LsarQuerySecurityObject ([MS-LSAD] 3.1.4.9.1)."""
    found = view.handles.get(handle, object)
    for kind, access in KINDS:
        if isinstance(found, kind):
            need(found.granted, READ_CONTROL)
            data = access.descriptor()
            return lsa.Descriptor(len(data), data)
    raise CallError(Fault.CONTEXT_MISMATCH)


@CALLS.call(46)
def query_policy2(view: View, handle: Handle, level: Enum) -> lsa.PolicyPointer:
    """LsarQueryInformationPolicy2 ([MS-LSAD] 3.1.4.4.3).

    Of the domain of which the server is none it says nothing, as smbd: `smbcacls --sddl` takes its
    SID from there, and dies of one that is not there.
    """
    view.handles.get(handle, Policy)
    if level == PRIMARY_DOMAIN:
        raise CallError(Fault.OP_RNG_ERROR)
    return query_policy(view, handle, level)


@CALLS.call(7)
def query_policy(view: View, handle: Handle, level: Enum) -> lsa.PolicyPointer:
    """LsarQueryInformationPolicy ([MS-LSAD] 3.1.4.4.4)."""
    policy = view.handles.get(handle, Policy)
    config, sid = view.snapshot.config, view.snapshot.machine_sid
    audit = level in AUDITING
    need(
        policy.granted,
        POLICY_VIEW_AUDIT_INFORMATION if audit else POLICY_VIEW_LOCAL_INFORMATION,
    )
    if level == 1:
        return level, lsa.AuditLog(0, 0, 0, 0, 0, 0)
    if level == 2:
        return level, lsa.AuditEvents(0, [0] * 9, 9)
    if level == PRIMARY_DOMAIN:
        return level, lsa.Domain(config.workgroup, None)
    if level == 4:
        return level, lsa.Text("")
    if level in (5, 14):
        return level, lsa.Domain(config.netbios_name, sid)
    if level == 6:
        return level, lsa.Role(PRIMARY)
    if level == 7:
        return level, lsa.Replica("", "")
    if level in (12, 13):
        return level, lsa.DnsDomain(config.workgroup, "", "", UUID(int=0), None)
    raise Status(STATUS_INVALID_PARAMETER if level in OF_OTHERS else STATUS_INVALID_INFO_CLASS)


@CALLS.call(8, 47)
def set_policy(view: View, handle: Handle, level: Enum) -> None:
    """LsarSetInformationPolicy and its second version: refused ([MS-LSAD] 3.1.4.4.5, 3.1.4.4.6).

    Nothing is audited, and names and roles are the configuration's.
    """
    need(view.handles.get(handle, Policy).granted, POLICY_SERVER_ADMIN)
    raise Status(STATUS_NOT_SUPPORTED)


@CALLS.call(45)
def get_user_name(
    view: View,
    system: WideStringPointer,
    user: lsa.StringPointer,
    domain: Annotated[list[str | None] | None, Unique(Boxed(Unique(UNICODE_STRING)))],
) -> tuple[
    lsa.StringPointer, Annotated[list[str | None] | None, Unique(Boxed(Unique(UNICODE_STRING)))]
]:
    """LsarGetUserName: who asks ([MS-LSAT] 3.1.4.2)."""
    caller = view.caller
    if user is not None:
        raise Status(STATUS_INVALID_PARAMETER)
    if caller.anonymous:
        name, authority = "ANONYMOUS LOGON", "NT AUTHORITY"
    else:
        name = view.snapshot.config.guest_account if caller.guest else caller.user
        authority = view.snapshot.config.netbios_name
    return name, None if domain is None else [authority]
