"""The policy: what the server is ([MS-LSAD] 3.1.4.4)."""

from typing import Annotated, Final
from uuid import UUID

from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    ACCOUNT,
    CALLS,
    POLICY,
    POLICY_VIEW_AUDIT_INFORMATION,
    POLICY_VIEW_LOCAL_INFORMATION,
    OpenAccount,
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
    STATUS_NO_MORE_ENTRIES,
    STATUS_NOT_SUPPORTED,
)
from usmbd.mountd.rpc.view import View

PRIMARY: Final = 3
"""PolicyServerRolePrimary: its accounts are its own ([MS-LSAD] 2.2.4.8)."""


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
    if not view.may_enumerate:
        raise Status(STATUS_ACCESS_DENIED)
    granted = POLICY.granted(desired, (yield from is_administrator(view)))
    return view.handles.add(Policy(granted))


@CALLS.call(3)
def query_security(view: View, handle: Handle, what: U32) -> lsa.DescriptorPointer:
    """LsarQuerySecurityObject ([MS-LSAD] 3.1.4.9.1)."""
    try:
        found: Policy | OpenAccount = view.handles.get(handle, Policy)
        data = POLICY.descriptor()
    except CallError:
        found = view.handles.get(handle, OpenAccount)
        data = ACCOUNT.descriptor()
    need(found.granted, 0x00020000)
    return lsa.Descriptor(len(data), data)


@CALLS.call(7, 46)
def query_policy(view: View, handle: Handle, level: Enum) -> lsa.PolicyPointer:
    """LsarQueryInformationPolicy and its second version ([MS-LSAD] 3.1.4.4.3, 3.1.4.4.4)."""
    policy = view.handles.get(handle, Policy)
    config, sid = view.snapshot.config, view.snapshot.machine_sid
    audit = level == 2
    need(
        policy.granted,
        POLICY_VIEW_AUDIT_INFORMATION if audit else POLICY_VIEW_LOCAL_INFORMATION,
    )
    if audit:
        return level, lsa.AuditEvents(0, [0] * 9, 9)
    if level == 3:
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
    raise Status(STATUS_INVALID_INFO_CLASS)


@CALLS.call(13)
def enumerate_trusted_domains(
    view: View, handle: Handle, resume: U32, size: U32
) -> tuple[U32, lsa.TrustedDomains]:
    """LsarEnumerateTrustedDomains: a server of its own trusts none ([MS-LSAD] 3.1.4.7.8)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    raise Status(STATUS_NO_MORE_ENTRIES, 0, lsa.TrustedDomains(None))


@CALLS.call(50)
def enumerate_trusted_domains_ex(
    view: View, handle: Handle, resume: U32, size: U32
) -> tuple[U32, lsa.TrustedDomains]:
    """LsarEnumerateTrustedDomainsEx: none ([MS-LSAD] 3.1.4.7.7)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    raise Status(STATUS_NO_MORE_ENTRIES, 0, lsa.TrustedDomains(None))


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
