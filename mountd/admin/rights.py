r"""Rights that administrators have given, in the registry where Windows has its own.

HKLM\SECURITY\Policy\Accounts has a key for each account, by its SID ([MS-LSAD] 3.1.1.3).
"""

import logging
from collections.abc import Callable
from typing import Protocol

from usmbd.mountd.admin.computed import REG_MULTI_SZ
from usmbd.mountd.admin.descriptors import ADMINISTRATORS
from usmbd.mountd.admin.outcome import RefusedError
from usmbd.mountd.admin.registry_store import Key, RegistryStore, Value
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.rights import (
    DISK_OPERATOR,
    HELD,
    PAGE_ACCOUNTS,
    REVOCABLE,
    SECURITY,
    AskGiven,
    DeleteAccount,
    GivenPage,
    GiveRights,
    ListGiven,
    MakeAccount,
    RightsRequest,
    TakeRights,
)

log = logging.getLogger("usmbd.auth")

ACCOUNTS = ("HKLM", "SECURITY", "Policy", "Accounts")
RIGHTS, TAKEN = "Rights", "Taken"

MAX_ACCOUNTS = 4096
"""Accounts that have been given rights: who has more gives them to groups."""

GIVEN = frozenset({DISK_OPERATOR, SECURITY})
"""Rights that can be given; one without an effect would only look as if it were."""


class Host(Protocol):
    """What this needs of mountd."""

    def sids(self, user: str) -> set[str]:
        """Return whom a user of the password file is, for descriptors."""

    @property
    def users_changed(self) -> Callable[[], None]:
        """Has what is connected asked for again."""


class AccountRights:
    """Answers what is asked of given rights, and keeps them."""

    def __init__(self, store: RegistryStore, host: Host) -> None:
        """Keep them in the registry."""
        self._store = store
        self._host = host
        self._holders: dict[str, frozenset[str]] = {}
        self._holders_at = -1
        with store.changing():
            store.make(ACCOUNTS)
        self._handlers: dict[type, Callable[..., GivenPage | Outcome]] = {
            ListGiven: self._list,
            MakeAccount: self._make,
            DeleteAccount: self._delete,
            GiveRights: self._give,
            TakeRights: self._take,
            AskGiven: self._ask,
        }

    def answer(self, message: RightsRequest) -> GivenPage | Outcome:
        """Answer one question; RefusedError."""
        return self._handlers[type(message)](message)

    def has(self, user: str, right: str) -> bool:
        """Tell whether a user holds a right, himself or by a group of his."""
        return not self.holders(right).isdisjoint(self._host.sids(user))

    def holders(self, right: str) -> frozenset[str]:
        """Return who holds a right: by the configuration, and as it was given or taken."""
        if self._holders_at != self._store.changes:  # by winreg, too
            self._holders, self._holders_at = {}, self._store.changes
        if right not in self._holders:
            keys = self._store.subkeys(self._store.get(ACCOUNTS))
            found = {key.name for key in keys if right in self._rights(key)}
            found |= {sid for sid, rights in HELD.items() if right in rights}
            if right in self._taken():
                found.discard(ADMINISTRATORS)
            self._holders[right] = frozenset(found)
        return self._holders[right]

    def _taken(self) -> list[str]:
        """Return what was taken from administrators."""
        key = self._find(ADMINISTRATORS)
        return [] if key is None else self._rights(key, TAKEN)

    def _find(self, sid: str) -> Key | None:
        return self._store.find((*ACCOUNTS, sid))

    def _rights(self, key: Key, which: str = RIGHTS) -> list[str]:
        value = self._store.value(key, which)
        if value is None or value.type != REG_MULTI_SZ:
            return []
        found = value.data[: len(value.data) & ~1].decode("utf-16-le", "replace").split("\0")
        return [each for each in found if each in GIVEN]

    def _set(self, key: Key, rights: list[str], which: str = RIGHTS) -> None:
        data = "".join(each + "\0" for each in (*rights, "")).encode("utf-16-le")
        self._store.set(key, Value(which, REG_MULTI_SZ, data))

    def _list(self, message: ListGiven) -> GivenPage:
        above = self._store.get(ACCOUNTS)
        keys = self._store.subkeys(above, message.start, PAGE_ACCOUNTS)
        accounts = [(key.name, self._rights(key)) for key in keys]
        return GivenPage(accounts, self._store.totals(above).subkeys, self._taken())

    def _ask(self, message: AskGiven) -> Outcome:
        return Outcome(Result.DONE if self.has(message.by, message.right) else Result.DENIED)

    def _make(self, message: MakeAccount) -> Outcome:
        with self._store.changing():
            if self._find(message.sid) is not None:
                raise RefusedError(Result.EXISTS)
            self._add(message.sid)
        return Outcome(Result.DONE)

    def _add(self, sid: str) -> Key:
        """Return an account's key, which is made when it is new."""
        found = self._find(sid)
        if found is None:
            above = self._store.get(ACCOUNTS)
            if self._store.totals(above).subkeys >= MAX_ACCOUNTS:
                raise RefusedError(Result.FAILED, "too many accounts have been given rights")
            found = self._store.make((*ACCOUNTS, sid))
        return found

    def _delete(self, message: DeleteAccount) -> Outcome:
        with self._store.changing():
            found = self._find(message.sid)
            if found is None:
                raise RefusedError(Result.NOT_FOUND)
            self._store.remove(found)
        self._changed()
        log.info("an administrator takes all from %s", message.sid, extra={"user": message.by})
        return Outcome(Result.DONE)

    def _give(self, message: GiveRights) -> Outcome:
        if not GIVEN.issuperset(message.rights):
            raise RefusedError(Result.FIXED)
        with self._store.changing():
            key = self._add(message.sid)
            held = HELD.get(message.sid, ())
            new = [each for each in message.rights if each not in held]
            self._set(key, list(dict.fromkeys((*self._rights(key), *new))))
            if message.sid == ADMINISTRATORS:
                left = [each for each in self._taken() if each not in message.rights]
                self._set(key, left, TAKEN)
        self._changed()
        self._told("gives", message)
        return Outcome(Result.DONE)

    def _take(self, message: TakeRights) -> Outcome:
        mine = set(HELD.get(message.sid, ())).intersection(message.rights)
        if mine - REVOCABLE:
            raise RefusedError(Result.FIXED)
        with self._store.changing():
            key = self._add(message.sid) if mine else self._find(message.sid)
            if key is None:
                raise RefusedError(Result.NOT_FOUND)
            held = self._rights(key)
            left = [] if message.every else [each for each in held if each not in message.rights]
            if mine:
                self._set(key, list(dict.fromkeys((*self._taken(), *sorted(mine)))), TAKEN)
            if left or message.keep or message.sid in HELD:
                self._set(key, left)
            else:
                self._store.remove(key)
        self._changed()
        self._told("takes", message)
        return Outcome(Result.DONE)

    def _changed(self) -> None:
        """Have trees that are connected learn of what their users may do now."""
        self._host.users_changed()

    @staticmethod
    def _told(what: str, message: GiveRights | TakeRights) -> None:
        log.info(
            "an administrator %s %s: %s", what, message.sid, ", ".join(message.rights) or "all",
            extra={"user": message.by},
        )  # fmt: skip
