"""What changes while somebody is granted a cache: nobody keeps what was there before."""

from collections.abc import Callable
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.durable import GUID, again, create, v2
from smbengine.leases import body, breaks, lease_of, take, unheard
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import create as creation
from usmbd.protocol.state.caching.rules import NONE, RH, R
from usmbd.protocol.vfs import extents
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.create import (
    FILE_OVERWRITE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_LEASE,
    CreateResponse,
)
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.fscc.set_info import FileAllocationInformation, FileEndOfFileInformation
from usmbd.protocol.wire.fsctl import FSCTL_SET_ZERO_DATA, FileZeroData
from usmbd.protocol.wire.header import UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.status import NtStatus

KEY_2 = b"2" * 16


def write(client: Client, file: FileId) -> Reply:
    return unheard(client, Command.WRITE, requests.write(file, b"new"))


def cut(client: Client, file: FileId) -> Reply:
    length = (3).to_bytes(8, "little")
    return unheard(
        client, Command.SET_INFO, requests.set_info(file, FileEndOfFileInformation, length)
    )


def allocate(client: Client, file: FileId) -> Reply:
    length = (3).to_bytes(8, "little")
    return unheard(
        client, Command.SET_INFO, requests.set_info(file, FileAllocationInformation, length)
    )


def zero(client: Client, file: FileId) -> Reply:
    zeros = FileZeroData(file_offset=0, beyond_final_zero=3).pack()
    return unheard(client, Command.IOCTL, requests.ioctl(file, FSCTL_SET_ZERO_DATA, zeros))


def overwrite(client: Client, file: FileId) -> Reply:
    asked = requests.create("file", disposition=FILE_OVERWRITE)
    return client.call(Command.CREATE, asked)


def overwrite_to_cache(client: Client, file: FileId) -> Reply:
    asked = requests.create("file", disposition=FILE_OVERWRITE, oplock=SMB2_OPLOCK_LEVEL_II)
    reply = client.call(Command.CREATE, asked)
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_II
    return reply


def overwrite_by_a_lease(client: Client, file: FileId) -> Reply:
    reply = client.call(Command.CREATE, body(R, KEY_2, disposition=FILE_OVERWRITE))
    lease = lease_of(reply)
    assert lease is not None
    assert lease.lease_state == R
    return reply


@pytest.mark.parametrize(
    ("change", "module", "name"),
    [
        (write, Node, "write"),
        (cut, Node, "truncate"),
        (allocate, Node, "truncate"),
        (zero, extents, "zero"),
        (overwrite, Node, "truncate"),
        (overwrite_to_cache, Node, "truncate"),
        (overwrite_by_a_lease, Node, "truncate"),
    ],
)
def test_who_caches_while_data_change_is_told(
    client: Client,
    other: Client,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Client, FileId], Reply],
    module: Any,
    name: str,
) -> None:
    """The other's lease comes behind the look at who has one, and before the data."""
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, b"what is there"))
    real, opened = getattr(module, name), []

    def late(*args: Any) -> Any:
        if not opened:
            opened.append(other.call(Command.CREATE, body(RH)))
        return real(*args)

    monkeypatch.setattr(module, name, late)
    assert change(client, file).status is NtStatus.SUCCESS
    lease = lease_of(opened[0])
    assert lease is not None
    assert lease.lease_state & R
    assert [after for _, after, _ in breaks(other)] == [NONE]
    assert client.taken(UNSOLICITED_MESSAGE_ID) == []  # who changes it keeps what he gets


def test_who_caches_is_told_the_size_of_now(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of when the file was looked up."""
    file = client.open("file")
    real = creation.admit

    def late(*args: Any) -> Any:
        monkeypatch.undo()
        assert write(client, file).status is NtStatus.SUCCESS
        return real(*args)

    monkeypatch.setattr(creation, "admit", late)
    reply = other.call(Command.CREATE, body(RH))
    assert lease_of(reply) is not None
    assert reply.parse(CreateResponse).end_of_file == 3
    assert breaks(other) == []


def test_who_overwrites_keeps_the_oplock_that_he_gets(client: Client, other: Client) -> None:
    client.open("file")
    asked = requests.create("file", disposition=FILE_OVERWRITE, oplock=SMB2_OPLOCK_LEVEL_II)
    reply = other.call(Command.CREATE, asked)
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_II
    assert other.taken(UNSOLICITED_MESSAGE_ID) == []


def test_a_sole_open_is_looked_at_once(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.close(client.open("file"))
    looks: list[Node] = []
    real = Node.stat

    def look(node: Node) -> Any:
        looks.append(node)
        return real(node)

    monkeypatch.setattr(Node, "stat", look)
    assert lease_of(client.call(Command.CREATE, body(RH))) is not None
    alone = len(looks)
    client.call(Command.CREATE, body(RH))
    assert len(looks) == 2 * alone + 1


def test_a_break_finds_the_lease_whose_open_has_just_been_closed(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux closes late what it has open: it did so with the one open that a worker asked for."""
    other = Client(engine, server=engine.another_worker()).ready(user="bob")
    file = client.open("file")
    first, _ = take(other, RH)
    _, held = take(other, RH)  # by a second open of the lease
    assert held == RH
    ask = engine.peers.break_caching

    def late(*args: Any) -> None:
        other.close(first)
        ask(*args)

    monkeypatch.setattr(engine.peers, "break_caching", late)
    assert write(client, file).status is NtStatus.SUCCESS
    assert [after for _, after, _ in breaks(other)] == [NONE]


def test_a_break_finds_the_lease_whose_open_is_being_closed(engine: Engine, client: Client) -> None:
    """Its record is there as long as a thread uses its descriptor."""
    other = Client(engine).ready(user="bob")
    file = client.open("file")
    first, _ = take(other, RH)
    take(other, RH)
    closing = other.open_of(first)
    closing.in_use += 1
    closed = other.post(Command.CLOSE, requests.close(first))
    assert write(client, file).status is NtStatus.SUCCESS
    assert [after for _, after, _ in breaks(other)] == [NONE]
    engine.run(closing.release)
    engine.settle()
    (reply,) = other.taken(closed)
    assert reply.status is NtStatus.SUCCESS


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_break_finds_the_open_whose_connection_has_just_been_lost(
    engine: Engine, client: Client, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """Its client would come back to a cache of what was there before."""
    server = engine.another_worker() if elsewhere else engine.server
    other = Client(engine, server=server).ready(user="bob")
    file = client.open("file")
    lease = SMB2_CREATE_REQUEST_LEASE, LeaseV2(lease_key=KEY_2, lease_state=RH).pack()
    left = create(other, v2(), lease, oplock=SMB2_OPLOCK_LEVEL_LEASE)
    assert left.status is NtStatus.SUCCESS
    ask = engine.server.caching._ask

    def late(*args: Any) -> None:
        other.disconnect()
        ask(*args)

    monkeypatch.setattr(engine.server.caching, "_ask", late)
    assert write(client, file).status is NtStatus.SUCCESS
    back = Client(engine, other.guid, server=server).ready(user="bob")
    reply = create(back, again(left.file_id, GUID), lease, oplock=SMB2_OPLOCK_LEVEL_LEASE)
    assert reply.status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_a_break_finds_the_open_whose_connection_is_being_lost(
    engine: Engine, client: Client
) -> None:
    """It waits for its client only when no thread uses its descriptor any more."""
    other = Client(engine).ready(user="bob")
    file = client.open("file")
    lease = SMB2_CREATE_REQUEST_LEASE, LeaseV2(lease_key=KEY_2, lease_state=RH).pack()
    left = create(other, v2(), lease, oplock=SMB2_OPLOCK_LEVEL_LEASE)
    assert left.status is NtStatus.SUCCESS
    lost = other.open_of(left.file_id)
    lost.in_use += 1
    other.disconnect()
    assert engine.store.disconnected() == []
    assert write(client, file).status is NtStatus.SUCCESS
    engine.run(lost.release)
    engine.settle()
    back = Client(engine, other.guid).ready(user="bob")
    reply = create(back, again(left.file_id, GUID), lease, oplock=SMB2_OPLOCK_LEVEL_LEASE)
    assert reply.status is NtStatus.OBJECT_NAME_NOT_FOUND
