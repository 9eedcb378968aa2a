"""The group of all users, and aliases ([MS-SAMR] 3.1.5.8, 3.1.5.9)."""

from usmbd.mountd.ipc.accounts import (
    AccountPage,
    Kind,
    ListAccounts,
    ListAdministrators,
    ListGroupsOf,
    ListMembers,
)
from usmbd.mountd.ipc.sids import RID_GUEST, RID_USERS
from usmbd.mountd.rpc.access import is_administrator, need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.interfaces.samr.asked import (
    ALL_USERS,
    count_accounts,
    find_account,
    whole_list,
)
from usmbd.mountd.rpc.interfaces.samr.base import (
    ALIAS,
    ALIAS_LIST,
    ALIAS_READ,
    CALLS,
    DOMAIN_LOOKUP,
    DOMAIN_MEMBERSHIP,
    FIRST_GROUP,
    GROUP,
    GROUP_LIST,
    GROUP_READ,
    MAX_NAMES,
    MEMBER,
    NO_GROUP_ID,
    Domain,
    OpenAlias,
    OpenGroup,
)
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Enum,
    Handle,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_SUCH_ALIAS,
    STATUS_NO_SUCH_GROUP,
)
from usmbd.mountd.rpc.translate import (
    ALIASES,
    NO_GROUP,
    Use,
    account_rid,
    find_sids,
    name_account,
    rid_question,
)
from usmbd.mountd.rpc.view import View


@CALLS.call(19)
def open_group(view: View, handle: Handle, desired: U32, rid: U32) -> Asking[Handle]:
    """SamrOpenGroup ([MS-SAMR] 3.1.5.1.7)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LOOKUP)
    granted = GROUP.granted(desired, (yield from is_administrator(view)))
    if domain.builtin or rid != RID_USERS:
        raise Status(STATUS_NO_SUCH_GROUP)
    return view.handles.add(OpenGroup(granted))


@CALLS.call(20)
def query_group(view: View, handle: Handle, level: Enum) -> Asking[sam.GroupPointer]:
    """SamrQueryInformationGroup ([MS-SAMR] 3.1.5.5.3)."""
    need(view.handles.get(handle, OpenGroup).granted, GROUP_READ)
    if level not in sam.GROUP.arms:
        raise Status(STATUS_INVALID_INFO_CLASS)
    if level == 2:
        return level, sam.OneText(NO_GROUP)
    if level == 3:
        return level, sam.OneNumber(MEMBER)
    if level == 4:
        return level, sam.OneText(ALL_USERS)
    return level, sam.GroupGeneral(
        NO_GROUP, MEMBER, (yield from count_accounts(Kind.USER)), ALL_USERS
    )


@CALLS.call(25)
def group_members(view: View, handle: Handle) -> Asking[sam.MembersPointer]:
    """SamrGetMembersInGroup: all users ([MS-SAMR] 3.1.5.8.3)."""
    need(view.handles.get(handle, OpenGroup).granted, GROUP_LIST)
    users = yield from whole_list(lambda start: ListAccounts(Kind.USER, start))
    rids = [rid for each in users if (rid := account_rid(each)) is not None]
    return sam.Members(len(rids), rids, [MEMBER] * len(rids))


@CALLS.call(27)
def open_alias(view: View, handle: Handle, desired: U32, rid: U32) -> Asking[Handle]:
    """SamrOpenAlias ([MS-SAMR] 3.1.5.1.8)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LOOKUP)
    granted = ALIAS.granted(desired, (yield from is_administrator(view)))
    if domain.builtin:
        if rid not in (544, 545, 546):
            raise Status(STATUS_NO_SUCH_ALIAS)
        return view.handles.add(OpenAlias(rid, *ALIASES[rid], None, granted))
    question = rid_question(rid)
    if question is None or question[0] is not Kind.GROUP:
        raise Status(STATUS_NO_SUCH_ALIAS)
    account = yield from find_account(*question)
    if account is None:
        raise Status(STATUS_NO_SUCH_ALIAS)
    return view.handles.add(OpenAlias(rid, account.name, "", account.id, granted))


@CALLS.call(28)
def query_alias(view: View, handle: Handle, level: Enum) -> Asking[sam.AliasPointer]:
    """SamrQueryInformationAlias ([MS-SAMR] 3.1.5.5.4)."""
    alias = view.handles.get(handle, OpenAlias)
    need(alias.granted, ALIAS_READ)
    if level not in sam.ALIAS.arms:
        raise Status(STATUS_INVALID_INFO_CLASS)
    if level == 2:
        return level, sam.OneText(alias.name)
    if level == 3:
        return level, sam.OneText(alias.comment)
    members = yield from _alias_members(view, alias)
    return level, sam.AliasGeneral(alias.name, len(members), alias.comment)


@CALLS.call(33)
def alias_members(view: View, handle: Handle) -> Asking[lsa.Sids]:
    """SamrGetMembersInAlias ([MS-SAMR] 3.1.5.8.4)."""
    alias = view.handles.get(handle, OpenAlias)
    need(alias.granted, ALIAS_LIST)
    members = yield from _alias_members(view, alias)
    return lsa.Sids([lsa.SidHolder(sid) for sid in members])


def _alias_members(view: View, alias: OpenAlias) -> Asking[list[str]]:
    """Return the SIDs of who is in an alias."""
    if alias.gid is not None:
        gid = alias.gid
        found = yield from whole_list(lambda start: ListMembers(gid, start))
    elif alias.rid == 544:
        answer = yield ListAdministrators()
        assert isinstance(answer, AccountPage)
        found = answer.accounts
    elif alias.rid == 545:
        found = yield from whole_list(lambda start: ListAccounts(Kind.USER, start))
    else:
        return [f"{view.snapshot.machine_sid}-{RID_GUEST}"]
    return [name_account(view, each).sid for each in found]


@CALLS.call(16)
def alias_membership(view: View, handle: Handle, sids: lsa.Sids) -> Asking[sam.Numbers]:
    """SamrGetAliasMembership: in which aliases these are ([MS-SAMR] 3.1.5.9.2)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_MEMBERSHIP)
    asked = {each.sid for each in sids.sids or [] if each.sid is not None}
    if len(asked) > MAX_NAMES:
        raise Status(STATUS_INVALID_PARAMETER)
    found: dict[int, None] = {}
    if domain.builtin:
        for rid in (544, 545, 546):
            alias = OpenAlias(rid, "", "", None, 0)
            if asked.intersection((yield from _alias_members(view, alias))):
                found[rid] = None
        return sam.Numbers(list(found))
    for named in (yield from find_sids(view, sorted(asked))):
        if named is None or named.use is not Use.USER:
            continue
        answer = yield ListGroupsOf(named.name)
        assert isinstance(answer, AccountPage)
        for each in answer.accounts:
            rid_of_group = account_rid(each)
            if FIRST_GROUP <= each.id != NO_GROUP_ID and rid_of_group is not None:
                found[rid_of_group] = None
    return sam.Numbers(list(found))
