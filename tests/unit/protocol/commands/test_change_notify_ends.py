"""CHANGE_NOTIFY: what is kept for a client, what ends a wait, what is refused."""

import os
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.notify import (
    ADDED,
    LIST,
    NAMES,
    REMOVED,
    Watcher,
    configure,
    nothing_is_left,
    records,
)
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.state.notify import notifier
from usmbd.protocol.state.notify.walk import AT_ONCE
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES
from usmbd.protocol.wire.change_notify import (
    FILE_NOTIFY_CHANGE_DIR_NAME,
    FILE_NOTIFY_CHANGE_FILE_NAME,
    SMB2_WATCH_TREE,
)
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

# -- buffers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_buffer_too_small(client: Client, engine: Engine, length: int) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    (engine.files / "file").touch()
    assert watcher.told() == [(ADDED, "file")]
    watcher.wait(length=length)
    (engine.files / "file").unlink()
    reply = watcher.reply()
    assert (reply.status, reply.data) == (NtStatus.NOTIFY_ENUM_DIR, b"")
    watcher.wait(length=20)
    (engine.files / "file").touch()
    assert watcher.told() == [(ADDED, "file")]


def test_the_first_request_says_how_much_is_kept(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES, length=1)
    for action in ("touch", "unlink"):
        getattr(engine.files / "file", action)()
        assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
        watcher.wait(length=4096)


def test_too_much_between_two_requests(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES, length=1000)
    client.cancel(watcher.message_id, watcher.async_id)
    for number in range(100):
        (engine.files / f"file{number}").touch()
    assert watcher.ask().status is NtStatus.NOTIFY_ENUM_DIR
    assert engine.server.notifier.buffers.used == 0
    watcher.wait()
    (engine.files / "file1").unlink()
    assert watcher.told() == [(REMOVED, "file1")]


def test_what_is_kept_for_all_is_bounded(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchers = [Watcher(client, completion_filter=NAMES) for _ in range(20)]
    for watcher in watchers:
        client.cancel(watcher.message_id, watcher.async_id)
    monkeypatch.setattr(notifier, "BUFFERS", 1024)
    for number in range(100):
        (engine.files / f"file{number}").touch()
    engine.settle()
    assert engine.server.notifier.buffers.used <= 512  # another user has the other half
    assert NtStatus.NOTIFY_ENUM_DIR in {watcher.ask().status for watcher in watchers}


def test_several_requests_are_answered_in_turn(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    first = watcher.message_id
    watcher.wait()
    (engine.files / "one").touch()
    engine.settle()
    (reply,) = client.taken(first)
    assert records(reply.data) == [(ADDED, "one")]
    (engine.files / "two").touch()
    assert watcher.told() == [(ADDED, "two")]


def test_filter_and_flag_are_the_first_request_s(client: Client, engine: Engine) -> None:
    (engine.files / "dir").mkdir()
    watcher = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_FILE_NAME)
    (engine.files / "file").touch()
    watcher.told()
    watcher.wait(completion_filter=FILE_NOTIFY_CHANGE_DIR_NAME, flags=SMB2_WATCH_TREE)
    (engine.files / "dir" / "inner").mkdir()
    (engine.files / "new").mkdir()
    (engine.files / "file").unlink()
    assert watcher.told() == [(REMOVED, "file")]


# -- the end --------------------------------------------------------------------------------------


def test_cancel(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    client.cancel(watcher.message_id, watcher.async_id)
    assert watcher.reply().status is NtStatus.CANCELLED
    (engine.files / "file").touch()
    assert watcher.more() == [(ADDED, "file")]  # the watch goes on


@pytest.mark.parametrize("how", ["close", "tree", "logoff", "disconnect"])
@pytest.mark.parametrize("flags", [0, SMB2_WATCH_TREE])
def test_whatever_ends_the_open(client: Client, engine: Engine, how: str, flags: int) -> None:
    (engine.files / "a" / "b").mkdir(parents=True)
    watcher = Watcher(client, flags=flags)
    (engine.files / "file").touch()
    watcher.told()
    (engine.files / "file").unlink()
    engine.settle()
    assert engine.server.notifier.buffers.used
    while watcher.more():
        pass
    if how == "close":
        client.close(watcher.file_id)
    elif how == "tree":
        client.call(Command.TREE_DISCONNECT, requests.EMPTY)
    elif how == "logoff":
        client.call(Command.LOGOFF, requests.EMPTY)
    else:
        client.disconnect()
    if how != "disconnect":
        reply = watcher.reply()
        assert reply.status is NtStatus.NOTIFY_CLEANUP
        assert reply.signed
    assert nothing_is_left(engine)


def test_a_deleted_directory(client: Client, other: Client, engine: Engine) -> None:
    (engine.files / "dir").mkdir()
    watcher = Watcher(client, "dir")
    watcher.wait()
    other.close(other.open("dir", options=FILE_DIRECTORY_FILE | FILE_DELETE_ON_CLOSE))
    assert watcher.reply().status is NtStatus.DELETE_PENDING
    assert watcher.ask().status is NtStatus.DELETE_PENDING
    client.close(watcher.file_id)
    assert not (engine.files / "dir").exists()
    assert nothing_is_left(engine)


# -- refusals -------------------------------------------------------------------------------------


def test_refusals(client: Client, engine: Engine) -> None:
    def status(file_id: FileId, **fields: int) -> NtStatus:
        body = requests.change_notify(file_id, **fields)
        return client.call(Command.CHANGE_NOTIFY, body).status

    (engine.files / "dir").mkdir()
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert status(client.open("file")) is NtStatus.INVALID_PARAMETER
    assert status(client.open("dir:stream")) is NtStatus.INVALID_PARAMETER
    blind = client.open("dir", FILE_READ_ATTRIBUTES, options=FILE_DIRECTORY_FILE)
    assert status(blind) is NtStatus.ACCESS_DENIED
    most = client.connection.max_transact_size
    assert status(directory, length=most + 1) is NtStatus.INVALID_PARAMETER
    assert status(directory, flags=2) is NtStatus.INVALID_PARAMETER
    assert status((1, 2)) is NtStatus.FILE_CLOSED
    assert nothing_is_left(engine)


def test_bits_that_mean_nothing_are_matched_by_nothing(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=0x80001000)
    (engine.files / "file").touch()
    assert watcher.all_told() == []


def test_change_notify_can_be_switched_off(client: Client, engine: Engine) -> None:
    configure(engine, change_notify=False)
    directory = client.open("", FILE_LIST_DIRECTORY, options=FILE_DIRECTORY_FILE)
    body = requests.change_notify(directory)
    reply = client.call(Command.CHANGE_NOTIFY, body)
    assert reply.status is NtStatus.NOT_IMPLEMENTED


# -- limits ---------------------------------------------------------------------------------------


def test_one_user_does_not_get_all_watches(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "max_user_watches", lambda: 16 * engine.server.config.workers)
    for number in range(20):
        (engine.files / str(number)).mkdir()
    opens = [client.open(str(number), options=FILE_DIRECTORY_FILE) for number in range(20)]
    refused = 0
    for file_id in opens:
        body = requests.change_notify(file_id)
        (reply,) = client.taken(client.post(Command.CHANGE_NOTIFY, body))
        refused += reply.status is NtStatus.INSUFFICIENT_RESOURCES
    assert refused == 16
    free = engine.server.notifier.directories.capacity - engine.server.notifier.directories.used
    assert free == 4  # for others
    tree = client.open("", LIST, options=FILE_DIRECTORY_FILE)
    body = requests.change_notify(tree, flags=SMB2_WATCH_TREE)
    assert client.call(Command.CHANGE_NOTIFY, body).status is NtStatus.INSUFFICIENT_RESOURCES
    for file_id in opens:
        client.close(file_id)
    assert nothing_is_left(engine)


def test_a_tree_that_grows_beyond_the_limit(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "max_user_watches", lambda: 16 * engine.server.config.workers)
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    client.cancel(watcher.message_id, watcher.async_id)
    for number in range(10):
        (engine.files / str(number)).mkdir()
    engine.settle()
    *_, reply = client.taken(client.post(Command.CHANGE_NOTIFY, watcher.body()))
    assert reply.status is NtStatus.INSUFFICIENT_RESOURCES
    assert nothing_is_left(engine)


class Slices:
    """Turns that are over at every hundredth look, after which others come."""

    def __init__(self, engine: Engine) -> None:
        """Count how often others had their turn."""
        self.engine = engine
        self.looks = self.count = 0

    clock = staticmethod(lambda: 1.0)

    def over(self, began: float = 0.0) -> bool:
        """Count a look."""
        self.looks += 1
        return self.looks % 100 == 0

    def full(self) -> bool:
        """Let all begin."""
        return False

    def later(self, owner: object, work: Callable[[], None]) -> None:
        """Call in the engine's next round."""
        self.count += 1
        self.engine.peers.later(work)


def test_a_thousand_directories(engine: Engine) -> None:
    """One tree, in slices; what it costs is given back."""
    turns = engine.server.turns = Slices(engine)
    for number in range(20):
        for inner in range(50):
            (engine.files / str(number) / str(inner)).mkdir(parents=True)
            os.utime(engine.files / str(number) / str(inner), (1, 1))
        os.utime(engine.files / str(number), (1, 1))
    client = Client(engine).ready()
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    assert engine.server.notifier.watched == 1_021
    assert engine.server.pinned or turns.count > 1_021 // AT_ONCE
    (engine.files / "15" / "45" / "file").touch()
    assert watcher.told() == [(ADDED, "15\\45\\file")]
    client.close(watcher.file_id)
    assert nothing_is_left(engine)
