"""What mountd tells its RPC process of accounts."""

import asyncio
import grp
import os
import pwd
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from mountd_helpers import answered

from usmbd.mountd.directory import Directory, ranges
from usmbd.mountd.identity import Accounts
from usmbd.mountd.ipc.accounts import (
    MAX_PAGE,
    Account,
    AccountPage,
    AccountsFound,
    AskRights,
    DirectoryRequest,
    DirectoryResponse,
    FindIds,
    FindNames,
    Kind,
    ListAccounts,
    ListAdministrators,
    ListGroupsOf,
    ListMembers,
    Rights,
)
from usmbd.mountd.ipc.administration import Outcome, Result
from usmbd.mountd.ipc.codec import directory_client
from usmbd.mountd.ipc.messages import Failed
from usmbd.mountd.ipc.sids import HASHED, group_rid, rid_gid, rid_uid, user_rid
from usmbd.mountd.rpc.asking import Directory as Asker
from usmbd.mountd.rpc_answers import Answers
from usmbd.mountd.users import UserTable

GAMES, MAN = pwd.getpwnam("games"), pwd.getpwnam("man")


def directory(*users: str, administrators: tuple[str, ...] = ()) -> Directory:
    return Directory(UserTable(dict.fromkeys(users, bytes(16))), Accounts(), administrators)


def ask(here: Directory, message: Any) -> Any:
    return answered(here.steps(message))


def found(answer: object) -> list[Account | None]:
    assert isinstance(answer, AccountsFound)
    return answer.accounts


def test_names() -> None:
    here = directory("games", "Alice")
    games, alice, man, group, nobody, none = found(
        ask(
            here,
            FindNames(
                [
                    *[("GAMES", None), ("alice", None), ("man", None)],
                    *[("adm", None), ("games", Kind.GROUP), ("adm", Kind.USER)],
                ]
            ),
        )
    )
    assert games == Account(
        Kind.USER, "games", GAMES.pw_uid, GAMES.pw_gid, GAMES.pw_gecos, GAMES.pw_dir, True
    )
    assert alice is not None
    assert (alice.name, alice.stored) == ("Alice", True)
    assert alice.id >= HASHED  # no account of the system
    assert man is not None
    assert (man.id, man.stored) == (MAN.pw_uid, False)
    assert group == Account(Kind.GROUP, "adm", grp.getgrnam("adm").gr_gid)
    assert nobody is not None
    assert nobody.kind is Kind.GROUP
    assert none is None
    assert found(ask(here, FindNames([("", None), ("a\0b", None), ("\ud800", None)]))) == [None] * 3


def test_numbers() -> None:
    here = directory("games", "Alice")
    (alice,) = found(ask(here, FindNames([("Alice", None)])))
    assert alice is not None
    ids = [
        *[(Kind.USER, GAMES.pw_uid), (Kind.USER, alice.id), (Kind.GROUP, GAMES.pw_gid)],
        *[(Kind.USER, 0xFFFFFFFE), (Kind.GROUP, 0xFFFFFFFE), (Kind.USER, 0x7FFFFFF0)],
    ]
    games, again, group, *others = found(ask(here, FindIds(ids)))
    assert games is not None
    assert (games.name, games.stored) == ("games", True)
    assert again == alice
    assert group is not None
    assert group.kind is Kind.GROUP
    assert others == [None, None, None]


def test_lists_come_in_pages() -> None:
    names = [f"u{number:04}" for number in range(MAX_PAGE + 3)]
    here = directory(*reversed(names))
    first = ask(here, ListAccounts(Kind.USER))
    assert isinstance(first, AccountPage)
    assert [each.name for each in first.accounts] == names[:MAX_PAGE]
    assert first.total == len(names)
    rest = ask(here, ListAccounts(Kind.USER, MAX_PAGE))
    assert isinstance(rest, AccountPage)
    assert [each.name for each in rest.accounts] == names[MAX_PAGE:]
    groups = ask(here, ListAccounts(Kind.GROUP))
    assert isinstance(groups, AccountPage)
    assert {"adm", "games"} <= {each.name for each in groups.accounts}
    assert here.uid_ranges() == []
    assert directory("games", "man").uid_ranges() == ranges(sorted([GAMES.pw_uid, MAN.pw_uid]))


def test_groups_and_members() -> None:
    here = directory("games", "man", "nobody here")
    groups = ask(here, ListGroupsOf("GAMES"))
    assert isinstance(groups, AccountPage)
    assert [each.id for each in groups.accounts] == os.getgrouplist("games", GAMES.pw_gid)
    members = ask(here, ListMembers(GAMES.pw_gid))
    assert isinstance(members, AccountPage)
    assert [each.name for each in members.accounts] == ["games"]
    for question in (ListGroupsOf("none such"), ListMembers(0xFFFFFFFE)):
        assert ask(here, question) == AccountPage([], 0)


def test_administrators() -> None:
    here = directory("games", "man", "root", administrators=("@games", "daemon"))
    for user, expected in {
        **{"games": True, "GAMES": True, "root": True, "man": False},
        "daemon": False,  # not a user of the password file
    }.items():
        assert ask(here, AskRights(user)) == Rights(expected)
    listed = ask(here, ListAdministrators())
    assert isinstance(listed, AccountPage)
    assert [each.name for each in listed.accounts] == ["games", "root"]


def test_rids_go_both_ways() -> None:
    for number in (0, 5, 1000, 65534, 1 << 29):
        user, group = user_rid(number), group_rid(number)
        assert user is not None
        assert group is not None
        assert (rid_uid(user), rid_gid(user)) == (number, None)
        assert (rid_uid(group), rid_gid(group)) == (None, number)
    assert user_rid(1 << 31) is group_rid(1 << 31) is None
    for rid in (0, 500, 999, HASHED, HASHED + 2):
        assert rid_uid(rid) is rid_gid(rid) is None


def test_ranges() -> None:
    assert ranges([]) == []
    assert ranges([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]


# -- over the pair of sockets ----------------------------------------------------------------------


class Pair:
    """Both ends of the pair, on a loop of their own."""

    def __init__(self) -> None:
        """Answer by `answer`."""
        self.loop = asyncio.new_event_loop()
        games = directory("games")
        self.answer: Callable[[Any], DirectoryResponse] = partial(ask, games)
        self.loop.run_until_complete(self._make())

    async def _make(self) -> None:
        self.answers = Answers(lambda message, reply: self.answer(message))
        self.asker = Asker(self.answers.other.dup())
        self.answers.started()

    def ask(self, *messages: DirectoryRequest) -> list[object]:
        """Ask, and wait for all answers."""
        got: list[object] = []
        for message in messages:
            self.asker.ask(message, got.append)
        for _ in range(10_000):
            if len(got) == len(messages):
                break
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        return got


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.asker.close()
    pair.answers.close()
    pair.loop.close()


def test_questions_and_answers(pair: Pair) -> None:
    page = ListAccounts(Kind.GROUP)
    answers = pair.ask(*[page] * 300, AskRights("games"))  # more than the sockets hold at a time
    assert all(isinstance(each, AccountPage) for each in answers[:-1])
    assert answers[-1] == Rights(False)


def test_an_answer_waits_for_its_configuration(pair: Pair) -> None:
    """Who has changed something sees it as soon as he is told that it is done."""
    got: list[object] = []
    pair.answer = lambda message: Outcome(Result.DONE, 7)
    pair.asker.ask(AskRights("games"), got.append)
    pair.ask()
    for _ in range(10):
        pair.loop.call_soon(pair.loop.stop)
        pair.loop.run_forever()
    assert not got
    pair.asker.configured(6)
    assert not got
    pair.asker.configured(8)
    assert got == [Outcome(Result.DONE, 7)]


def test_a_question_that_fails(pair: Pair) -> None:
    def broken(message: DirectoryRequest) -> Rights:
        raise OSError("a name service")

    pair.answer = broken
    assert pair.ask(AskRights("games")) == [Failed("OSError")]


def test_mountd_is_gone(pair: Pair) -> None:
    pair.answers.close()
    (answer,) = pair.ask(AskRights("games"))
    assert isinstance(answer, Failed)


def test_what_is_no_question_is_the_end_of_the_pair(pair: Pair) -> None:
    sock = pair.asker._socket
    sock.send(b"nonsense")
    sock.send(directory_client().encode(1, AskRights("games")))
    for _ in range(20):
        pair.loop.call_soon(pair.loop.stop)
        pair.loop.run_forever()
    with pytest.raises(BlockingIOError):
        sock.recv(100)
