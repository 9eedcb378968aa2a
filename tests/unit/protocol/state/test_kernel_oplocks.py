"""`kernel oplocks`: local programs that open a file break the oplock on it, and wait."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import body, lease_of
from smbengine.oplocks import acknowledge, breaks, create
from smbengine.requests import FileId
from smbengine.server import Engine
from smbtest.processes import wait_for

from usmbd.protocol.commands import create as create_module
from usmbd.protocol.state.caching.notices import BREAK_SECONDS
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

NONE, II = SMB2_OPLOCK_LEVEL_NONE, SMB2_OPLOCK_LEVEL_II
EXCLUSIVE, BATCH = SMB2_OPLOCK_LEVEL_EXCLUSIVE, SMB2_OPLOCK_LEVEL_BATCH
SECONDS = 60


@pytest.fixture
def file(engine: Engine) -> Path:
    """Return a file of a share with kernel oplocks."""
    engine.shares["data"] = replace(engine.shares["data"], kernel_oplocks=True)
    path = engine.files / "file"
    path.write_bytes(b"data")
    return path


@pytest.fixture
def client(engine: Engine, request: pytest.FixtureRequest) -> Client:
    """Return a client, after what is said of the share."""
    if "file" in request.fixturenames:
        request.getfixturevalue("file")
    return Client(engine).ready()


@pytest.fixture
def other(engine: Engine, client: Client) -> Client:
    """Return another user's client."""
    return Client(engine).ready(user="bob")


def is_leased(path: Path) -> bool:
    """Tell whether a local program would have to wait; to look breaks the lease."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except BlockingIOError:
        return True
    return False


@contextmanager
def program(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a local program on a file."""
    command = [sys.executable, "-c", code, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        yield process
        process.stdin.close()
        assert process.wait(SECONDS) == 0


READS = "import sys; print(open(sys.argv[1]).read())"
HOLDS = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
os.write(fd, b"what it had cached")
"""


@pytest.mark.parametrize("level", [EXCLUSIVE, BATCH])
def test_a_local_program_waits_until_the_client_has_answered(
    client: Client, engine: Engine, file: Path, level: int
) -> None:
    file_id, granted = create(client, level)
    assert granted == level
    with program(READS, file) as process:
        told: list[tuple[FileId, int]] = []

        def is_told() -> bool:
            engine.settle()
            told.extend(breaks(client))
            return bool(told)

        wait_for(is_told, SECONDS, "a break")
        assert told == [(file_id, NONE)]
        assert process.poll() is None
        client.call(Command.WRITE, requests.write(file_id, b"more"))  # what it had cached
        assert acknowledge(client, file_id, NONE) is NtStatus.SUCCESS
        assert process.stdout is not None
        assert process.stdout.read() == "more\n"


def test_a_client_that_does_not_answer_keeps_nobody_waiting(
    client: Client, engine: Engine, file: Path
) -> None:
    file_id, _ = create(client, BATCH)
    assert is_leased(file)
    engine.settle()
    assert breaks(client) == [(file_id, NONE)]
    engine.clock.advance(BREAK_SECONDS)
    assert not is_leased(file)


@pytest.mark.parametrize("how", ["close", "disconnect"])
def test_a_close_ends_it(client: Client, engine: Engine, file: Path, how: str) -> None:
    file_id, _ = create(client, BATCH)
    if how == "close":
        client.close(file_id)
    else:
        client.disconnect()
        engine.settle()
    assert not is_leased(file)
    assert not engine.server.caching.kernel._opens
    assert not engine.server.caching.kernel._owners


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_who_has_the_file_open_locally_leaves_no_oplock(
    client: Client, file: Path, flags: int
) -> None:
    local = os.open(file, flags)
    try:
        assert create(client, BATCH)[1] == NONE
    finally:
        os.close(local)


def test_what_the_kernel_has_no_lease_for(client: Client, other: Client, file: Path) -> None:
    """Level II, leases, durable handles; and opens without the file's data."""
    lease = lease_of(client.call(Command.CREATE, body(7, name="new")))
    assert lease is None
    assert create(client, II)[1] == NONE
    assert create(client, BATCH, "new", access=DELETE)[1] == NONE
    asked = requests.create("third", oplock=BATCH, contexts=[(b"DHnQ", bytes(16))])
    reply = client.call(Command.CREATE, asked).parse(CreateResponse)
    assert reply.create_contexts_length == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_another_client_breaks_it_to_nothing(
    client: Client, engine: Engine, file: Path, workers: int
) -> None:
    server = engine.server if workers == 1 else engine.another_worker()
    other = Client(engine, server=server).ready(user="bob")
    file_id, _ = create(client, EXCLUSIVE)
    message_id, _ = other.pending(Command.CREATE, requests.create("file", oplock=BATCH))
    assert breaks(client) == [(file_id, NONE)]
    acknowledge(client, file_id, NONE)
    (reply,) = other.taken(message_id)
    assert reply.parse(CreateResponse).oplock_level == NONE
    client.close(file_id)
    other.close(reply.file_id)
    assert create(other, BATCH)[1] == BATCH
    assert is_leased(file)


def test_a_lost_signal_has_all_break(
    client: Client, engine: Engine, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's queue of signals was full: it says so, and not of which file."""
    file_id, _ = create(client, BATCH)
    kernel = engine.server.caching.kernel
    assert kernel._signals is not None
    monkeypatch.setattr(type(kernel._signals), "read", lambda self: None)
    engine.settle()
    assert breaks(client)[:1] == [(file_id, NONE)]


def test_a_stream_s_oplock_needs_no_lease(client: Client, file: Path) -> None:
    _, granted = create(client, BATCH, "file:stream")
    assert granted == BATCH
    assert not is_leased(file)
    assert create(client, II, "file:other")[1] == NONE


def test_without_the_parameter_nobody_is_asked(client: Client, engine: Engine) -> None:
    (engine.files / "file").touch()
    assert create(client, BATCH)[1] == BATCH
    assert not is_leased(engine.files / "file")
    assert engine.server.caching.kernel._signals is None


@pytest.mark.parametrize("access", [FILE_READ_DATA, FILE_WRITE_DATA])
def test_an_open_waits_for_a_local_program_s_lease(
    client: Client, engine: Engine, access: int
) -> None:
    (engine.files / "file").touch()
    with program(HOLDS, engine.files / "file") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        asked = requests.create("file", access=access)
        message_id, _ = client.pending(Command.CREATE, asked)
        client.close(client.open("another"))
        engine.clock.advance(1)
        engine.settle()
        assert client.taken(message_id) == []
        assert process.stdin is not None
        process.stdin.close()
        process.wait(SECONDS)
        engine.clock.advance(1)
        engine.settle()
        (reply,) = client.taken(message_id)
        assert reply.status is NtStatus.SUCCESS
        # As the program has left it, with what it wrote while the client waited.
        assert reply.parse(CreateResponse).end_of_file == len("what it had cached")


@pytest.mark.parametrize("end", ["cancel", "time"])
def test_an_open_does_not_wait_for_ever(client: Client, engine: Engine, end: str) -> None:
    (engine.files / "file").touch()
    with program(HOLDS, engine.files / "file") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        message_id, async_id = client.pending(Command.CREATE, requests.create("file"))
        if end == "cancel":
            client.cancel(message_id, async_id)
            expected = NtStatus.CANCELLED
        else:
            for _ in range(int(create_module.LEASE_BREAK_SECONDS) + 1):
                engine.clock.advance(1)
                engine.settle()
            expected = NtStatus.SHARING_VIOLATION
        (reply,) = client.taken(message_id)
        assert reply.status is expected
    assert not engine.store.opens(_key(engine.files / "file"))


def _key(path: Path) -> bytes:
    stat = path.stat()
    return file_key(stat.st_dev, stat.st_ino)
