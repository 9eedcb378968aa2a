"""samr against impacket: its requests, and its reading of the answers, in NDR and NDR64."""

import dataclasses
import grp
import pwd
from typing import Any

import pytest
from impacket.dcerpc.v5 import samr as client
from impacket.dcerpc.v5.dtypes import NULL, RPC_UNICODE_STRING, ULONG
from rpc_client import Machine, plain

from usmbd.mountd.ipc.accounts import Account, AccountPage, Kind, ListAccounts
from usmbd.mountd.ipc.sids import group_rid, user_rid
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces import samr
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa_types
from usmbd.mountd.rpc.ndr import types as ndr
from usmbd.mountd.rpc.ndr.streams import Writer
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.view import Caller, View
from usmbd.mountd.slices import Steps

MAXIMUM = 0x02000000
GAMES, MAN = pwd.getpwnam("games"), pwd.getpwnam("man")
ACCESS_DENIED, SOME, NONE, MORE = 0xC0000022, 0x107, 0xC0000073, 0x105
NO_SUCH_DOMAIN, NO_SUCH_USER, INVALID_CLASS = 0xC00000DF, 0xC0000064, 0xC0000003
NO_SUCH_ALIAS = 0xC0000151
EVERYTHING = 0xFFFFFFFF


@pytest.fixture(params=[False, True], ids=["ndr", "ndr64"])
def machine(view: View, request: pytest.FixtureRequest) -> Machine:
    """Return a server with the user games, who asks, and the administrator man."""
    caller = Caller(user="games", domain="HOME", uid=GAMES.pw_uid)
    return Machine(
        samr.interface,
        dataclasses.replace(view, caller=caller),
        ["games", "man", "Nemo"],
        ("man",),
        ndr64=request.param,
    )


def connect(machine: Machine, desired: int = MAXIMUM, status: int = 0) -> bytes:
    """Open the server."""
    request = machine.request(client.SamrConnect5)
    request["ServerName"] = "\\\\nas\0"
    request["DesiredAccess"] = desired
    request["InVersion"] = 1
    request["InRevisionInfo"]["tag"] = 1
    request["InRevisionInfo"]["V1"]["Revision"] = 3
    answer = machine.call(request, client.SamrConnect5Response, status)
    handle: bytes = answer["ServerHandle"]
    return handle


def domain(machine: Machine, sid: str = "", desired: int = MAXIMUM, status: int = 0) -> bytes:
    """Open a domain, the machine's if not another."""
    request = machine.request(client.SamrOpenDomain)
    request["ServerHandle"] = connect(machine)
    request["DesiredAccess"] = desired
    request["DomainId"].fromCanonical(sid or machine.sid)
    answer = machine.call(request, client.SamrOpenDomainResponse, status)
    handle: bytes = answer["DomainHandle"]
    return handle


def user(machine: Machine, rid: int, status: int = 0) -> bytes:
    """Open a user."""
    request = machine.request(client.SamrOpenUser)
    request["DomainHandle"] = domain(machine)
    request["DesiredAccess"] = MAXIMUM
    request["UserId"] = rid
    handle: bytes = machine.call(request, client.SamrOpenUserResponse, status)["UserHandle"]
    return handle


@pytest.mark.parametrize("kind", ["SamrConnect", "SamrConnect2", "SamrConnect4"])
def test_older_connects(machine: Machine, kind: str) -> None:
    request = machine.request(getattr(client, kind))
    request["ServerName"] = "\\\\nas\0" if kind != "SamrConnect" else "\\"
    request["DesiredAccess"] = MAXIMUM
    if kind == "SamrConnect4":
        request["ClientRevision"] = 2
    answer = machine.call(request, getattr(client, kind + "Response"))
    request = machine.request(client.SamrCloseHandle)
    request["SamHandle"] = answer["ServerHandle"]
    assert machine.call(request, client.SamrCloseHandleResponse)["SamHandle"] == bytes(20)


@pytest.mark.parametrize(
    ("caller", "desired", "status"),
    [
        (Caller(anonymous=True), MAXIMUM, ACCESS_DENIED),
        (Caller("x", guest=True), MAXIMUM, ACCESS_DENIED),
        (Caller("games"), 0x0E, ACCESS_DENIED),
        (Caller("games"), 0x31, 0),
        (Caller("man"), 0x0E, 0),
    ],
)
def test_who_may_open_the_server(
    machine: Machine, caller: Caller, desired: int, status: int
) -> None:
    machine.view = dataclasses.replace(machine.view, caller=caller)
    connect(machine, desired, status)


def test_domains(machine: Machine) -> None:
    request = machine.request(client.SamrEnumerateDomainsInSamServer)
    request["ServerHandle"] = handle = connect(machine)
    request["EnumerationContext"] = 0
    request["PreferedMaximumLength"] = EVERYTHING
    answer = machine.call(request, client.SamrEnumerateDomainsInSamServerResponse)
    assert [each["Name"] for each in answer["Buffer"]["Buffer"]] == ["NAS", "Builtin"]
    for name, sid, status in (
        ("nas", machine.sid, 0),
        ("BUILTIN", "S-1-5-32", 0),
        ("x", "", NO_SUCH_DOMAIN),
    ):
        request = machine.request(client.SamrLookupDomainInSamServer)
        request["ServerHandle"] = handle
        request["Name"] = name
        answer = machine.call(request, client.SamrLookupDomainInSamServerResponse, status)
        assert not sid or answer["DomainId"].formatCanonical() == sid
    domain(machine, "S-1-5-21-9-9-9", status=NO_SUCH_DOMAIN)
    domain(machine, desired=0x10, status=ACCESS_DENIED)  # to create users


def users(
    machine: Machine, handle: bytes, start: int, limit: int, status: int = 0, control: int = 0
) -> tuple[dict[str, int], int]:
    """List users; return RIDs by name, and where to go on."""
    request = machine.request(client.SamrEnumerateUsersInDomain)
    request["DomainHandle"] = handle
    request["EnumerationContext"] = start
    request["UserAccountControl"] = control
    request["PreferedMaximumLength"] = limit
    answer = machine.call(request, client.SamrEnumerateUsersInDomainResponse, status)
    found = answer["Buffer"]["Buffer"]
    assert answer["CountReturned"] == len(found)
    return {each["Name"]: each["RelativeId"] for each in found}, answer["EnumerationContext"]


def test_users(machine: Machine) -> None:
    handle = domain(machine)
    found, _ = users(machine, handle, 0, EVERYTHING)
    assert list(found) == ["Nemo", "games", "man"]
    assert found["games"] == user_rid(GAMES.pw_uid)
    assert found["Nemo"] >= 1 << 31
    listed, start = {}, 0
    for step in range(3):
        more, start = users(machine, handle, start, 1, MORE if step < 2 else 0)
        assert len(more) == 1
        listed |= more
    assert listed == found
    assert users(machine, handle, 0, EVERYTHING, control=0x80) == ({}, 0)  # computers
    assert users(machine, domain(machine, "S-1-5-32"), 0, EVERYTHING) == ({}, 0)


def test_many_users(machine: Machine) -> None:
    names = [f"u{number:05}" for number in range(3000)]

    def steps(message: Any) -> Steps:
        assert isinstance(message, ListAccounts)
        part = names[message.start : message.start + 256]
        accounts = [Account(Kind.USER, name, 10_000 + int(name[1:]), stored=True) for name in part]
        yield
        return AccountPage(accounts, len(names))

    handle = domain(machine)
    machine.directory.steps = steps  # type: ignore[method-assign]
    found, start, calls = [], 0, 0
    while start or not calls:
        status = MORE if start < 2 * 1024 else 0
        more, start = users(machine, handle, start, EVERYTHING, status)
        found += list(more)
        calls += 1
    assert found == names
    assert calls == 3


@pytest.mark.parametrize("kind", ["Groups", "Aliases"])
def test_groups_and_aliases(machine: Machine, kind: str) -> None:
    def listed(handle: bytes) -> dict[str, int]:
        single = {"Groups": "Groups", "Aliases": "Aliases"}[kind]
        request = machine.request(getattr(client, f"SamrEnumerate{single}InDomain"))
        request["DomainHandle"] = handle
        request["EnumerationContext"] = 0
        request["PreferedMaximumLength"] = EVERYTHING
        answer = machine.call(request, getattr(client, f"SamrEnumerate{single}InDomainResponse"))
        return {each["Name"]: each["RelativeId"] for each in answer["Buffer"]["Buffer"]}

    own, builtin = listed(domain(machine)), listed(domain(machine, "S-1-5-32"))
    if kind == "Groups":
        assert (own, builtin) == ({"None": 513}, {})
    else:
        assert builtin == {"Administrators": 544, "Users": 545, "Guests": 546}
        assert all(rid > 3000 for rid in own.values())
        assert "nogroup" not in own


def test_names_and_rids(machine: Machine) -> None:
    handle = domain(machine)
    request = machine.request(client.SamrLookupNamesInDomain)
    request["DomainHandle"] = handle
    request["Count"] = 5
    for name in ("GAMES", "None", "nobody here", "adm", ""):
        item = RPC_UNICODE_STRING(isNDR64=machine.encoding.ndr64)
        item["Data"] = name
        request["Names"].append(item)
    request.fields["Names"].fields["MaximumCount"] = 1000
    answer = machine.call(request, client.SamrLookupNamesInDomainResponse, SOME)
    rids = [each["Data"] for each in answer["RelativeIds"]["Element"]]
    uses = [each["Data"] for each in answer["Use"]["Element"]]
    assert (rids[:3], rids.pop()) == ([user_rid(GAMES.pw_uid), 513, 0], 0)
    assert uses == [1, 2, 8, 4, 8]
    request = machine.request(client.SamrLookupIdsInDomain)
    request["DomainHandle"] = handle
    request["Count"] = 4
    for rid in rids:
        item = ULONG(isNDR64=machine.encoding.ndr64)
        item["Data"] = rid
        request["RelativeIds"].append(item)
    request.fields["RelativeIds"].fields["MaximumCount"] = 1000
    answer = machine.call(request, client.SamrLookupIdsInDomainResponse, SOME)
    assert [each["Data"] for each in answer["Names"]["Element"]] == ["games", "None", "", "adm"]
    assert [each["Data"] for each in answer["Use"]["Element"]] == [1, 2, 8, 4]


USER_LEVELS = {
    1: "General", 2: "Preferences", 3: "Logon", 4: "LogonHours", 5: "Account", 6: "Name",
    7: "AccountName", 8: "FullName", 9: "PrimaryGroup", 10: "Home", 11: "Script", 12: "Profile",
    13: "AdminComment", 14: "WorkStations", 16: "Control", 17: "Expires", 20: "Parameters",
    21: "All",
}  # fmt: skip


ZERO = {"LowPart": 0, "HighPart": 0}
NEVER = {"LowPart": 0xFFFFFFFF, "HighPart": 0x7FFFFFFF}
NO_SECRET = {"Length": 0, "MaximumLength": 0, "Buffer": b""}
USER = {
    **dict.fromkeys(("UserName", "FullName"), "games"),
    **dict.fromkeys(("HomeDirectory", "HomeDirectoryDrive", "ScriptPath", "ProfilePath"), ""),
    **dict.fromkeys(("WorkStations", "AdminComment", "UserComment", "Reserved1"), ""),
    **dict.fromkeys(("CountryCode", "CodePage", "BadPasswordCount", "LogonCount"), 0),
    **dict.fromkeys(("LastLogon", "LastLogoff", "PasswordLastSet", "PasswordCanChange"), ZERO),
    **dict.fromkeys(("PasswordMustChange", "AccountExpires"), NEVER),
    **dict.fromkeys(("LmOwfPassword", "NtOwfPassword"), NO_SECRET),
    **dict.fromkeys(("Parameters", "PrivateData"), b""),
    **dict.fromkeys(("LmPasswordPresent", "PasswordExpired", "PrivateDataSensitive"), 0),
    "NtPasswordPresent": 1,
    "SecurityDescriptor": {"Length": 0, "SecurityDescriptor": b""},
    "PrimaryGroupId": 513,
    "UserAccountControl": 0x210,
    "WhichFields": 0x00FFFFFF,
    "LogonHours": {"UnitsPerWeek": 168, "LogonHours": b"\xff" * 21},
}


@pytest.mark.parametrize("level", USER_LEVELS)
def test_a_user(machine: Machine, level: int) -> None:
    request = machine.request(client.SamrQueryInformationUser2)
    request["UserHandle"] = user(machine, user_rid(GAMES.pw_uid) or 0)
    request["UserInformationClass"] = level
    answer = machine.call(request, client.SamrQueryInformationUser2Response)
    info = answer["Buffer"][USER_LEVELS[level]]
    facts = USER | {"FullName": GAMES.pw_gecos, "UserId": user_rid(GAMES.pw_uid)}
    assert plain(info) == {name: facts[name] for name, _ in info.structure}


def test_users_that_are_none(machine: Machine) -> None:
    for rid in (user_rid(0), 513, 544, 500, 0, (1 << 31) + 2):
        assert user(machine, rid or 0, NO_SUCH_USER) == bytes(20)
    request = machine.request(client.SamrQueryInformationUser)
    request["UserHandle"] = user(machine, user_rid(GAMES.pw_uid) or 0)
    request["UserInformationClass"] = 18  # the hashes
    machine.run(request.opnum, request.getData())
    assert machine.run(request.opnum, request.getData())[-4:] == INVALID_CLASS.to_bytes(4, "little")


def test_memberships(machine: Machine) -> None:
    games = user_rid(GAMES.pw_uid) or 0
    request = machine.request(client.SamrGetGroupsForUser)
    request["UserHandle"] = user(machine, games)
    groups = machine.call(request, client.SamrGetGroupsForUserResponse)["Groups"]["Groups"]
    assert [(each["RelativeId"], each["Attributes"]) for each in groups] == [(513, 7)]

    def aliases(*rids: int) -> list[int]:
        # By our own structures: impacket's leave the pointers to the SIDs out.
        writer = Writer(ndr64=machine.encoding.ndr64)
        holders = [lsa_types.SidHolder(f"{machine.sid}-{rid}") for rid in rids]
        ndr.of(lsa_types.Sids).write(writer, lsa_types.Sids(holders))
        writer.finish()
        handle = domain(machine, "S-1-5-32")
        gap = bytes(4 if writer.ndr64 else 0)
        stub = machine.run(16, handle + gap + writer.data)
        answer = client.SamrGetAliasMembershipResponse(stub, isNDR64=writer.ndr64)
        return [each["Data"] for each in answer["Membership"]["Element"]]

    assert aliases(games) == [545]
    assert aliases(user_rid(MAN.pw_uid) or 0) == [544, 545]
    assert aliases(501) == [546]
    assert aliases(4711) == []


@pytest.mark.parametrize(("rid", "members"), [(544, ["man"]), (545, ["Nemo", "games", "man"])])
def test_members_of_aliases(machine: Machine, rid: int, members: list[str]) -> None:
    request = machine.request(client.SamrOpenAlias)
    request["DomainHandle"] = domain(machine, "S-1-5-32")
    request["DesiredAccess"] = MAXIMUM
    request["AliasId"] = rid
    handle = machine.call(request, client.SamrOpenAliasResponse)["AliasHandle"]
    request = machine.request(client.SamrGetMembersInAlias)
    request["AliasHandle"] = handle
    answer = machine.call(request, client.SamrGetMembersInAliasResponse)
    sids = {each["SidPointer"].formatCanonical() for each in answer["Members"]["Sids"]}
    rids, _ = users(machine, domain(machine), 0, EVERYTHING)
    assert sids == {f"{machine.sid}-{rids[name]}" for name in members}
    request = machine.request(client.SamrQueryInformationAlias)
    request["AliasHandle"] = handle
    request["AliasInformationClass"] = 1
    info = machine.call(request, client.SamrQueryInformationAliasResponse)["Buffer"]["General"]
    assert info["MemberCount"] == len(members)
    assert info["Name"] == {544: "Administrators", 545: "Users"}[rid]


def test_the_group_of_all(machine: Machine) -> None:
    request = machine.request(client.SamrOpenGroup)
    request["DomainHandle"] = domain(machine)
    request["DesiredAccess"] = MAXIMUM
    request["GroupId"] = 513
    handle = machine.call(request, client.SamrOpenGroupResponse)["GroupHandle"]
    request = machine.request(client.SamrQueryInformationGroup)
    request["GroupHandle"] = handle
    request["GroupInformationClass"] = 1
    info = machine.call(request, client.SamrQueryInformationGroupResponse)["Buffer"]["General"]
    assert (info["Name"], info["Attributes"], info["MemberCount"]) == ("None", 7, 3)
    request = machine.request(client.SamrGetMembersInGroup)
    request["GroupHandle"] = handle
    found = machine.call(request, client.SamrGetMembersInGroupResponse)["Members"]
    assert user_rid(MAN.pw_uid) in [each["Data"] for each in found["Members"]]


GENERAL = {
    "ForceLogoff": {"LowPart": 0, "HighPart": -(1 << 31)},  # never
    "OemInformation": "Ablage",
    "DomainName": "NAS",
    "ReplicaSourceNodeName": "",
    "DomainModifiedCount": ZERO,
    "DomainServerState": 1,
    "DomainServerRole": 3,
    "UasCompatibilityRequired": 1,
    "UserCount": 3,
    "GroupCount": 1,
}
DOMAIN = {
    **GENERAL,
    **dict.fromkeys(("PasswordHistoryLength", "PasswordProperties", "LockoutDuration"), 0),
    **dict.fromkeys(("LockoutObservationWindow", "LockoutThreshold"), 0),
    **dict.fromkeys(("MinPasswordAge", "CreationTime"), ZERO),
    "MaxPasswordAge": {"LowPart": 0, "HighPart": -(1 << 31)},  # never
    "ModifiedCountAtLastPromotion": ZERO,
    "MinPasswordLength": 1,
}


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13])
def test_a_domain(machine: Machine, level: int) -> None:
    for sid in (machine.sid, "S-1-5-32"):
        request = machine.request(client.SamrQueryInformationDomain2)
        request["DomainHandle"] = domain(machine, sid)
        request["DomainInformationClass"] = level
        found = plain(machine.call(request, client.SamrQueryInformationDomain2Response)["Buffer"])
        found |= found.pop("I1", {})
        aliases = found.pop("AliasCount", 0)
        assert aliases == 3 or (aliases and sid == machine.sid) or level not in (2, 11)
        builtin = {"DomainName": "Builtin", "UserCount": 0, "GroupCount": 0}
        facts = DOMAIN | (builtin if sid == "S-1-5-32" else {})
        assert found == {name: facts[name] for name in found}
        assert len(found) == {2: 10, 11: 13, 1: 5, 12: 3, 13: 3, 8: 2}.get(level, 1)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_display(machine: Machine, level: int) -> None:
    request = machine.request(client.SamrQueryDisplayInformation3)
    request["DomainHandle"] = domain(machine)
    request["DisplayInformationClass"] = level
    request["Index"] = 0
    request["EntryCount"] = 100
    request["PreferredMaximumLength"] = 0xFFFF
    answer = machine.call(request, client.SamrQueryDisplayInformation3Response)
    arm = {1: "UserInformation", 2: "MachineInformation", 3: "GroupInformation",
           4: "OemUserInformation", 5: "OemGroupInformation"}[level]  # fmt: skip
    rows = answer["Buffer"][arm]
    assert rows["EntriesRead"] == {1: 3, 2: 0, 3: 1, 4: 3, 5: 1}[level]
    if level == 1:
        (games,) = (each for each in rows["Buffer"] if each["AccountName"] == "games")
        assert (games["Index"], games["Rid"]) == (2, user_rid(GAMES.pw_uid))
        assert games["FullName"] == GAMES.pw_gecos


def test_other_questions(machine: Machine) -> None:
    request = machine.request(client.SamrRidToSid)
    request["ObjectHandle"] = domain(machine)
    request["Rid"] = 1234
    answer = machine.call(request, client.SamrRidToSidResponse)
    assert answer["Sid"].formatCanonical() == f"{machine.sid}-1234"
    request = machine.request(client.SamrGetDomainPasswordInformation)
    request["Unused"] = NULL
    machine.call(request, client.SamrGetDomainPasswordInformationResponse)
    request = machine.request(client.SamrQuerySecurityObject)
    request["ObjectHandle"] = user(machine, user_rid(GAMES.pw_uid) or 0)
    request["SecurityInformation"] = 7
    answer = machine.call(request, client.SamrQuerySecurityObjectResponse)
    assert answer["SecurityDescriptor"]["Length"] > 40


@pytest.mark.parametrize(
    ("level", "value"), [(2, ("Name", "None")), (3, 7), (4, ("AdminComment", "Ordinary users"))]
)
def test_single_facts_of_the_group_of_all(
    machine: Machine, level: int, value: int | tuple[str, str]
) -> None:
    request = machine.request(client.SamrOpenGroup)
    request["DomainHandle"] = domain(machine)
    request["DesiredAccess"] = MAXIMUM
    request["GroupId"] = 513
    handle = machine.call(request, client.SamrOpenGroupResponse)["GroupHandle"]
    request = machine.request(client.SamrQueryInformationGroup)
    request["GroupHandle"] = handle
    request["GroupInformationClass"] = level
    info = machine.call(request, client.SamrQueryInformationGroupResponse)["Buffer"]
    assert info["tag"] == level
    if level == 3:
        assert info["Attribute"]["Attributes"] == value
    else:
        assert info["Name" if level == 2 else "AdminComment"]


def test_an_alias_is_a_group_and_no_user(machine: Machine) -> None:
    adm = group_rid(grp.getgrnam("adm").gr_gid)
    request = machine.request(client.SamrOpenAlias)
    request["DomainHandle"] = domain(machine)
    request["DesiredAccess"] = MAXIMUM
    request["AliasId"] = adm
    assert machine.call(request, client.SamrOpenAliasResponse)["AliasHandle"]
    for rid in (user_rid(GAMES.pw_uid), 513, 544):
        request = machine.request(client.SamrOpenAlias)
        request["DomainHandle"] = domain(machine)
        request["DesiredAccess"] = MAXIMUM
        request["AliasId"] = rid
        machine.call(request, client.SamrOpenAliasResponse, NO_SUCH_ALIAS)


def test_passwords_are_not_checked_for_others(machine: Machine) -> None:
    with pytest.raises(CallError) as error:
        machine.run(67, bytes(20))
    assert error.value.status == Fault.ACCESS_DENIED
