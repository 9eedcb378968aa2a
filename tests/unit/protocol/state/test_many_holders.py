"""A file that thousands may cache: their breaks come in slices, and each once."""

import struct
from itertools import pairwise

import pytest
from smbengine import oplocks, requests
from smbengine.client import Client, Reply
from smbengine.durable import again, back, create, durable
from smbengine.leases import breaks, take, unheard
from smbengine.requests import FileId
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state.caching.needed import Break
from usmbd.protocol.state.caching.rules import R
from usmbd.protocol.wire.create import (
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
)
from usmbd.protocol.wire.fsctl import FSCTL_LMR_REQUEST_RESILIENCY
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

MANY = 20


def write(client: Client, file: FileId) -> Reply:
    return unheard(client, Command.WRITE, requests.write(file, b"new"))


def cached(engine: Engine, key: bytes) -> int:
    """Return how many holders a file has."""
    return len(engine.store.holders(key))


def test_who_writes_waits_for_no_more_than_a_slice_of_them(client: Client, engine: Engine) -> None:
    """What others write meanwhile begins no second row; each loses what he caches himself, too."""
    other = Client(engine).ready(user="bob")
    for _ in range(MANY):
        client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    first, second = other.open("file"), other.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    key = next(iter(client.session.open_table.values())).key
    assert cached(engine, key) == MANY + 1
    turns = Rotation(engine, 3)
    assert write(other, first).status is NtStatus.SUCCESS
    assert write(other, second).status is NtStatus.SUCCESS
    assert len(turns.waiting) == 1
    left = [MANY + 1, cached(engine, key)]
    while turns.waiting:
        turns.turn()
        left.append(cached(engine, key))
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 4
    assert not engine.server.caching.changes._under_way
    again = client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    assert again
    assert cached(engine, key) == 1
    assert write(other, first).status is NtStatus.SUCCESS
    while turns.waiting:
        turns.turn()
    assert cached(engine, key) == 0


def test_what_is_granted_while_others_lose_theirs_is_broken_by_a_later_change(
    client: Client, engine: Engine
) -> None:
    other = Client(engine).ready(user="bob")
    for _ in range(MANY):
        client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    file = other.open("file")
    key = next(iter(client.session.open_table.values())).key
    turns = Rotation(engine, 3)
    assert write(other, file).status is NtStatus.SUCCESS
    client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    assert write(other, file).status is NtStatus.SUCCESS
    while turns.waiting:
        turns.turn()
    assert cached(engine, key) == 0


@pytest.mark.parametrize("fails", ["break_own", "_end"])
def test_a_break_that_fails_leaves_the_others_to_come(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """And what is written later breaks what there is then."""
    durable(client)
    client.disconnect()
    holders = Client(engine).ready()
    for _ in range(3):
        holders.open("other", oplock=SMB2_OPLOCK_LEVEL_II)
    other = Client(engine).ready(user="bob")
    file = other.open("other")
    caching = engine.server.caching
    key = next(iter(holders.session.open_table.values())).key
    real, failed = getattr(caching, fails), []

    def fail(*of: object) -> None:
        if not failed:
            failed.append(of)
            raise ValueError
        real(*of)

    monkeypatch.setattr(caching, fails, fail)
    if fails == "_end":
        left = engine.store.disconnected()
        caching.request_breaks(left[0][0], [Break(left[0][1], 0)])
        caching.request_breaks(left[0][0], [Break(left[0][1], 0)])
        assert engine.store.disconnected() == []
        return
    assert write(other, file).status is NtStatus.SUCCESS
    assert cached(engine, key) == 1
    assert write(other, file).status is NtStatus.SUCCESS
    assert cached(engine, key) == 0


def test_who_writes_and_closes_meanwhile_keeps_his_lease(client: Client, engine: Engine) -> None:
    """He knows what he has written, whichever of its opens he did it by."""
    other = Client(engine).ready(user="bob")
    for _ in range(MANY):
        client.open("file", oplock=SMB2_OPLOCK_LEVEL_II)
    turns = Rotation(engine, 3)
    assert write(other, other.open("file")).status is NtStatus.SUCCESS
    writes = Client(engine).ready(user="bob")
    first, _ = take(writes, R)
    _, held = take(writes, R)
    assert held == R
    assert write(writes, first).status is NtStatus.SUCCESS
    writes.close(first)
    while turns.waiting:
        turns.turn()
    assert not breaks(writes)
    assert cached(engine, next(iter(client.session.open_table.values())).key) == 1


def test_who_is_back_before_its_turn_is_told(client: Client, engine: Engine) -> None:
    """It holds what it came back to, so it is asked as anybody; the others learn when they come."""
    other = Client(engine).ready(user="bob")
    files = []
    for _ in range(5):
        files.append(create(client, oplock=SMB2_OPLOCK_LEVEL_II).file_id)
        data = struct.pack("<II", 0, 0)
        body = requests.ioctl(files[-1], FSCTL_LMR_REQUEST_RESILIENCY, data)
        assert client.call(Command.IOCTL, body).status is NtStatus.SUCCESS
    writes = other.open("file")
    client.disconnect()
    client = back(engine, client)
    turns = Rotation(engine, 2)
    assert write(other, writes).status is NtStatus.SUCCESS
    first, last = create(client, again(files[0])), create(client, again(files[-1]))
    assert first.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_NONE
    assert last.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_II
    while turns.waiting:
        turns.turn()
    assert oplocks.breaks(client) == [(files[-1], SMB2_OPLOCK_LEVEL_NONE)]
    assert not cached(engine, client.open_of(files[-1]).key)
