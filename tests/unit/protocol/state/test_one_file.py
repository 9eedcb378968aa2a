"""One file's opens and locks are divided: one client does not take them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.state import one_file
from usmbd.protocol.state.one_file import CROWD
from usmbd.protocol.state.store import lmdb_locks, lmdb_opens
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.status import NtStatus

LIMIT = 32
FLAGS = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (one_file, lmdb_opens):
        monkeypatch.setattr(module, "MAX_OPENS_PER_FILE", LIMIT)
    for module in (one_file, lmdb_locks):
        monkeypatch.setattr(module, "MAX_LOCKS_PER_FILE", LIMIT)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Run the only worker of a server."""
    engine = Engine(tmp_path, workers=1)
    yield engine
    engine.close()


@pytest.fixture
def greedy(engine: Engine) -> list[Client]:
    """Return two sessions of one user."""
    return [Client(engine).ready() for _ in range(2)]


@pytest.fixture
def other(engine: Engine) -> Client:
    """Return another user at another address."""
    client = Client(engine)
    client.connection.network = "192.0.2.9"
    return client.ready(user="bob")


def test_a_user_leaves_as_many_opens_of_a_file_as_he_has(
    greedy: list[Client], other: Client
) -> None:
    got = [greedy[n % 2].create("shared") for n in range(LIMIT)]
    assert got.count(NtStatus.SUCCESS) == LIMIT // 2
    assert set(got[LIMIT // 2 :]) == {NtStatus.INSUFFICIENT_RESOURCES}
    assert greedy[0].create("another") is NtStatus.SUCCESS
    for _ in range(LIMIT // 4):
        assert other.create("shared") is NtStatus.SUCCESS


def test_an_address_counts_whoever_the_users_are(engine: Engine, greedy: list[Client]) -> None:
    neighbour = Client(engine).ready(user="bob")  # at the same address
    for n in range(LIMIT // 2):
        assert greedy[n % 2].create("shared") is NtStatus.SUCCESS
    assert neighbour.create("shared") is NtStatus.INSUFFICIENT_RESOURCES


def test_a_user_leaves_as_many_locks_of_a_file_as_he_has(
    greedy: list[Client], other: Client
) -> None:
    files = [client.open("shared") for client in greedy]

    def lock(client: Client, file: requests.FileId, number: int, count: int = 1) -> NtStatus:
        ranges = [(10 * number + n, 1, FLAGS) for n in range(count)]
        return client.call(Command.LOCK, requests.lock(file, *ranges)).status

    got = [lock(greedy[n % 2], files[n % 2], n) for n in range(LIMIT)]
    assert got.count(NtStatus.SUCCESS) == LIMIT // 2
    assert got[-1] is NtStatus.INSUFFICIENT_RESOURCES
    mine = other.open("shared")
    assert lock(other, mine, 1000, count=9) is NtStatus.INSUFFICIENT_RESOURCES
    assert lock(other, mine, 1000, count=8) is NtStatus.SUCCESS
    another = greedy[0].open("another")
    assert lock(greedy[0], another, 0, count=9) is NtStatus.SUCCESS


def test_guests_get_a_quarter_of_a_file_together(engine: Engine, other: Client) -> None:
    for number in range(LIMIT):
        guest = Client(engine)
        guest.connection.network = f"192.0.2.{number + 10}"
        guest.ready().session.guest = True
        expected = NtStatus.SUCCESS if number < LIMIT // 4 else NtStatus.INSUFFICIENT_RESOURCES
        assert guest.create("shared") is expected
    got = [other.create("shared") for n in range(LIMIT)]
    assert got.count(NtStatus.SUCCESS) == (LIMIT - LIMIT // 4) // 2


def test_guests_of_one_address_get_a_half_of_their_quarter(engine: Engine, other: Client) -> None:
    for _ in range(LIMIT // CROWD):
        assert other.create("shared") is NtStatus.SUCCESS
    guests = [Client(engine).ready() for _ in range(2)]
    for guest in guests:
        guest.session.guest = True
    got = [guests[n % 2].create("shared") for n in range(LIMIT)]
    assert got.count(NtStatus.SUCCESS) == LIMIT // 4 // 2


def test_one_user_in_two_workers_leaves_as_much_as_in_one(tmp_path: Path) -> None:
    engine = Engine(tmp_path, workers=2)
    try:
        both = [
            Client(engine, server=server).ready()
            for server in (engine.server, engine.another_worker())
        ]
        got = [both[n % 2].create("shared") for n in range(2 * LIMIT)]
        assert got.count(NtStatus.SUCCESS) == LIMIT // 2
    finally:
        engine.close()


class NotWalked(dict[object, object]):
    """A table of opens that is gone through no more: each has been counted."""

    def values(self) -> NoReturn:
        """Refuse."""
        raise AssertionError


@contextmanager
def not_walked(clients: list[Client]) -> Iterator[None]:
    """Have nobody go through the opens of these clients."""
    for client in clients:
        client.session.open_table = NotWalked(client.session.open_table)  # type: ignore[assignment]
    yield
    for client in clients:
        client.session.open_table = dict(client.session.open_table)


def test_a_crowded_file_is_counted_once(engine: Engine, greedy: list[Client]) -> None:
    """Then as its opens come and go: who closes one has its place again."""
    first, second = greedy
    files = [first.open("shared") for _ in range(LIMIT // CROWD + 1)]
    (crowd,) = engine.server.crowds.opens.values()
    assert crowd.share.used == len(files)
    with not_walked(greedy):
        while first.create("shared") is NtStatus.SUCCESS:
            pass
        assert crowd.share.used == LIMIT // 2
        for file in files:
            assert second.create("shared") is NtStatus.INSUFFICIENT_RESOURCES
            first.close(file)
            assert second.create("shared") is NtStatus.SUCCESS
        assert crowd.share.used == LIMIT // 2
    for client in greedy:
        for file in list(client.session.open_table):
            client.close((file, file))
    assert crowd.share.used == 0
    first.open("shared")
    assert not engine.server.crowds.opens


def test_locks_of_a_crowded_file_are_counted_once(engine: Engine, greedy: list[Client]) -> None:
    """Those of opens that had some before, and of others; all go with their opens."""
    files = [client.open("shared") for client in greedy]

    def lock(which: int, number: int, flags: int = FLAGS) -> NtStatus:
        body = requests.lock(files[which], (number, 1, flags))
        return greedy[which].call(Command.LOCK, body).status

    for number in range(LIMIT // CROWD):
        assert lock(0, number) is NtStatus.SUCCESS
    assert lock(1, 100) is NtStatus.SUCCESS
    (crowd,) = engine.server.crowds.locks.values()
    with not_walked(greedy):
        assert lock(1, 101) is lock(0, 102) is NtStatus.SUCCESS
        assert lock(1, 102) is NtStatus.LOCK_NOT_GRANTED
        assert crowd.share.used == LIMIT // CROWD + 3 == engine.server.locks.used
        assert lock(1, 101, SMB2_LOCKFLAG_UNLOCK) is NtStatus.SUCCESS
        assert crowd.share.used == LIMIT // CROWD + 2 == engine.server.locks.used
    for client, file in zip(greedy, files, strict=True):
        client.close(file)
    assert crowd.share.used == 0 == engine.server.locks.used
