"""`posix locking`: clients' byte-range locks beside those of local programs."""

import errno
import fcntl
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import lock as lock_module
from usmbd.protocol.state.local_locks import LocalLocks
from usmbd.protocol.state.store.records import LockRange
from usmbd.protocol.vfs import ofd_locks
from usmbd.protocol.vfs.node import OFFSET_MAX
from usmbd.protocol.wire.access import FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK as EXCLUSIVE,
)
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY as AT_ONCE,
)
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_SHARED_LOCK as SHARED,
)
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_UNLOCK as UNLOCK,
)
from usmbd.protocol.wire.status import NtStatus

READ, WRITE, FREE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
FLOCK = struct.Struct("@hhqqi0q")
Element = tuple[int, int, int]


class Program:
    """A local program with the file open, whose locks are another's than the engine's."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR)

    def lock(self, kind: int, first: int, length: int) -> bool:
        """Lock or unlock bytes; False when somebody is in the way."""
        try:
            asked = FLOCK.pack(kind, 0, first, length, 0)
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, asked)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def sees(self, first: int, length: int) -> int:
        """Return the kind of lock that others have on a byte, and on all `length` of them."""
        kinds = set()
        for at in range(first, first + length):
            asked = FLOCK.pack(WRITE, 0, at, 1, 0)
            kinds.add(FLOCK.unpack(fcntl.fcntl(self.fd, fcntl.F_OFD_GETLK, asked))[0])
        (kind,) = kinds
        return kind

    def picture(self, end: int) -> str:
        """Return a letter for each byte."""
        letters = {FREE: ".", READ: "r", WRITE: "w"}
        return "".join(letters[self.sees(at, 1)] for at in range(end))


@pytest.fixture
def local(engine: Engine) -> Iterator[Program]:
    """Return a local program that has the file of a share with posix locking open."""
    engine.shares["data"] = replace(engine.shares["data"], posix_locking=True)
    (engine.files / "file").write_bytes(bytes(64))
    program = Program(engine.files / "file")
    yield program
    os.close(program.fd)


@pytest.fixture
def client(engine: Engine, local: Program) -> Client:
    """Return a client of that share."""
    return Client(engine).ready()


@pytest.fixture
def other(engine: Engine, client: Client, request: pytest.FixtureRequest) -> Client:
    """Return one of another user."""
    return Client(engine).ready(user="bob")


def lock(client: Client, file: FileId, *elements: Element) -> NtStatus:
    """Send a LOCK."""
    return client.call(Command.LOCK, requests.lock(file, *elements)).status


def test_local_programs_see_a_client_s_locks(client: Client, local: Program) -> None:
    file = client.open("file")
    assert lock(client, file, (0, 4, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    assert lock(client, file, (8, 4, SHARED | AT_ONCE)) is NtStatus.SUCCESS
    assert local.picture(16) == "wwww....rrrr...."
    assert not local.lock(READ, 3, 1)
    assert local.lock(READ, 8, 1)
    assert not local.lock(WRITE, 9, 1)
    local.lock(FREE, 0, 0)
    assert lock(client, file, (0, 4, UNLOCK)) is NtStatus.SUCCESS
    assert local.picture(16) == "........rrrr...."
    client.close(file)
    assert local.picture(16) == "." * 16


def test_a_client_respects_theirs(client: Client, local: Program) -> None:
    file = client.open("file")
    local.lock(WRITE, 0, 4)
    local.lock(READ, 8, 4)
    assert lock(client, file, (3, 1, SHARED | AT_ONCE)) is NtStatus.LOCK_NOT_GRANTED
    assert lock(client, file, (8, 1, EXCLUSIVE | AT_ONCE)) is NtStatus.LOCK_NOT_GRANTED
    assert lock(client, file, (8, 4, SHARED | AT_ONCE)) is NtStatus.SUCCESS
    assert lock(client, file, (4, 4, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    read = requests.read(file, 4)
    assert client.call(Command.READ, read).status is NtStatus.FILE_LOCK_CONFLICT
    write = requests.write(file, b"data", 8)
    assert client.call(Command.WRITE, write).status is NtStatus.FILE_LOCK_CONFLICT
    local.lock(FREE, 0, 0)
    assert client.call(Command.READ, read).status is NtStatus.SUCCESS


def test_what_was_not_granted_is_nobody_s(client: Client, other: Client, local: Program) -> None:
    """All ranges of a request or none; what they had been before they are."""
    file = client.open("file")
    lock(client, file, (0, 8, SHARED | AT_ONCE))
    local.lock(WRITE, 20, 1)
    several = ((0, 4, SHARED | AT_ONCE), (10, 4, EXCLUSIVE | AT_ONCE), (18, 4, SHARED | AT_ONCE))
    assert lock(client, file, *several) is NtStatus.LOCK_NOT_GRANTED
    local.lock(FREE, 0, 0)
    assert local.picture(24) == "rrrrrrrr" + "." * 16
    again = other.open("file")
    assert lock(other, again, (10, 4, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    assert lock(client, file, (0, 8, UNLOCK)) is NtStatus.SUCCESS
    assert local.picture(24) == "." * 10 + "wwww" + "." * 10


def test_a_stack_is_as_strong_as_its_strongest(client: Client, local: Program) -> None:
    file = client.open("file")
    lock(client, file, (0, 8, EXCLUSIVE | AT_ONCE))
    lock(client, file, (4, 8, SHARED | AT_ONCE))
    lock(client, file, (2, 4, SHARED | AT_ONCE))
    assert local.picture(14) == "wwwwwwwwrrrr.."
    lock(client, file, (0, 8, UNLOCK))
    assert local.picture(14) == "..rrrrrrrrrr.."
    lock(client, file, (4, 8, UNLOCK))
    assert local.picture(14) == "..rrrr........"


def test_an_unlock_that_fails_stops_there(client: Client, local: Program) -> None:
    file = client.open("file")
    for at in (0, 4, 8):
        lock(client, file, (at, 2, EXCLUSIVE | AT_ONCE))
    several = ((0, 2, UNLOCK), (5, 1, UNLOCK), (8, 2, UNLOCK))
    assert lock(client, file, *several) is NtStatus.RANGE_NOT_LOCKED
    assert local.picture(10) == "....ww..ww"


@pytest.mark.parametrize(
    ("offset", "length", "locked"),
    [
        (0, 0, None),
        (5, 0, None),
        (OFFSET_MAX - 2, 2, (OFFSET_MAX - 2, 2)),
        (OFFSET_MAX - 2, 100, (OFFSET_MAX - 2, 2)),
        (OFFSET_MAX, 1, None),
        (1 << 63, 5, None),
        ((1 << 64) - 1, 1, None),
        (16, (1 << 64) - 16, (16, OFFSET_MAX - 16)),
    ],
)
def test_what_the_kernel_can_lock(
    client: Client, local: Program, offset: int, length: int, locked: tuple[int, int] | None
) -> None:
    file = client.open("file")
    assert lock(client, file, (offset, length, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    asked = FLOCK.pack(WRITE, 0, 0, 0, 0)
    kind, _, first, span, _ = FLOCK.unpack(fcntl.fcntl(local.fd, fcntl.F_OFD_GETLK, asked))
    assert (None if kind == FREE else (first, span or OFFSET_MAX - first)) == locked
    assert lock(client, file, (offset, length, UNLOCK)) is NtStatus.SUCCESS
    assert local.lock(WRITE, 0, 0)


def test_what_a_descriptor_is_not_open_for(client: Client, local: Program) -> None:
    reader = client.open("file", access=FILE_READ_DATA)
    assert lock(client, reader, (0, 2, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    writer = client.open("file", access=FILE_WRITE_DATA)
    assert lock(client, writer, (4, 2, SHARED | AT_ONCE)) is NtStatus.SUCCESS
    assert lock(client, writer, (8, 2, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    assert local.picture(10) == "rr......ww"


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_wait_for_each_other_as_before(
    client: Client, engine: Engine, local: Program, workers: int
) -> None:
    server = engine.server if workers == 1 else engine.another_worker()
    other = Client(engine, server=server).ready(user="bob")
    file, again = client.open("file"), other.open("file")
    lock(client, file, (0, 4, EXCLUSIVE))
    message_id, _ = other.pending(Command.LOCK, requests.lock(again, (2, 4, EXCLUSIVE)))
    lock(client, file, (0, 4, UNLOCK))
    (reply,) = other.taken(message_id)
    assert reply.status is NtStatus.SUCCESS
    assert local.picture(8) == "..wwww.."


@pytest.mark.parametrize("end", ["unlock", "cancel", "close"])
def test_a_client_waits_for_a_local_program(
    client: Client, engine: Engine, local: Program, end: str
) -> None:
    file = client.open("file")
    local.lock(WRITE, 0, 4)
    body = requests.lock(file, (2, 4, EXCLUSIVE))
    message_id, async_id = client.pending(Command.LOCK, body)
    engine.clock.advance(lock_module.LOOK_SECONDS)
    engine.settle()
    assert client.taken(message_id) == []
    expected = NtStatus.SUCCESS
    if end == "unlock":
        local.lock(FREE, 0, 0)
        engine.clock.advance(lock_module.LOOK_SECONDS)
        engine.settle()
    elif end == "cancel":
        client.cancel(message_id, async_id)
        expected = NtStatus.CANCELLED
    else:
        client.close(file)
        expected = NtStatus.RANGE_NOT_LOCKED
    (reply,) = client.taken(message_id)
    assert reply.status is expected
    local.lock(FREE, 0, 0)
    assert local.picture(8) == ("..wwww.." if end == "unlock" else "." * 8)


def test_without_the_parameter_nobody_sees_any(engine: Engine) -> None:
    (engine.files / "file").write_bytes(bytes(64))
    client = Client(engine).ready()
    file = client.open("file")
    lock(client, file, (0, 4, EXCLUSIVE | AT_ONCE))
    program = Program(engine.files / "file")
    assert program.picture(8) == "." * 8
    os.close(program.fd)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_locks_and_unlocks(client: Client, local: Program, seed: int) -> None:
    """Against a picture that is painted anew from all that the client has."""
    chance = random.Random(seed)
    file = client.open("file")
    held: list[tuple[int, int, int]] = []
    for _ in range(120):
        if held and chance.random() < 0.45:
            offset, length, _ = chance.choice(held)
            kind = EXCLUSIVE if (offset, length, EXCLUSIVE) in held else SHARED
            assert lock(client, file, (offset, length, UNLOCK)) is NtStatus.SUCCESS
            held.remove((offset, length, kind))
        else:
            offset, length = chance.randrange(24), chance.randrange(0, 8)
            kind = chance.choice((EXCLUSIVE, SHARED))
            if lock(client, file, (offset, length, kind | AT_ONCE)) is NtStatus.SUCCESS:
                held.append((offset, length, kind))
        painted = ["."] * 32
        for letter, kind in (("r", SHARED), ("w", EXCLUSIVE)):
            for offset, length, each in held:
                if each == kind:
                    painted[offset : offset + length] = letter * length
        assert local.picture(32) == "".join(painted)


def test_where_the_file_system_knows_no_locks(
    client: Client, local: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "no such lock")

    monkeypatch.setattr(ofd_locks, "lock", refuse)
    file = client.open("file")
    assert lock(client, file, (0, 4, EXCLUSIVE | AT_ONCE)) is NtStatus.SUCCESS
    assert lock(client, file, (0, 4, UNLOCK)) is NtStatus.SUCCESS


def test_no_room_in_the_kernel(
    client: Client, local: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(ofd_locks, "lock", refuse)
    file = client.open("file")
    status = lock(client, file, (0, 4, EXCLUSIVE | AT_ONCE))
    assert status is NtStatus.INSUFFICIENT_RESOURCES
    monkeypatch.undo()
    assert lock(client, file, (0, 4, UNLOCK)) is NtStatus.RANGE_NOT_LOCKED


def test_a_range_is_one_call_where_nothing_lies_on_it(
    client: Client, engine: Engine, local: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(ofd_locks, "lock", lambda *args: calls.append(args[1:]))
    (session,) = engine.server.session_table.values()
    client.open("file")
    (open_,) = session.open_table.values()
    assert isinstance(open_.local_locks, LocalLocks)
    open_.local_locks.take([LockRange(0, 4, True), LockRange(4, 4, True)])
    open_.local_locks.give_up([LockRange(0, 4)])
    assert calls == [(WRITE, 0, 4), (WRITE, 4, 8), (FREE, 0, 4)]
