"""A named stream that is renamed while it is open ([MS-FSA] 2.1.5.15.11.1)."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.create import FILE_CREATE, FILE_OPEN, SMB2_OPLOCK_LEVEL_BATCH
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY
from usmbd.protocol.wire.status import NtStatus

SUCCESS = NtStatus.SUCCESS
EXCLUSIVE = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY


def rename(client: Client, opened: FileId, *, replace: bool = False) -> NtStatus:
    body = requests.rename(opened, ":new:$DATA", replace=replace)
    return client.call(Command.SET_INFO, body).status


def test_its_share_mode_is_that_of_the_new_name(client: Client, other: Client) -> None:
    opened = client.open("file:old", share=0)
    assert rename(client, opened) is SUCCESS
    assert other.create("file:new", disposition=FILE_OPEN) is NtStatus.SHARING_VIOLATION
    assert other.create("file:old", disposition=FILE_CREATE) is SUCCESS
    client.close(opened)
    assert other.create("file:new", disposition=FILE_OPEN) is SUCCESS


def test_its_locks_are(client: Client, other: Client, engine: Engine) -> None:
    opened = client.open("file:old")
    assert client.call(Command.WRITE, requests.write(opened, b"text")).status is SUCCESS
    assert client.call(Command.LOCK, requests.lock(opened, (0, 4, EXCLUSIVE))).status is SUCCESS
    before = client.open_of(opened).key
    assert rename(client, opened) is SUCCESS
    after = client.open_of(opened).key
    again = other.open("file:new", disposition=FILE_OPEN)
    read = requests.read(again, 4)
    assert other.call(Command.READ, read).status is NtStatus.FILE_LOCK_CONFLICT
    client.close(opened)
    assert other.call(Command.READ, read).data == b"text"
    other.close(again)
    assert not any(map(engine.server.store.count_locks, (before, after)))
    assert not any(map(engine.server.store.count_opens, (before, after)))


def test_what_it_caches_is(client: Client, other: Client) -> None:
    opened = client.open("file:old", oplock=SMB2_OPLOCK_LEVEL_BATCH)
    assert rename(client, opened) is SUCCESS
    message_id, _ = other.pending(Command.CREATE, requests.create("file:new"))
    client.close(opened)
    (reply,) = other.taken(message_id)
    assert reply.status is SUCCESS


@pytest.mark.parametrize("share", [0, 7])
def test_a_rename_that_is_refused_changes_nothing(
    client: Client, other: Client, share: int
) -> None:
    client.close(client.open("file:new"))
    opened = client.open("file:old", share=share)
    assert rename(client, opened) is NtStatus.OBJECT_NAME_COLLISION
    expected = SUCCESS if share else NtStatus.SHARING_VIOLATION
    assert other.create("file:old", disposition=FILE_OPEN) is expected
    assert other.create("file:new", disposition=FILE_OPEN) is SUCCESS


def test_one_that_others_have_open_stays_where_they_find_it(client: Client, other: Client) -> None:
    theirs = other.open("file:old")
    opened = client.open("file:old")
    assert rename(client, opened) is SUCCESS
    assert other.close(theirs) is SUCCESS
    assert client.close(opened) is SUCCESS
