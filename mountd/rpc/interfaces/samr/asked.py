"""What calls of SAM ask mountd for: accounts, whole lists of them."""

from collections.abc import Callable
from typing import Final

from usmbd.mountd.ipc.accounts import (
    MAX_DESCRIBED,
    Account,
    AccountPage,
    AccountsFound,
    AskStandings,
    AskTexts,
    FindIds,
    Kind,
    ListAccounts,
    ListMembers,
    Standing,
    Standings,
    TextsFound,
)
from usmbd.mountd.ipc.users import Texts
from usmbd.mountd.rpc.calls import Asking
from usmbd.mountd.rpc.interfaces.samr.base import FIRST_GROUP, NO_GROUP_ID, Domain
from usmbd.mountd.rpc.translate import (
    ALIASES,
    account_rid,
)
from usmbd.mountd.rpc.view import View

ALL_USERS: Final = "All users of the server"


def count_accounts(kind: Kind) -> Asking[int]:
    """Return how many accounts there are."""
    answer = yield ListAccounts(kind)
    assert isinstance(answer, AccountPage)
    return answer.total


def some_users(start: int, count: int) -> Asking[tuple[list[Account], int]]:
    """Return `count` users from the `start`th on, and how many there are."""
    found: list[Account] = []
    while True:
        answer = yield ListAccounts(Kind.USER, start + len(found))
        assert isinstance(answer, AccountPage)
        found += answer.accounts
        if not answer.accounts or len(found) >= count:
            return found[:count], answer.total


def standings_of(users: list[Account]) -> Asking[list[Standing]]:
    """Return what the accounts of users are, of the system's nothing; `MAX_ASKED` at most."""
    answer = yield AskStandings([each.name if each.stored else "" for each in users])
    assert isinstance(answer, Standings)
    return answer.found


def texts_of(users: list[Account]) -> Asking[list[Texts]]:
    """Return what is said of users, of the system's nothing."""
    found: list[Texts] = []
    while len(found) < len(users):
        some = users[len(found) : len(found) + MAX_DESCRIBED]
        answer = yield AskTexts([each.name if each.stored else "" for each in some])
        assert isinstance(answer, TextsFound)
        found += answer.found
    return found


def whole_list(ask: Callable[[int], ListAccounts | ListMembers]) -> Asking[list[Account]]:
    """Return a whole list."""
    found: list[Account] = []
    while True:
        answer = yield ask(len(found))
        assert isinstance(answer, AccountPage)
        found += answer.accounts
        if not answer.accounts or len(found) >= answer.total:
            return found


def all_aliases(view: View, domain: Domain) -> Asking[list[tuple[int, str, str]]]:
    """Return the aliases of a domain: RIDs, names, comments."""
    if domain.builtin:
        return [(rid, *ALIASES[rid]) for rid in (544, 545, 546)]
    groups = yield from whole_list(lambda start: ListAccounts(Kind.GROUP, start))
    return [
        (rid, each.name, "")
        for each in groups
        if each.id >= FIRST_GROUP and each.id != NO_GROUP_ID
        if (rid := account_rid(each)) is not None
    ]


def find_account(kind: Kind, number: int) -> Asking[Account | None]:
    """Return the account of a number."""
    answer = yield FindIds([(kind, number)])
    assert isinstance(answer, AccountsFound)
    return answer.accounts[0]
