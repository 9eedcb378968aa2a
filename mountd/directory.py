"""Who there is: the answers to what the RPC process asks about accounts (`ipc.accounts`).

A user of the password file goes by his name there, with the ids of the system's account of that
name. One without such an account has an id above all uids, which his name gives.
"""

import grp
import os
import pwd
import zlib
from collections.abc import Callable, Iterable, Sequence

import msgspec

from usmbd.mountd.account_facts import AccountFacts, PasswordPolicy
from usmbd.mountd.admin.descriptors import (
    ADMINISTRATORS,
    AUTHENTICATED,
    EVERYONE,
    NETWORK,
    USERS,
)
from usmbd.mountd.identity import Accounts, find_entry
from usmbd.mountd.ipc.accounts import (
    MAX_PAGE,
    Account,
    AccountPage,
    AccountsFound,
    AccountsRequest,
    AskRights,
    AskStandings,
    AskTexts,
    DirectoryResponse,
    FindIds,
    FindNames,
    Kind,
    ListAccounts,
    ListAdministrators,
    ListGroupsOf,
    ListMembers,
    Rights,
    Standing,
    Standings,
    TextsFound,
)
from usmbd.mountd.ipc.messages import MAX_NAME
from usmbd.mountd.ipc.sids import HASHED, RID_USERS, UNIX_GROUP, UNIX_USER, group_rid, user_rid
from usmbd.mountd.shares import is_listed
from usmbd.mountd.slices import Steps
from usmbd.mountd.users import UserTable

Entry = pwd.struct_passwd


class Directory:
    """Answers by the password file and the system's accounts, as they were at the last reload."""

    def __init__(
        self,
        users: UserTable,
        accounts: Accounts,
        administrators: tuple[str, ...],
        policy: PasswordPolicy = PasswordPolicy(),  # noqa: B008 -- it never changes
    ) -> None:
        """Take the users of the password file, and the names of `admin users` in [global]."""
        self._users = users
        self._policy = policy
        self._accounts = accounts
        self._administrators = administrators
        self._sorted: list[Account] | None = None
        self._hashed: dict[int, Account] = {}
        self._ranges: list[tuple[int, int]] | None = None
        self._handlers: dict[type, Callable[..., DirectoryResponse]] = {
            ListAccounts: self._list,
            ListMembers: self._members,
            ListGroupsOf: self._groups_of,
            ListAdministrators: self._administrating,
            AskRights: self._rights,
            AskStandings: self._standings,
            AskTexts: self._texts,
        }

    def steps(self, message: AccountsRequest) -> Steps:
        """Answer one question in steps: many names, or many numbers, one by one."""
        if not isinstance(message, FindNames | FindIds):
            return self._handlers[type(message)](message)
        found = []
        if isinstance(message, FindNames):
            for name, kind in message.names:
                found.append(self._by_name(name, kind))
                yield
        else:
            for kind, number in message.ids:
                found.append(self._by_id(kind, number))
                yield
        return AccountsFound(found)

    def has_now(self, users: UserTable) -> bool:
        """Take the users of the moment; False where they are not the same, and another is needed.

        A new password makes no other account of theirs.
        """
        same = users.hashes.keys() == self._users.hashes.keys() and _named(users) == _named(
            self._users
        )
        self._users = users if same else self._users
        return same

    def uid_ranges(self) -> list[tuple[int, int]]:
        """Return the uids of the users of the password file, as ranges in order."""
        if self._ranges is None:
            self._ranges = ranges(sorted({each.id for each in self._stored() if each.id < HASHED}))
        return self._ranges

    # --- accounts ----------------------------------------------------------------------------

    def _stored(self) -> list[Account]:
        """Return the users of the password file by name, made at the first call."""
        if self._sorted is None:
            entries = {entry.pw_name: entry for entry in pwd.getpwall()}
            self._sorted = [
                self._user(name, entries.get(name) or find_entry(name))
                for name in sorted(self._users.hashes)
            ]
            self._hashed = {each.id: each for each in reversed(self._sorted) if each.id >= HASHED}
        return self._sorted

    def _user(self, name: str, entry: Entry | None) -> Account:
        """Return a user of the password file."""
        if entry is None:
            number = HASHED | zlib.crc32(name.casefold().encode()) & ~1
            return self._named(Account(Kind.USER, name, number, 0, "", "", True))
        return self._named(_account(entry, name, stored=True))

    def _named(self, account: Account) -> Account:
        """Return a user of the password file with the full name that administrators gave him."""
        said = self._users.facts_of(account.name).texts.full_name
        return msgspec.structs.replace(account, full_name=said) if said else account

    def _by_name(self, name: str, kind: Kind | None) -> Account | None:
        """Return the user of this name, else the group."""
        if kind is not Kind.GROUP:
            stored = self._users.find(name)
            if stored is not None:
                return self._user(stored, find_entry(stored))
            for spelling in dict.fromkeys((name, name.lower())):
                entry = find_entry(spelling)
                if entry is not None:
                    return _account(entry, entry.pw_name, stored=False)
        if kind is not Kind.USER:
            for spelling in dict.fromkeys((name, name.lower())):
                gid = self._accounts.find_group(spelling)
                if gid is not None:
                    return _group(gid)
        return None

    def _by_id(self, kind: Kind, number: int) -> Account | None:
        """Return the user or group of this number."""
        if kind is Kind.GROUP:
            return _group(number)
        if number >= HASHED:
            self._stored()
            return self._hashed.get(number)
        try:
            entry = pwd.getpwuid(number)
        except (KeyError, OverflowError):
            return None
        stored = self._users.find(entry.pw_name)
        if stored is None:
            return _account(entry, entry.pw_name, stored=False)
        return self._named(_account(entry, stored, stored=True))

    # --- answers -----------------------------------------------------------------------------

    def _list(self, message: ListAccounts) -> AccountPage:
        if message.kind is Kind.USER:
            return _page(self._stored(), message.start)
        groups = sorted(grp.getgrall(), key=lambda entry: entry.gr_name)
        return _page([_from_group(entry) for entry in groups], message.start)

    def _members(self, message: ListMembers) -> AccountPage:
        group = _group(message.group)
        if group is None:
            return AccountPage([], 0)
        names = _named_in(message.group)
        found = [each for each in self._stored() if each.gid == message.group or each.name in names]
        return _page(found, message.start)

    def _groups_of(self, message: ListGroupsOf) -> AccountPage:
        entry = find_entry(self._users.find(message.user) or message.user)
        if entry is None:
            return AccountPage([], 0)
        gids = dict.fromkeys((entry.pw_gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)))
        return _page([each for gid in gids if (each := _group(gid)) is not None], 0)

    def _administrating(self, message: ListAdministrators) -> AccountPage:
        """List by what groups say of themselves: to ask of each user would take minutes."""
        names = {name.casefold() for name in self._administrators if name[0] != "@"}
        groups = (name[1:] for name in self._administrators if name[0] == "@")
        gids = {gid for name in groups if (gid := self._accounts.find_group(name)) is not None}
        for gid in gids:
            names |= {name.casefold() for name in _named_in(gid)}
        found = [
            each
            for each in self._stored()
            if each.id == 0 or each.gid in gids or each.name.casefold() in names
        ]
        return _page(found, 0)

    def _rights(self, message: AskRights) -> DirectoryResponse:
        return Rights(self.administrates(message.user))

    def _standings(self, message: AskStandings) -> DirectoryResponse:
        return Standings([self._standing(user) for user in message.users])

    def _texts(self, message: AskTexts) -> DirectoryResponse:
        return TextsFound([self._facts_of(user).texts for user in message.users])

    def _facts_of(self, user: str) -> AccountFacts:
        """Return what is kept of a user; nothing of who is none of the password file."""
        return self._users.facts_of(self._users.find(user) or "")

    def _standing(self, user: str) -> Standing:
        """Return what is known of a user's account."""
        facts = self._facts_of(user)
        return Standing(
            facts.disabled,
            facts.lasting,
            facts.must_change,
            facts.changed,
            self._policy.expiry(facts),
            facts.ends,
        )

    def administrates(self, user: str) -> bool:
        """Tell whether a user of the password file administrates the server."""
        found = self._users.find(user)
        return found is not None and self._is_administrator(found)

    def sids(self, user: str, machine: str) -> set[str]:
        """Return whom a user of the password file is, in the machine's domain and elsewhere."""
        found = {EVERYONE, NETWORK, AUTHENTICATED, USERS, f"{machine}-{RID_USERS}"}
        account = self._by_name(user, Kind.USER)
        if account is None or not account.stored:
            return found
        rid = account.id if account.id >= HASHED else user_rid(account.id)
        found |= {f"{machine}-{rid}", f"{UNIX_USER}-{account.id}"}
        for group in self._groups_of(ListGroupsOf(account.name)).accounts:
            found |= {f"{UNIX_GROUP}-{group.id}", f"{machine}-{group_rid(group.id)}"}
        return found | ({ADMINISTRATORS} if self._is_administrator(account.name) else set())

    def _is_administrator(self, user: str) -> bool:
        """Tell whether `admin users` names a user or a group of his, or he is root."""
        if is_listed(user, self._administrators, self._accounts):
            return True
        entry = find_entry(user)
        return entry is not None and entry.pw_uid == 0


def _named(users: UserTable) -> dict[str, str]:
    """Return the full names that administrators gave."""
    said = ((name, facts.texts.full_name) for name, facts in users.facts.items())
    return {name: full_name for name, full_name in said if full_name}


def _page(accounts: Sequence[Account], start: int) -> AccountPage:
    return AccountPage(list(accounts[start : start + MAX_PAGE]), len(accounts))


def _account(entry: Entry, name: str, *, stored: bool) -> Account:
    full_name = _text(entry.pw_gecos.partition(",")[0])
    return Account(
        Kind.USER, name, entry.pw_uid, entry.pw_gid, full_name, _text(entry.pw_dir, 1024), stored
    )


def _group(gid: int) -> Account | None:
    try:
        return _from_group(grp.getgrgid(gid))
    except (KeyError, OverflowError):
        return None


def _named_in(gid: int) -> set[str]:
    """Return whom a group names; for whom it is the primary one, it does not."""
    try:
        return set(grp.getgrgid(gid).gr_mem)
    except (KeyError, OverflowError):
        return set()


def _from_group(entry: grp.struct_group) -> Account:
    return Account(Kind.GROUP, _text(entry.gr_name), entry.gr_gid)


def _text(value: str, limit: int = MAX_NAME) -> str:
    """Return what a message can carry: names of the system need not be UTF-8."""
    return value.encode("utf-8", "replace").decode()[:limit]


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return sorted numbers as ranges (first, last): uids mostly follow each other."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] + 1 == number:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
