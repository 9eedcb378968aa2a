"""CHANGE_NOTIFY: what the engine tells, across workers and without the kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.notify import (
    ADDED,
    BASIC,
    LIST,
    MODIFIED,
    NAMES,
    NEW,
    OLD,
    REMOVED,
    Watcher,
    basic,
    configure,
    records,
    rename,
    set_info,
)
from smbengine.server import Engine

from usmbd.protocol.state.notify.change import DirectoryChange, came
from usmbd.protocol.state.notify.sight import LONGEST_QUEUE
from usmbd.protocol.state.store.records import file_key
from usmbd.protocol.wire.change_notify import (
    FILE_NOTIFY_CHANGE_ALL,
    SMB2_WATCH_TREE,
)
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_ARCHIVE, FILE_ATTRIBUTE_HIDDEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


def test_changes_by_clients_of_another_worker(client: Client, engine: Engine) -> None:
    server = engine.another_worker()
    elsewhere = Client(engine, server=server).ready(user="bob")
    names = Watcher(client, completion_filter=NAMES)
    rest = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_ALL & ~NAMES)
    file_id = elsewhere.open("file")
    assert names.told() == [(ADDED, "file")]
    engine.clock.advance(1)
    assert rest.all_told() == []  # the attributes of a new file are no change
    kept = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_ARCHIVE  # else the write would set it, and say so
    set_info(elsewhere, file_id, BASIC, basic(attributes=kept))
    engine.clock.advance(1)
    assert rest.all_told() == [(MODIFIED, "file")]
    elsewhere.call(Command.WRITE, requests.write(file_id, b"data"))
    assert rest.all_told() == [(MODIFIED, "file")]


def test_a_directory_deleted_by_a_client_of_another_worker(client: Client, engine: Engine) -> None:
    elsewhere = Client(engine, server=engine.another_worker()).ready(user="bob")
    (engine.files / "dir").mkdir()
    watcher = Watcher(client, "dir")
    elsewhere.close(elsewhere.open("dir", options=FILE_DIRECTORY_FILE | FILE_DELETE_ON_CLOSE))
    assert watcher.reply().status is NtStatus.DELETE_PENDING


@pytest.fixture
def alone(engine: Engine) -> Iterator[Engine]:
    """Return an engine with `kernel change notify = no`."""
    configure(engine, kernel_change_notify=False)
    yield engine
    assert engine.server.notifier.watched == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_without_the_kernel_the_engine_tells(alone: Engine, workers: int) -> None:
    client = Client(alone).ready()
    server = alone.another_worker() if workers == 2 else alone.server
    other = Client(alone, server=server).ready(user="bob")
    (alone.files / "a").mkdir()
    tree = Watcher(client, flags=SMB2_WATCH_TREE)
    flat = Watcher(client, completion_filter=NAMES)
    (alone.files / "a" / "local").touch()
    (alone.files / "local").touch()
    file_id = other.open("a\\file")
    other.call(Command.WRITE, requests.write(file_id, b"data"))
    other.close(file_id)
    rename(other, "a\\file", "a\\new")
    rename(other, "a\\new", "file")
    other.close(other.open("file", options=FILE_DELETE_ON_CLOSE))
    other.close(other.open("dir", options=FILE_DIRECTORY_FILE))
    expected = [
        (ADDED, "a\\file"),
        (MODIFIED, "a\\file"),
        (OLD, "a\\file"),
        (NEW, "a\\new"),
        (MODIFIED, "a\\new"),
        (REMOVED, "a\\new"),
        (ADDED, "file"),
        (MODIFIED, "file"),
        (REMOVED, "file"),
        (ADDED, "dir"),
    ]
    assert tree.all_told() == expected
    assert flat.all_told() == [(ADDED, "file"), (REMOVED, "file"), (ADDED, "dir")]


def test_another_share_around_the_one_that_is_watched(alone: Engine) -> None:
    """A change by the inner share is told to who watches the outer one."""
    (alone.files / "inner").mkdir()
    inner = str(alone.files / "inner")
    alone.shares["inner"] = replace(alone.shares["data"], name="inner", path=inner)
    watcher = Watcher(Client(alone).ready(), completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    other = Client(alone).ready(share="inner", user="bob")
    other.close(other.open("file"))
    assert watcher.told() == [(ADDED, "inner\\file")]


@pytest.fixture
def slow_tree(alone: Engine) -> Watcher:
    """Return who watches a tree on a volume that is measured slow: others look for him."""
    client = Client(alone).ready()
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    (session,) = alone.server.session_table.values()
    (tree,) = session.tree_connect_table.values()
    tree.speed.slow_until = float("inf")
    return watcher


def test_a_slow_volume_tells_the_same_in_the_same_order(alone: Engine, slow_tree: Watcher) -> None:
    (alone.files / "a").mkdir()
    other = Client(alone).ready(user="bob")
    for path in ("a\\one", "two", "a\\three"):
        other.close(other.open(path))
    assert slow_tree.all_told() == [(ADDED, "a\\one"), (ADDED, "two"), (ADDED, "a\\three")]


def test_a_watch_that_ends_while_a_thread_looks(alone: Engine, slow_tree: Watcher) -> None:
    (alone.files / "a").mkdir()
    other = Client(alone).ready(user="bob")
    alone.threads.held = True
    told = DirectoryChange(
        ((_key(alone.files / "a"), "a"), (_key(alone.files), "")),
        (came("one", is_directory=False),),
        by_kernel=True,
    )
    alone.run(lambda: alone.server.notifier.changed(told))
    alone.run(lambda: alone.server.notifier.all_lost())
    assert slow_tree.reply().status is NtStatus.NOTIFY_ENUM_DIR
    for watch in alone.server.notifier._all():
        alone.run(watch.stop)
    alone.threads.held = False
    alone.settle()
    assert not alone.server.notifier._sight._waiting
    other.close(other.open("two"))


def test_more_changes_than_may_wait_for_a_look(alone: Engine, slow_tree: Watcher) -> None:
    (alone.files / "a").mkdir()
    alone.threads.held = True
    told = DirectoryChange(
        ((_key(alone.files / "a"), "a"), (_key(alone.files), "")),
        (came("one", is_directory=False),),
        by_kernel=True,
    )
    for _ in range(LONGEST_QUEUE + 1):
        alone.run(lambda: alone.server.notifier.changed(told))
    (waiting,) = alone.server.notifier._sight._waiting.values()
    assert len(waiting) == LONGEST_QUEUE
    assert slow_tree.reply().status is NtStatus.NOTIFY_ENUM_DIR
    alone.threads.held = False
    alone.settle()


def _key(path: Path) -> bytes:
    """Return a directory's key in the store."""
    stat = path.stat()
    return file_key(stat.st_dev, stat.st_ino)


def test_a_change_of_the_setting_has_clients_ask_again(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    configure(engine, kernel_change_notify=False)
    engine.server.notifier.settings_changed()
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
    assert engine.server.notifier.watched == 0
    watcher.wait()
    client.close(client.open("file"))
    assert watcher.told() == [(ADDED, "file")]


def test_a_request_that_is_the_last_of_a_compound_waits(client: Client, engine: Engine) -> None:
    body = requests.create("", LIST, options=FILE_DIRECTORY_FILE)
    notify = requests.change_notify(requests.RELATED, NAMES)
    _, interim = client.compound((Command.CREATE, body), (Command.CHANGE_NOTIFY, notify))
    assert interim.status is NtStatus.PENDING
    (engine.files / "file").touch()
    engine.settle()
    (reply,) = client.taken(interim.header.message_id)
    assert records(reply.data) == [(ADDED, "file")]
