"""Persistent opens: who may have one, what outlives the server's processes, and who has to wait."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import GUID, again, create, granted, v2
from smbengine.persistent import (
    FLAG,
    KEY,
    LOCK,
    NONE,
    RH,
    RWH,
    available,
    come_back,
    kept,
    lease,
    persistent,
    restarted,
)
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import Durability
from usmbd.protocol.commands.durable import V2_TIMEOUT
from usmbd.protocol.state.store.lmdb_persistent import START_SECONDS
from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_LEASE,
    CreateResponse,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2,
    SMB2_CREATE_REQUEST_LEASE,
    LeaseV2,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.negotiate import (
    SMB2_DIALECT_210,
    SMB2_DIALECT_300,
    SMB2_DIALECT_302,
    SMB2_DIALECT_311,
    SMB2_GLOBAL_CAP_PERSISTENT_HANDLES,
    NegotiateResponse,
)
from usmbd.protocol.wire.status import NtStatus, SmbError
from usmbd.protocol.wire.tree_connect import (
    SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY,
    TreeConnectResponse,
)


@pytest.fixture(params=[Durability.NONE, Durability.DATA, Durability.STRICT])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Run an engine whose share is available all the time, as durably as each word says."""
    engine = available(tmp_path, request.param)
    yield engine
    engine.close()


# -- who may have one --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "can"),
    [
        (SMB2_DIALECT_210, False),
        (SMB2_DIALECT_300, True),
        (SMB2_DIALECT_302, True),
        (SMB2_DIALECT_311, True),
    ],
)
def test_the_server_says_whether_it_can(tmp_path: Path, dialect: int, can: bool) -> None:
    """[MS-SMB2] 3.3.5.4, 3.3.5.7: the server, and the share."""
    engine = available(tmp_path)
    client = Client(engine)
    response = client.negotiate(dialect).parse(NegotiateResponse)
    assert bool(response.capabilities & SMB2_GLOBAL_CAP_PERSISTENT_HANDLES) is can
    client.login()
    connected = client.connect().parse(TreeConnectResponse)
    assert bool(connected.capabilities & SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY) is can
    other = client.connect("readonly").parse(TreeConnectResponse)
    assert other.capabilities == 0
    engine.close()


def test_a_client_that_cannot_is_offered_none(tmp_path: Path) -> None:
    engine = available(tmp_path)
    client = Client(engine)
    response = client.negotiate(SMB2_DIALECT_302, capabilities=0x6F).parse(NegotiateResponse)
    assert not response.capabilities & SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
    client.login()
    client.connect()
    assert granted(create(client, v2(flags=FLAG), oplock=NONE)) == {}
    engine.close()


def test_other_shares_have_none(client: Client, engine: Engine) -> None:
    """There the flag is ignored: the open is durable, if it can be."""
    engine.shares["data"] = replace(engine.shares["data"], continuous_availability=False)
    client = Client(engine).ready()
    data = granted(create(client, v2(flags=FLAG)))[SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2]
    assert struct.unpack("<II", data) == (V2_TIMEOUT, 0)
    assert granted(create(client, v2(guid=KEY, flags=FLAG), name="other", oplock=NONE)) == {}
    assert kept(engine) == [0, 0]


def test_a_server_without_such_shares_keeps_nothing(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    client = Client(engine)
    response = client.negotiate(SMB2_DIALECT_311).parse(NegotiateResponse)
    assert not response.capabilities & SMB2_GLOBAL_CAP_PERSISTENT_HANDLES
    assert not (tmp_path / "lib").exists()
    assert not (tmp_path / "state").exists()
    engine.close()


def test_what_is_not_persistent(client: Client) -> None:
    """Named streams."""
    reply = create(client, v2(guid=os.urandom(16), flags=FLAG), name="file:stream")
    found = granted(reply).get(SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, bytes(8))
    assert struct.unpack("<II", found)[1] == 0


# -- the server is killed ----------------------------------------------------------------------


@pytest.mark.parametrize("at_open", [True, False])
@pytest.mark.parametrize("comes", [True, False])
def test_a_deletion_outlives_the_server(
    client: Client, engine: Engine, at_open: bool, comes: bool
) -> None:
    """Asked for by the CREATE or later; done at the close, or when the client's time is over."""
    options = FILE_DELETE_ON_CLOSE if at_open else 0
    file = persistent(client, options=options, access=DELETE | FILE_READ_DATA)
    if not at_open:
        assert client.call(Command.SET_INFO, requests.set_info(file, 13, b"\1")).status == 0
    engine = restarted(engine)
    assert (engine.files / "file").exists()
    if comes:
        newer, reply = come_back(engine, client, file)
        newer.close(reply.file_id)
    else:
        engine.server.durable.take_over()
        engine.clock.advance(V2_TIMEOUT / 1000 + START_SECONDS)
        engine.settle()
    assert not (engine.files / "file").exists()
    assert kept(engine) == [0, 0]
    engine.close()


def test_the_server_is_killed(client: Client, engine: Engine) -> None:
    """The open is there, with its share mode, locks, lock sequence and CreateGuid."""
    file = persistent(client, share=0)
    client.call(Command.WRITE, requests.write(file, b"written"))
    sequence = 3 << 4 | 5
    body = requests.lock(file, (0, 10, LOCK), (20, 5, LOCK), sequence=sequence)
    assert client.call(Command.LOCK, body).status is NtStatus.SUCCESS
    synced = engine.shares["data"].persistent_handles_durability is not Durability.NONE
    assert kept(engine) == [not synced, synced]

    engine = restarted(engine)
    assert engine.restored == 1
    stranger = Client(engine).ready(user="bob")
    assert create(stranger, oplock=NONE).status is NtStatus.FILE_NOT_AVAILABLE
    newer, reply = come_back(engine, client, file)
    assert reply.parse(CreateResponse).persistent == file[0]
    file = reply.file_id
    assert newer.call(Command.READ, requests.read(file, 7)).data == b"written"
    body = requests.lock(file, (0, 10, LOCK), (20, 5, LOCK), sequence=sequence)
    assert newer.call(Command.LOCK, body).status is NtStatus.SUCCESS  # done already
    assert create(stranger, oplock=NONE).status is NtStatus.SHARING_VIOLATION
    unlock = requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK), (20, 5, SMB2_LOCKFLAG_UNLOCK))
    assert newer.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    assert newer.close(file) is NtStatus.SUCCESS
    assert create(stranger, oplock=NONE).status is NtStatus.SUCCESS
    assert kept(engine) == [0, 0]
    engine.close()


def test_again_and_again(client: Client, engine: Engine) -> None:
    """Each life of the server goes on where the last one ended."""
    file = persistent(client)
    for number in range(4):
        body = requests.lock(file, (number, 1, LOCK))
        assert client.call(Command.LOCK, body).status is NtStatus.SUCCESS
        engine = restarted(engine)
        client, reply = come_back(engine, client, file)
        file = reply.file_id
        other = create(client, name=f"other{number}")
        assert other.file_id[0] != file[0]
    unlock = [(number, 1, SMB2_LOCKFLAG_UNLOCK) for number in range(4)]
    assert client.call(Command.LOCK, requests.lock(file, *unlock)).status is NtStatus.SUCCESS
    engine.close()


def test_what_was_closed_or_unlocked_is(client: Client, engine: Engine) -> None:
    file = persistent(client)
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK), (20, 5, LOCK)))
    client.call(Command.LOCK, requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK)))
    other = create(client, v2(guid=KEY, flags=FLAG), name="other", oplock=NONE)
    assert client.close(other.file_id) is NtStatus.SUCCESS
    engine = restarted(engine)
    assert engine.restored == 1
    _, reply = come_back(engine, client, file)
    bob = Client(engine).ready(user="bob")
    opened = create(bob, oplock=NONE).file_id
    assert bob.call(Command.LOCK, requests.lock(opened, (0, 10, LOCK))).status is NtStatus.SUCCESS
    assert bob.call(Command.LOCK, requests.lock(opened, (20, 5, LOCK))).status is (
        NtStatus.LOCK_NOT_GRANTED
    )
    assert reply.status is NtStatus.SUCCESS
    engine.close()


@pytest.mark.parametrize("state", [RH, RWH])
def test_a_lease_is_kept(client: Client, engine: Engine, state: int) -> None:
    file = persistent(client, lease(state), oplock=SMB2_OPLOCK_LEVEL_LEASE)
    engine = restarted(engine)
    contexts = (lease(state),)
    _, reply = come_back(engine, client, file, *contexts, oplock=SMB2_OPLOCK_LEVEL_LEASE)
    found = LeaseV2.parse(memoryview(granted(reply)[SMB2_CREATE_REQUEST_LEASE]))
    assert (found.lease_key, found.lease_state) == (KEY, state)
    # And is broken as any other.
    bob = Client(engine).ready(user="bob")
    body = requests.create("file", access=2)
    message_id = bob.post(Command.CREATE, body)
    if state == RWH:
        assert bob.taken(message_id)[-1].status is NtStatus.PENDING
    engine.close()


def test_an_oplock_is_kept(client: Client, engine: Engine) -> None:
    file = persistent(client, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    engine = restarted(engine)
    _, reply = come_back(engine, client, file, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_BATCH
    engine.close()


def test_a_renamed_file_is_found(client: Client, engine: Engine) -> None:
    file = persistent(client)
    client.call(Command.SET_INFO, requests.rename(file, "renamed"))
    engine = restarted(engine)
    assert come_back(engine, client, file)[1].status is NtStatus.SUCCESS
    engine.close()


def test_a_file_that_was_replaced_is_not_given_back(client: Client, engine: Engine) -> None:
    file = persistent(client)
    (engine.files / "file").rename(engine.files / "old")
    (engine.files / "file").write_bytes(b"new")
    engine = restarted(engine)
    assert come_back(engine, client, file)[1].status is NtStatus.OBJECT_NAME_NOT_FOUND
    engine.close()


def test_its_time_begins_anew(client: Client, engine: Engine) -> None:
    file = persistent(client, timeout=5000)
    engine = restarted(engine)
    engine.server.durable.take_over()
    engine.clock.advance(4 + START_SECONDS)
    bob = Client(engine).ready(user="bob")
    assert create(bob, oplock=NONE).status is NtStatus.FILE_NOT_AVAILABLE
    engine.clock.advance(2)
    assert create(bob, oplock=NONE).status is NtStatus.SUCCESS
    assert come_back(engine, client, file)[1].status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert kept(engine) == [0, 0]
    engine.close()


def test_what_a_dead_worker_had_closed_is_forgotten(client: Client, engine: Engine) -> None:
    """A worker that is killed between the store and the disk."""
    file = persistent(client)
    key = client.open_of(file).key
    engine.store.remove_open(key, file[0])
    assert sum(kept(engine)) == 1
    engine.store.drop_worker(1)
    assert kept(engine) == [0, 0]


def test_a_worker_of_a_former_life_writes_nothing(client: Client, engine: Engine) -> None:
    """An orphan that ends late must not put its state over that of the server of now."""
    file = persistent(client)
    key = client.open_of(file).key
    persistent_ = engine.store._persistent
    for place in persistent_._kept:
        with place.env.begin(write=True) as txn:
            txn.put(b"I", b"another's")
    engine.store.remove_open(key, file[0])
    with pytest.raises(SmbError, match="INSUFFICIENT_RESOURCES"):
        engine.store.persist(key)
    assert sum(kept(engine)) == 1


def test_after_a_boot(client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was told is on the disk; devices may have other numbers; memory is not trusted."""
    file = persistent(client, lease(RWH), oplock=SMB2_OPLOCK_LEVEL_LEASE)
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    engine.transports.clear()
    engine.store.close()
    for boot in engine.files.parent.rglob("boot"):
        boot.write_text("another boot")
    path, durability = engine.files.parent, engine.shares["data"].persistent_handles_durability
    real = client.open_of(file).key
    # As if the disk had been another one: the file of the record is found by its name.
    monkeypatch.setattr(Engine, "locate", staticmethod(lambda _durable: real))
    engine = available(path, durability)
    if durability is Durability.NONE:
        assert engine.restored == 0
    else:
        assert engine.restored == 1
        contexts = (lease(RWH),)
        _, reply = come_back(engine, client, file, *contexts, oplock=SMB2_OPLOCK_LEVEL_LEASE)
        assert reply.status is NtStatus.SUCCESS
    engine.close()


def test_a_file_that_is_gone_after_a_boot(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    persistent(client)
    engine.transports.clear()
    engine.store.close()
    for boot in engine.files.parent.rglob("boot"):
        boot.write_text("another boot")
    monkeypatch.setattr(Engine, "locate", staticmethod(lambda _durable: None))
    engine = available(engine.files.parent, engine.shares["data"].persistent_handles_durability)
    assert engine.restored == 0
    assert kept(engine) == [0, 0]
    engine.close()


# -- the connection is lost --------------------------------------------------------------------


def test_a_replay_finds_it(client: Client, engine: Engine) -> None:
    """By its CreateGuid, when the answer to the CREATE was lost, though it caches nothing."""
    file = persistent(client)
    client.disconnect()
    newer = Client(engine, client.guid).ready()
    assert create(newer, v2(flags=FLAG), oplock=NONE).status is NtStatus.DUPLICATE_OBJECTID
    reply = create(newer, v2(flags=FLAG), oplock=NONE, replay=True)
    assert reply.file_id[0] == file[0]
    data = granted(reply)[SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2]
    assert struct.unpack("<II", data) == (V2_TIMEOUT, FLAG)


def test_a_replay_of_what_is_used_already(client: Client) -> None:
    """The client has had its answer (smb2.persistent-open.replay-multi of Samba 4.25)."""
    file = persistent(client)
    for _ in range(2):
        again_ = create(client, v2(flags=FLAG), oplock=NONE, replay=True)
        assert again_.file_id == file
    client.call(Command.WRITE, requests.write(file, b"used"))
    reply = create(client, v2(flags=FLAG), oplock=NONE, replay=True)
    assert reply.status is NtStatus.FILE_NOT_AVAILABLE


@pytest.mark.parametrize("end", ["connection", "server"])
def test_a_folder_is_kept(client: Client, engine: Engine, end: str) -> None:
    """As with Windows; it is listed from the beginning. A lease on it there is none."""
    options = {"name": "folder", "options": FILE_DIRECTORY_FILE}
    client.close(client.open("folder", options=FILE_DIRECTORY_FILE))
    (engine.files / "folder" / "entry").touch()
    body = {**options, "oplock": SMB2_OPLOCK_LEVEL_LEASE, "share": 0}
    file = persistent(client, lease(RH), **body)
    if end == "connection":
        client.disconnect()
    else:
        engine = restarted(engine)
    other = Client(engine).ready(user="bob")
    assert create(other, oplock=NONE, **options).status is NtStatus.FILE_NOT_AVAILABLE
    newer, reply = come_back(engine, client, file, **options)
    assert reply.file_id[0] == file[0]
    listed = newer.call(Command.QUERY_DIRECTORY, requests.query_directory(reply.file_id, 1))
    assert "entry".encode("utf-16le") in listed.data
    assert create(other, oplock=NONE, **options).status is NtStatus.SHARING_VIOLATION
    assert newer.close(reply.file_id) is NtStatus.SUCCESS
    if end == "server":
        engine.close()


def test_it_is_found_by_its_create_guid(client: Client, engine: Engine) -> None:
    """Where the FileId is unknown ([MS-SMB2] 3.3.5.9.12); and not without the flag."""
    file = persistent(client)
    client.disconnect()
    newer = Client(engine, client.guid).ready()
    assert create(newer, again(file, GUID)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    unknown = file[0] + 1000, file[1]
    assert create(newer, again(unknown, KEY, FLAG)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    bob = Client(engine, client.guid).ready(user="bob")
    assert create(bob, again(unknown, GUID, FLAG)).status is NtStatus.ACCESS_DENIED
    reply = create(newer, again(unknown, GUID, FLAG))
    assert reply.file_id[0] == file[0]


@pytest.mark.parametrize("caches", ["nothing", "RH", "RWH", "batch"])
def test_others_wait_for_its_client(client: Client, engine: Engine, caches: str) -> None:
    """They are told to come again ([MS-SMB2] 3.3.5.9); what shares the file with RH need not."""
    contexts, level = [], NONE
    if caches in ("RH", "RWH"):
        contexts, level = [lease(RWH if caches == "RWH" else RH)], SMB2_OPLOCK_LEVEL_LEASE
    elif caches == "batch":
        level = SMB2_OPLOCK_LEVEL_BATCH
    file = persistent(client, *contexts, oplock=level, share=1)
    client.disconnect()
    bob = Client(engine).ready(user="bob")
    reads = create(bob, oplock=NONE, access=1)
    waits = NtStatus.SUCCESS if caches == "RH" else NtStatus.FILE_NOT_AVAILABLE
    assert reads.status is waits
    assert create(bob, oplock=NONE, access=2).status is NtStatus.FILE_NOT_AVAILABLE
    assert bob.create("file", 0x80) is NtStatus.SUCCESS  # attributes alone
    newer = Client(engine, client.guid).ready()
    reply = create(newer, again(file, GUID, FLAG), *contexts, oplock=level)
    assert reply.status is NtStatus.SUCCESS


def test_what_others_write_takes_its_read_cache(client: Client, engine: Engine) -> None:
    """Who had the file open already goes on; the client learns of it, after a restart as well."""
    bob = Client(engine).ready(user="bob")
    opened = create(bob, oplock=NONE).file_id
    file = persistent(client, lease(RH), oplock=SMB2_OPLOCK_LEVEL_LEASE)
    client.disconnect()
    assert bob.call(Command.WRITE, requests.write(opened, b"new")).status is NtStatus.SUCCESS
    engine = restarted(engine)
    _, reply = come_back(engine, client, file, lease(RH), oplock=SMB2_OPLOCK_LEVEL_LEASE)
    found = LeaseV2.parse(memoryview(granted(reply)[SMB2_CREATE_REQUEST_LEASE]))
    assert found.lease_state == 0
    engine.close()


def test_strict_writes_are_flushed(client: Client, engine: Engine) -> None:
    """What is written through a persistent open is on the disk, where the share says so."""
    flushed: list[str] = []
    file = persistent(client)
    node = client.open_of(file).node
    real = node.flush

    def flush() -> None:
        flushed.append(node.path)
        real()

    type(node).flush, before = (lambda self: flush()), type(node).flush  # type: ignore[method-assign]
    try:
        client.call(Command.WRITE, requests.write(file, b"data"))
    finally:
        type(node).flush = before  # type: ignore[method-assign]
    strict = engine.shares["data"].persistent_handles_durability is Durability.STRICT
    assert flushed == (["file"] if strict else [])
