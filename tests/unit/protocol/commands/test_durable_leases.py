"""Durable opens with leases: what makes them durable, who may have them back, what ends them."""

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.durable import GUID, V1, Context, again, back, create, granted, v2
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire.create import SMB2_OPLOCK_LEVEL_BATCH, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV1, LeaseV2
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.oplock_break import LeaseBreak
from usmbd.protocol.wire.status import NtStatus

R, H, W = 1, 2, 4
KEY, OTHER_KEY = bytes([1] * 16), bytes([2] * 16)


def lease(state: int = R | W | H, key: bytes = KEY, version: int = 2) -> Context:
    """RqLs."""
    kind = LeaseV2 if version == 2 else LeaseV1
    return SMB2_CREATE_REQUEST_LEASE, kind(lease_key=key, lease_state=state).pack()


def leased(client: Client, *contexts: Context, **options: int) -> Reply:
    """CREATE with a lease."""
    options.setdefault("oplock", SMB2_OPLOCK_LEVEL_LEASE)
    return create(client, *contexts, **options)


@pytest.mark.parametrize(
    ("state", "expected"),
    [(0, False), (R, False), (R | W, False), (R | H, True), (R | W | H, True)],
)
@pytest.mark.parametrize("context", [V1, v2()], ids=["v1", "v2"])
def test_handle_caching_makes_an_open_durable(
    client: Client, state: int, expected: bool, context: Context
) -> None:
    assert (context[0] in granted(leased(client, context, lease(state)))) is expected


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_comes_back_to_its_lease(client: Client, engine: Engine, version: int) -> None:
    """With its key, whatever state and level it asks for now; the epoch goes on."""
    file = leased(client, v2(), lease(version=version)).file_id
    client.disconnect()
    client = back(engine, client)
    reply = leased(client, again(file, GUID), lease(0, version=version), oplock=0)
    answer = granted(reply)[SMB2_CREATE_REQUEST_LEASE]
    found = LeaseV2.parse(answer) if version == 2 else LeaseV1.parse(answer)
    assert (found.lease_key, found.lease_state) == (KEY, R | W | H)
    other = Client(engine).ready(user="bob")
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    (told,) = [r for r in client.replies if r.header.command == Command.OPLOCK_BREAK]
    assert KEY in told.body
    ack = LeaseBreak(lease_key=KEY, lease_state=R | H, flags=0).pack()
    client.call(Command.OPLOCK_BREAK, ack)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_who_may_not_have_it(client: Client, engine: Engine) -> None:
    """Another client, key, version or name; a lease for an oplock, and none for a lease."""
    file = leased(client, V1, lease()).file_id
    batch = create(client, v2(), name="batch").file_id
    client.disconnect()
    stranger = Client(engine).ready()
    client = back(engine, client)
    missing = NtStatus.OBJECT_NAME_NOT_FOUND
    assert leased(stranger, again(file), lease()).status is missing
    assert leased(client, again(file)).status is missing
    assert leased(client, again(file), lease(key=OTHER_KEY)).status is missing
    assert leased(client, again(file), lease(version=1)).status is missing
    renamed = leased(client, again(file), lease(), name="other")
    assert renamed.status is NtStatus.INVALID_PARAMETER
    assert leased(client, again(batch, GUID), lease(), name="batch").status is missing
    assert leased(client, again(file), lease(), name="FILE").status is NtStatus.SUCCESS
    assert create(stranger, again(batch, GUID), name="batch").status is NtStatus.SUCCESS


def two_opens(client: Client) -> tuple[FileId, FileId]:
    """Open a file twice with one lease."""
    one = leased(client, v2(), lease()).file_id
    two = leased(client, v2(guid=KEY), lease()).file_id
    return one, two


def test_several_opens_of_one_lease_come_back(client: Client, engine: Engine) -> None:
    """One after the other, although the first has written before the second is back."""
    one, two = two_opens(client)
    client.disconnect()
    client = back(engine, client)
    one = leased(client, again(one, GUID), lease()).file_id
    client.call(Command.WRITE, requests.write(one, b"data"))
    assert leased(client, again(two, KEY), lease()).status is NtStatus.SUCCESS


@pytest.mark.parametrize("kept", [R | H, R])
def test_a_break_reaches_what_is_left_of_a_lease(client: Client, engine: Engine, kept: int) -> None:
    """The other open waits on as long as the lease, of which the client is told, has H."""
    one, two = two_opens(client)
    client.disconnect()
    client = back(engine, client)
    leased(client, again(one, GUID), lease())
    other = Client(engine).ready(user="bob")
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.replies.clear()
    client.call(Command.OPLOCK_BREAK, LeaseBreak(lease_key=KEY, lease_state=kept, flags=0).pack())
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    expected = NtStatus.SUCCESS if kept & H else NtStatus.OBJECT_NAME_NOT_FOUND
    assert leased(client, again(two, KEY), lease()).status is expected


@pytest.mark.parametrize("state", [R | H, R | W | H])
def test_another_open_ends_what_it_would_break(client: Client, engine: Engine, state: int) -> None:
    """A read and handle cache stands beside others; a write cache is nobody's any more."""
    file = leased(client, v2(), lease(state)).file_id
    client.disconnect()
    other = Client(engine).ready(user="bob")
    message_id = other.post(Command.CREATE, requests.create("file"))
    opened = other.taken(message_id)[-1]
    assert opened.status is NtStatus.SUCCESS
    client = back(engine, client)
    expected = NtStatus.OBJECT_NAME_NOT_FOUND if state & W else NtStatus.SUCCESS
    assert leased(client, again(file, GUID), lease(state)).status is expected


def test_a_change_ends_it(client: Client, engine: Engine) -> None:
    """What the client has read is not so any more, and nobody can tell it."""
    file = leased(client, v2(), lease(R | H)).file_id
    other = Client(engine).ready(user="bob")
    theirs = other.open("file")
    client.disconnect()
    other.call(Command.WRITE, requests.write(theirs, b"data"))
    assert engine.server.durable.places.used == 0
    client = back(engine, client)
    assert leased(client, again(file, GUID), lease(R | H)).status is (
        NtStatus.OBJECT_NAME_NOT_FOUND
    )


def test_a_deletion_ends_it(client: Client, engine: Engine) -> None:
    """Whoever closes the file last deletes it; who waits for nobody is not waited for."""
    leased(client, v2(), lease(R | H))
    other = Client(engine).ready(user="bob")
    theirs = other.open("file")
    client.disconnect()
    body = requests.set_info(theirs, 13, b"\1")  # FileDispositionInformation
    message_id = other.post(Command.SET_INFO, body)
    assert other.taken(message_id)[-1].status is NtStatus.SUCCESS
    assert other.close(theirs) is NtStatus.SUCCESS
    assert not (engine.files / "file").exists()
    assert engine.server.durable.places.used == 0


def test_a_dead_worker_s_lease_is_claimed(client: Client, engine: Engine) -> None:
    file = leased(client, v2(), lease()).file_id
    other = engine.another_worker()
    engine.store.drop_worker(1)
    newer = Client(engine, client.guid, other).ready()
    reply = leased(newer, again(file, GUID), lease())
    assert LeaseV2.parse(granted(reply)[SMB2_CREATE_REQUEST_LEASE]).lease_state == R | W | H
    assert newer.close(reply.file_id) is NtStatus.SUCCESS
    assert other.caching.leases._table == {}


def test_a_replay_needs_the_same_lease(client: Client) -> None:
    first = leased(client, v2(), lease())
    same = leased(client, v2(), lease(R), replay=True)
    assert (same.file_id, granted(same)) == (first.file_id, granted(first))
    for contexts in ((v2(), lease(key=OTHER_KEY)),):
        assert leased(client, *contexts, replay=True).status is NtStatus.ACCESS_DENIED
    batch = create(client, v2(guid=KEY), name="batch", oplock=SMB2_OPLOCK_LEVEL_BATCH)
    assert batch.status is NtStatus.SUCCESS
    denied = leased(client, v2(guid=KEY), lease(), name="batch", replay=True)
    assert denied.status is NtStatus.ACCESS_DENIED


@pytest.mark.parametrize("opens", [1, 2])
def test_a_break_that_is_not_answered_yet_ends_a_lease(
    client: Client, engine: Engine, opens: int
) -> None:
    """Others go on at once, and nobody comes back to what he did not give up."""
    files = two_opens(client) if opens == 2 else (leased(client, v2(), lease()).file_id,)
    other = Client(engine).ready(user="bob")
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.disconnect()
    engine.settle()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    client = back(engine, client)
    missing = NtStatus.OBJECT_NAME_NOT_FOUND
    for file, guid in zip(files, (GUID, KEY), strict=False):
        assert leased(client, again(file, guid), lease()).status is missing
