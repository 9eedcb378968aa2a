"""CHANGE_NOTIFY with SMB2_WATCH_TREE where something is mounted or unmounted below."""

from pathlib import Path

import pytest
from mounting import mounted
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import KEY, breaks
from smbengine.notify import ADDED, LIST, NAMES, Watcher, nothing_is_left
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import NONE, RH
from usmbd.protocol.wire.change_notify import SMB2_WATCH_TREE
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, SMB2_OPLOCK_LEVEL_LEASE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_REQUEST_LEASE, LeaseV2
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.oplock_break import SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED
from usmbd.protocol.wire.status import NtStatus


def look(engine: Engine, *points: Path) -> None:
    """Have the notifier look at mount points."""
    engine.run(lambda: engine.server.notifier.mounted([str(point) for point in points]))
    engine.settle()


def has_to_list(watcher: Watcher) -> None:
    """See that a client is told to list, once."""
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
    watcher.wait()


@pytest.mark.parametrize("below", ["", "a"])
def test_a_tree_follows_what_is_mounted_and_unmounted(
    client: Client, other: Client, engine: Engine, below: str
) -> None:
    """By who watches the share, and by who watches a folder of it; changes of anybody."""
    sub = engine.files / "a" / "sub"
    (sub / "covered" / "deep").mkdir(parents=True)
    watcher = Watcher(client, below, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    second = Watcher(other, "a", completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    flat = Watcher(client, "a", completion_filter=NAMES)
    path = "sub" if below else "a\\sub"
    before = engine.server.notifier.directories.used
    with mounted(sub):
        (sub / "inner").mkdir()
        look(engine, sub)
        has_to_list(watcher)
        has_to_list(second)
        other.close(other.open("a\\sub\\of-a-client"))
        (sub / "inner" / "local").touch()
        told = [(ADDED, f"{path}\\of-a-client"), (ADDED, f"{path}\\inner\\local")]
        assert watcher.all_told() == told
        assert [name for _, name in second.all_told()] == ["sub\\of-a-client", "sub\\inner\\local"]
    look(engine, sub)
    has_to_list(watcher)
    has_to_list(second)
    (sub / "covered" / "deep" / "local").touch()
    assert watcher.all_told() == [(ADDED, f"{path}\\covered\\deep\\local")]
    assert flat.all_told() == []
    assert engine.server.notifier.directories.used == before
    for each in (watcher, second, flat):
        each.client.close(each.file_id)
    engine.settle()
    assert nothing_is_left(engine)


def test_mounts_elsewhere_concern_nobody(client: Client, engine: Engine) -> None:
    (engine.files / "a").mkdir()
    tree = Watcher(client, "a", completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    flat = Watcher(client, completion_filter=NAMES)
    folder = engine.files / "a"
    look(engine, engine.files / "ab", engine.files, folder, folder / "none" / "deep")
    assert tree.all_told() == []
    assert flat.all_told() == []


def test_a_mount_point_that_is_gone_again(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    look(engine, engine.files / "gone")
    has_to_list(watcher)
    (engine.files / "file").touch()
    assert watcher.all_told() == [(ADDED, "file")]


def test_leases_on_folders_end_where_something_is_mounted(client: Client, engine: Engine) -> None:
    """What a listing shows may be another folder's."""
    (engine.files / "dir").mkdir()
    lease = LeaseV2(lease_key=KEY, lease_state=RH, lease_flags=0)
    body = requests.create(
        "dir",
        LIST,
        oplock=SMB2_OPLOCK_LEVEL_LEASE,
        contexts=[(SMB2_CREATE_REQUEST_LEASE, lease.pack())],
        options=FILE_DIRECTORY_FILE,
    )
    assert client.call(Command.CREATE, body).status is NtStatus.SUCCESS
    assert breaks(client) == []
    look(engine, engine.files / "dir")
    assert breaks(client) == [(RH, NONE, SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED)]
