"""samr where impacket does not lead: ends of lists, too much, other levels, other domains."""

import dataclasses
import grp
import os
import pwd
from collections.abc import Generator
from typing import Any

import pytest
from impacket.dcerpc.v5 import samr as client
from rpc_client import Machine

from usmbd.mountd.ipc.sids import group_rid, user_rid
from usmbd.mountd.rpc.calls import Status
from usmbd.mountd.rpc.interfaces import samr
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.samr import base
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.view import Caller, View

GAMES = pwd.getpwnam("games")
RID = user_rid(GAMES.pw_uid) or 0
EVERY = 0xFFFFFFFF
PARAMETER, CLASS, MORE, NO_MORE = 0xC000000D, 0xC0000003, 0x105, 0x8000001A
NO_GROUP, NO_ALIAS, SOME, NONE = 0xC0000066, 0xC0000151, 0x107, 0xC0000073


@pytest.fixture
def machine(view: View) -> Machine:
    own = dataclasses.replace(view, caller=Caller(user="man", domain="HOME", uid=6))
    return Machine(samr.interface, own, ["games", "man", "Nemo"], ("man",))


def call(machine: Machine, name: str, *arguments: Any) -> Any:
    """Make a call by its function, found by impacket's opnum; Status as it is raised."""
    function = base.CALLS.calls[getattr(client, f"Samr{name}").opnum]._function
    answer = function(machine.view, *arguments)
    if not isinstance(answer, Generator):
        return answer
    try:
        question = next(answer)
        while True:
            question = answer.send(machine.answer(question))
    except StopIteration as end:
        return end.value


def status(machine: Machine, name: str, *arguments: Any) -> int:
    """Return the status of a call that has one."""
    with pytest.raises(Status) as caught:
        call(machine, name, *arguments)
    return caught.value.code


def domain(machine: Machine, sid: str = "") -> bytes:
    made = base.Domain("NAS" if not sid else "Builtin", sid or machine.sid, EVERY)
    return machine.view.handles.add(made)


def alias(machine: Machine, rid: int, **facts: Any) -> bytes:
    facts = {"name": "", "comment": "", "gid": None} | facts
    return machine.view.handles.add(base.OpenAlias(rid=rid, granted=EVERY, **facts))


def test_a_display_in_parts(machine: Machine) -> None:
    """Each user counts 96 bytes; indices begin with 1 ([MS-SAMR] 2.2.8.2)."""
    whole = call(machine, "QueryDisplayInformation", domain(machine), 1, 0, 100, EVERY)
    assert whole[:2] == (3 * 96, 3 * 96)
    assert [row.index for row in whole[2][1]] == [1, 2, 3]
    names = [row.name for row in whole[2][1]]
    assert {row.control for row in whole[2][1]} == {0x210}
    with pytest.raises(Status) as caught:
        call(machine, "QueryDisplayInformation", domain(machine), 1, 1, 1, EVERY)
    total, used, (level, rows) = caught.value.values
    assert (caught.value.code, total, used, level) == (MORE, 3 * 96, 96, 1)
    assert [(row.index, row.name) for row in rows] == [(2, names[1])]
    last = call(machine, "QueryDisplayInformation", domain(machine), 4, 2, 1, EVERY)
    assert [(row.index, row.name) for row in last[2][1]] == [(3, names[2].encode())]
    assert call(machine, "QueryDisplayInformation", domain(machine), 1, 3, 9, EVERY)[2] == (1, [])
    with pytest.raises(Status) as caught:
        call(machine, "QueryDisplayInformation", domain(machine), 1, 0, 100, 1)
    assert len(caught.value.values[2][1]) == 1  # one in any case


@pytest.mark.parametrize("level", [3, 5])
def test_the_display_of_groups_ends(machine: Machine, level: int) -> None:
    total, used, (_, rows) = call(
        machine, "QueryDisplayInformation", domain(machine), level, 0, 9, EVERY
    )
    assert (total, used, len(rows), rows[0].index) == (96, 96, 1, 1)
    assert rows[0].name in ("None", b"None")
    total, used, (_, rows) = call(
        machine, "QueryDisplayInformation", domain(machine), level, 1, 9, EVERY
    )
    assert (total, used, rows) == (96, 0, [])
    for other in (1, level):
        found = call(
            machine, "QueryDisplayInformation", domain(machine, "S-1-5-32"), other, 0, 9, EVERY
        )
        assert found[2] == (other, [])
    assert status(machine, "QueryDisplayInformation", domain(machine), 6, 0, 9, EVERY) == CLASS


def test_where_a_prefix_begins(machine: Machine) -> None:
    index = "GetDisplayEnumerationIndex2"
    assert call(machine, index, domain(machine), 1, "") == 0
    assert call(machine, index, domain(machine), 4, None) == 0
    assert status(machine, index, domain(machine), 1, "zz") == NO_MORE
    assert status(machine, index, domain(machine), 2, "") == NO_MORE


def test_lists_go_on_where_they_ended(machine: Machine) -> None:
    groups = call(machine, "EnumerateGroupsInDomain", domain(machine), 0, EVERY)
    assert [(entry.rid, entry.name) for entry in groups[1].entries] == [(513, "None")]
    assert not call(machine, "EnumerateGroupsInDomain", domain(machine), 1, EVERY)[1].entries
    builtin = domain(machine, "S-1-5-32")
    found = call(machine, "EnumerateAliasesInDomain", builtin, 1, EVERY)
    assert [entry.rid for entry in found[1].entries] == [545, 546]


@pytest.mark.parametrize(("count", "given"), [(1001, 1001), (2, 1), (0, 1)])
def test_names_and_rids_are_counted(machine: Machine, count: int, given: int) -> None:
    where = domain(machine)
    assert status(machine, "LookupNamesInDomain", where, count, ["games"] * given) == PARAMETER
    assert status(machine, "LookupIdsInDomain", where, count, [RID] * given) == PARAMETER


def test_so_many_names_and_rids(machine: Machine) -> None:
    with pytest.raises(Status) as caught:
        call(machine, "LookupNamesInDomain", domain(machine), 1000, ["games"] * 1000)
    assert caught.value.code == 0
    assert caught.value.values[0].numbers == [RID] * 1000
    for name, values in (("Names", ["nobody here"]), ("Ids", [4711])):
        assert status(machine, f"Lookup{name}InDomain", domain(machine), 1, values) == NONE


def test_what_an_alias_is(machine: Machine) -> None:
    one = alias(machine, 546, name="Guests", comment="said")
    level, general = call(machine, "QueryInformationAlias", one, 1)
    assert (level, general) == (1, sam.AliasGeneral("Guests", 1, "said"))
    assert call(machine, "QueryInformationAlias", one, 2) == (2, sam.OneText("Guests"))
    assert call(machine, "QueryInformationAlias", one, 3) == (3, sam.OneText("said"))
    assert status(machine, "QueryInformationAlias", one, 4) == CLASS
    guest = call(machine, "GetMembersInAlias", one)
    assert [each.sid for each in guest.sids] == [f"{machine.sid}-501"]
    group = grp.getgrgid(GAMES.pw_gid)
    own = alias(machine, group_rid(group.gr_gid) or 0, name=group.gr_name, gid=group.gr_gid)
    assert call(machine, "QueryInformationAlias", own, 1)[1].name == group.gr_name


def test_which_groups_and_aliases_there_are(machine: Machine) -> None:
    for rid in (512, 514):
        assert status(machine, "OpenGroup", domain(machine), 1, rid) == NO_GROUP
    assert status(machine, "OpenGroup", domain(machine, "S-1-5-32"), 1, 513) == NO_GROUP
    opened = call(machine, "OpenGroup", domain(machine), 1, 513)
    assert machine.view.handles.get(opened, base.OpenGroup).granted == 1
    assert status(machine, "QueryInformationGroup", machine.view.handles.add(
        base.OpenGroup(EVERY)), 6) == CLASS  # fmt: skip
    builtin = domain(machine, "S-1-5-32")
    for rid in (543, 547):
        assert status(machine, "OpenAlias", builtin, 8, rid) == NO_ALIAS
    for rid, name in ((544, "Administrators"), (545, "Users"), (546, "Guests")):
        opened = call(machine, "OpenAlias", builtin, 8, rid)
        found = machine.view.handles.get(opened, base.OpenAlias)
        assert (found.rid, found.name, found.gid, found.granted) == (rid, name, None, 8)
    unused = next(gid for gid in range(50_000, 60_000) if not _is_group(gid))
    assert status(machine, "OpenAlias", domain(machine), 8, group_rid(unused)) == NO_ALIAS


def _is_group(gid: int) -> bool:
    try:
        return bool(grp.getgrgid(gid))
    except KeyError:
        return False


def test_groups_of_the_system_that_somebody_is_in(machine: Machine) -> None:
    """Those of people; not those of the system, nor `nogroup`."""
    sids = lsa.Sids([lsa.SidHolder(f"{machine.sid}-{RID}"), lsa.SidHolder("S-1-1-0")])
    found = call(machine, "GetAliasMembership", domain(machine), sids).numbers
    own = [gid for gid in os.getgrouplist("games", GAMES.pw_gid) if 1000 <= gid != 65534]
    assert found == [group_rid(gid) for gid in own]
    many = lsa.Sids([lsa.SidHolder(f"S-1-5-21-1-2-3-{rid}") for rid in range(1001)])
    assert status(machine, "GetAliasMembership", domain(machine), many) == PARAMETER
    nobody = lsa.Sids(None)
    assert call(machine, "GetAliasMembership", domain(machine), nobody).numbers == []


def test_passwords_have_a_character(machine: Machine) -> None:
    user = machine.view.handles.add(base.OpenUser(None, RID, EVERY))  # type: ignore[arg-type]
    for name, given in (
        ("DomainPasswordInformation", None),
        ("UserDomainPasswordInformation", user),
    ):
        rules = call(machine, f"Get{name}", given)
        assert rules == sam.PasswordRules(1, 0)


def test_sids_of_the_domain_that_is_open(machine: Machine) -> None:
    for handle, sid in (
        (domain(machine), machine.sid),
        (domain(machine, "S-1-5-32"), "S-1-5-32"),
        (machine.view.handles.add(base.OpenGroup(EVERY)), machine.sid),
    ):
        assert call(machine, "RidToSid", handle, 77) == f"{sid}-77"
