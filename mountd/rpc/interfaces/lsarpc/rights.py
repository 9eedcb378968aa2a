"""Privileges, and who holds which rights ([MS-LSAD] 3.1.4.5, 3.1.4.8)."""

from typing import Final

from usmbd.mountd.rpc.access import ADMINISTRATORS, EVERYONE, is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    ACCOUNT,
    CALLS,
    POLICY_LOOKUP_NAMES,
    POLICY_VIEW_LOCAL_INFORMATION,
    OpenAccount,
    Policy,
)
from usmbd.mountd.rpc.ndr.types import (
    U16,
    U32,
    Handle,
    Sid,
    UnicodeString,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_NO_MORE_ENTRIES,
    STATUS_NO_SUCH_PRIVILEGE,
    STATUS_NOT_SUPPORTED,
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.view import View

PRIVILEGES: Final = {
    "SeCreateTokenPrivilege": (2, "Create a token object"),
    "SeAssignPrimaryTokenPrivilege": (3, "Replace a process level token"),
    "SeLockMemoryPrivilege": (4, "Lock pages in memory"),
    "SeIncreaseQuotaPrivilege": (5, "Adjust memory quotas for a process"),
    "SeMachineAccountPrivilege": (6, "Add workstations to domain"),
    "SeTcbPrivilege": (7, "Act as part of the operating system"),
    "SeSecurityPrivilege": (8, "Manage auditing and security log"),
    "SeTakeOwnershipPrivilege": (9, "Take ownership of files or other objects"),
    "SeLoadDriverPrivilege": (10, "Load and unload device drivers"),
    "SeSystemProfilePrivilege": (11, "Profile system performance"),
    "SeSystemtimePrivilege": (12, "Change the system time"),
    "SeProfileSingleProcessPrivilege": (13, "Profile single process"),
    "SeIncreaseBasePriorityPrivilege": (14, "Increase scheduling priority"),
    "SeCreatePagefilePrivilege": (15, "Create a pagefile"),
    "SeCreatePermanentPrivilege": (16, "Create permanent shared objects"),
    "SeBackupPrivilege": (17, "Back up files and directories"),
    "SeRestorePrivilege": (18, "Restore files and directories"),
    "SeShutdownPrivilege": (19, "Shut down the system"),
    "SeDebugPrivilege": (20, "Debug programs"),
    "SeAuditPrivilege": (21, "Generate security audits"),
    "SeSystemEnvironmentPrivilege": (22, "Modify firmware environment values"),
    "SeChangeNotifyPrivilege": (23, "Bypass traverse checking"),
    "SeRemoteShutdownPrivilege": (24, "Force shutdown from a remote system"),
    "SeUndockPrivilege": (25, "Remove computer from docking station"),
    "SeSyncAgentPrivilege": (26, "Synchronize directory service data"),
    "SeEnableDelegationPrivilege": (27, "Enable accounts to be trusted for delegation"),
    "SeManageVolumePrivilege": (28, "Perform volume maintenance tasks"),
    "SeImpersonatePrivilege": (29, "Impersonate a client after authentication"),
    "SeCreateGlobalPrivilege": (30, "Create global objects"),
}
"""The privileges with the low halves of their LUIDs; the high ones are 0 ([MS-LSAD] 3.1.1.2.1)."""

_FOLDED: Final = {name.casefold(): name for name in PRIVILEGES}

LOGON_RIGHTS: Final = ("SeNetworkLogonRight",)
"""Rights that are no privileges ([MS-LSAD] 3.1.1.2.2)."""

HELD: Final = {
    ADMINISTRATORS: (
        "SeSecurityPrivilege",
        "SeTakeOwnershipPrivilege",
        "SeBackupPrivilege",
        "SeRestorePrivilege",
    ),
    EVERYONE: LOGON_RIGHTS,
}
"""Who holds which: administrators act as root, and whoever has a password may log in."""

NETWORK_LOGON: Final = 0x00000002
"""The right SeNetworkLogonRight as a bit ([MS-LSAD] 2.2.1.2)."""


@CALLS.call(2)
def enumerate_privileges(
    view: View, handle: Handle, resume: U32, size: U32
) -> tuple[U32, lsa.Privileges]:
    """LsarEnumeratePrivileges ([MS-LSAD] 3.1.4.8.1)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    rest = list(PRIVILEGES.items())[resume:]
    if not rest:
        raise Status(STATUS_NO_MORE_ENTRIES, resume, lsa.Privileges(None))
    found = [lsa.Privilege(name, lsa.Luid(low, 0)) for name, (low, _) in rest]
    return len(PRIVILEGES), lsa.Privileges(found)


@CALLS.call(31)
def lookup_privilege_value(view: View, handle: Handle, name: UnicodeString) -> lsa.Luid:
    """LsarLookupPrivilegeValue ([MS-LSAD] 3.1.4.8.2)."""
    need(view.handles.get(handle, Policy).granted, POLICY_LOOKUP_NAMES)
    known = _FOLDED.get((name or "").casefold())
    if known is None:
        raise Status(STATUS_NO_SUCH_PRIVILEGE)
    return lsa.Luid(PRIVILEGES[known][0], 0)


@CALLS.call(32)
def lookup_privilege_name(view: View, handle: Handle, luid: lsa.Luid) -> lsa.LargePointer:
    """LsarLookupPrivilegeName ([MS-LSAD] 3.1.4.8.3)."""
    need(view.handles.get(handle, Policy).granted, POLICY_LOOKUP_NAMES)
    for name, (low, _) in PRIVILEGES.items():
        if (low, 0) == (luid.low, luid.high):
            return name
    raise Status(STATUS_NO_SUCH_PRIVILEGE)


@CALLS.call(33)
def lookup_privilege_display_name(
    view: View, handle: Handle, name: UnicodeString, language: U16, system_language: U16
) -> tuple[lsa.LargePointer, U16]:
    """LsarLookupPrivilegeDisplayName: in English ([MS-LSAD] 3.1.4.8.4)."""
    need(view.handles.get(handle, Policy).granted, POLICY_LOOKUP_NAMES)
    known = _FOLDED.get((name or "").casefold())
    if known is None:
        raise Status(STATUS_NO_SUCH_PRIVILEGE)
    return PRIVILEGES[known][1], 0x409


@CALLS.call(11)
def enumerate_accounts(
    view: View, handle: Handle, resume: U32, size: U32
) -> Asking[tuple[U32, lsa.Sids]]:
    """LsarEnumerateAccounts: who holds rights ([MS-LSAD] 3.1.4.5.2)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    yield from _administrators_alone(view)
    rest = list(HELD)[resume:]
    if not rest:
        raise Status(STATUS_NO_MORE_ENTRIES, resume, lsa.Sids(None))
    return len(HELD), lsa.Sids([lsa.SidHolder(sid) for sid in rest])


@CALLS.call(35)
def enumerate_accounts_with_right(
    view: View, handle: Handle, right: lsa.StringPointer
) -> Asking[lsa.Sids]:
    """LsarEnumerateAccountsWithUserRight ([MS-LSAD] 3.1.4.5.3)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    yield from _administrators_alone(view)
    folded = (right or "").casefold()
    if right is not None and folded not in {*_FOLDED, *map(str.casefold, LOGON_RIGHTS)}:
        raise Status(STATUS_NO_SUCH_PRIVILEGE)
    found = [
        sid
        for sid, held in HELD.items()
        if right is None or folded in {each.casefold() for each in held}
    ]
    if not found:
        raise Status(STATUS_NO_MORE_ENTRIES)
    return lsa.Sids([lsa.SidHolder(sid) for sid in found])


@CALLS.call(36)
def enumerate_account_rights(view: View, handle: Handle, sid: Sid) -> Asking[lsa.Rights]:
    """LsarEnumerateAccountRights ([MS-LSAD] 3.1.4.5.10)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    yield from _administrators_alone(view)
    if sid not in HELD:
        raise Status(STATUS_OBJECT_NAME_NOT_FOUND)
    return lsa.Rights(list(HELD[sid]))


@CALLS.call(37)
def add_account_rights(view: View, handle: Handle, sid: Sid, rights: lsa.Rights) -> Asking[None]:
    """LsarAddAccountRights: who has rights follows from the configuration."""
    yield from _refuse_change(view, handle)


@CALLS.call(10)
def create_account(view: View, handle: Handle, sid: Sid, desired: U32) -> Asking[Handle]:
    """LsarCreateAccount: who has rights follows from the configuration."""
    yield from _refuse_change(view, handle)
    raise AssertionError


@CALLS.call(17)
def open_account(view: View, handle: Handle, sid: Sid, desired: U32) -> Asking[Handle]:
    """LsarOpenAccount ([MS-LSAD] 3.1.4.5.5)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    granted = ACCOUNT.granted(desired, (yield from is_administrator(view)))
    if sid not in HELD:
        raise Status(STATUS_OBJECT_NAME_NOT_FOUND)
    return view.handles.add(OpenAccount(sid, granted))


@CALLS.call(23)
def get_system_access(view: View, handle: Handle) -> U32:
    """LsarGetSystemAccessAccount ([MS-LSAD] 3.1.4.5.13)."""
    account = view.handles.get(handle, OpenAccount)
    need(account.granted, 0x0001)
    return NETWORK_LOGON if "SeNetworkLogonRight" in HELD[account.sid] else 0


def _administrators_alone(view: View) -> Asking[None]:
    if not (yield from is_administrator(view)):
        raise Status(STATUS_ACCESS_DENIED)


def _refuse_change(view: View, handle: bytes) -> Asking[None]:
    """Refuse to change what follows from the configuration."""
    view.handles.get(handle, Policy)
    yield from _administrators_alone(view)
    raise Status(STATUS_NOT_SUPPORTED)
