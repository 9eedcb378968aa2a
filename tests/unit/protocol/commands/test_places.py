"""Every open, lock and pipe takes its place among those that a worker has, and gives it back."""

from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.state import descriptors
from usmbd.protocol.wire.create import FILE_CREATE, FILE_DELETE_ON_CLOSE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.status import NtStatus

EXCLUSIVE = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
SUCCESS, NO_MORE = NtStatus.SUCCESS, NtStatus.INSUFFICIENT_RESOURCES


def opened(client: Client, most: int, name: str = "same") -> int:
    """Return how many opens a client gets before it is told that it has enough."""
    for number in range(most):
        status = client.create(name)
        if status is not SUCCESS:
            assert status is NO_MORE
            return number
    return most


def at(address: str, engine: Engine, **options: str) -> Client:
    """Return a client that comes from an address of its own."""
    client = Client(engine)
    client.connection.network = address
    return client.ready(**options)


@pytest.fixture
def small(engine: Engine) -> Engine:
    """Serve as if there were 40 descriptors for opens."""
    kept = descriptors.INTERNAL
    engine.server.descriptor_limit = (40 + kept) * 4 // 3
    assert engine.server.descriptors.capacity in range(35, 45)
    return engine


def test_who_opens_all_leaves_room(small: Engine) -> None:
    greedy, victim = at("192.0.2.1", small), at("192.0.2.2", small, user="bob")
    held = victim.open("held")
    capacity = small.server.descriptors.capacity
    assert opened(greedy, 100) == (capacity - 1) // 2
    assert victim.create("other") is SUCCESS
    assert victim.call(Command.READ, requests.read(held, 10)).status is NtStatus.END_OF_FILE
    again = at("192.0.2.3", small)  # the same user, by another session and address
    assert opened(again, 100) == 0
    greedy.disconnect()
    assert again.create("same") is SUCCESS


@pytest.mark.parametrize("how", ["close", "disconnect", "tree", "logoff"])
def test_all_are_given_back(engine: Engine, how: str) -> None:
    client = Client(engine).ready()
    places = engine.server.descriptors
    opens = [client.open(f"file{n}", options=FILE_DELETE_ON_CLOSE * (n % 2)) for n in range(10)]
    client.open("file0:stream")
    assert places.used == 11
    if how == "close":
        for file_id in opens:
            assert client.close(file_id) is SUCCESS
        assert places.used == 1
    elif how == "tree":
        client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    elif how == "logoff":
        client.call(Command.LOGOFF, requests.EMPTY)
    if how in ("close", "disconnect"):
        client.disconnect()
    engine.settle()
    assert (places.used, places.most) == (0, 0)


def test_what_is_not_opened_takes_no_place(engine: Engine) -> None:
    client, other = Client(engine).ready(), Client(engine).ready(user="bob")
    (engine.files / "folder").mkdir()
    held = other.open("alone", share=0)
    places = engine.server.descriptors
    before = places.used
    for status, name, disposition in (
        (NtStatus.SHARING_VIOLATION, "alone", 1),
        (NtStatus.OBJECT_NAME_NOT_FOUND, "missing", 1),
        (NtStatus.OBJECT_NAME_COLLISION, "folder", FILE_CREATE),
        (NtStatus.OBJECT_PATH_NOT_FOUND, "missing\\file", 3),
    ):
        assert client.create(name, disposition=disposition) is status
    assert places.used == before
    assert other.close(held) is SUCCESS


def test_locks_are_divided_and_given_back(engine: Engine) -> None:
    engine.server.locks._capacity = lambda: 100
    client, other = at("192.0.2.1", engine), at("192.0.2.2", engine, user="bob")
    file, theirs = client.open("file"), other.open("file")
    locks = engine.server.locks

    def lock(who: Client, file_id: tuple[int, int], *ranges: tuple[int, int, int]) -> NtStatus:
        return who.call(Command.LOCK, requests.lock(file_id, *ranges)).status

    for start in range(0, 50, 10):
        assert lock(client, file, *((n, 1, EXCLUSIVE) for n in range(start, start + 10))) is SUCCESS
    assert locks.used == 50
    assert lock(client, file, (60, 1, EXCLUSIVE)) is NO_MORE
    assert lock(other, theirs, (60, 1, EXCLUSIVE)) is SUCCESS
    assert lock(other, theirs, (5, 1, EXCLUSIVE)) is NtStatus.LOCK_NOT_GRANTED
    assert locks.used == 51
    assert lock(client, file, *((n, 1, SMB2_LOCKFLAG_UNLOCK) for n in range(7))) is SUCCESS
    assert locks.used == 44
    client.close(file)
    assert locks.used == 1
    other.disconnect()
    engine.settle()
    assert locks.used == 0


def test_pipes_are_divided_and_given_back(engine: Engine) -> None:
    engine.server.pipes._capacity = lambda: 10
    stranger = at("192.0.2.1", engine, share="ipc$")
    stranger.session.guest = True
    assert opened(stranger, 10, "echo") == 1  # of the quarter that strangers have
    client = at("192.0.2.2", engine, share="ipc$")
    assert opened(client, 10, "echo") == 4
    stranger.disconnect()
    client.disconnect()
    engine.settle()
    assert engine.server.pipes.used == 0


def test_a_store_with_little_room_bounds_the_opens(tmp_path: Path) -> None:
    engine = Engine(tmp_path, workers=64)
    try:
        store = engine.store.room // 2 // 450 // 64
        assert engine.server.descriptors.capacity == store
    finally:
        engine.close()
