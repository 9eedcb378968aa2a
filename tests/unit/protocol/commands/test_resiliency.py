"""Resilient opens: who may have one, how they outlive their connection, and when they end."""

import struct

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import GUID, V1, again, back, create, durable, granted, v2
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands.resiliency import MAX_RESILIENCY_TIMEOUT, RESILIENCY_TIMEOUT
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
)
from usmbd.protocol.wire.fsctl import FSCTL_LMR_REQUEST_RESILIENCY
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_202, SMB2_DIALECT_210, SMB2_DIALECT_302
from usmbd.protocol.wire.status import NtStatus

LOCK = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
LONGEST = MAX_RESILIENCY_TIMEOUT * 1000 + 999
"""In ms: whole seconds are compared."""


def ask(client: Client, file: FileId, timeout: int = 0) -> NtStatus:
    """Ask for resiliency."""
    data = struct.pack("<II", timeout, 0xFFFFFFFF)
    return client.call(
        Command.IOCTL, requests.ioctl(file, FSCTL_LMR_REQUEST_RESILIENCY, data)
    ).status


def resilient(client: Client, timeout: int = 0, **options: int) -> FileId:
    """Open a file and make it resilient; without an oplock unless told."""
    reply = create(client, **{"oplock": SMB2_OPLOCK_LEVEL_NONE, **options})
    assert reply.status is NtStatus.SUCCESS
    assert ask(client, reply.file_id, timeout) is NtStatus.SUCCESS
    return reply.file_id


# -- who may have one --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "status"),
    [
        (SMB2_DIALECT_202, NtStatus.INVALID_DEVICE_REQUEST),
        (SMB2_DIALECT_210, NtStatus.SUCCESS),
        (SMB2_DIALECT_302, NtStatus.SUCCESS),
    ],
)
def test_dialects(engine: Engine, dialect: int, status: NtStatus) -> None:
    client = Client(engine).ready(dialect)
    assert ask(client, create(client).file_id) is status


@pytest.mark.parametrize(
    ("timeout", "status"),
    [
        (0, NtStatus.SUCCESS),
        (1, NtStatus.SUCCESS),
        (LONGEST, NtStatus.SUCCESS),
        (LONGEST + 1, NtStatus.INVALID_PARAMETER),
        (0xFFFFFFFF, NtStatus.INVALID_PARAMETER),
    ],
)
def test_timeouts(client: Client, timeout: int, status: NtStatus) -> None:
    assert ask(client, create(client).file_id, timeout) is status


@pytest.mark.parametrize("size", [0, 4, 7])
def test_a_cut_request(client: Client, size: int) -> None:
    file = create(client).file_id
    body = requests.ioctl(file, FSCTL_LMR_REQUEST_RESILIENCY, bytes(size))
    assert client.call(Command.IOCTL, body).status is NtStatus.INVALID_PARAMETER


def test_what_cannot_be_resilient(client: Client, engine: Engine) -> None:
    """Folders, named streams, pipes, what is deleted on close; closed ones, and none at all."""
    for name, options in (
        ("folder", FILE_DIRECTORY_FILE),
        ("file:stream", 0),
        ("doomed", FILE_DELETE_ON_CLOSE),
    ):
        file = create(client, name=name, options=options).file_id
        assert ask(client, file) is NtStatus.NOT_SUPPORTED, name
        client.close(file)
    file = create(client).file_id
    client.close(file)
    assert ask(client, file) is NtStatus.FILE_CLOSED
    assert ask(client, (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)) is NtStatus.FILE_CLOSED
    client.connect("IPC$")
    pipe = client.open("echo")
    assert ask(client, pipe) is NtStatus.INVALID_DEVICE_REQUEST


def test_the_share_may_refuse(engine: Engine) -> None:
    engine.shares["data"] = replace(engine.shares["data"], durable_handles=False)
    client = Client(engine).ready()
    assert ask(client, create(client).file_id) is NtStatus.NOT_SUPPORTED


# -- coming back -------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["its own", "another", "a dead one's"])
def test_a_client_comes_back(client: Client, engine: Engine, worker: str) -> None:
    """With its locks and its share mode, though it caches nothing."""
    file = resilient(client, share=0)
    client.call(Command.WRITE, requests.write(file, b"before"))
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    server = engine.server if worker == "its own" else engine.another_worker()
    if worker == "a dead one's":
        engine.store.drop_worker(1)
    else:
        client.disconnect()
    stranger = Client(engine, server=server).ready()
    assert create(stranger, oplock=0).status is NtStatus.SHARING_VIOLATION

    client = Client(engine, client.guid, server).ready()
    reply = create(client, again(file), share=0)
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_NONE
    file = reply.file_id
    assert client.call(Command.READ, requests.read(file, 6)).data == b"before"
    unlock = requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK))
    assert client.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    assert client.close(file) is NtStatus.SUCCESS
    assert create(stranger, oplock=0, share=0).status is NtStatus.SUCCESS


def test_again_and_again(client: Client, engine: Engine) -> None:
    """It is resilient still, with the time-out that was asked for last."""
    file = resilient(client, 1000)
    assert ask(client, file, 90_000) is NtStatus.SUCCESS
    for _ in range(3):
        client.disconnect()
        engine.clock.advance(89)
        client = back(engine, client)
        file = create(client, again(file)).file_id
    client.disconnect()
    engine.clock.advance(91)
    client = back(engine, client)
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(("timeout", "seconds"), [(0, RESILIENCY_TIMEOUT / 1000), (2500, 2.5)])
def test_its_time_ends(client: Client, engine: Engine, timeout: int, seconds: float) -> None:
    resilient(client, timeout, share=0)
    client.disconnect()
    other = Client(engine).ready()
    engine.clock.advance(seconds - 0.5)
    assert create(other).status is NtStatus.SHARING_VIOLATION
    engine.clock.advance(1)
    assert create(other).status is NtStatus.SUCCESS
    assert engine.server.durable.places.used == 0


def test_only_its_owner_comes_back(client: Client, engine: Engine) -> None:
    file = resilient(client)
    client.disconnect()
    bob = back(engine, client, user="bob")
    assert create(bob, again(file)).status is NtStatus.ACCESS_DENIED
    assert create(back(engine, client), again(file)).status is NtStatus.SUCCESS


def test_a_durable_open_becomes_resilient(client: Client, engine: Engine) -> None:
    """It keeps its CreateGuid, and is found by its new name."""
    file = durable(client, v2())
    assert ask(client, file) is NtStatus.SUCCESS
    client.call(Command.SET_INFO, requests.rename(file, "renamed"))
    assert ask(client, file) is NtStatus.SUCCESS
    engine.store.drop_worker(1)
    client = Client(engine, client.guid, engine.another_worker()).ready()
    assert create(client, again(file, bytes(16))).status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert create(client, again(file, GUID)).status is NtStatus.SUCCESS


def test_a_renamed_file_is_found(client: Client, engine: Engine) -> None:
    """Nobody caches it, and nobody was left to tell its new name."""
    file = resilient(client)
    client.call(Command.SET_INFO, requests.rename(file, "renamed"))
    engine.store.drop_worker(1)
    client = Client(engine, client.guid, engine.another_worker()).ready()
    assert create(client, again(file)).status is NtStatus.SUCCESS


def test_what_others_write_is_no_reason_to_refuse(client: Client, engine: Engine) -> None:
    """They share the file with it; a file of the same name is another one."""
    file = resilient(client)
    client.disconnect()
    other = Client(engine).ready()
    opened = create(other, oplock=0).file_id
    other.call(Command.WRITE, requests.write(opened, b"other"))
    client = back(engine, client)
    file = create(client, again(file)).file_id
    assert client.call(Command.READ, requests.read(file, 5)).data == b"other"
    client.disconnect()
    (engine.files / "file").rename(engine.files / "old")
    (engine.files / "file").write_bytes(b"new")
    client = back(engine, client)
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_a_lock_is_taken_once(client: Client, engine: Engine) -> None:
    """A LOCK that is sent again after the connection, or the worker, is lost ([MS-SMB2] 3.3.5.14).

    In dialect 2.1 as well, which has no other replays.
    """
    client = Client(engine).ready(SMB2_DIALECT_210)
    file = resilient(client)
    sequence = 3 << 4 | 5  # LockSequenceIndex 3, LockSequenceNumber 5
    body = requests.lock(file, (0, 10, LOCK), sequence=sequence)
    assert client.call(Command.LOCK, body).status is NtStatus.SUCCESS
    client.disconnect()
    client = Client(engine, client.guid).ready(SMB2_DIALECT_210)
    file = create(client, again(file)).file_id
    body = requests.lock(file, (0, 10, LOCK), sequence=sequence)
    assert client.call(Command.LOCK, body).status is NtStatus.SUCCESS
    engine.store.drop_worker(1)
    client = Client(engine, client.guid, engine.another_worker()).ready(SMB2_DIALECT_210)
    file = create(client, again(file)).file_id
    body = requests.lock(file, (0, 10, LOCK), sequence=sequence)
    assert client.call(Command.LOCK, body).status is NtStatus.SUCCESS
    body = requests.lock(file, (0, 10, LOCK), sequence=sequence + 1)
    assert client.call(Command.LOCK, body).status is NtStatus.LOCK_NOT_GRANTED
    unlock = requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK), sequence=sequence + 2)
    assert client.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    unlock = requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK), sequence=sequence + 2)
    assert client.call(Command.LOCK, unlock).status is NtStatus.SUCCESS


def test_an_overwrite_gives_no_right_to_write(client: Client, engine: Engine) -> None:
    """The open that comes back has the client's own access, not that of the overwriting."""
    create(client)
    client.disconnect()
    client = back(engine, client)
    file = durable(client, v2(), access=0x80 | 1, disposition=5)  # FILE_OVERWRITE_IF
    client.disconnect()
    client = back(engine, client)
    file = create(client, again(file, GUID)).file_id
    reply = client.call(Command.WRITE, requests.write(file, b"data"))
    assert reply.status is NtStatus.ACCESS_DENIED


# -- others ------------------------------------------------------------------------------------


def test_another_open_takes_its_oplock_alone(client: Client, engine: Engine) -> None:
    """Nobody can answer; the open stays, and its client learns what it has left."""
    file = resilient(client, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    client.disconnect()
    other = Client(engine).ready()
    message_id = other.post(Command.CREATE, requests.create("file"))
    reply = other.taken(message_id)[-1]
    assert reply.status is NtStatus.SUCCESS
    client = back(engine, client)
    reply = create(client, again(file))
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_II


def test_a_break_that_is_not_answered_yet(client: Client, engine: Engine) -> None:
    """The oplock is gone with the connection, the open is not."""
    file = resilient(client, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    other = Client(engine).ready()
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.disconnect()
    (reply,) = other.taken(message_id)
    assert reply.status is NtStatus.SUCCESS
    client = back(engine, client)
    reply = create(client, again(file))
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_NONE


def test_it_counts_as_long_as_it_lasts(client: Client, engine: Engine) -> None:
    """Who asks whether a file has opens that need care finds it; and nothing when it is closed."""
    file = resilient(client)
    key = client.open_of(file).key
    assert engine.store.oplock_count(key) == 1
    client.call(Command.WRITE, requests.write(file, b"data"))
    assert ask(client, file) is NtStatus.SUCCESS
    assert engine.store.oplock_count(key) == 1
    client.close(file)
    create(client, name="other")  # the next transaction lowers the count
    assert engine.store.oplock_count(key) == 0
    assert granted(create(client, V1))
