"""CHANGE_NOTIFY with SMB2_WATCH_TREE: what is below a directory, however it got there."""

import os
import struct
from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.notify import (
    ADDED,
    NAMES,
    NEW,
    OLD,
    REMOVED,
    Watcher,
)
from smbengine.server import Engine

from usmbd.protocol.wire.change_notify import (
    SMB2_WATCH_TREE,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.status import NtStatus


def test_a_tree_with_what_comes_into_it(client: Client, other: Client, engine: Engine) -> None:
    (engine.files / "a" / "b").mkdir(parents=True)
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    flat = Watcher(client, completion_filter=NAMES)
    other.close(other.open("a\\b\\file"))
    other.close(other.open("a\\b\\c", options=FILE_DIRECTORY_FILE))
    other.close(other.open("a\\b\\c\\file"))
    assert watcher.all_told() == [
        (ADDED, "a\\b\\file"),
        (ADDED, "a\\b\\c"),
        (ADDED, "a\\b\\c\\file"),
    ]
    assert flat.all_told() == []


def test_what_is_in_a_new_directory_before_it_is_watched(client: Client, engine: Engine) -> None:
    """A local program is faster than we are: nothing is missed, nothing told twice."""
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    (engine.files / "a" / "b").mkdir(parents=True)
    (engine.files / "a" / "b" / "file").touch()
    assert sorted(watcher.all_told()) == [(ADDED, "a"), (ADDED, "a\\b"), (ADDED, "a\\b\\file")]
    (engine.files / "a" / "b" / "file").unlink()
    (engine.files / "a" / "b" / "file").touch()
    assert watcher.all_told() == [(REMOVED, "a\\b\\file"), (ADDED, "a\\b\\file")]


def test_what_is_renamed_before_it_is_watched(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    (engine.files / "a").mkdir()
    (engine.files / "a" / "file").touch()
    (engine.files / "a").rename(engine.files / "b")
    assert watcher.all_told() == [(ADDED, "a"), (OLD, "a"), (NEW, "b"), (ADDED, "b\\file")]
    (engine.files / "b" / "file").unlink()
    assert watcher.all_told() == [(REMOVED, "b\\file")]


def test_names_are_right_after_parents_were_renamed(client: Client, engine: Engine) -> None:
    (engine.files / "a" / "b").mkdir(parents=True)
    (engine.files / "other").mkdir()
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    inner = Watcher(client, "a\\b", completion_filter=NAMES)
    (engine.files / "a").rename(engine.files / "other" / "new")
    (engine.files / "other" / "new" / "b" / "file").touch()
    assert watcher.all_told() == [
        (REMOVED, "a"),
        (ADDED, "other\\new"),
        (ADDED, "other\\new\\b\\file"),
    ]
    assert inner.all_told() == [(ADDED, "file")]
    (engine.files / "other").rename(engine.files / "last")
    (engine.files / "last" / "new" / "b" / "file").unlink()
    assert watcher.all_told() == [
        (OLD, "other"),
        (NEW, "last"),
        (REMOVED, "last\\new\\b\\file"),
    ]


def test_what_has_moved_out_is_not_told_of(client: Client, engine: Engine, tmp_path: Path) -> None:
    """Names outside the share are nobody's to see."""
    (engine.files / "a" / "b").mkdir(parents=True)
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    watched = engine.server.notifier.watched
    (engine.files / "a").rename(tmp_path / "outside")
    assert watcher.all_told() == [(REMOVED, "a")]
    (tmp_path / "outside" / "secret").touch()
    (tmp_path / "outside" / "b" / "secret").touch()
    assert watcher.all_told() == []
    assert engine.server.notifier.watched == watched - 2
    for name in ("outside", "outside/b"):
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "outside").rename(engine.files / "back")
    engine.settle()
    (engine.files / "back" / "b" / "file").touch()
    assert watcher.all_told() == [(ADDED, "back"), (ADDED, "back\\b\\file")]


def test_what_comes_into_a_moved_tree_before_it_is_watched(
    client: Client, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "outside" / "b").mkdir(parents=True)
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    (tmp_path / "outside").rename(engine.files / "new")
    (engine.files / "new" / "b" / "file").touch()
    assert watcher.told() == [(ADDED, "new")]
    assert watcher.ask().status is NtStatus.NOTIFY_ENUM_DIR


def test_links_are_not_followed(client: Client, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (engine.files / "link").symlink_to(tmp_path / "outside")
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    (tmp_path / "outside" / "secret").touch()
    assert watcher.all_told() == []


def test_lost_events(client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's queue is full: the client has to list, and what has come is watched."""
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    directories = engine.server.notifier._directories
    assert directories is not None
    (engine.files / "a").mkdir()
    directories.read()  # as if the kernel had dropped it
    overflow = struct.pack("=iIII", -1, 0x4000, 0, 0)
    read = os.read
    once = [overflow]
    monkeypatch.setattr(os, "read", lambda fd, size: once.pop() if once else read(fd, size))
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
    (engine.files / "a" / "file").touch()
    assert watcher.more() == [(ADDED, "a\\file")]
