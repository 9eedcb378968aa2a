"""A reload of a share's options, where opens see its tree otherwise: by POSIX, in a snapshot."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.macos import aapl, listing
from smbengine.notify import NAMES, Watcher, nothing_is_left
from smbengine.reloads import change
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import FruitConfig, SnapshotConfig
from usmbd.protocol.wire.access import FILE_READ_DATA
from usmbd.protocol.wire.change_notify import SMB2_WATCH_TREE
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

POSIX = bytes.fromhex("93ad25509cb411e7b42383de968bcd7c")
TOKEN = "@GMT-2026.11.28-03.00.00"


def listed(client: Client, folder: FileId) -> set[str]:
    """List a folder from its beginning."""
    body = requests.query_directory(folder, FileNamesInformation, flags=1)
    data = client.call(Command.QUERY_DIRECTORY, body).data
    found, at = set(), 0
    while True:
        following, _, length = struct.unpack_from("<III", data, at)
        found.add(data[at + 12 : at + 12 + length].decode("utf-16-le"))
        if not following:
            return found - {".", ".."}
        at += following


def test_a_posix_client_still_sees_names_as_they_are(
    engine: Engine, reload: Callable[[], None]
) -> None:
    client = Client(engine)
    client.negotiate(posix=True)
    client.login()
    client.connect("data")
    for name in ("a:b", "Case", "hidden"):
        (engine.files / name).touch()
    contexts = [(POSIX, struct.pack("<I", 0o755))]
    body = requests.create(
        "", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE, contexts=contexts
    )
    folder = client.call(Command.CREATE, body).file_id
    assert listed(client, folder) == {"a:b", "Case", "hidden"}
    change(engine, veto_files=["hid*"])
    reload()
    assert listed(client, folder) == {"a:b", "Case"}


def test_what_is_open_of_a_snapshot_stays_one(
    engine: Engine, reload: Callable[[], None], tmp_path: Path
) -> None:
    folder = tmp_path / "snapshots" / TOKEN / "data" / "folder"
    folder.mkdir(parents=True)
    for name in ("kept", "hidden"):
        (folder / name).touch()
    where = SnapshotConfig(directory="snapshots", mount_point=str(tmp_path), fix_inodes=True)
    change(engine, snapshots=where)
    client = Client(engine).ready()
    opened = client.open(f"{TOKEN}\\folder", FILE_READ_DATA, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    before = client.open_of(opened).node.volume.options
    assert listed(client, opened) == {"kept", "hidden"}
    change(engine, veto_files=["hid*"])
    reload()
    assert listed(client, opened) == {"kept"}
    after = client.open_of(opened).node.volume.options
    assert after.read_only
    assert before.inode_salt == after.inode_salt != 0


def test_who_watches_lists_and_watches_by_the_new_options(
    client: Client, engine: Engine, reload: Callable[[], None]
) -> None:
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    change(engine, hide_unreadable=True)
    reload()
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
    watcher.wait()
    (engine.files / "file").touch()
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR  # no names: some may be hidden
    watcher.wait()
    reload()
    (engine.files / "file").unlink()
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
    client.close(watcher.file_id)
    engine.settle()
    assert nothing_is_left(engine)


@pytest.mark.parametrize("roots", [True, False])
def test_clients_learn_what_a_root_of_dfs_is_when_they_connect(
    engine: Engine, reload: Callable[[], None], roots: bool
) -> None:
    """They write names otherwise then, and who has learnt it goes on to."""
    change(engine, msdfs_root=not roots)
    client = Client(engine).ready()
    change(engine, msdfs_root=roots)
    reload()
    assert client.create("file") is NtStatus.NETWORK_NAME_DELETED


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({"fruit": None}, False),
        ({"fruit": FruitConfig(nfs_aces=False)}, False),
        ({"fruit": FruitConfig(time_machine_max_size=1 << 30)}, True),
        ({"fruit": FruitConfig(), "case_sensitive": True}, False),
    ],
)
@pytest.mark.parametrize("asks", [True, False])
def test_macos_learns_what_a_share_is_when_it_connects(
    engine: Engine, reload: Callable[[], None], options: dict[str, object], stays: bool, asks: bool
) -> None:
    change(engine, fruit=FruitConfig())
    client = Client(engine).ready()
    if asks:
        assert aapl(client) is not None
    (engine.files / "file").touch()
    change(engine, **options)
    reload()
    assert bool(client.session.tree_connect_table) is (stays or not asks)
    if not client.session.tree_connect_table:
        client.connect("data")
    assert "file" in listing(client)
