"""Lists of accounts, and look-ups in a domain ([MS-SAMR] 3.1.5.2, 3.1.5.3, 3.1.5.11)."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from usmbd.mountd.ipc.accounts import (
    Account,
    Kind,
    ListAccounts,
)
from usmbd.mountd.ipc.sids import RID_USERS
from usmbd.mountd.rpc.access import need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.interfaces.samr import types as sam
from usmbd.mountd.rpc.interfaces.samr.asked import (
    ALL_USERS,
    all_aliases,
    some_users,
    standings_of,
    texts_of,
    whole_list,
)
from usmbd.mountd.rpc.interfaces.samr.base import (
    CALLS,
    DOMAIN_LIST,
    DOMAIN_LOOKUP,
    ENTRY_SIZE,
    MAX_ENTRIES,
    MAX_NAMES,
    MEMBER,
    NORMAL,
    Domain,
    control_of,
)
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Enum,
    Handle,
    UnicodeString,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_PARAMETER,
    STATUS_MORE_ENTRIES,
    STATUS_NO_MORE_ENTRIES,
    STATUS_NONE_MAPPED,
    STATUS_SOME_NOT_MAPPED,
)
from usmbd.mountd.rpc.translate import (
    NO_GROUP,
    Named,
    Use,
    account_rid,
    find_names,
    find_sids,
)
from usmbd.mountd.rpc.view import View

T = TypeVar("T")


def _fitting(entries: Sequence[T], limit: int, size: Callable[[T], int]) -> Sequence[T]:
    """Return the first entries that fit a client's limit in bytes, and always one."""
    total = 0
    for index, each in enumerate(entries[:MAX_ENTRIES]):
        total += ENTRY_SIZE + size(each)
        if total > limit and index:
            return entries[:index]
    return entries[:MAX_ENTRIES]


def _enumerated(
    found: Sequence[tuple[int, str]], start: int, total: int, limit: int
) -> tuple[int, sam.Entries, int]:
    """Answer an enumeration; Status(MORE_ENTRIES) when there is more."""
    chosen = _fitting(found, limit, lambda each: 2 * len(each[1]))
    entries = sam.Entries([sam.Entry(rid, name) for rid, name in chosen])
    end = start + len(chosen)
    if end < total:
        raise Status(STATUS_MORE_ENTRIES, end, entries, len(chosen))
    return 0, entries, len(chosen)


Enumeration = tuple[U32, sam.EntriesPointer, U32]
"""Where to go on, the entries, how many."""


@CALLS.call(13)
def enumerate_users(
    view: View, handle: Handle, resume: U32, control: U32, limit: U32
) -> Asking[Enumeration]:
    """SamrEnumerateUsersInDomain ([MS-SAMR] 3.1.5.2.5)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LIST)
    if domain.builtin or (control and not control & NORMAL):
        return 0, sam.Entries([]), 0
    found, total = yield from some_users(resume, MAX_ENTRIES)
    listed = [(account_rid(each) or 0, each.name) for each in found]
    return _enumerated(listed, resume, total, limit)


@CALLS.call(11)
def enumerate_groups(view: View, handle: Handle, resume: U32, limit: U32) -> Enumeration:
    """SamrEnumerateGroupsInDomain: the group of all users ([MS-SAMR] 3.1.5.2.2)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LIST)
    groups = [] if domain.builtin else [(RID_USERS, NO_GROUP)]
    return _enumerated(groups[resume:], resume, len(groups), limit)


@CALLS.call(15)
def enumerate_aliases(view: View, handle: Handle, resume: U32, limit: U32) -> Asking[Enumeration]:
    """SamrEnumerateAliasesInDomain ([MS-SAMR] 3.1.5.2.4)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LIST)
    aliases = yield from all_aliases(view, domain)
    listed = [(rid, name) for rid, name, _ in aliases[resume:]]
    return _enumerated(listed, resume, len(aliases), limit)


Displayed = tuple[U32, U32, Annotated[tuple[int, list[object] | None], sam.DISPLAY]]
"""Bytes in all, bytes returned, the entries."""


@CALLS.call(40, 48, 51)
def display(
    view: View, handle: Handle, level: Enum, start: U32, count: U32, limit: U32
) -> Asking[Displayed]:
    """SamrQueryDisplayInformation and its later versions ([MS-SAMR] 3.1.5.3.1 to 3.1.5.3.3)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LIST)
    if level not in sam.DISPLAY.arms:
        raise Status(STATUS_INVALID_INFO_CLASS, 0, 0, (1, None))
    users: list[Account] = []
    total = 0
    if level in (1, 4) and not domain.builtin:
        users, total = yield from some_users(start, min(count, MAX_ENTRIES))
    rows: list[object] = []
    standings = yield from standings_of(users)
    texts = yield from texts_of(users if level == 1 else [])
    for index, (each, standing) in enumerate(zip(users, standings, strict=True), start + 1):
        rid = account_rid(each) or 0
        if level == 1:
            control = control_of(standing)
            said = texts[len(rows)].description
            rows.append(sam.DisplayUser(index, rid, control, each.name, said, each.full_name))
        else:
            rows.append(sam.DisplayName(index, each.name.encode("ascii", "replace")))
    if level in (3, 5) and not domain.builtin:
        total = 1
        if start == 0:
            rows = [
                sam.DisplayOther(1, RID_USERS, MEMBER, NO_GROUP, ALL_USERS)
                if level == 3
                else sam.DisplayName(1, NO_GROUP.encode())
            ]
    chosen = list(_fitting(rows, limit, lambda _: 64))
    used = len(chosen) * (ENTRY_SIZE + 64)
    answer = total * (ENTRY_SIZE + 64), used, (level, chosen)
    if start + len(chosen) < total:
        raise Status(STATUS_MORE_ENTRIES, *answer)
    return answer


@CALLS.call(41, 49)
def display_index(view: View, handle: Handle, level: Enum, prefix: UnicodeString) -> Asking[U32]:
    """SamrGetDisplayEnumerationIndex: where names of a prefix begin ([MS-SAMR] 3.1.5.3.4)."""
    need(view.handles.get(handle, Domain).granted, DOMAIN_LIST)
    if level not in (1, 4):
        raise Status(STATUS_NO_MORE_ENTRIES)
    users = yield from whole_list(lambda start: ListAccounts(Kind.USER, start))
    for index, each in enumerate(users):
        if each.name.casefold() >= (prefix or "").casefold():
            return index
    raise Status(STATUS_NO_MORE_ENTRIES)


def _translated(found: Sequence[Named | None]) -> int:
    """Return the status that says whether all were found."""
    if all(found):
        return 0
    return STATUS_SOME_NOT_MAPPED if any(found) else STATUS_NONE_MAPPED


@CALLS.call(17)
def lookup_names(
    view: View, handle: Handle, count: U32, names: sam.VaryingNames
) -> Asking[tuple[sam.Numbers, sam.Numbers]]:
    """SamrLookupNamesInDomain ([MS-SAMR] 3.1.5.11.2)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LOOKUP)
    if count > MAX_NAMES or count != len(names):
        raise Status(STATUS_INVALID_PARAMETER)
    of_domain = yield from find_names(view, [f"{domain.name}\\{name}" for name in names])
    # Without a name it is the domain itself, which is no account of its own.
    found = [each if name else None for each, name in zip(of_domain, names, strict=True)]
    status = _translated(found)
    if status == STATUS_NONE_MAPPED:
        raise Status(status, sam.Numbers(None), sam.Numbers(None))
    raise Status(
        status,
        sam.Numbers([each.rid if each else 0 for each in found]),
        sam.Numbers([each.use if each else Use.UNKNOWN for each in found]),
    )


@CALLS.call(18)
def lookup_rids(
    view: View, handle: Handle, count: U32, rids: sam.VaryingNumbers
) -> Asking[tuple[sam.Strings, sam.Numbers]]:
    """SamrLookupIdsInDomain ([MS-SAMR] 3.1.5.11.3)."""
    domain = view.handles.get(handle, Domain)
    need(domain.granted, DOMAIN_LOOKUP)
    if count > MAX_NAMES or count != len(rids):
        raise Status(STATUS_INVALID_PARAMETER)
    found = yield from find_sids(view, [f"{domain.sid}-{rid}" for rid in rids])
    status = _translated(found)
    if status == STATUS_NONE_MAPPED:
        raise Status(status, sam.Strings(None), sam.Numbers(None))
    raise Status(
        status,
        sam.Strings([each.name if each else "" for each in found]),
        sam.Numbers([each.use if each else Use.UNKNOWN for each in found]),
    )
