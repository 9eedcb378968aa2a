"""What an open was to delete whose client is gone, when its user's rights have ended meanwhile."""

from collections.abc import Callable
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import GUID, again, back, create, durable, v2
from smbengine.persistent import available, persistent, restarted
from smbengine.reloads import change
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import AbsentUserRequest, TreeStatus
from usmbd.protocol.state.deferred import RETRY_SECONDS
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_OPEN_IF, SMB2_OPLOCK_LEVEL_NONE
from usmbd.protocol.wire.fsctl import FSCTL_LMR_REQUEST_RESILIENCY
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK, SMB2_LOCKFLAG_FAIL_IMMEDIATELY
from usmbd.protocol.wire.status import NtStatus
from usmbd.protocol.worker.recheck import Recheck

DISPOSITION = 13
LOCK = SMB2_LOCKFLAG_EXCLUSIVE_LOCK | SMB2_LOCKFLAG_FAIL_IMMEDIATELY
Ends = Callable[[Engine], object]

ENDS: dict[str, Ends] = {
    "read only": lambda engine: change(engine, read_only=True),
    "another folder": lambda engine: change(engine, path=str(engine.files.parent)),
    "no share": lambda engine: engine.shares.pop("data"),
    "invalid users": lambda engine: engine.mountd.refused.update(data=TreeStatus.INVALID_USER),
    "no user": lambda engine: engine.mountd.removed.add("alice"),
}
"""How rights end."""

ended = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)


def reload(engine: Engine, server: int = 1) -> None:
    """Have a worker ask about all that is there."""
    Recheck(engine.peers.servers[server], engine.clock).begin()
    engine.settle()


def deferred(client: Client, **options: int) -> None:
    """Leave a file that is to be deleted."""
    durable(client, v2(1000), options=FILE_DELETE_ON_CLOSE, **options)
    client.disconnect()


@ended
@pytest.mark.parametrize("told", [True, False])
def test_nothing_is_deleted_whose_user_may_not_any_more(
    client: Client, engine: Engine, ends: Ends, told: bool
) -> None:
    """Whether a reload has told of it before its time is over or not."""
    deferred(client)
    ends(engine)
    if told:
        reload(engine)
        assert engine.server.durable.places.used == 0
        assert not engine.store.disconnected()
    engine.clock.advance(2)
    engine.settle()
    assert (engine.files / "file").exists()
    assert not engine.store.disconnected()
    assert engine.server.durable.places.used == 0


@ended
def test_nor_for_another_who_wants_the_file(client: Client, engine: Engine, ends: Ends) -> None:
    """He gets it as it is, where he may."""
    other = Client(engine).ready(user="bob")
    deferred(client, share=0)
    (engine.files / "file").write_bytes(b"old")
    ends(engine)
    body = requests.create("file", disposition=FILE_OPEN_IF, share=0, access=FILE_READ_DATA)
    reply = other.taken(other.post(Command.CREATE, body))[-1]
    assert reply.status is NtStatus.SUCCESS
    assert (engine.files / "file").read_bytes() == b"old"


@ended
@pytest.mark.parametrize("left", ["here", "in another worker", "by a dead worker"])
def test_nothing_is_kept_from_others_by_who_may_not_any_more(
    client: Client, engine: Engine, ends: Ends, left: str
) -> None:
    """His locks and share modes end with his rights, not with the time that his open had."""
    file = durable(client, v2(), share=0)
    client.call(Command.LOCK, requests.lock(file, (0, 10, LOCK)))
    if left == "by a dead worker":
        engine.store.drop_worker(1)  # so its client is gone without a word
        engine.server.durable.take_over()
    else:
        client.disconnect()
    assert len(engine.store.disconnected()) == 1
    reload(engine)
    assert len(engine.store.disconnected()) == 1
    ends(engine)
    if left == "in another worker":  # which does not keep its time
        other = engine.another_worker()
        reload(engine, other.worker)
        assert len(engine.store.disconnected()) == 1
    reload(engine)
    assert engine.store.disconnected() == []
    assert engine.store.count_locks(file_key(*_device_and_inode(engine))) == 0
    assert engine.server.durable.places.used == 0
    assert (engine.files / "file").exists()


def test_one_question_is_enough_for_all_that_a_user_left(client: Client, engine: Engine) -> None:
    """Thousands may be left of a session, and who has a new password has all asked about."""
    other = Client(engine).ready(user="bob")
    for number in range(10):
        for each in (client, other):
            name = f"{number}{each is client}"
            durable(each, v2(guid=bytes([number, each is client] * 8)), name=name)
    client.disconnect()
    other.disconnect()
    assert len(engine.store.disconnected()) == 20
    engine.mountd.removed.add("bob")
    reload(engine)
    assert len(engine.store.disconnected()) == 10
    asked = [message for message in engine.mountd.asked if isinstance(message, AbsentUserRequest)]
    assert sorted(message.user for message in asked) == ["alice", "bob"]


def _device_and_inode(engine: Engine) -> tuple[int, int]:
    found = (engine.files / "file").stat()
    return found.st_dev, found.st_ino


def test_what_a_dead_worker_left_of_who_came_by_a_ticket(client: Client, engine: Engine) -> None:
    """Mountd is shown the ticket that his session had last, and where he was."""
    (session,) = engine.server.session_table.values()
    durable(client, v2())
    session.ticket = b"ticket"
    engine.server.keep_session(session, *session.channel_list)
    engine.store.drop_worker(1)
    engine.server.durable.take_over()
    reload(engine)
    asked = [message for message in engine.mountd.asked if isinstance(message, AbsentUserRequest)]
    assert asked == [AbsentUserRequest("data", "alice", b"ticket", "memory", "memory")]


def test_what_has_not_ended_goes_on(client: Client, engine: Engine) -> None:
    """A reload leaves alone what its client can come back to."""
    file = durable(client, v2(), options=FILE_DELETE_ON_CLOSE)
    client.disconnect()
    engine.mountd.denied.add("memory")
    engine.mountd.removed.add("bob")
    reload(engine)
    assert len(engine.store.disconnected()) == 1
    engine.mountd.denied.clear()
    client = back(engine, client)
    assert create(client, again(file, GUID)).status is NtStatus.SUCCESS


def test_where_nobody_knows_it_waits_until_somebody_does(client: Client, engine: Engine) -> None:
    """Mountd is being started anew, say; meanwhile nothing is deleted, and nothing ends."""
    deferred(client)
    engine.mountd.silent = True
    engine.clock.advance(2)
    engine.settle()
    for _ in range(3):
        engine.clock.advance(RETRY_SECONDS)
        engine.settle()
    assert (engine.files / "file").exists()
    assert len(engine.store.disconnected()) == 1
    engine.mountd.silent = False
    engine.clock.advance(RETRY_SECONDS)
    engine.settle()
    assert not (engine.files / "file").exists()
    asked = [message for message in engine.mountd.asked if isinstance(message, AbsentUserRequest)]
    assert len(asked) == 5


def test_who_comes_back_meanwhile_keeps_his_open(client: Client, engine: Engine) -> None:
    file = durable(client, v2(1000), options=FILE_DELETE_ON_CLOSE)
    client.disconnect()
    client = back(engine, client)
    engine.mountd.silent = True
    engine.clock.advance(2)
    engine.settle()
    reply = create(client, again(file, GUID))
    engine.mountd.silent = False
    engine.clock.advance(RETRY_SECONDS)
    engine.settle()
    assert (engine.files / "file").exists()
    assert client.close(reply.file_id) is NtStatus.SUCCESS
    assert not (engine.files / "file").exists()


def test_who_was_back_meanwhile_and_is_gone_again_has_his_whole_time(
    client: Client, engine: Engine
) -> None:
    """Another worker that has asked about the first time does not take the second one away."""
    other = Client(engine, server=engine.another_worker()).ready(user="bob")
    file = durable(client, v2(5000), options=FILE_DELETE_ON_CLOSE, share=0)
    client.disconnect()
    client = back(engine, client)
    engine.mountd.silent = True
    body = requests.create("file", disposition=FILE_OPEN_IF, share=0, access=FILE_READ_DATA)
    message_id, _ = other.pending(Command.CREATE, body)
    create(client, again(file, GUID))
    client.disconnect()
    engine.mountd.silent = False
    engine.clock.advance(RETRY_SECONDS)
    engine.settle()
    assert len(engine.store.disconnected()) == 1
    assert len(engine.server.durable.waiting()) == 1
    engine.clock.advance(5)
    engine.settle()
    assert not engine.store.disconnected()
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


@ended
def test_nor_what_a_dead_worker_has_left(client: Client, engine: Engine, ends: Ends) -> None:
    """Its successor keeps the time, also of what was over when the worker died."""
    deferred(client)
    opens = engine.store.disconnected()
    engine.store.drop_worker(1)
    assert engine.store.left_to_delete() == []
    assert engine.store.disconnected() == opens
    ends(engine)
    engine.server.durable._waiting.clear()  # as its successor begins
    engine.server.durable.take_over()
    engine.clock.advance(2)
    engine.settle()
    assert (engine.files / "file").exists()
    assert not engine.store.disconnected()


@ended
def test_nor_what_a_persistent_open_was_to_delete(tmp_path: Path, ends: Ends) -> None:
    """The configuration has changed while the server did not run."""
    engine = available(tmp_path)
    client = Client(engine).ready()
    persistent(client, timeout=1000, options=FILE_DELETE_ON_CLOSE)
    engine.settle()
    engine = restarted(engine)
    try:
        assert engine.restored == 1
        ends(engine)
        engine.server.durable.take_over()
        reload(engine)
        assert (engine.files / "file").exists()
        assert not engine.store.disconnected()
    finally:
        engine.close()


@ended
@pytest.mark.parametrize("told", [True, False])
def test_nor_what_a_resilient_open_has_asked_for(
    client: Client, engine: Engine, ends: Ends, told: bool
) -> None:
    """By FileDispositionInformation; nobody else can open it before the open has ended."""
    file = create(client, oplock=SMB2_OPLOCK_LEVEL_NONE, access=DELETE | FILE_READ_DATA).file_id
    ask = requests.ioctl(file, FSCTL_LMR_REQUEST_RESILIENCY, b"\xe8\x03\0\0\0\0\0\0")
    assert client.call(Command.IOCTL, ask).status is NtStatus.SUCCESS
    body = requests.set_info(file, DISPOSITION, b"\x01")
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    client.disconnect()
    assert len(engine.store.disconnected()) == 1
    ends(engine)
    if told:
        reload(engine)
        assert not engine.store.disconnected()
    engine.clock.advance(2)
    engine.settle()
    assert (engine.files / "file").exists()
    assert not engine.store.disconnected()


@ended
def test_nor_what_was_open_when_a_reload_ended_it(
    client: Client, engine: Engine, ends: Ends
) -> None:
    """Durable or not: it is closed, its client is told, and the file stays."""
    client.open("plain", options=FILE_DELETE_ON_CLOSE)
    durable(client, v2(1000), options=FILE_DELETE_ON_CLOSE)
    asked = client.open("asked")
    body = requests.set_info(asked, DISPOSITION, b"\x01")
    assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    ends(engine)
    reload(engine)
    client.disconnect()
    engine.clock.advance(2)
    engine.settle()
    assert {path.name for path in engine.files.iterdir()} == {"plain", "file", "asked"}


def test_who_has_another_password_has_his_rights_still(client: Client, engine: Engine) -> None:
    """His session ends, and what it was to delete goes as at any end of a session."""
    client.open("plain", options=FILE_DELETE_ON_CLOSE)
    file = durable(client, v2(), options=FILE_DELETE_ON_CLOSE)
    engine.mountd.changed.add("alice")
    reload(engine)
    assert [path.name for path in engine.files.iterdir()] == ["file"]
    engine.mountd.changed.clear()
    assert create(back(engine, client), again(file, GUID)).status is NtStatus.SUCCESS
