"""lsarpc against impacket: its requests, and its reading of the answers, in NDR and NDR64."""

import dataclasses
import grp
import pwd
import struct
from typing import Any

import pytest
from impacket.dcerpc.v5 import lsad, lsat
from impacket.dcerpc.v5.dtypes import NULL
from rpc_client import Machine

from usmbd.mountd.ipc.sids import user_rid
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import lsarpc
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import Caller, View

MAXIMUM = 0x02000000
GAMES, MAN = pwd.getpwnam("games"), pwd.getpwnam("man")
ACCESS_DENIED, SOME, NONE = 0xC0000022, 0x107, 0xC0000073


@pytest.fixture(params=[False, True], ids=["ndr", "ndr64"])
def machine(view: View, request: pytest.FixtureRequest) -> Machine:
    """Return a server with the user games, who asks, and the administrator man."""
    caller = Caller(user="games", domain="HOME", uid=GAMES.pw_uid)
    return Machine(
        lsarpc.interface,
        dataclasses.replace(view, caller=caller),
        ["games", "man", "Nemo"],
        ("man",),
        ndr64=request.param,
    )


def policy(machine: Machine, desired: int = MAXIMUM) -> bytes:
    """Open the policy."""
    request = machine.request(lsad.LsarOpenPolicy2)
    request["SystemName"] = NULL
    request["ObjectAttributes"]["RootDirectory"] = NULL
    request["ObjectAttributes"]["ObjectName"] = NULL
    request["ObjectAttributes"]["SecurityDescriptor"] = NULL
    request["ObjectAttributes"]["SecurityQualityOfService"] = NULL
    request["DesiredAccess"] = desired
    answer = machine.call(request, lsad.LsarOpenPolicy2Response)
    handle: bytes = answer["PolicyHandle"]
    assert len(handle) == 20
    return handle


def names_request(machine: Machine, kind: Any, handle: bytes, names: list[str]) -> Any:
    """Build a request of the look-up of names."""
    request = machine.request(kind)
    request["PolicyHandle"] = handle
    request["Count"] = len(names)
    for name in names:
        item = lsat.RPC_UNICODE_STRING(isNDR64=machine.encoding.ndr64)
        item["Data"] = name
        request["Names"].append(item)
    request["TranslatedSids"]["Sids"] = NULL
    request["LookupLevel"] = 1
    if kind is not lsat.LsarLookupNames:
        request["LookupOptions"] = 0
        request["ClientRevision"] = 2
    return request


def sids_request(machine: Machine, kind: Any, handle: bytes, sids: list[str]) -> Any:
    """Build a request of the look-up of SIDs."""
    request = machine.request(kind)
    request["PolicyHandle"] = handle
    request["SidEnumBuffer"]["Entries"] = len(sids)
    for sid in sids:
        item = lsat.LSAPR_SID_INFORMATION(isNDR64=machine.encoding.ndr64)
        item["Sid"].fromCanonical(sid)
        request["SidEnumBuffer"]["SidInfo"].append(item)
    request["TranslatedNames"]["Names"] = NULL
    request["LookupLevel"] = 1
    if kind is not lsat.LsarLookupSids:
        request["LookupOptions"] = 0
        request["ClientRevision"] = 2
    return request


def domains_of(answer: Any) -> list[tuple[str, str]]:
    """Return the domains that an answer refers to."""
    found = answer["ReferencedDomains"]["Domains"]
    return [(each["Name"], each["Sid"].formatCanonical()) for each in found or []]


@pytest.mark.parametrize(
    ("level", "named", "of_whom"),
    [(1, 4, 3), (2, 1, 1), (3, 1, 1), *((level, 0, 0) for level in (4, 5, 6, 7))],
)
def test_a_level_says_what_is_looked_through(
    machine: Machine, level: int, named: int, of_whom: int
) -> None:
    """[MS-LSAT] 2.2.16: what is not of a domain is found at LsapLookupWksta alone."""
    handle = policy(machine)
    names = ["games", "Everyone", "BUILTIN\\Users", "Unix Group\\adm"]
    request = names_request(machine, lsat.LsarLookupNames3, handle, names)
    request["LookupLevel"] = level
    status = {0: NONE, 4: 0}.get(named, SOME)
    answer = machine.call(request, lsat.LsarLookupNames3Response, status=status)
    assert answer["MappedCount"] == named
    sids = [f"{machine.sid}-{user_rid(GAMES.pw_uid)}", "S-1-1-0", "S-1-5-32-545"]
    request = sids_request(machine, lsat.LsarLookupSids2, handle, sids)
    request["LookupLevel"] = level
    status = {0: NONE, 3: 0}.get(of_whom, SOME)
    answer = machine.call(request, lsat.LsarLookupSids2Response, status=status)
    assert answer["MappedCount"] == of_whom


@pytest.mark.parametrize("level", [0, 8])
def test_a_level_that_is_not_there(machine: Machine, level: int) -> None:
    request = names_request(machine, lsat.LsarLookupNames3, policy(machine), ["games"])
    request["LookupLevel"] = level
    assert machine.run(request.opnum, request.getData())[-4:] == struct.pack("<I", 0xC000000D)


def test_names(machine: Machine) -> None:
    sid = machine.sid
    names = [
        *["games", "NAS\\MAN", "Nemo", "adm", "Everyone", "BUILTIN\\Users", "administrators"],
        *["NT AUTHORITY\\SYSTEM", "nobody at all", "OTHER\\games", "daemon", "NAS", "builtin"],
        *["Unix User\\games", "Unix Group\\games", "NAS\\None", "games@nas", ".\\games", ""],
    ]
    handle = policy(machine)
    answer = machine.call(
        names_request(machine, lsat.LsarLookupNames3, handle, names),
        lsat.LsarLookupNames3Response,
        status=SOME,
    )
    domains = domains_of(answer)
    found = [
        (
            each["Use"],
            each["Sid"].formatCanonical() if each["Use"] != 8 else None,
            domains[each["DomainIndex"]][0] if each["Use"] != 8 else None,
        )
        for each in answer["TranslatedSids"]["Sids"]
    ]
    games = (1, f"{sid}-{user_rid(GAMES.pw_uid)}", "NAS")
    unknown = (8, None, None)
    adm = grp.getgrnam("adm").gr_gid
    assert found[:2] == [games, (1, f"{sid}-{user_rid(MAN.pw_uid)}", "NAS")]
    assert found[2][0] == 1
    assert int(found[2][1].rpartition("-")[2]) >= 1 << 31
    assert found[3:] == [
        (2, f"S-1-22-2-{adm}", "Unix Group"),
        (5, "S-1-1-0", ""),
        (4, "S-1-5-32-545", "BUILTIN"),
        (4, "S-1-5-32-544", "BUILTIN"),
        (5, "S-1-5-18", "NT AUTHORITY"),
        unknown,
        unknown,
        (1, f"S-1-22-1-{pwd.getpwnam('daemon').pw_uid}", "Unix User"),
        (3, sid, "NAS"),
        (3, "S-1-5-32", "BUILTIN"),
        (1, f"S-1-22-1-{GAMES.pw_uid}", "Unix User"),
        (2, f"S-1-22-2-{GAMES.pw_gid}", "Unix Group"),
        (2, f"{sid}-513", "NAS"),
        games,
        games,
        (3, "S-1-5-32", "BUILTIN"),  # Windows' answer to no name
    ]
    assert answer["MappedCount"] == len([each for each in found if each != unknown])
    assert dict(domains)["NAS"] == sid
    assert len(set(domains)) == len(domains)


@pytest.mark.parametrize("version", ["", "2"])
def test_names_of_the_older_versions(machine: Machine, version: str) -> None:
    kind = getattr(lsat, f"LsarLookupNames{version}")
    response = getattr(lsat, f"LsarLookupNames{version}Response")
    handle = policy(machine)
    answer = machine.call(names_request(machine, kind, handle, ["games", "zzz"]), response, SOME)
    games, none = answer["TranslatedSids"]["Sids"]
    assert (games["Use"], games["RelativeId"], games["DomainIndex"]) == (
        1, user_rid(GAMES.pw_uid), 0,
    )  # fmt: skip
    assert (none["Use"], none["DomainIndex"] & 0xFFFFFFFF) == (8, 0xFFFFFFFF)
    assert domains_of(answer) == [("NAS", machine.sid)]
    answer = machine.call(names_request(machine, kind, handle, ["zzz"]), response, NONE)
    assert answer["MappedCount"] == 0
    answer = machine.call(names_request(machine, kind, handle, ["Games"]), response, 0)
    assert answer["MappedCount"] == 1


@pytest.mark.parametrize("version", ["", "2"])
def test_sids(machine: Machine, version: str) -> None:
    sid = machine.sid
    sids = [
        *[f"{sid}-{user_rid(GAMES.pw_uid)}", f"{sid}-{user_rid(0)}", f"{sid}-513", f"{sid}-501"],
        *[f"S-1-22-1-{GAMES.pw_uid}", "S-1-22-1-0", f"S-1-22-2-{GAMES.pw_gid}"],
        *["S-1-22-1-4294967294", "S-1-5-32-544", "S-1-1-0", "S-1-5-11", sid, "S-1-5-32"],
        *["S-1-5-21-1-2-3-1000", f"{sid}-{(1 << 31) + 2}", "S-1-5-80-1-2-3", f"{sid}-500"],
        f"{sid}-{user_rid(GAMES.pw_gid) + 1}",
    ]
    handle = policy(machine)
    kind = getattr(lsat, f"LsarLookupSids{version}")
    response = getattr(lsat, f"LsarLookupSids{version}Response")
    answer = machine.call(sids_request(machine, kind, handle, sids), response, SOME)
    domains = domains_of(answer)
    found = [
        (each["Use"], each["Name"], domains[each["DomainIndex"]][0] if each["Use"] != 8 else None)
        for each in answer["TranslatedNames"]["Names"]
    ]
    expected: list[Any] = [
        (1, "games", "NAS"),
        None,  # root is no user of the password file
        (2, "None", "NAS"),
        (1, "nobody", "NAS"),
        (1, "games", "Unix User"),
        (1, "root", "Unix User"),
        (2, "games", "Unix Group"),
        None,
        (4, "Administrators", "BUILTIN"),
        (5, "Everyone", ""),
        (5, "Authenticated Users", "NT AUTHORITY"),
        (3, "NAS", "NAS"),
        (3, "BUILTIN", "BUILTIN"),
        *[None] * 5,
    ]
    expected[-1] = (4, "games", "NAS")
    assert found == [each or (8, text, None) for each, text in zip(expected, sids, strict=True)]
    assert answer["MappedCount"] == len([each for each in expected if each])


def test_what_comes_back_is_what_went_in(machine: Machine) -> None:
    """Each name that is found is found again by its SID."""
    names = ["games", "man", "Nemo", "adm", "Unix User\\man", "NAS\\None", "Network"]
    handle = policy(machine)
    request = names_request(machine, lsat.LsarLookupNames3, handle, names)
    answer = machine.call(request, lsat.LsarLookupNames3Response)
    sids = [each["Sid"].formatCanonical() for each in answer["TranslatedSids"]["Sids"]]
    back = machine.call(
        sids_request(machine, lsat.LsarLookupSids, handle, sids), lsat.LsarLookupSidsResponse
    )
    assert [each["Name"].casefold() for each in back["TranslatedNames"]["Names"]] == [
        name.rpartition("\\")[2].casefold() for name in names
    ]


def test_too_many_names(machine: Machine) -> None:
    handle = policy(machine)
    request = names_request(machine, lsat.LsarLookupNames, handle, ["x"] * 1001)
    machine.call(request, lsat.LsarLookupNamesResponse, 0xC000000D)


def test_who_asks(machine: Machine) -> None:
    request = machine.request(lsat.LsarGetUserName)
    request["SystemName"] = NULL
    request["UserName"] = NULL
    request["DomainName"] = NULL
    answer = machine.call(request, lsat.LsarGetUserNameResponse)
    assert answer["UserName"] == "games"


@pytest.mark.parametrize(
    ("caller", "user", "domain"),
    [
        (Caller("games"), "games", "NAS"),
        (Caller("x", guest=True), "nobody", "NAS"),
        (Caller(anonymous=True), "ANONYMOUS LOGON", "NT AUTHORITY"),
    ],
)
def test_who_asks_and_where(view: View, caller: Caller, user: str, domain: str) -> None:
    machine = Machine(lsarpc.interface, dataclasses.replace(view, caller=caller), [])
    stub = machine.run(45, struct.pack("<4I", 0, 0, 0x20000, 0))
    texts = [user, domain]
    for text in texts:
        assert text.encode("utf-16-le") in stub
    assert stub[-4:] == bytes(4)
    # A name that is given, and no room for the domain.
    assert struct.unpack("<I", machine.run(45, struct.pack("<5I", 0, 1, 0, 0, 0))[-4:]) == (
        0xC000000D,
    )
    assert domain.encode("utf-16-le") not in machine.run(45, struct.pack("<3I", 0, 0, 0))


@pytest.mark.parametrize("level", [4, 5, 6, 7, 12, 13, 14])
def test_policy(machine: Machine, level: int) -> None:
    handle = policy(machine)
    request = machine.request(lsad.LsarQueryInformationPolicy2)
    request["PolicyHandle"] = handle
    request["InformationClass"] = level
    answer = machine.call(request, lsad.LsarQueryInformationPolicy2Response)
    info = answer["PolicyInformation"]
    if level == 4:
        assert info["PolicyPdAccountInfo"]["Name"] == ""
    elif level == 5:
        assert info["PolicyAccountDomainInfo"]["DomainName"] == "NAS"
        assert info["PolicyAccountDomainInfo"]["DomainSid"].formatCanonical() == machine.sid
    elif level == 6:
        assert info["PolicyServerRoleInfo"]["LsaServerRole"] == 3
    elif level == 12:
        assert info["PolicyDnsDomainInfo"]["Name"] == "HOME"
        assert info["PolicyDnsDomainInfo"]["DomainGuid"] == bytes(16)
        assert info["PolicyDnsDomainInfo"]["DnsDomainName"] == ""
        assert info["PolicyDnsDomainInfo"]["DnsForestName"] == ""
        assert not info["PolicyDnsDomainInfo"]["Sid"]
    elif level == 7:
        assert info["PolicyReplicaSourceInfo"]["ReplicaSource"] == ""
        assert info["PolicyReplicaSourceInfo"]["ReplicaAccountName"] == ""
    elif level == 13:
        assert info["tag"] == 13
    else:
        assert info["PolicyLocalAccountDomainInfo"]["DomainName"] == "NAS"


def test_what_is_audited_is_told_to_administrators(machine: Machine) -> None:
    """Nothing is: nine kinds of events, each with no option ([MS-LSAD] 2.2.4.4)."""
    machine.become("man")
    request = machine.request(lsad.LsarQueryInformationPolicy)
    request["PolicyHandle"] = policy(machine)
    request["InformationClass"] = 2
    answer = machine.call(request, lsad.LsarQueryInformationPolicyResponse)
    events = answer["PolicyInformation"]["PolicyAuditEventsInfo"]
    assert not events["AuditingMode"]
    assert events["MaximumAuditEventCount"] == 9
    assert [each["Data"] for each in events["EventAuditingOptions"]] == [0] * 9


def test_the_audit_log_is_empty(machine: Machine) -> None:
    machine.become("man")
    request = machine.request(lsad.LsarQueryInformationPolicy)
    request["PolicyHandle"] = policy(machine)
    request["InformationClass"] = 1
    stub = machine.run(7, request.getData())
    pointer = 8 if machine.encoding.ndr64 else 4
    assert stub[-4:] == bytes(4)
    assert set(stub[pointer + pointer :]) == {0}


def test_no_policy_is_set(machine: Machine) -> None:
    for user, status in (("alice", ACCESS_DENIED), ("man", 0xC00000BB)):
        machine.become(user)
        stub = machine.run(8, policy(machine) + struct.pack("<I", 2))
        assert struct.unpack("<I", stub[-4:]) == (status,)


def test_policy_levels_that_are_not_there(machine: Machine) -> None:
    handle = policy(machine)
    levels = {8: 0xC0000003, 99: 0xC0000003, 9: 0xC000000D, 1: ACCESS_DENIED, 2: ACCESS_DENIED}
    for level, status in levels.items():
        request = machine.request(lsad.LsarQueryInformationPolicy)
        request["PolicyHandle"] = handle
        request["InformationClass"] = level
        stub = machine.run(7, request.getData())
        assert struct.unpack("<I", stub[-4:]) == (status,)


def test_privileges(machine: Machine) -> None:
    handle = policy(machine)
    request = machine.request(lsad.LsarEnumeratePrivileges)
    request["PolicyHandle"] = handle
    request["EnumerationContext"] = 0
    request["PreferedMaximumLength"] = 0xFFFF
    answer = machine.call(request, lsad.LsarEnumeratePrivilegesResponse)
    listed = answer["EnumerationBuffer"]["Privileges"]
    assert {each["Name"] for each in listed} >= {"SeBackupPrivilege", "SeTcbPrivilege"}
    for each in listed:
        request = machine.request(lsad.LsarLookupPrivilegeName)
        request["PolicyHandle"] = handle
        request["Value"] = each["LocalValue"]
        again = machine.call(request, lsad.LsarLookupPrivilegeNameResponse)
        assert again["Name"] == each["Name"]
        request = machine.request(lsad.LsarLookupPrivilegeValue)
        request["PolicyHandle"] = handle
        request["Name"] = each["Name"].upper()
        value = machine.call(request, lsad.LsarLookupPrivilegeValueResponse)
        assert value["Value"]["LowPart"] == each["LocalValue"]["LowPart"]
        request = machine.request(lsad.LsarLookupPrivilegeDisplayName)
        request["PolicyHandle"] = handle
        request["Name"] = each["Name"]
        request["ClientLanguage"] = request["ClientSystemDefaultLanguage"] = 0x407
        text = machine.call(request, lsad.LsarLookupPrivilegeDisplayNameResponse)
        assert len(text["Name"]) > 5
    request = machine.request(lsad.LsarLookupPrivilegeValue)
    request["PolicyHandle"] = handle
    request["Name"] = "SeNothing"
    machine.call(request, lsad.LsarLookupPrivilegeValueResponse, 0xC0000060)


def rights(machine: Machine, handle: bytes, sid: str, status: int = 0) -> Any:
    """Ask for an account's rights."""
    request = machine.request(lsad.LsarEnumerateAccountRights)
    request["PolicyHandle"] = handle
    request["AccountSid"].fromCanonical(sid)
    return machine.call(request, lsad.LsarEnumerateAccountRightsResponse, status)


def accounts(machine: Machine, handle: bytes, status: int = 0) -> Any:
    """Ask who holds rights."""
    request = machine.request(lsad.LsarEnumerateAccounts)
    request["PolicyHandle"] = handle
    request["PreferedMaximumLength"] = 0xFFFF
    return machine.call(request, lsad.LsarEnumerateAccountsResponse, status)


def test_rights_are_for_administrators(machine: Machine) -> None:
    handle = policy(machine)
    accounts(machine, handle, ACCESS_DENIED)
    rights(machine, handle, "S-1-5-32-544", ACCESS_DENIED)
    machine.become("man")
    handle = policy(machine)
    listed = accounts(machine, handle)["EnumerationBuffer"]["Information"]
    assert {each["Sid"].formatCanonical() for each in listed} == {"S-1-5-32-544", "S-1-1-0"}
    held = rights(machine, handle, "S-1-5-32-544")["UserRights"]["UserRights"]
    assert {each["Data"] for each in held} >= {"SeBackupPrivilege", "SeTakeOwnershipPrivilege"}
    rights(machine, handle, "S-1-5-32-545", 0xC0000034)


@pytest.mark.parametrize(
    ("desired", "who", "status"),
    [
        (0x0801, "games", 0),
        (0x80000000, "games", ACCESS_DENIED),  # audit and private information
        (0x20000000, "games", 0),
        (0x000F1FFF, "games", ACCESS_DENIED),
        (0x000F1FFF, "man", 0),
        (0x10000000, "man", 0),
    ],
)
def test_who_may_open_the_policy(machine: Machine, desired: int, who: str, status: int) -> None:
    machine.become(who)
    request = machine.request(lsad.LsarOpenPolicy)
    request["SystemName"] = NULL
    for name in ("RootDirectory", "ObjectName", "SecurityDescriptor"):
        request["ObjectAttributes"][name] = NULL
    request["ObjectAttributes"]["SecurityQualityOfService"] = NULL
    request["DesiredAccess"] = desired
    machine.call(request, lsad.LsarOpenPolicyResponse, status)


def test_a_handle_without_the_right(machine: Machine) -> None:
    handle = policy(machine, 0x0001)
    request = names_request(machine, lsat.LsarLookupNames, handle, ["games"])
    machine.call(request, lsat.LsarLookupNamesResponse, ACCESS_DENIED)


@pytest.mark.parametrize(
    ("address", "usershares", "status"),
    [
        ("192.0.2.1", True, ACCESS_DENIED),
        ("127.0.0.1", False, ACCESS_DENIED),
        ("127.0.0.1", True, 0),
        ("::1", True, 0),
        ("", True, ACCESS_DENIED),
    ],
)
def test_null_sessions(view: View, address: str, usershares: bool, status: int) -> None:
    """They learn nothing, but `net usershare` on this machine asks so for SIDs."""
    snapshot = dataclasses.replace(view.snapshot, usershares=usershares)
    stranger = Caller(anonymous=True, address=address)
    seen = dataclasses.replace(view, caller=stranger, snapshot=snapshot)
    machine = Machine(lsarpc.interface, seen, [])
    request = machine.request(lsad.LsarOpenPolicy2)
    request["SystemName"] = NULL
    for name in ("RootDirectory", "ObjectName", "SecurityDescriptor"):
        request["ObjectAttributes"][name] = NULL
    request["ObjectAttributes"]["SecurityQualityOfService"] = NULL
    request["DesiredAccess"] = MAXIMUM
    machine.call(request, lsad.LsarOpenPolicy2Response, status)


def test_closing(machine: Machine) -> None:
    handle = policy(machine)
    request = machine.request(lsad.LsarClose)
    request["ObjectHandle"] = handle
    assert machine.call(request, lsad.LsarCloseResponse)["ObjectHandle"] == bytes(20)
    for opnum in (0, 7):
        with pytest.raises(CallError) as error:
            machine.run(opnum, handle + bytes(8))
        assert error.value.status == Fault.CONTEXT_MISMATCH


def test_objects_are_not_deleted_by_the_old_call(machine: Machine) -> None:
    assert machine.run(1, bytes(20)) == struct.pack("<I", 0xC00000BB)


def test_the_security_of_the_policy(machine: Machine) -> None:
    request = machine.request(lsad.LsarQuerySecurityObject)
    request["PolicyHandle"] = policy(machine, MAXIMUM)
    request["SecurityInformation"] = 7
    answer = machine.call(request, lsad.LsarQuerySecurityObjectResponse)
    data = b"".join(answer["SecurityDescriptor"]["SecurityDescriptor"])
    assert data[:4] == b"\1\0\4\x80"
