"""What a handle has to be opened for, call by call and level by level, as the documents say it."""

from collections.abc import Callable, Generator
from typing import Any
from unittest.mock import MagicMock

import pytest
from impacket.dcerpc.v5 import lsad, rrp, samr

from usmbd.mountd.ipc.accounts import Account, Kind
from usmbd.mountd.rpc.access import need
from usmbd.mountd.rpc.calls import Calls, Status
from usmbd.mountd.rpc.interfaces import PIPES
from usmbd.mountd.rpc.interfaces.lsarpc import base as lsa_base
from usmbd.mountd.rpc.interfaces.lsarpc import lookups
from usmbd.mountd.rpc.interfaces.lsarpc.base import OpenAccount, Policy
from usmbd.mountd.rpc.interfaces.samr import base
from usmbd.mountd.rpc.interfaces.winreg import base as winreg
from usmbd.mountd.rpc.interfaces.winreg.types import Key
from usmbd.mountd.rpc.view import View

assert PIPES  # all calls are declared
EVERY = 0xFFFFFFFF
DENIED = {0xC0000022, 5}  # STATUS_ACCESS_DENIED, ERROR_ACCESS_DENIED
GAMES = Account(Kind.USER, "games", 5)
MAKE: dict[type, Callable[[int], object]] = {
    base.Server: base.Server,
    base.Domain: lambda granted: base.Domain("NAS", "S-1-5-21-1-2-3", granted),
    base.OpenGroup: base.OpenGroup,
    base.OpenAlias: lambda granted: base.OpenAlias(544, "", "", None, granted),
    base.OpenUser: lambda granted: base.OpenUser(GAMES, 1010, granted),
    Policy: Policy,
    OpenAccount: lambda granted: OpenAccount("S-1-1-0", granted),
    Key: lambda granted: Key(("HKLM",), granted),
}

READ_PASSWORD = samr.DOMAIN_READ_PASSWORD_PARAMETERS
READ_OTHER = samr.DOMAIN_READ_OTHER_PARAMETERS
DOMAIN_LEVELS = {  # [MS-SAMR] 3.1.5.5.1.1
    **dict.fromkeys((2, 3, 4, 5, 6, 7, 8, 9, 13), READ_OTHER),
    1: READ_PASSWORD,
    11: READ_PASSWORD | READ_OTHER,
    12: READ_PASSWORD,
}
USER_LEVELS = {  # 3.1.5.5.5.1
    **dict.fromkeys((1, 2, 3, 5, 6, 7, 8, 9, 13, 21), samr.USER_READ_GENERAL),
    **dict.fromkeys((4, 10, 11, 12, 14), samr.USER_READ_LOGON),
    **dict.fromkeys((16, 17, 20), samr.USER_READ_ACCOUNT),
}
POLICY_LEVELS = {  # [MS-LSAD] 3.1.4.4.4
    **dict.fromkeys((3, 4, 5, 6, 7, 12, 13, 14), lsad.POLICY_VIEW_LOCAL_INFORMATION),
    2: lsad.POLICY_VIEW_AUDIT_INFORMATION,
}
OPENED = {
    base.CALLS: (samr, "Samr"),
    lsa_base.CALLS: (lsad, "Lsar"),
    winreg.CALLS: (rrp, "BaseReg"),
}
ROWS: list[tuple[Calls, type, int, str]] = [
    (base.CALLS, base.Server, samr.SAM_SERVER_LOOKUP_DOMAIN, "LookupDomainInSamServer OpenDomain"),
    (base.CALLS, base.Server, samr.SAM_SERVER_ENUMERATE_DOMAINS, "EnumerateDomainsInSamServer"),
    (
        base.CALLS,
        base.Domain,
        samr.DOMAIN_LIST_ACCOUNTS,
        "EnumerateUsersInDomain EnumerateGroupsInDomain EnumerateAliasesInDomain"
        " QueryDisplayInformation QueryDisplayInformation2 QueryDisplayInformation3"
        " GetDisplayEnumerationIndex GetDisplayEnumerationIndex2",
    ),
    (
        base.CALLS,
        base.Domain,
        samr.DOMAIN_LOOKUP,
        "LookupNamesInDomain LookupIdsInDomain OpenUser OpenGroup OpenAlias",
    ),
    (base.CALLS, base.Domain, samr.DOMAIN_GET_ALIAS_MEMBERSHIP, "GetAliasMembership"),
    (base.CALLS, base.Domain, samr.DOMAIN_CREATE_USER, "CreateUser2InDomain"),
    (base.CALLS, base.OpenGroup, samr.GROUP_READ_INFORMATION, "QueryInformationGroup"),
    (base.CALLS, base.OpenGroup, samr.GROUP_LIST_MEMBERS, "GetMembersInGroup"),
    (base.CALLS, base.OpenAlias, samr.ALIAS_READ_INFORMATION, "QueryInformationAlias"),
    (base.CALLS, base.OpenAlias, samr.ALIAS_LIST_MEMBERS, "GetMembersInAlias"),
    (base.CALLS, base.OpenUser, samr.USER_LIST_GROUPS, "GetGroupsForUser"),
    (
        lsa_base.CALLS,
        Policy,
        lsad.POLICY_VIEW_LOCAL_INFORMATION,
        "EnumeratePrivileges EnumerateAccounts OpenAccount EnumerateAccountsWithUserRight"
        " EnumerateAccountRights",
    ),
    (
        lsa_base.CALLS,
        Policy,
        lsad.POLICY_LOOKUP_NAMES,
        "LookupPrivilegeValue LookupPrivilegeName LookupPrivilegeDisplayName",
    ),
    (lsa_base.CALLS, Policy, samr.READ_CONTROL, "QuerySecurityObject"),
    (lsa_base.CALLS, OpenAccount, lsad.ACCOUNT_VIEW, "GetSystemAccessAccount"),
    (lsa_base.CALLS, OpenAccount, samr.READ_CONTROL, "QuerySecurityObject"),
    (
        winreg.CALLS,
        Key,
        rrp.KEY_QUERY_VALUE,
        "EnumValue QueryValue QueryMultipleValues QueryInfoKey",
    ),
    (winreg.CALLS, Key, rrp.KEY_SET_VALUE, "SetValue DeleteValue"),
    (winreg.CALLS, Key, rrp.KEY_ENUMERATE_SUB_KEYS, "EnumKey"),
    (winreg.CALLS, Key, samr.READ_CONTROL, "GetKeySecurity"),
]


def function_of(calls: Calls, name: str) -> Callable[..., Any]:
    """Return what answers a call of impacket's name, by its opnum there."""
    module, prefix = OPENED[calls]
    found: Callable[..., Any] = calls.calls[getattr(module, prefix + name).opnum]._function
    return found


def denied(view: View, made: object, function: Callable[..., Any], *arguments: object) -> bool:
    """Whether a call is refused as the handle was opened for less, whatever else it is given."""
    rest = function.__code__.co_argcount - 2 - len(arguments)
    try:
        answer = function(
            view, view.handles.add(made), *arguments, *(MagicMock() for _ in range(rest))
        )
        if isinstance(answer, Generator):
            next(answer)
    except Status as status:
        return status.code in DENIED
    except Exception:  # no call has what it needs; its rights come first
        return False
    return False


def wrong(
    view: View, kind: type, needed: int, function: Callable[..., Any], *arguments: object
) -> list[str]:
    """Tell where a call asks for more or for less than it should."""
    make, name = MAKE[kind], f"{function.__name__}{arguments} of {kind.__name__}"
    found = [f"{name} needs more"] if denied(view, make(needed), function, *arguments) else []
    for bit in (1 << shift for shift in range(32) if needed >> shift & 1):
        if not denied(view, make(EVERY & ~bit), function, *arguments):
            found.append(f"{name} does not need {bit:#x}")
    return found


def test_calls(view: View) -> None:
    assert not [
        text
        for calls, kind, needed, names in ROWS
        for name in names.split()
        for text in wrong(view, kind, needed, function_of(calls, name))
    ]


@pytest.mark.parametrize(
    ("kind", "calls", "name", "levels"),
    [
        (base.Domain, base.CALLS, "QueryInformationDomain", DOMAIN_LEVELS),
        (base.OpenUser, base.CALLS, "QueryInformationUser", USER_LEVELS),
        (Policy, lsa_base.CALLS, "QueryInformationPolicy", POLICY_LEVELS),
    ],
    ids=["domain", "user", "policy"],
)
def test_levels(view: View, kind: type, calls: Calls, name: str, levels: dict[int, int]) -> None:
    assert not [
        text
        for level, needed in levels.items()
        for text in wrong(view, kind, needed, function_of(calls, name), level)
    ]


def test_to_write_a_key_s_security(view: View) -> None:
    """The DACL needs one right, owner and group another, a SACL is nobody's."""
    for wanted, needed in ((1, samr.WRITE_OWNER), (2, samr.WRITE_OWNER), (4, samr.WRITE_DAC)):
        assert not wrong(view, Key, needed, function_of(winreg.CALLS, "SetKeySecurity"), wanted)


def test_to_look_names_up(view: View) -> None:
    for granted, status in ((EVERY & ~lsad.POLICY_LOOKUP_NAMES, 0xC0000022), (0x800, 0xC000000D)):
        for function in (lookups._look_names_up, lookups._look_sids_up):
            with pytest.raises(Status) as caught:
                next(function(view, Policy(granted), MagicMock(), 0))  # no level
            assert caught.value.code == status


def test_what_is_needed() -> None:
    need(0x3, 0x3)
    need(0x3, 0)
    with pytest.raises(Status, match="0xc0000022"):
        need(0x3, 0x4)
