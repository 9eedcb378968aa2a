"""Privileges, and who holds which rights ([MS-LSAD] 3.1.4.5, 3.1.4.8)."""

from typing import Final

from usmbd.mountd.admin.descriptors import ADMINISTRATORS
from usmbd.mountd.ipc.rights import DISK_OPERATOR, HELD, GivenPage, ListGiven
from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    CALLS,
    POLICY_LOOKUP_NAMES,
    POLICY_VIEW_LOCAL_INFORMATION,
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
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.pdu import Fault
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
    DISK_OPERATOR: (0x1003, "Manage disk shares"),
}
"""The privileges with the low halves of their LUIDs; the high ones are 0 ([MS-LSAD] 3.1.1.2.1).

The last is Samba's, with Samba's number.
"""

_FOLDED: Final = {name.casefold(): name for name in PRIVILEGES}

LOGON_RIGHTS: Final = ("SeNetworkLogonRight",)
"""Rights that are no privileges ([MS-LSAD] 3.1.1.2.2)."""


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
    yield from administrators_alone(view)
    held = yield from all_held(view)
    rest = list(held)[resume:]
    if not rest:
        raise Status(STATUS_NO_MORE_ENTRIES, resume, lsa.Sids(None))
    return len(held), lsa.Sids([lsa.SidHolder(sid) for sid in rest])


@CALLS.call(35)
def enumerate_accounts_with_right(
    view: View, handle: Handle, right: lsa.StringPointer
) -> Asking[lsa.Sids]:
    """LsarEnumerateAccountsWithUserRight ([MS-LSAD] 3.1.4.5.9)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    yield from administrators_alone(view)
    known = None if right is None else known_right(right)
    held = yield from all_held(view)
    found = [sid for sid, rights in held.items() if known is None or known in rights]
    if not found:
        raise Status(STATUS_NO_MORE_ENTRIES)
    return lsa.Sids([lsa.SidHolder(sid) for sid in found])


@CALLS.call(36)
def enumerate_account_rights(view: View, handle: Handle, sid: Sid) -> Asking[lsa.Rights]:
    """LsarEnumerateAccountRights ([MS-LSAD] 3.1.4.5.10)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    yield from administrators_alone(view)
    held = yield from all_held(view)
    if sid not in held:
        raise Status(STATUS_OBJECT_NAME_NOT_FOUND)
    return lsa.Rights(list(held[sid]))


def known_right(name: str | None) -> str:
    """Return a right as it is spelled; Status(STATUS_NO_SUCH_PRIVILEGE) when there is none."""
    folded = (name or "").casefold()
    for each in (*PRIVILEGES, *LOGON_RIGHTS):
        if each.casefold() == folded:
            return each
    raise Status(STATUS_NO_SUCH_PRIVILEGE)


def all_held(view: View) -> Asking[dict[str, tuple[str, ...]]]:
    """Return who holds which rights: by the configuration, and as they were given."""
    held = dict(HELD)
    start = 0
    while True:
        page = yield ListGiven(view.caller.user, start)
        if not isinstance(page, GivenPage):
            raise CallError(Fault.SERVER_TOO_BUSY)
        mine = held[ADMINISTRATORS]
        held[ADMINISTRATORS] = tuple(each for each in mine if each not in page.taken)
        for sid, rights in page.accounts:
            held[sid] = tuple(dict.fromkeys((*held.get(sid, ()), *rights)))
        start += len(page.accounts)
        if start >= page.total or not page.accounts:
            return held


def administrators_alone(view: View) -> Asking[None]:
    """Status(STATUS_ACCESS_DENIED) for all others: of accounts they learn nothing."""
    if not (yield from is_administrator(view)):
        raise Status(STATUS_ACCESS_DENIED)
