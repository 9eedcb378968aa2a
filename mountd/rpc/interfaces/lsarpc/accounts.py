"""Accounts that hold rights: made, given rights, and deleted ([MS-LSAD] 3.1.4.5).

What follows from the configuration stays, for it says who administrates; but who audits may be
others.
"""

from typing import Any, Final

from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.rights import (
    HELD,
    MAX_RIGHTS,
    REVOCABLE,
    DeleteAccount,
    GiveRights,
    MakeAccount,
    TakeRights,
)
from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    ACCOUNT,
    ACCOUNT_ADJUST_PRIVILEGES,
    ACCOUNT_VIEW,
    CALLS,
    DELETE,
    POLICY_CREATE_ACCOUNT,
    POLICY_LOOKUP_NAMES,
    POLICY_VIEW_LOCAL_INFORMATION,
    OpenAccount,
    OpenSecret,
    Policy,
)
from usmbd.mountd.rpc.interfaces.lsarpc.rights import (
    PRIVILEGES,
    administrators_alone,
    all_held,
    known_right,
)
from usmbd.mountd.rpc.interfaces.lsarpc.secrets import delete_secret
from usmbd.mountd.rpc.ndr.types import U8, U32, Handle, Sid
from usmbd.mountd.rpc.ntstatus import (
    STATUS_ACCESS_DENIED,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_SUCH_PRIVILEGE,
    STATUS_NOT_SUPPORTED,
    STATUS_OBJECT_NAME_COLLISION,
    STATUS_OBJECT_NAME_NOT_FOUND,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import View

NETWORK_LOGON: Final = 0x00000002
"""The right SeNetworkLogonRight as a bit ([MS-LSAD] 2.2.1.2)."""

ERRORS: Final = {
    Result.DENIED: STATUS_ACCESS_DENIED,
    Result.EXISTS: STATUS_OBJECT_NAME_COLLISION,
    Result.NOT_FOUND: STATUS_OBJECT_NAME_NOT_FOUND,
    Result.FIXED: STATUS_NOT_SUPPORTED,
}


def _done(answer: Any) -> None:
    """Status, or a fault, unless a wish is fulfilled."""
    if not isinstance(answer, Outcome) or answer.result is Result.FAILED:
        raise CallError(Fault.SERVER_TOO_BUSY)
    if answer.result is not Result.DONE:
        raise Status(ERRORS[answer.result])


@CALLS.call(10)
def create_account(view: View, handle: Handle, sid: Sid, desired: U32) -> Asking[Handle]:
    """LsarCreateAccount: one that has no rights yet ([MS-LSAD] 3.1.4.5.1)."""
    need(view.handles.get(handle, Policy).granted, POLICY_CREATE_ACCOUNT)
    granted = ACCOUNT.granted(desired, (yield from is_administrator(view)))
    if sid in HELD:
        raise Status(STATUS_OBJECT_NAME_COLLISION)
    _done((yield MakeAccount(view.caller.user, sid)))
    return view.handles.add(OpenAccount(sid, granted))


@CALLS.call(17)
def open_account(view: View, handle: Handle, sid: Sid, desired: U32) -> Asking[Handle]:
    """LsarOpenAccount ([MS-LSAD] 3.1.4.5.3)."""
    need(view.handles.get(handle, Policy).granted, POLICY_VIEW_LOCAL_INFORMATION)
    granted = ACCOUNT.granted(desired, (yield from is_administrator(view)))
    if sid not in (yield from all_held(view)):
        raise Status(STATUS_OBJECT_NAME_NOT_FOUND)
    return view.handles.add(OpenAccount(sid, granted))


@CALLS.call(34)
def delete_object(view: View, handle: Handle) -> Asking[Handle]:
    """LsarDeleteObject: a secret, or an account with what it was given ([MS-LSAD] 3.1.4.9.3)."""
    account = view.handles.get(handle, object)
    if isinstance(account, OpenSecret):
        need(account.granted, DELETE)
        yield from delete_secret(view, account)
        return view.handles.close(handle)
    if not isinstance(account, OpenAccount):
        raise CallError(Fault.CONTEXT_MISMATCH)
    need(account.granted, DELETE)
    if account.sid in HELD:
        raise Status(STATUS_NOT_SUPPORTED, handle)
    _done((yield DeleteAccount(view.caller.user, account.sid)))
    return view.handles.close(handle)


@CALLS.call(37)
def add_account_rights(view: View, handle: Handle, sid: Sid, rights: lsa.Rights) -> Asking[None]:
    """LsarAddAccountRights: those that have an effect here ([MS-LSAD] 3.1.4.5.11)."""
    need(view.handles.get(handle, Policy).granted, POLICY_CREATE_ACCOUNT | POLICY_LOOKUP_NAMES)
    yield from administrators_alone(view)
    wanted = _wanted(rights)
    new = [right for right in wanted if right not in _fixed(sid)]
    if wanted and not new:
        return
    _done((yield GiveRights(view.caller.user, sid, new)))


@CALLS.call(38)
def remove_account_rights(
    view: View, handle: Handle, sid: Sid, every: U8, rights: lsa.Rights
) -> Asking[None]:
    """LsarRemoveAccountRights: what was given; without any an account goes.

    [MS-LSAD] 3.1.4.5.12.
    """
    need(view.handles.get(handle, Policy).granted, POLICY_LOOKUP_NAMES)
    yield from administrators_alone(view)
    wanted = _wanted(rights)
    if set(wanted) & _fixed(sid) or (every and sid in HELD):
        raise Status(STATUS_NOT_SUPPORTED)
    _done((yield TakeRights(view.caller.user, sid, wanted, bool(every))))


def _fixed(sid: str) -> set[str]:
    """Return what an account holds by the configuration for good."""
    return set(HELD.get(sid, ())) - REVOCABLE


def _wanted(rights: lsa.Rights) -> list[str]:
    """Return rights as they are spelled."""
    names = rights.rights or []
    if len(names) > MAX_RIGHTS:
        raise Status(STATUS_INVALID_PARAMETER)
    return [known_right(name) for name in names]


@CALLS.call(18)
def enumerate_privileges(view: View, handle: Handle) -> Asking[lsa.PrivilegeSetPointer]:
    """LsarEnumeratePrivilegesAccount ([MS-LSAD] 3.1.4.5.4)."""
    account = view.handles.get(handle, OpenAccount)
    need(account.granted, ACCOUNT_VIEW)
    held = (yield from all_held(view)).get(account.sid, ())
    return [(PRIVILEGES[right][0], 0) for right in held if right in PRIVILEGES]


def _named(privileges: list[tuple[int, int]]) -> list[str]:
    """Return the privileges of LUIDs by their names."""
    names = {(low, 0): name for name, (low, _) in PRIVILEGES.items()}
    if len(privileges) > MAX_RIGHTS:
        raise Status(STATUS_INVALID_PARAMETER)
    if not names.keys() >= set(privileges):
        raise Status(STATUS_NO_SUCH_PRIVILEGE)
    return [names[luid] for luid in privileges]


@CALLS.call(19)
def add_privileges(view: View, handle: Handle, privileges: lsa.PrivilegeSet) -> Asking[None]:
    """LsarAddPrivilegesToAccount ([MS-LSAD] 3.1.4.5.5)."""
    account = view.handles.get(handle, OpenAccount)
    need(account.granted, ACCOUNT_ADJUST_PRIVILEGES)
    wanted = _named(privileges)
    new = [right for right in wanted if right not in _fixed(account.sid)]
    if new:
        _done((yield GiveRights(view.caller.user, account.sid, new)))


@CALLS.call(20)
def remove_privileges(
    view: View, handle: Handle, every: U8, privileges: lsa.PrivilegeSetPointer
) -> Asking[None]:
    """LsarRemovePrivilegesFromAccount: the account stays ([MS-LSAD] 3.1.4.5.6)."""
    account = view.handles.get(handle, OpenAccount)
    need(account.granted, ACCOUNT_ADJUST_PRIVILEGES)
    wanted = _named(privileges or [])
    if account.sid in HELD and (every or set(wanted) & _fixed(account.sid)):
        raise Status(STATUS_NOT_SUPPORTED)
    _done((yield TakeRights(view.caller.user, account.sid, wanted, bool(every), keep=True)))


@CALLS.call(23)
def get_system_access(view: View, handle: Handle) -> U32:
    """LsarGetSystemAccessAccount ([MS-LSAD] 3.1.4.5.7)."""
    account = view.handles.get(handle, OpenAccount)
    need(account.granted, ACCOUNT_VIEW)
    return NETWORK_LOGON if "SeNetworkLogonRight" in HELD.get(account.sid, ()) else 0
