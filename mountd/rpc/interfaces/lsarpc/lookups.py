"""Names to SIDs, and SIDs to names ([MS-LSAT] 3.1.4)."""

from collections.abc import Sequence
from typing import Final

from usmbd.mountd.rpc.access import need
from usmbd.mountd.rpc.calls import Asking, Status
from usmbd.mountd.rpc.endpoint import CallError
from usmbd.mountd.rpc.interfaces.lsarpc import types as lsa
from usmbd.mountd.rpc.interfaces.lsarpc.base import (
    CALLS,
    POLICY_LOOKUP_NAMES,
    Policy,
)
from usmbd.mountd.rpc.ndr.types import (
    U32,
    Enum,
    Handle,
)
from usmbd.mountd.rpc.ntstatus import (
    STATUS_INVALID_PARAMETER,
    STATUS_NONE_MAPPED,
    STATUS_SOME_NOT_MAPPED,
)
from usmbd.mountd.rpc.pdu import Fault
from usmbd.mountd.rpc.translate import Named, Use, find_names, find_sids
from usmbd.mountd.rpc.view import View

MAX_NAMES: Final = 1000
"""Names or SIDs in one call ([MS-LSAT] 2.2.15, 3.1.4.5)."""

LEVELS: Final = range(1, 8)
WORKSTATION: Final = 1
DOMAIN_LEVELS: Final = frozenset({2, 3})
"""LSAP_LOOKUP_LEVEL ([MS-LSAT] 2.2.16): all, or the domain alone, here the machine's own, as with
Samba; the others are of forests and trusts, of which there are none."""

NO_DOMAIN: Final = 0xFFFFFFFF
"""The index of a domain that is not known ([MS-LSAT] 2.2.13)."""


class Referenced:
    """The domains that the answer to a look-up refers to, each once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._indices: dict[str, int] = {}
        self._domains: list[lsa.Domain] = []

    def index(self, named: Named) -> int:
        """Return the index of a name's domain."""
        sid = named.domain_sid
        if sid not in self._indices:
            self._indices[sid] = len(self._domains)
            self._domains.append(lsa.Domain(named.domain, sid))
        return self._indices[sid]

    def list(self) -> lsa.Domains:
        """Return the list."""
        return lsa.Domains(self._domains or None, 32 * len(self._domains))


def _look_names_up(
    view: View, policy: Policy, names: Sequence[str], level: int
) -> Asking[tuple[Referenced, list[tuple[Named | None, int]]]]:
    """Return the domains, and for each name who it is and the index of his domain."""
    need(policy.granted, POLICY_LOOKUP_NAMES)
    if len(names) > MAX_NAMES or level not in LEVELS:
        raise Status(STATUS_INVALID_PARAMETER)
    found = yield from find_names(view, names)
    return _refer(_within(view, level, found))


def _within(view: View, level: int, found: Sequence[Named | None]) -> list[Named | None]:
    """Return what a level looks through ([MS-LSAT] 2.2.16)."""
    if level == WORKSTATION:
        return list(found)
    own = view.snapshot.machine_sid if level in DOMAIN_LEVELS else None
    return [each if each is not None and each.domain_sid == own else None for each in found]


def _refer(
    found: Sequence[Named | None],
) -> tuple[Referenced, list[tuple[Named | None, int]]]:
    domains = Referenced()
    return domains, [(each, domains.index(each) if each else NO_DOMAIN) for each in found]


def _mapped(found: Sequence[tuple[Named | None, int]]) -> tuple[int, int]:
    """Return how many were found, and the status that says so ([MS-LSAT] 3.1.4.5)."""
    count = sum(named is not None for named, _ in found)
    if count == len(found):
        return count, 0
    return count, STATUS_SOME_NOT_MAPPED if count else STATUS_NONE_MAPPED


@CALLS.call(14)
def lookup_names(
    view: View,
    handle: Handle,
    count: U32,
    names: lsa.Names,
    sids: lsa.TranslatedSids,
    level: Enum,
    mapped: U32,
) -> Asking[tuple[lsa.DomainsPointer, lsa.TranslatedSids, U32]]:
    """LsarLookupNames ([MS-LSAT] 3.1.4.8)."""
    policy = view.handles.get(handle, Policy)
    domains, found = yield from _look_names_up(view, policy, names, level)
    answer = [
        lsa.TranslatedSid(_use(named), named.rid if named else 0, index) for named, index in found
    ]
    mapped, status = _mapped(found)
    raise Status(status, domains.list(), lsa.TranslatedSids(answer), mapped)


@CALLS.call(58)
def lookup_names2(
    view: View,
    handle: Handle,
    count: U32,
    names: lsa.Names,
    sids: lsa.TranslatedSidsEx,
    level: Enum,
    mapped: U32,
    options: U32,
    revision: U32,
) -> Asking[tuple[lsa.DomainsPointer, lsa.TranslatedSidsEx, U32]]:
    """LsarLookupNames2 ([MS-LSAT] 3.1.4.7)."""
    policy = view.handles.get(handle, Policy)
    domains, found = yield from _look_names_up(view, policy, names, level)
    answer = [
        lsa.TranslatedSidEx(_use(named), named.rid if named else 0, index, 0)
        for named, index in found
    ]
    mapped, status = _mapped(found)
    raise Status(status, domains.list(), lsa.TranslatedSidsEx(answer), mapped)


@CALLS.call(68)
def lookup_names3(
    view: View,
    handle: Handle,
    count: U32,
    names: lsa.Names,
    sids: lsa.TranslatedSidsEx2,
    level: Enum,
    mapped: U32,
    options: U32,
    revision: U32,
) -> Asking[tuple[lsa.DomainsPointer, lsa.TranslatedSidsEx2, U32]]:
    """LsarLookupNames3 ([MS-LSAT] 3.1.4.6)."""
    policy = view.handles.get(handle, Policy)
    domains, found = yield from _look_names_up(view, policy, names, level)
    answer = [
        lsa.TranslatedSidEx2(_use(named), named.sid if named else None, index, 0)
        for named, index in found
    ]
    mapped, status = _mapped(found)
    raise Status(status, domains.list(), lsa.TranslatedSidsEx2(answer), mapped)


@CALLS.call(76, 77)
def lookups_of_controllers(view: View) -> None:
    """LsarLookupSids3 and LsarLookupNames4: for those whom Netlogon proves, over TCP alone.

    [MS-LSAT] 3.1.4.9 and 3.1.4.5 refuse all others, and so does Samba.
    """
    raise CallError(Fault.ACCESS_DENIED)


def _look_sids_up(
    view: View, policy: Policy, sids: lsa.Sids, level: int
) -> Asking[tuple[Referenced, list[tuple[Named | None, int]], list[str]]]:
    """Return the domains, and for each SID who it is and the index of his domain."""
    need(policy.granted, POLICY_LOOKUP_NAMES)
    asked = sids.sids or []
    if len(asked) > MAX_NAMES or level not in LEVELS:
        raise Status(STATUS_INVALID_PARAMETER)
    texts = [each.sid for each in asked if each.sid is not None]
    if len(texts) != len(asked):
        raise Status(STATUS_INVALID_PARAMETER)
    found = yield from find_sids(view, texts)
    return *_refer(_within(view, level, found)), texts


@CALLS.call(15)
def lookup_sids(
    view: View,
    handle: Handle,
    sids: lsa.Sids,
    names: lsa.TranslatedNames,
    level: Enum,
    mapped: U32,
) -> Asking[tuple[lsa.DomainsPointer, lsa.TranslatedNames, U32]]:
    """LsarLookupSids ([MS-LSAT] 3.1.4.11)."""
    policy = view.handles.get(handle, Policy)
    domains, found, texts = yield from _look_sids_up(view, policy, sids, level)
    answer = [
        lsa.TranslatedName(_use(named), _name(named, text), index)
        for (named, index), text in zip(found, texts, strict=True)
    ]
    mapped, status = _mapped(found)
    raise Status(status, domains.list(), lsa.TranslatedNames(answer), mapped)


@CALLS.call(57)
def lookup_sids2(
    view: View,
    handle: Handle,
    sids: lsa.Sids,
    names: lsa.TranslatedNamesEx,
    level: Enum,
    mapped: U32,
    options: U32,
    revision: U32,
) -> Asking[tuple[lsa.DomainsPointer, lsa.TranslatedNamesEx, U32]]:
    """LsarLookupSids2 ([MS-LSAT] 3.1.4.10)."""
    policy = view.handles.get(handle, Policy)
    domains, found, texts = yield from _look_sids_up(view, policy, sids, level)
    answer = [
        lsa.TranslatedNameEx(_use(named), _name(named, text), index, 0)
        for (named, index), text in zip(found, texts, strict=True)
    ]
    mapped, status = _mapped(found)
    raise Status(status, domains.list(), lsa.TranslatedNamesEx(answer), mapped)


def _use(named: Named | None) -> int:
    return named.use if named is not None else Use.UNKNOWN


def _name(named: Named | None, sid: str) -> str:
    """Return the name; of nobody the SID's text, as [MS-LSAT] 3.1.4.10 has it."""
    return named.name if named is not None else sid
