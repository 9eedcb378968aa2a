"""Durable opens that are claimed from, ended by or left to other workers."""

import os
import struct

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import GUID, again, create, durable, v2
from smbengine.notify import basic, set_info
from smbengine.server import Engine

from usmbd.protocol.wire.filetime import from_ns
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_HIDDEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.status import NtStatus

FileBasicInformation = 4
STAMP = from_ns(1_600_000_000_000_000_000)
LOCK = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY


def test_any_worker_can_be_come_back_to(client: Client, engine: Engine) -> None:
    file = durable(client, v2())
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    client.disconnect()
    other = engine.another_worker()
    newer = Client(engine, client.guid, other).ready()
    reply = create(newer, again(file, GUID))
    assert engine.server.durable.places.used == engine.server.locks.used == 0
    assert other.locks.used == 1
    unlock = requests.lock(reply.file_id, (0, 10, SMB2_LOCKFLAG_UNLOCK))
    assert newer.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    engine.clock.advance(3600)
    assert newer.close(reply.file_id) is NtStatus.SUCCESS


def test_any_worker_ends_it(client: Client, engine: Engine) -> None:
    durable(client)
    client.disconnect()
    other = Client(engine, server=engine.another_worker()).ready()
    message_id = other.post(Command.CREATE, requests.create("file"))
    assert other.taken(message_id)[-1].status is NtStatus.SUCCESS
    assert engine.server.durable.places.used == 0


def test_a_dead_worker_s_are_claimed(client: Client, engine: Engine) -> None:
    """Its successor, or any other worker, finds them in the store."""
    file = durable(client, v2())
    client.call(Command.WRITE, requests.write(file, b"written"))
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    plain = client.open("plain")
    assert plain
    other = engine.another_worker()
    engine.store.drop_worker(1)  # by the supervisor, when worker 1 was killed
    newer = Client(engine, client.guid, other).ready()
    reply = create(newer, again(file, GUID))
    assert newer.call(Command.READ, requests.read(reply.file_id, 7)).data == b"written"
    unlock = requests.lock(reply.file_id, (0, 10, SMB2_LOCKFLAG_UNLOCK))
    assert newer.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    assert newer.create("plain", share=0) is NtStatus.SUCCESS


def test_a_renamed_file_is_found(client: Client, engine: Engine) -> None:
    """By its new name, also when nobody was left to tell it."""
    file = durable(client, v2())
    assert client.call(Command.SET_INFO, requests.rename(file, "renamed")).status is (
        NtStatus.SUCCESS
    )
    engine.store.drop_worker(1)
    newer = Client(engine, client.guid, engine.another_worker()).ready()
    assert create(newer, again(file, GUID)).status is NtStatus.SUCCESS


def test_a_successor_keeps_the_time(client: Client, engine: Engine) -> None:
    file = durable(client, v2(5000))
    key = client.open_of(file).key
    engine.store.drop_worker(1)
    engine.server.durable.take_over()
    engine.clock.advance(4)
    assert engine.store.find_durable(file[0]) is not None
    engine.clock.advance(2)
    assert engine.store.find_durable(file[0]) is None
    assert engine.store.opens(key) == []


def test_a_dead_worker_s_is_no_more_kept_than_a_living_one_s(
    client: Client, engine: Engine
) -> None:
    """What others ask for, or have deleted, ends with the worker."""
    doomed = durable(client)
    assert client.call(Command.SET_INFO, requests.set_info(doomed, 13, b"\1")).status == 0
    asked = durable(client, v2(), name="asked")
    other = Client(engine, server=engine.another_worker()).ready(user="bob")
    message_id, _ = other.pending(Command.CREATE, requests.create("asked"))
    waiters = engine.store.drop_worker(1)
    assert [os.path.basename(each.path) for each in engine.store.left_to_delete()] == ["file"]
    for worker, key in waiters:
        engine.peers.servers[worker].wake(key)
    engine.settle()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    assert engine.store.find_durable(doomed[0]) is engine.store.find_durable(asked[0]) is None


@pytest.mark.parametrize("kept", [True, False])
def test_times_that_were_set_stay_for_who_comes_back(
    client: Client, engine: Engine, kept: bool
) -> None:
    """[MS-FSA] 2.1.5.15.2: as long as the open lasts, also in another worker."""
    stamp = STAMP if kept else 0
    file = durable(client, v2())
    times = struct.pack("<QQQQII", 0, 0, stamp, stamp, 0, 0)
    assert set_info(client, file, FileBasicInformation, times) is NtStatus.SUCCESS
    client.disconnect()
    newer = Client(engine, client.guid, engine.another_worker()).ready()
    file = create(newer, again(file, GUID)).file_id
    newer.call(Command.WRITE, requests.write(file, b"data"))
    hidden = basic(attributes=FILE_ATTRIBUTE_HIDDEN)
    assert set_info(newer, file, FileBasicInformation, hidden) is NtStatus.SUCCESS
    body = requests.query_info(file, FileBasicInformation)
    _, _, write, change = struct.unpack_from("<4Q", newer.call(Command.QUERY_INFO, body).data)
    assert (write == STAMP, change == STAMP) == (kept, kept)
