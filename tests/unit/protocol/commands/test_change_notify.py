"""CHANGE_NOTIFY: who is told what, and by which names."""

import os
import struct

import pytest
from msgspec.structs import replace
from smbengine import requests
from smbengine.client import Client
from smbengine.notify import (
    ADDED,
    BASIC,
    EAS,
    MODIFIED,
    NAMES,
    NEW,
    OLD,
    REMOVED,
    Watcher,
    basic,
    rename,
    set_info,
)
from smbengine.server import Engine

from usmbd.protocol.state.notify.attributes import HELD_SECONDS
from usmbd.protocol.wire.change_notify import (
    FILE_ACTION_ADDED_STREAM,
    FILE_ACTION_MODIFIED_STREAM,
    FILE_ACTION_REMOVED_STREAM,
    FILE_NOTIFY_CHANGE_ALL,
    FILE_NOTIFY_CHANGE_ATTRIBUTES,
    FILE_NOTIFY_CHANGE_CREATION,
    FILE_NOTIFY_CHANGE_EA,
    FILE_NOTIFY_CHANGE_LAST_ACCESS,
    FILE_NOTIFY_CHANGE_LAST_WRITE,
    FILE_NOTIFY_CHANGE_SECURITY,
    FILE_NOTIFY_CHANGE_SIZE,
    FILE_NOTIFY_CHANGE_STREAM_NAME,
    FILE_NOTIFY_CHANGE_STREAM_SIZE,
    FILE_NOTIFY_CHANGE_STREAM_WRITE,
    SMB2_WATCH_TREE,
)
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_DIRECTORY_FILE
from usmbd.protocol.wire.fscc.attributes import FILE_ATTRIBUTE_HIDDEN
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

# -- what is told ---------------------------------------------------------------------------------


def test_a_client_is_told_what_another_does(client: Client, other: Client) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    other.close(other.open("file"))
    assert watcher.told() == [(ADDED, "file")]
    watcher.wait()
    other.close(other.open("dir", options=FILE_DIRECTORY_FILE))
    assert watcher.told() == [(ADDED, "dir")]
    watcher.wait()
    rename(other, "file", "renamed")
    assert watcher.told() == [(OLD, "file"), (NEW, "renamed")]
    watcher.wait()
    other.close(other.open("renamed", options=FILE_DELETE_ON_CLOSE))
    assert watcher.told() == [(REMOVED, "renamed")]


def test_what_a_client_does_itself_is_told_as_well(client: Client) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    client.close(client.open("file"))
    assert watcher.told() == [(ADDED, "file")]


def test_local_programs_are_told_of(client: Client, engine: Engine) -> None:
    watcher = Watcher(client)
    (engine.files / "file").write_bytes(b"data")
    assert watcher.all_told() == [(ADDED, "file"), (MODIFIED, "file")]
    (engine.files / "file").rename(engine.files / "new")
    (engine.files / "new").unlink()
    assert watcher.all_told() == [(OLD, "file"), (NEW, "new"), (REMOVED, "new")]


def test_what_gathers_between_two_requests(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES)
    for _ in range(2):
        (engine.files / "dir").mkdir()
        (engine.files / "dir").rmdir()
    engine.settle()
    assert watcher.told() == [(ADDED, "dir")]
    assert watcher.more() == [(REMOVED, "dir"), (ADDED, "dir"), (REMOVED, "dir")]
    assert watcher.more() == []


@pytest.mark.parametrize(
    ("what", "filters"),
    [
        ("hide", FILE_NOTIFY_CHANGE_ATTRIBUTES),
        ("creation", FILE_NOTIFY_CHANGE_CREATION),
        ("access", FILE_NOTIFY_CHANGE_LAST_ACCESS),
        ("write time", FILE_NOTIFY_CHANGE_LAST_WRITE),
        ("ea", FILE_NOTIFY_CHANGE_EA),
        ("security", FILE_NOTIFY_CHANGE_SECURITY),
        ("write", FILE_NOTIFY_CHANGE_SIZE | FILE_NOTIFY_CHANGE_LAST_WRITE),
        ("sparse", FILE_NOTIFY_CHANGE_ATTRIBUTES),
    ],
)
def test_each_filter(
    client: Client, other: Client, engine: Engine, what: str, filters: int
) -> None:
    """Who asks for one thing is told of no other."""
    changed = other.open("file", 0x1F01FF)
    asked = [1 << bit for bit in range(12)]
    watchers = [Watcher(client, completion_filter=one) for one in asked]
    change = {
        "hide": lambda: set_info(other, changed, BASIC, basic(attributes=FILE_ATTRIBUTE_HIDDEN)),
        "creation": lambda: set_info(other, changed, BASIC, basic(creation=10**17)),
        "access": lambda: set_info(other, changed, BASIC, basic(access=10**17)),
        "write time": lambda: set_info(other, changed, BASIC, basic(write=10**17)),
        "ea": lambda: set_info(other, changed, EAS, b"\0\0\0\0\0\1\1\0A\0x"),
        "security": lambda: (
            other.call(
                Command.SET_INFO,
                requests.set_info(changed, 0, _DACL, kind=3, additional=4),
            ).status
        ),
        "write": lambda: other.call(Command.WRITE, requests.write(changed, b"data")).status,
        "sparse": lambda: (
            other.call(Command.IOCTL, requests.ioctl(changed, 0x000900C4, b"\1")).status
        ),
    }[what]
    assert change() is NtStatus.SUCCESS
    engine.clock.advance(1)  # what nobody has explained is told by then
    told = 0
    for one, watcher in zip(asked, watchers, strict=True):
        if changes := watcher.all_told():
            assert changes == [(MODIFIED, "file")]
            told |= one
    assert told == filters


# A DACL with one ACE that allows Everyone everything.
_DACL = (
    struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 20)
    + struct.pack("<BBHHH", 2, 0, 28, 1, 0)
    + struct.pack("<BBHI", 0, 0, 20, 0x1F01FF)
    + bytes((1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0))
)


@pytest.mark.parametrize("command", ["chmod", "touch", "setfattr"])
def test_what_local_programs_do_to_attributes(client: Client, engine: Engine, command: str) -> None:
    file = engine.files / "file"
    file.write_bytes(b"")
    watcher = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_SECURITY)
    if command == "chmod":
        file.chmod(0o600)
    elif command == "touch":
        os.utime(file, (1, 1))
    else:
        os.setxattr(file, "user.x", b"y")
    engine.settle()
    assert client.taken(watcher.message_id) == []
    engine.clock.advance(HELD_SECONDS)
    assert watcher.told() == [(MODIFIED, "file")]


def test_a_local_program_after_a_client(client: Client, other: Client, engine: Engine) -> None:
    """What each does is told, also at once one after the other."""
    file = other.open("file")
    watcher = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_ATTRIBUTES)
    assert set_info(other, file, 4, basic(attributes=2)) is NtStatus.SUCCESS
    assert watcher.told() == [(MODIFIED, "file")]
    watcher = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_SECURITY)
    (engine.files / "file").chmod(0o600)
    engine.settle()
    engine.clock.advance(HELD_SECONDS)
    assert watcher.told() == [(MODIFIED, "file")]
    watcher = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_ALL)
    assert set_info(other, file, 4, basic(attributes=2)) is NtStatus.SUCCESS
    engine.clock.advance(1)
    assert watcher.all_told() == [(MODIFIED, "file")]


def test_streams(client: Client, other: Client) -> None:
    other.close(other.open("file"))
    names = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_STREAM_NAME)
    sizes = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_STREAM_SIZE)
    writes = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_STREAM_WRITE)
    others = Watcher(client, completion_filter=FILE_NOTIFY_CHANGE_ALL & 0x1FF)
    stream = other.open("file:stream")
    other.call(Command.WRITE, requests.write(stream, b"data"))
    other.close(stream)
    other.close(other.open("file:stream", options=FILE_DELETE_ON_CLOSE))
    assert names.all_told() == [
        (FILE_ACTION_ADDED_STREAM, "file:stream"),
        (FILE_ACTION_REMOVED_STREAM, "file:stream"),
    ]
    for watcher in (sizes, writes):
        assert watcher.all_told() == [(FILE_ACTION_MODIFIED_STREAM, "file:stream")]
    client.engine.clock.advance(1)
    assert others.all_told() == []


def test_a_rename_to_another_directory_is_no_rename(client: Client, engine: Engine) -> None:
    for name in ("a", "b"):
        (engine.files / name).mkdir()
    (engine.files / "a" / "file").touch()
    tree = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    source, target = (Watcher(client, name, completion_filter=NAMES) for name in ("a", "b"))
    rename(client, "a\\file", "b\\new")
    assert tree.all_told() == [(REMOVED, "a\\file"), (ADDED, "b\\new")]
    assert source.all_told() == [(REMOVED, "file")]
    assert target.all_told() == [(ADDED, "new")]


def test_the_directory_itself_is_not_told_of(client: Client, engine: Engine) -> None:
    watcher = Watcher(client)
    engine.files.chmod(0o700)
    engine.clock.advance(1)
    assert watcher.all_told() == []


# -- what does not appear is not told -------------------------------------------------------------


@pytest.fixture
def vetoing(engine: Engine) -> Engine:
    """Return an engine whose share has files that nobody sees."""
    engine.shares["data"] = replace(engine.shares["data"], veto_files=["secret*"])
    return engine


def test_vetoed_names(vetoing: Engine) -> None:
    (vetoing.files / "secret folder").mkdir()
    watcher = Watcher(Client(vetoing).ready(), flags=SMB2_WATCH_TREE)
    (vetoing.files / "secret").write_bytes(b"x")
    (vetoing.files / "secret").rename(vetoing.files / "open")
    assert watcher.all_told() == [(ADDED, "open")]
    (vetoing.files / "open").rename(vetoing.files / "secret")
    assert watcher.all_told() == [(REMOVED, "open")]
    (vetoing.files / "secret folder" / "file").touch()
    (vetoing.files / "secret").unlink()
    assert watcher.all_told() == []


def test_what_others_change_below_a_vetoed_name(vetoing: Engine) -> None:
    """Another share of the folder shows it, and its clients' changes are told of by the engine."""
    vetoing.shares["all"] = replace(vetoing.shares["data"], name="all", veto_files=[])
    watcher = Watcher(Client(vetoing).ready(), flags=SMB2_WATCH_TREE)
    other = Client(vetoing).ready(share="all")
    for name in ("secret folder", r"secret folder\secret", "open", r"open\secret", r"open\deep"):
        other.close(other.open(name, options=FILE_DIRECTORY_FILE))
    other.close(other.open(r"secret folder\file"))
    other.close(other.open(r"open\deep\file"))
    told = {name for _, name in watcher.all_told()}
    assert told == {"open", r"open\deep", r"open\deep\file"}


def test_names_are_spelled_as_in_listings(client: Client, engine: Engine) -> None:
    watcher = Watcher(client, completion_filter=NAMES, flags=SMB2_WATCH_TREE)
    (engine.files / "a:b").mkdir()
    (engine.files / "a:b" / "con").touch()
    assert watcher.all_told() == [(ADDED, "a\uf022b"), (ADDED, "a\uf022b\\\uf063on")]


def test_where_some_see_nothing_there_are_no_names(engine: Engine) -> None:
    engine.shares["data"] = replace(engine.shares["data"], hide_unreadable=True)
    watcher = Watcher(Client(engine).ready())
    (engine.files / "file").touch()
    assert watcher.reply().status is NtStatus.NOTIFY_ENUM_DIR
