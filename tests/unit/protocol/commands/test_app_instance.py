"""An application that fails over to another client closes what it had open there."""

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.durable import KEYS, Context, again, back, create, durable, v2
from smbengine.server import Engine

from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_APP_INSTANCE_ID,
    SMB2_CREATE_APP_INSTANCE_VERSION,
    AppInstanceId,
    AppInstanceVersion,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_210
from usmbd.protocol.wire.status import NtStatus

ONE, OTHER = KEYS


def instance(key: bytes = ONE) -> Context:
    """SMB2_CREATE_APP_INSTANCE_ID."""
    return SMB2_CREATE_APP_INSTANCE_ID, AppInstanceId(app_instance_id=key).pack()


def version(high: int, low: int) -> Context:
    """SMB2_CREATE_APP_INSTANCE_VERSION."""
    fields = AppInstanceVersion(app_instance_version_high=high, app_instance_version_low=low)
    return SMB2_CREATE_APP_INSTANCE_VERSION, fields.pack()


def opened(client: Client, *contexts: Context, oplock: int = SMB2_OPLOCK_LEVEL_BATCH) -> Reply:
    """CREATE that shares nothing, with the answer that comes in the end."""
    body = requests.create("file", contexts=contexts, share=0, oplock=oplock)
    return client.taken(client.post(Command.CREATE, body))[-1]


def test_the_same_application_elsewhere_takes_over(client: Client, engine: Engine) -> None:
    first = opened(client, v2(), instance()).file_id
    other = Client(engine).ready(user="bob")
    assert opened(other, v2(guid=OTHER), instance()).status is NtStatus.SUCCESS
    assert client.close(first) is NtStatus.FILE_CLOSED
    assert client.replies == []  # its oplock is not broken


def test_without_durable_handles_too(client: Client, engine: Engine) -> None:
    first = opened(client, instance()).file_id
    other = Client(engine, server=engine.another_worker()).ready(user="bob")
    assert opened(other, instance()).status is NtStatus.SUCCESS
    assert client.close(first) is NtStatus.FILE_CLOSED


def test_what_waits_for_its_client_ends(client: Client, engine: Engine) -> None:
    file = opened(client, v2(), instance()).file_id
    client.disconnect()
    other = Client(engine, server=engine.another_worker()).ready(user="bob")
    assert opened(other, instance()).status is NtStatus.SUCCESS
    assert engine.server.durable.places.used == 0
    client = back(engine, client)
    assert create(client, again(file, bytes(range(16)))).status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_who_is_not_the_same_application(client: Client, engine: Engine) -> None:
    """Another id, the same client, an older dialect, none; nor are others' opens closed."""
    first = opened(client, instance(), oplock=0).file_id
    assert opened(client, instance(), oplock=0).status is NtStatus.SHARING_VIOLATION
    same = back(engine, client)
    assert opened(same, instance(), oplock=0).status is NtStatus.SHARING_VIOLATION
    other = Client(engine).ready(user="bob")
    for contexts in ((instance(OTHER),), (instance(bytes(16)),), ()):
        assert opened(other, *contexts, oplock=0).status is NtStatus.SHARING_VIOLATION
    older = Client(engine).ready(SMB2_DIALECT_210)
    assert opened(older, instance(), oplock=0).status is NtStatus.SHARING_VIOLATION
    assert client.close(first) is NtStatus.SUCCESS


@pytest.mark.parametrize(
    ("had", "comes", "status"),
    [
        ((1, 1), (1, 2), NtStatus.SUCCESS),
        ((1, 9), (2, 0), NtStatus.SUCCESS),
        ((1, 1), (1, 1), NtStatus.FILE_FORCED_CLOSED),
        ((1, 2), (1, 1), NtStatus.FILE_FORCED_CLOSED),
        ((2, 0), (1, 9), NtStatus.FILE_FORCED_CLOSED),
        (None, (0, 0), NtStatus.SUCCESS),
        ((1, 1), None, NtStatus.SUCCESS),
    ],
)
def test_the_newer_version_wins(
    client: Client,
    engine: Engine,
    had: tuple[int, int] | None,
    comes: tuple[int, int] | None,
    status: NtStatus,
) -> None:
    """A failover that comes late does not close what a later one has opened."""
    first = opened(client, instance(), *([version(*had)] if had else [])).file_id
    other = Client(engine).ready(user="bob")
    reply = opened(other, instance(), *([version(*comes)] if comes else []))
    assert reply.status is status
    closed = NtStatus.FILE_CLOSED if status is NtStatus.SUCCESS else NtStatus.SUCCESS
    assert client.close(first) is closed


@pytest.mark.parametrize("context", [instance()[0], SMB2_CREATE_APP_INSTANCE_VERSION])
def test_contexts_of_another_size(client: Client, context: bytes) -> None:
    bad = (
        create(client, instance(), (context, b"short"))
        if context != instance()[0]
        else create(client, (context, b"short"))
    )
    assert bad.status is NtStatus.INVALID_PARAMETER


def test_a_durable_open_keeps_its_application(client: Client, engine: Engine) -> None:
    file = durable(client, v2())
    assert client.close(file) is NtStatus.SUCCESS
    file = opened(client, v2(), instance()).file_id
    client.disconnect()
    client = back(engine, client)
    again_open = create(client, again(file, bytes(range(16))))
    assert again_open.status is NtStatus.SUCCESS
    other = Client(engine).ready(user="bob")
    assert opened(other, instance()).status is NtStatus.SUCCESS
    assert client.close(again_open.file_id) is NtStatus.FILE_CLOSED
