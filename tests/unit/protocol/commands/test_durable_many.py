"""Many durable opens of one file that wait for their client, and others that want the file."""

import os
from itertools import pairwise

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import create, v2
from smbengine.leases import KEY
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import RWH
from usmbd.protocol.state.store import lmdb_opens
from usmbd.protocol.state.store.base import EndResult
from usmbd.protocol.wire.access import FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_OVERWRITE_IF, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MANY = 200
LEASE = LeaseV2(lease_key=KEY, lease_state=RWH, epoch=1).pack()


def leave(client: Client, many: int) -> None:
    """Leave opens of one lease behind."""
    for _ in range(many):
        wanted = v2(guid=os.urandom(16))
        lease = SMB2_CREATE_REQUEST_LEASE, LEASE
        reply = create(client, wanted, lease, oplock=SMB2_OPLOCK_LEVEL_LEASE)
        assert reply.status is NtStatus.SUCCESS
    client.disconnect()


def ask(client: Client, disposition: int) -> int:
    body = requests.create("file", disposition=disposition, access=FILE_READ_DATA)
    return client.post(Command.CREATE, body)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("disposition", [1, FILE_OVERWRITE_IF])
def test_who_wants_the_file_has_each_ended_once(
    client: Client,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    disposition: int,
    elsewhere: bool,
) -> None:
    """Not all of them anew behind each."""
    server = engine.another_worker() if elsewhere else engine.server
    comes = Client(engine, server=server).ready(user="bob")
    leave(client, MANY)
    assert len(engine.store.disconnected()) == MANY
    asked: list[int] = []
    store = server.store
    end = store.end_disconnected

    def count(key: bytes, open_id: int, *of: object) -> EndResult:
        asked.append(open_id)
        return end(key, open_id, *of)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "end_disconnected", count)
    reply = comes.taken(ask(comes, disposition))[-1]
    assert reply.status is NtStatus.SUCCESS
    assert engine.store.disconnected() == []
    assert len(asked) == MANY
    assert engine.server.durable.places.used == 0
    assert not server.durable._ending


def test_they_end_in_slices(client: Client, engine: Engine) -> None:
    """Others have their turn; also more who want the file, for whom nothing is done twice."""
    comes, other = (Client(engine).ready(user="bob") for _ in range(2))
    leave(client, 10)
    turns = Rotation(engine, 3)
    first = ask(comes, 1)
    second = ask(other, 1)
    engine.settle()
    left = [len(engine.store.disconnected())]
    while turns.waiting:
        turns.turn()
        left.append(len(engine.store.disconnected()))
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 4
    assert comes.taken(first)[-1].status is NtStatus.SUCCESS
    assert other.taken(second)[-1].status is NtStatus.SUCCESS


def test_no_more_wait_than_can_be_ended(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are closed, as those for which there is no place."""
    monkeypatch.setattr(lmdb_opens, "LEFT_MOST", 4)
    leave(client, 7)
    assert len(engine.store.opens(engine.store.disconnected()[0][0])) == 4
    assert engine.server.durable.places.used == 4
