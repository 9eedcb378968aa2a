"""Rights that administrators give by LSA, against impacket, and what they let others do."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from impacket.dcerpc.v5 import lsad, srvs
from impacket.dcerpc.v5.dtypes import NULL
from rpc_client import Served

from usmbd.mountd.admin.rights import ACCOUNTS
from usmbd.mountd.ipc.messages import TreeConnectRequest, TreeConnectResponse, TreeStatus
from usmbd.mountd.ipc.rights import SECURITY
from usmbd.mountd.ipc.sids import user_rid
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import lsarpc, srvsvc
from usmbd.mountd.rpc.interfaces.lsarpc import base
from usmbd.mountd.rpc.pdu import Fault

DENIED, NOT_FOUND, COLLISION = 0xC0000022, 0xC0000034, 0xC0000035
NO_PRIVILEGE, NOT_SUPPORTED = 0xC0000060, 0xC00000BB
SID, USERS, ADMINISTRATORS = "S-1-5-21-9-8-7-1000", "S-1-5-32-545", "S-1-5-32-544"
DISKS = "SeDiskOperatorPrivilege"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Return a server whose rights the administrator man gives."""
    return Served(lsarpc.interface, tmp_path, ndr64=False)


def policy(served: Served) -> Any:
    return lsad.hLsarOpenPolicy2(served)["PolicyHandle"]


@pytest.fixture
def handle(served: Served) -> Any:
    """Return the administrator's policy."""
    return policy(served)


def fails(status: int, call: Callable[[], Any]) -> None:
    with pytest.raises(lsad.DCERPCSessionError) as found:
        call()
    assert found.value.get_error_code() == status


def give(served: Served, handle: Any, sid: str, *rights: str) -> None:
    lsad.hLsarAddAccountRights(served, handle, sid, list(rights))


def take(served: Served, handle: Any, sid: str, *rights: str) -> None:
    lsad.hLsarRemoveAccountRights(served, handle, sid, list(rights))


def held(served: Served, handle: Any, sid: str) -> set[str]:
    answer = lsad.hLsarEnumerateAccountRights(served, handle, sid)
    return {each["Data"] for each in answer["UserRights"]["UserRights"]}


def with_right(served: Served, handle: Any, right: Any) -> set[str]:
    answer = lsad.hLsarEnumerateAccountsWithUserRight(served, handle, right)
    return {each["Sid"].formatCanonical() for each in answer["EnumerationBuffer"]["Information"]}


def test_rights_are_given_kept_and_taken(served: Served, handle: Any) -> None:
    fails(NOT_FOUND, lambda: held(served, handle, SID))
    give(served, handle, SID, DISKS.upper())
    assert held(served, handle, SID) == {DISKS}
    assert with_right(served, handle, DISKS) == {SID, ADMINISTRATORS}
    served.store.close()
    again = Served(lsarpc.interface, served.folder, ndr64=False)
    handle = policy(again)
    assert held(again, handle, SID) == {DISKS}
    take(again, handle, SID, DISKS)
    fails(NOT_FOUND, lambda: held(again, handle, SID))
    fails(NOT_FOUND, lambda: take(again, handle, SID, DISKS))
    assert with_right(again, handle, DISKS) == {ADMINISTRATORS}


def test_what_cannot_be_given(served: Served, handle: Any) -> None:
    fails(NOT_SUPPORTED, lambda: give(served, handle, SID, "SeBackupPrivilege"))
    fails(NO_PRIVILEGE, lambda: give(served, handle, SID, "SeNothing"))
    fails(NOT_FOUND, lambda: held(served, handle, SID))
    give(served, handle, ADMINISTRATORS, "SeBackupPrivilege")  # they have it
    fails(NOT_SUPPORTED, lambda: take(served, handle, ADMINISTRATORS, "SeBackupPrivilege"))


def test_who_audits_is_said_by_administrators(served: Served, handle: Any) -> None:
    """SeSecurityPrivilege is taken from administrators, and given to others."""
    told: list[None] = []
    served.service.users_changed = lambda: told.append(None)
    own = f"{served.service.machine_sid}-{user_rid(5)}"  # games of every Debian

    def audits(user: str, uid: int) -> bool:
        asked = TreeConnectRequest(
            session_id=1, tree_id=1, share="data", user=user, uid=uid, gid=0, groups=[],
            client_address="192.0.2.1",
        )  # fmt: skip
        answer, _ = served.service.handle("worker", asked, 0.0)
        assert isinstance(answer, TreeConnectResponse)
        assert answer.status is TreeStatus.OK
        return answer.audits

    assert [audits("man", 6), audits("games", 5)] == [os.geteuid() == 0, False]
    give(served, handle, own, SECURITY)
    assert audits("games", 5)
    assert with_right(served, handle, SECURITY) == {ADMINISTRATORS, own}
    account = lsad.hLsarOpenAccount(served, handle, ADMINISTRATORS)["AccountHandle"]
    luid = lsad.hLsarLookupPrivilegeValue(served, handle, SECURITY)["Value"]
    one = [lsad.LSAPR_LUID_AND_ATTRIBUTES()]
    one[0]["Luid"], one[0]["Attributes"] = luid, 0
    lsad.hLsarRemovePrivilegesFromAccount(served, account, one)
    assert SECURITY not in held(served, handle, ADMINISTRATORS)
    assert with_right(served, handle, SECURITY) == {own}
    assert not audits("man", 6)
    served.store.close()
    served = Served(lsarpc.interface, served.folder, ndr64=False)
    handle = policy(served)
    assert not audits("man", 6)
    give(served, handle, ADMINISTRATORS, SECURITY)
    assert held(served, handle, ADMINISTRATORS) >= {SECURITY, "SeBackupPrivilege", DISKS}
    take(served, handle, own, SECURITY)
    assert [audits("man", 6), audits("games", 5)] == [os.geteuid() == 0, False]
    assert len(told) == 2
    take(served, handle, ADMINISTRATORS, SECURITY)
    assert SECURITY not in held(served, handle, ADMINISTRATORS)
    fails(NOT_SUPPORTED, lambda: take(served, handle, ADMINISTRATORS, SECURITY, DISKS))


def test_accounts_are_made_and_deleted(served: Served, handle: Any) -> None:
    account = lsad.hLsarCreateAccount(served, handle, SID)["AccountHandle"]
    fails(COLLISION, lambda: lsad.hLsarCreateAccount(served, handle, SID))
    fails(COLLISION, lambda: lsad.hLsarCreateAccount(served, handle, ADMINISTRATORS))
    none = lsad.hLsarEnumeratePrivilegesAccount(served, account)["Privileges"]
    assert none["PrivilegeCount"] == 0
    luid = lsad.hLsarLookupPrivilegeValue(served, handle, DISKS)["Value"]
    one = [lsad.LSAPR_LUID_AND_ATTRIBUTES()]
    one[0]["Luid"], one[0]["Attributes"] = luid, 0
    lsad.hLsarAddPrivilegesToAccount(served, account, one)
    assert held(served, handle, SID) == {DISKS}
    listed = lsad.hLsarEnumeratePrivilegesAccount(served, account)["Privileges"]["Privilege"]
    assert [each["Luid"]["LowPart"] for each in listed] == [0x1003]
    assert lsad.hLsarGetSystemAccessAccount(served, account)["SystemAccess"] == 0
    lsad.hLsarRemovePrivilegesFromAccount(served, account, one)
    assert held(served, handle, SID) == set()
    lsad.hLsarDeleteObject(served, account)
    with pytest.raises(CallError):
        lsad.hLsarDeleteObject(served, account)
    fails(NOT_FOUND, lambda: lsad.hLsarOpenAccount(served, handle, SID))
    own = lsad.hLsarOpenAccount(served, handle, ADMINISTRATORS)["AccountHandle"]
    fails(NOT_SUPPORTED, lambda: lsad.hLsarDeleteObject(served, own))
    assert len(lsad.hLsarEnumeratePrivilegesAccount(served, own)["Privileges"]["Privilege"]) == 5


def test_all_at_once_is_taken(served: Served, handle: Any) -> None:
    give(served, handle, SID, DISKS)
    request = lsad.LsarRemoveAccountRights()
    request["PolicyHandle"] = handle
    request["AccountSid"].fromCanonical(SID)
    request["AllRights"] = 1
    request["UserRights"]["EntriesRead"] = 0
    request["UserRights"]["UserRights"] = NULL
    served.request(request)
    fails(NOT_FOUND, lambda: held(served, handle, SID))


def test_others_are_refused(served: Served) -> None:
    served.become("games")
    handle = policy(served)
    fails(DENIED, lambda: held(served, handle, SID))
    fails(DENIED, lambda: give(served, handle, SID, DISKS))
    fails(DENIED, lambda: take(served, handle, SID, DISKS))
    fails(DENIED, lambda: lsad.hLsarCreateAccount(served, handle, SID))


def share(served: Served, name: str) -> None:
    """Share a folder, as `net rpc share add` does."""
    (served.folder / name).mkdir(exist_ok=True)
    information = srvs.SHARE_INFO_2()
    information["shi2_netname"] = name + "\0"
    information["shi2_type"] = 0
    information["shi2_remark"] = "\0"
    information["shi2_path"] = f"C:{served.folder}/{name}\0"
    information["shi2_passwd"] = NULL
    information["shi2_max_uses"] = 0xFFFFFFFF
    srvs.hNetrShareAdd(served, 2, information)


@pytest.mark.parametrize("by_group", [False, True])
def test_who_was_given_disks_changes_shares(tmp_path: Path, by_group: bool) -> None:
    rights = Served(lsarpc.interface, tmp_path, ndr64=False)
    own = f"{rights.service.machine_sid}-{user_rid(5)}"  # games of every Debian
    give(rights, policy(rights), USERS if by_group else own, DISKS)
    rights.store.close()
    served = Served(srvsvc.interface, tmp_path, ndr64=False)
    served.become("games")
    share(served, "new")
    assert served.view.snapshot.share("new") is not None
    srvs.hNetrShareDel(served, "new\0")
    served.store.remove(served.store.get((*ACCOUNTS, USERS if by_group else own)))
    served.become("games")
    with pytest.raises(srvs.DCERPCSessionError) as found:
        share(served, "another")
    assert found.value.get_error_code() == 5


def test_a_right_that_is_taken_ends_at_once(tmp_path: Path) -> None:
    """The pipe that asked before asks no more, but mountd does."""
    rights = Served(lsarpc.interface, tmp_path, ndr64=False)
    give(rights, policy(rights), USERS, DISKS)
    rights.store.close()
    served = Served(srvsvc.interface, tmp_path, ndr64=False)
    served.become("games")
    share(served, "new")
    served.store.remove(served.store.get((*ACCOUNTS, USERS)))
    with pytest.raises(srvs.DCERPCSessionError) as found:
        srvs.hNetrShareDel(served, "new\0")
    assert found.value.get_error_code() == 5


def test_what_generic_rights_mean() -> None:
    """[MS-LSAD] 2.2.1.1.2 to 2.2.1.1.4, and 2.2.1.1.1 for the standard ones."""
    assert (base.POLICY.all, base.POLICY.read, base.POLICY.write) == (0xF1FFF, 0x20006, 0x207F8)
    assert (base.POLICY.execute, base.POLICY.everybody) == (0x20801, 0x20801)
    assert (base.ACCOUNT.all, base.ACCOUNT.read, base.ACCOUNT.write) == (0xF000F, 0x20001, 0x2000E)
    assert (base.ACCOUNT.execute, base.ACCOUNT.everybody) == (0x20000, 0)
    assert (base.SECRET.all, base.SECRET.read, base.SECRET.write) == (0xF0003, 0x20002, 0x20001)
    assert (base.SECRET.execute, base.SECRET.everybody) == (0x20000, 0)


def test_of_the_primary_domain_the_second_version_says_nothing(served: Served, handle: Any) -> None:
    """`smbcacls --sddl` dies of one without a SID; Windows asks by the first version."""
    level = lsad.POLICY_INFORMATION_CLASS.PolicyPrimaryDomainInformation
    told = lsad.hLsarQueryInformationPolicy(served, handle, level)
    assert not told["PolicyInformation"]["PolicyPrimaryDomainInfo"]["Sid"]
    with pytest.raises(CallError) as found:
        lsad.hLsarQueryInformationPolicy2(served, handle, level)
    assert found.value.status == Fault.OP_RNG_ERROR
