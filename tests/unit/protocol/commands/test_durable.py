"""Durable opens: how they are asked for, outlive their connection, are claimed, and end."""

import os
import struct
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import GUID, V1, Context, again, back, create, durable, granted, v2
from smbengine.server import Engine

from usmbd.protocol.commands.durable import NEWS_TRIES, V1_TIMEOUT, V2_TIMEOUT, V2_TIMEOUT_MAX
from usmbd.protocol.state.durable import SETTLE_SECONDS
from usmbd.protocol.vfs import kernel
from usmbd.protocol.wire.create import (
    FILE_OPENED,
    SMB2_OPLOCK_LEVEL_BATCH,
    SMB2_OPLOCK_LEVEL_EXCLUSIVE,
    SMB2_OPLOCK_LEVEL_II,
    SMB2_OPLOCK_LEVEL_NONE,
    CreateResponse,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT,
    SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2,
    SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import (
    SMB2_LOCKFLAG_EXCLUSIVE_LOCK,
    SMB2_LOCKFLAG_FAIL_IMMEDIATELY,
    SMB2_LOCKFLAG_UNLOCK,
)
from usmbd.protocol.wire.negotiate import SMB2_DIALECT_202, SMB2_DIALECT_210
from usmbd.protocol.wire.oplock_break import OplockBreak
from usmbd.protocol.wire.status import NtStatus

POSITION = 14  # FilePositionInformation
LOCK = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (SMB2_OPLOCK_LEVEL_NONE, False),
        (SMB2_OPLOCK_LEVEL_II, False),
        (SMB2_OPLOCK_LEVEL_EXCLUSIVE, False),
        (SMB2_OPLOCK_LEVEL_BATCH, True),
    ],
)
@pytest.mark.parametrize("context", [V1, v2()], ids=["v1", "v2"])
def test_a_batch_oplock_makes_an_open_durable(
    client: Client, level: int, expected: bool, context: Context
) -> None:
    reply = create(client, context, oplock=level)
    assert (context[0] in granted(reply)) is expected


def test_what_is_granted_says_for_how_long(client: Client) -> None:
    for number, (asked, given) in enumerate(
        ((0, V2_TIMEOUT), (1, 1), (90_000, 90_000), (0xFFFFFFFF, V2_TIMEOUT_MAX))
    ):
        reply = create(client, v2(asked, os.urandom(16)), name=f"file{number}")
        data = granted(reply)[SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2]
        assert struct.unpack("<II", data) == (given, 0)


def test_what_is_not_durable(client: Client, engine: Engine) -> None:
    """Folders, named streams, and whatever the share does not want."""
    folder = create(client, V1, name="folder", options=1)
    assert granted(folder) == {}
    assert granted(create(client, V1, name="file:stream")) == {}
    assert granted(create(client, V1, oplock=SMB2_OPLOCK_LEVEL_BATCH, name="other"))
    other = create(client, V1, name="other")  # not the only open: no batch oplock
    assert other.status is NtStatus.PENDING or granted(other) == {}


def test_the_share_may_refuse(engine: Engine) -> None:
    from msgspec.structs import replace

    engine.shares["data"] = replace(engine.shares["data"], durable_handles=False)
    client = Client(engine).ready()
    reply = create(client, V1)
    assert granted(reply) == {}
    client.disconnect()
    assert engine.store.opens(b"") == []
    assert create(back(engine, client), again(reply.file_id)).status is (
        NtStatus.OBJECT_NAME_NOT_FOUND
    )


@pytest.mark.parametrize("dialect", [SMB2_DIALECT_202, SMB2_DIALECT_210])
def test_older_dialects_have_version_1_alone(engine: Engine, dialect: int) -> None:
    client = Client(engine).ready(dialect)
    assert granted(create(client, v2())) == {}
    file = durable(client, name="other")
    client.disconnect()
    client = Client(engine).ready(dialect)
    assert create(client, again(file)).status is NtStatus.SUCCESS


@pytest.mark.parametrize(
    "contexts",
    [
        (V1, v2()),
        (V1, again((1, 1), GUID)),
        (again((1, 1)), v2()),
        (again((1, 1)), again((1, 1), GUID)),
        (v2(), again((1, 1), GUID)),
        ((V1[0], b"short"),),
        ((SMB2_CREATE_DURABLE_HANDLE_RECONNECT, bytes(15)),),
        ((SMB2_CREATE_DURABLE_HANDLE_REQUEST_V2, bytes(31)),),
        ((SMB2_CREATE_DURABLE_HANDLE_RECONNECT_V2, bytes(37)),),
    ],
)
def test_contexts_that_do_not_go_together(client: Client, contexts: tuple[Context, ...]) -> None:
    """[MS-SMB2] 3.3.5.9.6, .7, .10, .12."""
    assert create(client, *contexts).status is NtStatus.INVALID_PARAMETER


# -- coming back -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_a_client_comes_back(client: Client, engine: Engine, version: int) -> None:
    """With position, locks, oplock, access and share mode, and the same persistent id."""
    guid = GUID if version == 2 else None
    file = durable(client, v2() if guid else V1, share=1)
    client.call(Command.WRITE, requests.write(file, b"before"))
    position = struct.pack("<Q", 4711)
    client.call(Command.SET_INFO, requests.set_info(file, POSITION, position))
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    client.disconnect()
    assert not engine.server.session_table

    client = back(engine, client)
    reply = create(client, again(file, guid), name="whatever", access=0, share=0)
    response = reply.parse(CreateResponse)
    assert response.oplock_level == SMB2_OPLOCK_LEVEL_BATCH
    assert response.create_action == FILE_OPENED
    assert response.persistent == file[0]
    assert granted(reply) == {}
    file = reply.file_id
    query = requests.query_info(file, POSITION)
    assert client.call(Command.QUERY_INFO, query).data == position
    assert client.call(Command.READ, requests.read(file, 6)).data == b"before"
    assert client.call(Command.WRITE, requests.write(file, b"after")).status is NtStatus.SUCCESS
    unlock = requests.lock(file, (0, 10, SMB2_LOCKFLAG_UNLOCK))
    assert client.call(Command.LOCK, unlock).status is NtStatus.SUCCESS
    assert client.close(file) is NtStatus.SUCCESS
    assert engine.server.durable.places.used == engine.server.locks.used == 0
    assert engine.server.descriptors.used == 0


def test_a_disconnected_open_keeps_no_descriptor(client: Client, engine: Engine) -> None:
    durable(client)
    path = engine.files / "file"

    def held() -> bool:
        fds = os.listdir("/proc/self/fd")
        found = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in fds
            if os.path.exists(f"/proc/self/fd/{fd}")
        ]
        return str(path) in found

    assert held()
    client.disconnect()
    assert not held()
    assert engine.server.durable.places.used == 1
    assert engine.server.descriptors.used == 0


def test_again_and_again(client: Client, engine: Engine) -> None:
    """Each time is as the first, with the same time-out."""
    file = durable(client, v2(90_000))
    for _ in range(3):
        client.disconnect()
        engine.clock.advance(89)
        client = back(engine, client)
        file = create(client, again(file, GUID)).file_id
    client.disconnect()
    engine.clock.advance(91)
    client = back(engine, client)
    assert create(client, again(file, GUID)).status is NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(
    ("context", "seconds"), [(V1, V1_TIMEOUT // 1000), (v2(), V2_TIMEOUT // 1000), (v2(2500), 2.5)]
)
def test_its_time_ends(client: Client, engine: Engine, context: Context, seconds: float) -> None:
    file = durable(client, context)
    guid = None if context is V1 else GUID
    client.disconnect()
    engine.clock.advance(seconds - 0.5)
    assert engine.server.durable.places.used == 1
    engine.clock.advance(1)
    assert engine.server.durable.places.used == 0
    client = back(engine, client)
    assert create(client, again(file, guid)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert create(client, oplock=0, share=0).status is NtStatus.SUCCESS


def look_again(engine: Engine) -> None:
    """Let claimants that came too early look as often as they may."""
    for _ in range(NEWS_TRIES):
        engine.clock.advance(SETTLE_SECONDS)
        engine.settle()


def test_who_may_not_have_it(client: Client, engine: Engine) -> None:
    """In the order of 3.3.5.9.7 and .12; none of it ends the open."""
    file = durable(client, v2())
    same = back(engine, client)
    number = same.post(Command.CREATE, requests.create("file", contexts=(again(file, GUID),)))
    look_again(engine)  # the news of its client's end may be late
    assert [reply.status for reply in same.taken(number)] == [NtStatus.OBJECT_NAME_NOT_FOUND]
    client.disconnect()
    unknown = file[0] + 1, file[1]
    bob = back(engine, client, user="bob")
    elsewhere = back(engine, client, share="readonly")
    for who, context, status in (
        (same, again(unknown, GUID), NtStatus.OBJECT_NAME_NOT_FOUND),
        (same, again(file, bytes(16)), NtStatus.OBJECT_NAME_NOT_FOUND),
        (bob, again(file, GUID), NtStatus.ACCESS_DENIED),
        (bob, again(file), NtStatus.ACCESS_DENIED),
        (elsewhere, again(file, GUID), NtStatus.OBJECT_NAME_NOT_FOUND),
    ):
        assert create(who, context).status is status
    assert same.connect("IPC$").status is NtStatus.SUCCESS
    assert create(same, again(file, GUID)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert same.connect().status is NtStatus.SUCCESS
    assert create(same, again(file, GUID)).status is NtStatus.SUCCESS
    number = same.post(Command.CREATE, requests.create("file", contexts=(again(file, GUID),)))
    look_again(engine)
    assert [reply.status for reply in same.taken(number)] == [NtStatus.OBJECT_NAME_NOT_FOUND]


def test_who_is_back_before_the_news_of_the_end(client: Client, engine: Engine) -> None:
    """Its new connection may be served before the loss of the old one is known."""
    file = durable(client, v2())
    same = back(engine, client)
    number = same.post(Command.CREATE, requests.create("file", contexts=(again(file, GUID),)))
    assert same.taken(number) == []
    client.disconnect()
    look_again(engine)
    assert [reply.status for reply in same.taken(number)] == [NtStatus.SUCCESS]


CHANGES: dict[str, Callable[[str], None]] = {
    "removed": os.unlink,
    "replaced": lambda path: (os.rename(path, path + ".old"), os.close(os.open(path, 0o102)))[1],
    "written": lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    "renamed": lambda path: os.rename(path, path + ".old"),
    "a link": lambda path: (os.rename(path, path + ".old"), os.symlink(path + ".old", path))[1],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_file_must_be_as_it_was(client: Client, engine: Engine, change: str) -> None:
    """Who caches it would be wrong about what a local program has changed."""
    file = durable(client)
    client.call(Command.WRITE, requests.write(file, b"data"))
    client.disconnect()
    CHANGES[change](str(engine.files / "file"))
    client = back(engine, client)
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    assert engine.server.descriptors.used == 0


def test_a_new_file_with_the_inode_of_a_lost_one(client: Client, engine: Engine) -> None:
    """A local program removes the file, whose inode the next one has: no open of that is there."""
    file = durable(client, share=0)
    key = client.open_of(file).key
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    client.disconnect()
    client = back(engine, client)
    for number in range(100):
        (engine.files / "file").unlink(missing_ok=True)
        name = f"next{number}"
        reply = create(client, name=name, disposition=2, share=0)  # FILE_CREATE
        assert reply.parse(CreateResponse).create_action == 2
        same = client.open_of(reply.file_id).key == key
        client.close(reply.file_id)
        if same:
            break
    else:
        pytest.skip("this file system does not use an inode again at once")
    assert engine.server.durable.places.used == 0


def test_what_the_session_s_end_leaves(client: Client, engine: Engine) -> None:
    """A LOGOFF leaves durable opens, TREE_DISCONNECT and CLOSE do not; as Windows and Samba."""
    file = durable(client)
    client.call(Command.LOGOFF, requests.EMPTY)
    client = back(engine, client)
    file = create(client, again(file)).file_id
    client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    assert engine.server.durable.places.used == 0
    client.connect()
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    file = durable(client)
    client.close(file)
    client.disconnect()
    assert create(back(engine, client), again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_a_previous_session_is_claimed_from(client: Client, engine: Engine) -> None:
    """The client is back before the server knows that it was gone (3.3.5.5.3)."""
    file = durable(client)
    newer = Client(engine, client.guid)
    newer.negotiate()
    newer.login(previous=client.session_id)
    newer.connect()
    assert create(newer, again(file)).status is NtStatus.SUCCESS


def test_calls_on_threads_end_first(client: Client, engine: Engine) -> None:
    """A write that is under way when the connection is lost belongs to what the client finds."""
    file = durable(client)
    engine.threads.held = True
    client.post(Command.FLUSH, requests.flush(file))
    client.disconnect()
    newer = Client(engine, client.guid)
    newer.negotiate()
    newer.login()
    engine.threads.held = False
    newer.connect()
    assert create(newer, again(file)).status is NtStatus.SUCCESS


def test_no_call_of_a_slow_volume_comes_on_the_loop(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that hangs holds up nobody: neither when it is opened nor when it is left."""
    tree = client.session.tree_connect_table[client.tree_id]
    tree.speed.slow_until = float("inf")
    on_loop: list[str] = []
    real = kernel.statx_fd

    def statx(fd: int) -> kernel.StatxTuple:
        if not engine.threads.running:
            on_loop.append("statx")
        return real(fd)

    monkeypatch.setattr(kernel, "statx_fd", statx)
    file = durable(client, v2())
    client.disconnect()
    client = back(engine, client)
    newer = client.session.tree_connect_table[client.tree_id]
    newer.speed.slow_until = float("inf")
    assert create(client, again(file, GUID)).status is NtStatus.SUCCESS
    assert on_loop == []


def test_it_waits_for_an_open_that_is_about_to_be_left(client: Client, engine: Engine) -> None:
    file = durable(client)
    other = back(engine, client)
    engine.threads.held = True
    client.post(Command.FLUSH, requests.flush(file))
    client.disconnect()
    body = requests.create("file", contexts=[again(file)])
    asked = other.post(Command.CREATE, body)
    assert other.taken(asked) == []
    engine.release(engine.threads)
    engine.run(lambda: engine.clock.advance(0.1))
    engine.settle()
    (reply,) = other.taken(asked)
    assert reply.status is NtStatus.SUCCESS


# -- others ------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 7])
def test_another_open_ends_it(client: Client, engine: Engine, share: int) -> None:
    """It has a batch oplock, of which nobody can be told any more."""
    file = durable(client, share=share)
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    client.disconnect()
    other = Client(engine).ready(user="bob")
    reply = create(other, oplock=SMB2_OPLOCK_LEVEL_BATCH)
    assert reply.status is NtStatus.PENDING or reply.status is NtStatus.SUCCESS
    if reply.status is NtStatus.PENDING:
        (reply,) = other.taken(reply.header.message_id)
    assert reply.parse(CreateResponse).oplock_level == SMB2_OPLOCK_LEVEL_BATCH
    assert engine.server.durable.places.used == engine.server.locks.used == 0
    client = back(engine, client)
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_an_open_of_attributes_leaves_it(client: Client, engine: Engine) -> None:
    file = durable(client)
    client.disconnect()
    other = Client(engine).ready(user="bob")
    assert other.create("file", 0x80) is NtStatus.SUCCESS
    assert create(back(engine, client), again(file)).status is NtStatus.SUCCESS


def test_a_break_that_is_not_answered_yet_is_the_end(client: Client, engine: Engine) -> None:
    file = durable(client)
    other = Client(engine).ready(user="bob")
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.disconnect()
    (reply,) = other.taken(message_id)
    assert reply.status is NtStatus.SUCCESS
    client = back(engine, client)
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_who_has_only_level_two_is_not_kept(client: Client, engine: Engine) -> None:
    file = durable(client)
    other = Client(engine).ready(user="bob")
    message_id, _ = other.pending(Command.CREATE, requests.create("file"))
    client.replies.clear()
    ack = OplockBreak(oplock_level=SMB2_OPLOCK_LEVEL_II, persistent=file[0], volatile=file[1])
    client.call(Command.OPLOCK_BREAK, ack.pack())
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    client.disconnect()
    assert engine.server.durable.places.used == 0
    client = back(engine, client)
    assert create(client, again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


def test_a_long_path_takes_more_places(client: Client, engine: Engine) -> None:
    folder = "/".join(["x" * 250] * 8)
    (engine.files / folder).mkdir(parents=True)
    durable(client, v2(), name=folder.replace("/", "\\") + "\\file")
    client.disconnect()
    assert engine.server.durable.places.used == 5  # 4,850 bytes of 1,000 each


def test_nobody_collects_them(client: Client, engine: Engine) -> None:
    """A user has a half of the places, and one that is refused is closed as any other."""
    room = engine.server.durable.places.capacity
    assert room > 100
    engine.server.durable.places._capacity = lambda: 10
    files = [durable(client, v2(guid=os.urandom(16)), name=f"file{n}") for n in range(10)]
    client.disconnect()
    assert engine.server.durable.places.used == 5
    client = back(engine, client)
    found = [create(client, again(file)).status for file in files]
    assert found.count(NtStatus.SUCCESS) == 5
    assert engine.server.durable.places.used == 0
