"""CREATEs that are sent again, by their CreateGuid ([MS-SMB2] 3.3.5.9.10)."""

import os
from typing import Any, NoReturn

from smbengine import requests
from smbengine.client import Client
from smbengine.durable import back, create, durable, granted, v2
from smbengine.server import Engine

from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH, CreateResponse
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


def test_a_create_is_repeated(client: Client, engine: Engine) -> None:
    """The same open, whatever else the request says, until its FileId is used."""
    first = create(client, v2(), share=0)
    second = create(client, v2(), share=7, disposition=1, replay=True)
    assert second.file_id == first.file_id
    assert second.parse(CreateResponse).create_action == 2  # FILE_CREATED, as the first time
    assert granted(first) == granted(second)
    lower = create(client, v2(), oplock=0, replay=True)
    assert lower.parse(CreateResponse).oplock_level == 0
    assert granted(lower) == {}
    assert client.open_of(first.file_id).oplock_level == SMB2_OPLOCK_LEVEL_BATCH
    assert create(client, v2()).status is NtStatus.DUPLICATE_OBJECTID
    client.call(Command.READ, requests.read(first.file_id, 1))
    assert client.close(first.file_id) is NtStatus.SUCCESS
    third = create(client, v2(), replay=True)
    assert third.file_id != first.file_id


def test_a_create_that_waits_is_repeated_later(client: Client, engine: Engine) -> None:
    other = Client(engine).ready(user="bob")
    holder = durable(other, v2(guid=os.urandom(16)))
    body = requests.create("file", contexts=[v2()], oplock=SMB2_OPLOCK_LEVEL_BATCH)
    message_id, _ = client.pending(Command.CREATE, body)
    for replay in (True, False):
        assert create(client, v2(), replay=replay).status is NtStatus.FILE_NOT_AVAILABLE
    other.close(holder)
    (reply,) = client.taken(message_id)
    assert create(client, v2(), replay=True).file_id == reply.file_id


class NotWalked(dict[object, object]):
    """A table that nobody goes through: all opens of all clients may be in it."""

    def values(self) -> NoReturn:
        """Refuse."""
        raise AssertionError


def test_a_create_outlives_its_channel(client: Client, engine: Engine) -> None:
    """It goes on for the session's other channels, where its replay finds what it made."""
    replays: Any = engine.server.replays
    replays.created = NotWalked()
    other = Client(engine).ready(user="bob")
    holder = durable(other, v2(guid=os.urandom(16)))
    second = Client(engine, client.guid)
    second.negotiate()
    assert second.bind(client).status is NtStatus.SUCCESS
    second.tree_id = client.tree_id
    body = requests.create("file", contexts=[v2()], oplock=SMB2_OPLOCK_LEVEL_BATCH)
    client.pending(Command.CREATE, body)
    client.disconnect()
    assert create(second, v2(), replay=True).status is NtStatus.FILE_NOT_AVAILABLE
    other.close(holder)
    file = create(second, v2(), replay=True).file_id
    assert second.close(file) is NtStatus.SUCCESS
    assert not engine.server.replays.created


def test_a_create_whose_answer_was_lost_with_the_session(client: Client, engine: Engine) -> None:
    """Its replay, by a new session, finds the open that waits."""
    first = create(client, v2())
    client.disconnect()
    client = back(engine, client)
    for _ in range(2):  # and so does another one, as that answer may be lost as well
        reply = create(client, v2(), disposition=2, replay=True)
        assert reply.file_id[0] == first.file_id[0]
        assert reply.parse(CreateResponse).create_action == 2
        assert SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2 in granted(reply)
    client.call(Command.READ, requests.read(reply.file_id, 1))
    later = create(client, v2(), replay=True)  # an open of its own, which breaks an oplock
    assert later.status is NtStatus.PENDING


def test_who_comes_back_in_vain_may_open_it_anew(engine: Engine) -> None:
    """Its replay waits for a thread, as one that makes an open does, and makes none."""
    client = Client(engine).ready()
    create(client, v2())
    client.disconnect()
    (engine.files / "file").write_bytes(b"other data")
    client = back(engine, client)
    assert create(client, v2(), replay=True).status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert not engine.server.replays.created


def test_another_client_s_guid_is_another_s(client: Client, engine: Engine) -> None:
    create(client, v2())
    other = Client(engine).ready(user="bob")
    reply = create(other, v2(), name="other", replay=True)
    assert reply.parse(CreateResponse).create_action == 2
