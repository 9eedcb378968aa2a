"""A login, a look-up and a tree connect cost the same with thousands: calls are counted."""

import pwd
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mountd_helpers import FakeAccounts, answered, login, tree

from usmbd.mountd.account_facts import AccountFacts
from usmbd.mountd.config.load import load
from usmbd.mountd.ipc.accounts import (
    AccountsRequest,
    AskRights,
    FindIds,
    FindNames,
    Kind,
    ListAccounts,
)
from usmbd.mountd.ipc.messages import LoginStatus, SessionRequest, TreeStatus
from usmbd.mountd.ipc.sids import HASHED
from usmbd.mountd.md4 import nt_hash
from usmbd.mountd.service import Service
from usmbd.mountd.users import format_users

FEW, MANY = (10, 10), (2000, 400)
"""Users and shares."""


def serve(folder: Path, users: int, shares: int, more: str = "") -> Service:
    """Return mountd's service with users u0000, u0001... and shares s0000, s0001..."""
    folder.mkdir()
    config, passwords = folder / "usmbd.conf", folder / "passwords.db"
    sections = "".join(f"[s{number:04}]\npath = {folder}\n" for number in range(shares))
    config.write_text(
        f"[global]\nadmin users = u0001\nstate directory = {folder}\n{more}{sections}"
    )
    hashes = dict.fromkeys((f"u{number:04}" for number in range(users)), nt_hash("secret"))
    passwords.write_text(format_users(hashes, {"u0001": AccountFacts(1)}))
    service = Service(load(config), passwords, FakeAccounts())
    service.machine_sid = "S-1-5-21-1-2-3"
    return service


def calls(work: Callable[[], object]) -> int:
    """Count the functions that are called, those of C as well."""
    work()  # what is made once is made
    found = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> tuple[Service, Service]:
    folder = tmp_path_factory.mktemp("many")
    return serve(folder / "few", *FEW), serve(folder / "many", *MANY)


def works(service: Service, users: int, shares: int) -> dict[str, Callable[[], object]]:
    """Return what is to cost the same, with users and shares of the middle."""
    user, share = f"u{users // 2:04}", f"s{shares // 2:04}"
    number = service.directory._by_name(user, None)
    assert number is not None
    assert number.id >= HASHED

    def asked(message: AccountsRequest) -> object:
        return answered(service.directory.steps(message))

    return {
        "login": lambda: service.handle(None, login(user, "secret"), 1.0),
        "session": lambda: service.handle(None, SessionRequest(user=user, credential=1), 1.0),
        "tree connect": lambda: service.handle(1, tree(share, "alice"), 1.0),
        "name": lambda: asked(FindNames([(user, None)])),
        "number": lambda: asked(FindIds([(Kind.USER, number.id)])),
        "list": lambda: asked(ListAccounts(Kind.USER, 2)),
        "rights": lambda: asked(AskRights(user)),
        "sids": lambda: service.sids(user),
    }


def test_many_cost_what_few_do(services: tuple[Service, Service]) -> None:
    few, many = (
        {name: calls(work) for name, work in works(service, *amount).items()}
        for service, amount in zip(services, (FEW, MANY), strict=True)
    )
    assert many == few


def test_they_were_right(services: tuple[Service, Service]) -> None:
    for service, (users, shares) in zip(services, (FEW, MANY), strict=True):
        answer, _ = service.handle(None, login(f"u{users // 2:04}", "secret"), 1.0)
        assert answer.status is LoginStatus.OK  # type: ignore[union-attr]
        answer, _ = service.handle(1, tree(f"s{shares // 2:04}", "alice"), 1.0)
        assert answer.status is TreeStatus.OK  # type: ignore[union-attr]


def test_a_password_is_changed_without_asking_for_accounts_again(
    services: tuple[Service, Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service = services
    ranges = service.directory.uid_ranges()
    monkeypatch.setattr(pwd, "getpwall", lambda: pytest.fail("all accounts are asked for"))
    before = service.directory
    service.edit_users(lambda users: users.put("u0007", nt_hash("new")))
    assert service.directory is before
    assert service.directory.uid_ranges() is ranges
    answer, _ = service.handle(None, login("u0007", "new"), 1.0)
    assert answer.status is LoginStatus.OK  # type: ignore[union-attr]
    service.edit_users(lambda users: users.put("another", nt_hash("new")))
    assert service.directory is not before
    assert service.directory._users.find("another")


def test_a_change_of_the_password_file_reads_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(tmp_path / "one", 3, 3)
    monkeypatch.setattr("usmbd.mountd.service.load", lambda *_, **__: pytest.fail("it is read"))
    (tmp_path / "one" / "passwords.db").write_text(format_users({"new": nt_hash("x")}))
    assert service.reread_users().generation == 2
    assert list(service.users.hashes) == ["new"]


def test_homes_are_looked_up_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve(tmp_path / "homes", 3, 1, "[homes]\nread only = no\n")
    asked: list[str] = []
    monkeypatch.setattr(FakeAccounts, "homes", lambda self: {"u0000": "/h/0", "u0002": "/h/2"})
    monkeypatch.setattr(FakeAccounts, "home", lambda self, name: asked.append(name) or "/other")
    homes = service.describe_for_rpc(1).home
    assert {user: home.path for user, home in homes.items()} == {
        "u0000": "/h/0",
        "u0001": "/other",
        "u0002": "/h/2",
    }
    assert asked == ["u0001"]
