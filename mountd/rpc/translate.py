"""Names to SIDs and back: the machine's domain, BUILTIN, well-known ones, Unix ids.

The order of a name without a domain is that of [MS-LSAT] 3.1.4.5 as far as there is something:
well-known names, BUILTIN, the names of domains, then accounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from usmbd.mountd.ipc.accounts import Account, AccountsFound, FindIds, FindNames, Kind
from usmbd.mountd.ipc.messages import MAX_NAME
from usmbd.mountd.ipc.sids import (
    HASHED,
    RID_GUEST,
    RID_USERS,
    UNIX_GROUP,
    UNIX_USER,
    group_rid,
    rid_gid,
    rid_uid,
    user_rid,
)
from usmbd.mountd.rpc.calls import Asking
from usmbd.mountd.rpc.view import View

BUILTIN_SID: Final = "S-1-5-32"
BUILTIN: Final = "BUILTIN"
NT_AUTHORITY: Final = "NT AUTHORITY"
UNIX_USERS: Final = "Unix User"
UNIX_GROUPS: Final = "Unix Group"
NO_GROUP: Final = "None"


class Use(IntEnum):
    """SID_NAME_USE ([MS-SAMR] 2.2.2.3)."""

    USER = 1
    GROUP = 2
    DOMAIN = 3
    ALIAS = 4
    WELL_KNOWN = 5
    UNKNOWN = 8


@dataclass(frozen=True, slots=True)
class Named:
    """A SID with its name."""

    sid: str
    domain: str
    name: str
    use: Use

    @property
    def domain_sid(self) -> str:
        """The SID of the domain: a domain's own, else all but the RID."""
        return self.sid if self.use is Use.DOMAIN else self.sid.rpartition("-")[0]

    @property
    def rid(self) -> int:
        """The RID; a domain has none."""
        return 0xFFFFFFFF if self.use is Use.DOMAIN else int(self.sid.rpartition("-")[2])


ALIASES: Final = {
    544: ("Administrators", "Who may administrate the server"),
    545: ("Users", "All users of the server"),
    546: ("Guests", "Guests of the server"),
    547: ("Power Users", ""),
    548: ("Account Operators", ""),
    549: ("Server Operators", ""),
    550: ("Print Operators", ""),
    551: ("Backup Operators", ""),
    552: ("Replicator", ""),
}
"""BUILTIN's aliases with their descriptions ([MS-DTYP] 2.4.2.4)."""

_WELL_KNOWN: Final = (
    *(
        Named(sid, "", name, Use.WELL_KNOWN)
        for sid, name in (
            ("S-1-0-0", "NULL SID"),
            ("S-1-1-0", "Everyone"),
            ("S-1-2-0", "LOCAL"),
            ("S-1-3-0", "CREATOR OWNER"),
            ("S-1-3-1", "CREATOR GROUP"),
            ("S-1-3-4", "OWNER RIGHTS"),
        )
    ),
    *(
        Named(f"S-1-5-{number}", NT_AUTHORITY, name, Use.WELL_KNOWN)
        for number, name in (
            *((1, "DIALUP"), (2, "NETWORK"), (3, "BATCH"), (4, "INTERACTIVE"), (6, "SERVICE")),
            *((7, "ANONYMOUS LOGON"), (8, "PROXY"), (9, "ENTERPRISE DOMAIN CONTROLLERS")),
            *((10, "SELF"), (11, "Authenticated Users"), (12, "RESTRICTED")),
            *((13, "TERMINAL SERVER USER"), (14, "REMOTE INTERACTIVE LOGON")),
            *((15, "This Organization"), (17, "IUSR"), (18, "SYSTEM"), (19, "LOCAL SERVICE")),
            (20, "NETWORK SERVICE"),
        )
    ),
    *(
        Named(f"{BUILTIN_SID}-{rid}", BUILTIN, name, Use.ALIAS)
        for rid, (name, _) in ALIASES.items()
    ),
)
"""[MS-DTYP] 2.4.2.4."""

_BY_SID: Final = {each.sid: each for each in _WELL_KNOWN}
_BY_NAME: Final = {
    (domain, each.name.casefold()): each
    for each in _WELL_KNOWN
    for domain in {each.domain.casefold(), ""}
}


def domains(view: View) -> tuple[Named, ...]:
    """Return the domains that there are."""
    config = view.snapshot.config
    host = config.netbios_name
    return (
        Named(view.snapshot.machine_sid, host, host, Use.DOMAIN),
        Named(BUILTIN_SID, BUILTIN, BUILTIN, Use.DOMAIN),
        Named("S-1-5", NT_AUTHORITY, NT_AUTHORITY, Use.DOMAIN),
        Named(UNIX_USER, UNIX_USERS, UNIX_USERS, Use.DOMAIN),
        Named(UNIX_GROUP, UNIX_GROUPS, UNIX_GROUPS, Use.DOMAIN),
    )


def account_rid(account: Account) -> int | None:
    """Return the RID of a user of the password file, or of a group; None: it has none."""
    if account.kind is Kind.GROUP:
        return group_rid(account.id)
    if not account.stored:
        return None
    return account.id if account.id >= HASHED else user_rid(account.id)


def name_account(view: View, account: Account) -> Named:
    """Return the SID and the name of an account."""
    if account.kind is Kind.GROUP:
        return Named(f"{UNIX_GROUP}-{account.id}", UNIX_GROUPS, account.name, Use.GROUP)
    if _is_guest(view, account.name):
        return _guest(view)
    rid = account_rid(account)
    if rid is None:
        return Named(f"{UNIX_USER}-{account.id}", UNIX_USERS, account.name, Use.USER)
    host, sid = view.snapshot.config.netbios_name, view.snapshot.machine_sid
    return Named(f"{sid}-{rid}", host, account.name, Use.USER)


def find_names(view: View, names: Sequence[str]) -> Asking[list[Named | None]]:
    """Return whom the names mean, None for each that nobody has."""
    found: list[Named | None] = []
    asked: list[tuple[str, Kind | None]] = []
    places: list[tuple[int, str]] = []
    for index, full in enumerate(names):
        domain, name = _split(view, full)
        known = _known_name(view, domain, name)
        found.append(known)
        if known is None and name and len(name) <= MAX_NAME and "\0" not in name:
            for kind in _may_be(view, domain):
                asked.append((name, kind))
                places.append((index, domain))
    if asked:
        answer = yield FindNames(asked)
        assert isinstance(answer, AccountsFound)
        for (index, domain), account in zip(places, answer.accounts, strict=True):
            if account is not None:
                found[index] = _in_domain(view, account, domain)
    return found


def find_sids(view: View, sids: Sequence[str]) -> Asking[list[Named | None]]:
    """Return who the SIDs are, None for each that is nobody."""
    found: list[Named | None] = []
    asked: list[tuple[Kind, int]] = []
    places: list[tuple[int, str]] = []
    for index, sid in enumerate(sids):
        known = _known_sid(view, sid)
        found.append(known)
        question = _question(view, sid) if known is None else None
        if question is not None:
            asked.append(question)
            places.append((index, sid))
    if asked:
        answer = yield FindIds(asked)
        assert isinstance(answer, AccountsFound)
        for (index, sid), account in zip(places, answer.accounts, strict=True):
            if account is not None:
                found[index] = _with_sid(view, account, sid)
    return found


def _split(view: View, full: str) -> tuple[str, str]:
    r"""Return the folded domain and the name of `DOMAIN\name`, `name@domain` or `name`."""
    domain, backslash, name = full.partition("\\")
    if backslash:
        own = domain.casefold()
        return ("" if own == "." else own), name
    name, at, domain = full.rpartition("@")
    if at and domain.casefold() == view.snapshot.config.netbios_name.casefold():
        return domain.casefold(), name
    return "", full


def _known_name(view: View, domain: str, name: str) -> Named | None:
    """Return what needs nobody to be asked: well-known names and domains."""
    folded = name.casefold()
    if not domain and not folded:  # what Windows says of no name at all
        return Named(BUILTIN_SID, BUILTIN, BUILTIN, Use.DOMAIN)
    known = _BY_NAME.get((domain, folded))
    if known is not None:
        return known
    host = view.snapshot.config.netbios_name.casefold()
    for each in domains(view):
        if folded == each.name.casefold() and domain in ("", folded):
            return each
        if domain == each.name.casefold() and not folded:
            return each
    if domain in ("", host):
        if folded == NO_GROUP.casefold():
            return _none(view)
        if _is_guest(view, name):
            return _guest(view)
    return None


def _may_be(view: View, domain: str) -> tuple[Kind | None, ...]:
    """Return what may be asked for in a domain, None for anything; nothing in one that is none."""
    if domain in ("", view.snapshot.config.netbios_name.casefold()):
        return (None,)
    if domain == UNIX_USERS.casefold():
        return (Kind.USER,)
    return (Kind.GROUP,) if domain == UNIX_GROUPS.casefold() else ()


def _in_domain(view: View, account: Account, domain: str) -> Named | None:
    """Return an account as a domain has it; None when it has it not."""
    if domain == UNIX_USERS.casefold():
        if account.id >= HASHED:
            return None
        return Named(f"{UNIX_USER}-{account.id}", UNIX_USERS, account.name, Use.USER)
    named = name_account(view, account)
    if domain and named.domain.casefold() != domain:
        return _alias(view, account) if account.kind is Kind.GROUP and not _unix(domain) else None
    return named


def _unix(domain: str) -> bool:
    return domain in (UNIX_USERS.casefold(), UNIX_GROUPS.casefold())


def _known_sid(view: View, sid: str) -> Named | None:
    """Return what needs nobody to be asked."""
    known = _BY_SID.get(sid)
    if known is not None:
        return known
    for each in domains(view):
        if sid == each.sid:
            return each
    machine = view.snapshot.machine_sid
    if sid == f"{machine}-{RID_USERS}":
        return _none(view)
    if sid == f"{machine}-{RID_GUEST}":
        return _guest(view)
    return None


def _question(view: View, sid: str) -> tuple[Kind, int] | None:
    """Return what has to be asked to know a SID; None when nobody has it."""
    domain, _, last = sid.rpartition("-")
    number = int(last)
    if domain == UNIX_USER:
        return Kind.USER, number
    if domain == UNIX_GROUP:
        return Kind.GROUP, number
    if domain != view.snapshot.machine_sid:
        return None
    return rid_question(number)


def rid_question(rid: int) -> tuple[Kind, int] | None:
    """Return what has to be asked to know a RID of the machine's domain."""
    if rid >= HASHED:
        return Kind.USER, rid
    uid, gid = rid_uid(rid), rid_gid(rid)
    if uid is not None:
        return Kind.USER, uid
    return (Kind.GROUP, gid) if gid is not None else None


def _with_sid(view: View, account: Account, sid: str) -> Named | None:
    """Return an account under the SID that was asked for; None when that is not its own."""
    if sid.startswith(UNIX_USER + "-"):
        if account.id >= HASHED:
            return None
        return Named(sid, UNIX_USERS, account.name, Use.USER)
    if sid.startswith(UNIX_GROUP + "-"):
        return Named(sid, UNIX_GROUPS, account.name, Use.GROUP)
    if account.kind is Kind.GROUP:
        return _alias(view, account)
    named = name_account(view, account)
    return named if named.sid == sid else None


def _alias(view: View, account: Account) -> Named:
    """Return a group of the system as an alias of the machine's domain."""
    host, sid = view.snapshot.config.netbios_name, view.snapshot.machine_sid
    return Named(f"{sid}-{account_rid(account)}", host, account.name, Use.ALIAS)


def _none(view: View) -> Named:
    """Return the group of all users."""
    host, sid = view.snapshot.config.netbios_name, view.snapshot.machine_sid
    return Named(f"{sid}-{RID_USERS}", host, NO_GROUP, Use.GROUP)


def _is_guest(view: View, name: str) -> bool:
    return name.casefold() == view.snapshot.config.guest_account.casefold()


def _guest(view: View) -> Named:
    """Return the guest account."""
    config, sid = view.snapshot.config, view.snapshot.machine_sid
    return Named(f"{sid}-{RID_GUEST}", config.netbios_name, config.guest_account, Use.USER)
