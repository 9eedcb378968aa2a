"""Leases on directories: granted without W, broken by what others change in them."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import KEY, acknowledge, breaks, lease_of, untold
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import NONE, RH, RW, RWH, H, R, W
from usmbd.protocol.state.notify import leased as leased_module
from usmbd.protocol.state.notify import notifier as notifier_module
from usmbd.protocol.state.notify.attributes import HELD_SECONDS
from usmbd.protocol.state.store.records import NO_ID
from usmbd.protocol.wire.access import DELETE, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN,
    FILE_OVERWRITE_IF,
    SMB2_OPLOCK_LEVEL_LEASE,
)
from usmbd.protocol.wire.create_contexts import (
    SMB2_CREATE_REQUEST_LEASE,
    SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET,
    LeaseV1,
    LeaseV2,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.negotiate import SMB2_GLOBAL_CAP_DIRECTORY_LEASING
from usmbd.protocol.wire.oplock_break import SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED as ACK
from usmbd.protocol.wire.status import NtStatus

CHILD = b"c" * 16
LOOK = FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES
FileBasicInformation, FileRenameInformation, FileLinkInformation = 4, 10, 11
FileDispositionInformation, FileEndOfFileInformation = 13, 20
LOST = [(RH, NONE, ACK)]


def leased(
    name: str, state: int = RWH, key: bytes = KEY, parent: bytes = NO_ID, **options: int
) -> bytes:
    """Build a CREATE that asks for a lease of version 2."""
    flags = SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET if parent != NO_ID else 0
    lease = LeaseV2(lease_key=key, lease_state=state, lease_flags=flags, parent_lease_key=parent)
    contexts = [(SMB2_CREATE_REQUEST_LEASE, lease.pack())]
    return requests.create(name, oplock=SMB2_OPLOCK_LEVEL_LEASE, contexts=contexts, **options)


def cache(client: Client, name: str = "dir", state: int = RWH, access: int = 0) -> FileId:
    """Open a directory with a lease."""
    asked = leased(name, state, options=FILE_DIRECTORY_FILE, access=LOOK | access)
    reply = client.call(Command.CREATE, asked)
    lease = lease_of(reply)
    assert lease is not None
    assert lease.lease_state == state & ~W
    return reply.file_id


@pytest.fixture
def other(engine: Engine, other: Client) -> Client:
    """Return the second client; there is a directory with a file."""
    (engine.files / "dir").mkdir()
    (engine.files / "dir" / "file").write_bytes(b"abc")
    return other


@pytest.mark.parametrize(("dialect", "has"), [(0x210, False), (0x300, True), (0x311, True)])
def test_who_has_them(engine: Engine, dialect: int, has: bool) -> None:
    client = Client(engine).ready(dialect)
    offered = client.connection.server_capabilities & SMB2_GLOBAL_CAP_DIRECTORY_LEASING
    assert bool(offered) is has
    asked = leased("dir", options=FILE_DIRECTORY_FILE)
    assert (lease_of(client.call(Command.CREATE, asked)) is not None) is has


@pytest.mark.parametrize("switch", ["leases", "directory_leases"])
def test_they_can_be_switched_off(engine: Engine, switch: str) -> None:
    engine.server.config = engine.config({switch: False})
    client = Client(engine).ready()
    assert not client.connection.server_capabilities & SMB2_GLOBAL_CAP_DIRECTORY_LEASING
    asked = leased("dir", options=FILE_DIRECTORY_FILE)
    assert lease_of(client.call(Command.CREATE, asked)) is None


def test_version_1_is_for_files(client: Client) -> None:
    contexts = [(SMB2_CREATE_REQUEST_LEASE, LeaseV1(lease_key=KEY, lease_state=R).pack())]
    asked = requests.create(
        "dir", oplock=SMB2_OPLOCK_LEVEL_LEASE, contexts=contexts, options=FILE_DIRECTORY_FILE
    )
    assert lease_of(client.call(Command.CREATE, asked)) is None


@pytest.mark.parametrize(
    ("asked", "granted"), [(R, R), (RH, RH), (RW, R), (RWH, RH), (H, NONE), (W, NONE)]
)
def test_nobody_writes_to_a_directory(client: Client, asked: int, granted: int) -> None:
    reply = client.call(Command.CREATE, leased("dir", asked, options=FILE_DIRECTORY_FILE))
    lease = lease_of(reply)
    assert lease is not None
    assert lease.lease_state == granted


def create(client: Client) -> None:
    client.close(client.open(r"dir\new"))


def overwrite(client: Client) -> None:
    client.close(client.open(r"dir\file", disposition=FILE_OVERWRITE_IF))


def make_folder(client: Client) -> None:
    client.close(client.open(r"dir\folder", options=FILE_DIRECTORY_FILE))


def delete(client: Client) -> None:
    client.close(client.open(r"dir\file", options=FILE_DELETE_ON_CLOSE))


def set_info(client: Client, level: int, data: bytes, name: str = r"dir\file") -> None:
    file = client.open(name)
    reply = client.call(Command.SET_INFO, requests.set_info(file, level, data))
    assert reply.status is NtStatus.SUCCESS
    client.close(file)


def dispose(client: Client) -> None:
    set_info(client, FileDispositionInformation, b"\1")


def cut(client: Client) -> None:
    set_info(client, FileEndOfFileInformation, bytes(8))


def hide(client: Client) -> None:
    set_info(client, FileBasicInformation, bytes(32) + b"\2" + bytes(7))


def target(name: str) -> bytes:
    raw = name.encode("utf-16-le")
    return bytes(16) + len(raw).to_bytes(4, "little") + raw


def rename_out(client: Client) -> None:
    set_info(client, FileRenameInformation, target("out"))


def rename_in(client: Client) -> None:
    set_info(client, FileRenameInformation, target(r"dir\in"), "outside")


def link_in(client: Client) -> None:
    set_info(client, FileLinkInformation, target(r"dir\in"), "outside")


def write(client: Client) -> None:
    file = client.open(r"dir\file")
    assert client.call(Command.WRITE, requests.write(file, b"x")).status is NtStatus.SUCCESS
    client.close(file)


def write_and_go(client: Client) -> None:
    file = client.open(r"dir\file")
    assert client.call(Command.WRITE, requests.write(file, b"x")).status is NtStatus.SUCCESS
    client.disconnect()
    client.engine.settle()


@pytest.mark.parametrize(
    "change",
    [
        create, overwrite, make_folder, delete, dispose, cut, hide, rename_out, rename_in, link_in,
        write, write_and_go,
    ],
)  # fmt: skip
def test_what_others_change_is_told(
    client: Client, other: Client, change: Callable[[Client], None]
) -> None:
    other.close(other.open("outside"))
    cache(client)
    change(other)
    assert breaks(client) == LOST
    assert acknowledge(client, NONE) is NtStatus.SUCCESS


def look(client: Client) -> None:
    file = client.open(r"dir\file", disposition=FILE_OPEN)
    client.call(Command.READ, requests.read(file, 3))
    client.close(file)


def create_elsewhere(client: Client) -> None:
    client.close(client.open("elsewhere"))


def create_deeper(client: Client) -> None:
    client.close(client.open(r"dir\sub\file"))


@pytest.mark.parametrize("change", [look, create_elsewhere, create_deeper])
def test_what_changes_nothing_there_is_not(
    client: Client, other: Client, engine: Engine, change: Callable[[Client], None]
) -> None:
    (engine.files / "dir" / "sub").mkdir()
    cache(client)
    change(other)
    assert breaks(client) == []


def test_the_root_is_a_directory_too(client: Client, other: Client) -> None:
    cache(client, "")
    create_elsewhere(other)
    assert breaks(client) == LOST


@pytest.mark.parametrize(("parent", "lost"), [(KEY, []), (CHILD, LOST), (NO_ID, LOST)])
def test_who_names_its_lease_knows_what_it_does_itself(
    client: Client, parent: bytes, lost: list[tuple[int, int, int]]
) -> None:
    client.open("dir", options=FILE_DIRECTORY_FILE)
    cache(client)
    reply = client.call(Command.CREATE, leased(r"dir\new", key=CHILD, parent=parent))
    assert reply.status is NtStatus.SUCCESS
    assert breaks(client) == lost


def test_it_is_had_again_after_a_break(client: Client, other: Client) -> None:
    cache(client)
    create(other)
    acknowledge(client, NONE)
    cache(client)
    make_folder(other)
    assert breaks(client)[-1:] == LOST


def test_a_renamed_directory_is_freed_of_cached_handles_below(
    client: Client, engine: Engine
) -> None:
    (engine.files / "dir" / "sub").mkdir(parents=True)
    second = Client(engine).ready(user="bob")
    cached = cache(client, r"dir\sub")
    above = second.open("dir", disposition=FILE_OPEN)
    rename = requests.set_info(above, FileRenameInformation, target("moved"))
    message_id = untold(second, Command.SET_INFO, rename)
    assert breaks(client) == [(RH, R, ACK)]
    client.close(cached)
    assert second.taken(message_id)[0].status is NtStatus.SUCCESS
    assert (engine.files / "moved" / "sub").is_dir()


def test_a_cached_handle_that_may_delete_the_target_s_directory_is_freed(
    client: Client, other: Client
) -> None:
    file = other.open("outside")
    cached = cache(client, access=DELETE)
    rename = requests.set_info(file, FileRenameInformation, target(r"dir\in"))
    message_id = untold(other, Command.SET_INFO, rename)
    assert breaks(client) == [(RH, R, ACK)]
    client.close(cached)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS


def test_nobody_is_asked_while_no_directory_is_cached(client: Client, engine: Engine) -> None:
    (engine.files / "dir").mkdir()
    assert not engine.server.caching.directories_cached
    file = cache(client)
    assert engine.server.caching.directories_cached
    client.close(file)
    client.close(client.open("another"))  # what has gone is counted by the next that writes
    client.open("a third")
    assert not engine.server.caching.directories_cached


# -- what local programs change -------------------------------------------------------------------


def wait(engine: Engine) -> None:
    """Wait until the engine knows that a change is not its own."""
    engine.settle()
    engine.clock.advance(HELD_SECONDS)
    engine.settle()


def local_create(folder: Path) -> None:
    (folder / "new").touch()


def local_delete(folder: Path) -> None:
    (folder / "file").unlink()


def local_rename(folder: Path) -> None:
    (folder / "file").rename(folder / "renamed")


def local_move_in(folder: Path) -> None:
    (folder.parent / "outside").rename(folder / "in")


def local_link(folder: Path) -> None:
    os.link(folder / "file", folder / "link")


def local_write(folder: Path) -> None:
    (folder / "file").write_bytes(b"more than there was")


def local_chmod(folder: Path) -> None:
    (folder / "file").chmod(0o600)


def local_touch(folder: Path) -> None:
    os.utime(folder / "file", (1, 1))


@pytest.mark.parametrize(
    "change",
    [
        local_create, local_delete, local_rename, local_move_in, local_link, local_write,
        local_chmod, local_touch,
    ],
)  # fmt: skip
@pytest.mark.parametrize("parent", [NO_ID, KEY])
def test_what_local_programs_change(
    client: Client, other: Client, engine: Engine, change: Callable[[Path], None], parent: bytes
) -> None:
    """Whatever the client itself has just done by a file of which it said that it knows."""
    (engine.files / "outside").touch()
    client.open("dir", options=FILE_DIRECTORY_FILE)
    cache(client)
    if parent == KEY:
        mine = client.call(Command.CREATE, leased(r"dir\mine", key=CHILD, parent=parent))
        client.call(Command.WRITE, requests.write(mine.file_id, b"data"))
        client.close(mine.file_id)
    change(engine.files / "dir")
    engine.settle()
    assert breaks(client) == []
    wait(engine)
    assert breaks(client) == LOST


def test_a_local_program_that_rewrites_what_a_client_has_just_written(
    client: Client, other: Client, engine: Engine
) -> None:
    cache(client)
    mine = client.call(Command.CREATE, leased(r"dir\mine", key=CHILD, parent=KEY))
    client.call(Command.WRITE, requests.write(mine.file_id, b"data"))
    client.close(mine.file_id)
    engine.settle()
    (engine.files / "dir" / "mine").write_bytes(b"converted")
    wait(engine)
    assert breaks(client) == LOST


def work(client: Client, parent: bytes) -> None:
    """Do all that changes a listing, by opens that name the client's lease on the directory."""

    def opened(name: str, key: bytes, **options: int) -> FileId:
        reply = client.call(Command.CREATE, leased(name, key=key, parent=parent, **options))
        assert reply.status is NtStatus.SUCCESS
        return reply.file_id

    def set_(file: FileId, level: int, data: bytes) -> None:
        reply = client.call(Command.SET_INFO, requests.set_info(file, level, data))
        assert reply.status is NtStatus.SUCCESS

    new = opened(r"dir\new", b"1" * 16)
    client.call(Command.WRITE, requests.write(new, b"data"))
    set_(new, FileEndOfFileInformation, bytes(8))
    set_(new, FileBasicInformation, bytes(32) + b"\2" + bytes(7))
    set_(new, FileRenameInformation, target(r"dir\renamed"))
    client.close(new)
    client.close(opened(r"dir\renamed", b"2" * 16))  # for writing, but nothing is written
    client.close(opened(r"dir\file", b"3" * 16, disposition=FILE_OVERWRITE_IF))
    file = opened(r"dir\file", b"3" * 16)
    set_(file, FileLinkInformation, target(r"dir\link"))
    client.close(file)
    client.close(opened(r"dir\sub", b"4" * 16, options=FILE_DIRECTORY_FILE))
    client.close(opened(r"dir\renamed", b"5" * 16, options=FILE_DELETE_ON_CLOSE))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_kernel_tells_nothing_of_what_a_client_knows(
    client: Client, other: Client, engine: Engine, workers: int
) -> None:
    """Another worker's events are explained by a message: the key alone says who knows."""
    server = engine.server if workers == 1 else engine.another_worker()
    cache(client)
    work(Client(engine, server=server).ready(), KEY)
    wait(engine)
    assert breaks(client) == []
    (engine.files / "dir" / "newer").touch()
    wait(engine)
    assert breaks(client) == LOST


@pytest.mark.parametrize("asked", ["at its end", "by SET_INFO"])
@pytest.mark.parametrize("closes", ["who asked", "the other"])
@pytest.mark.parametrize("workers", [1, 2])
def test_who_asked_for_a_deletion_and_closes_last_knows_of_it(
    client: Client, other: Client, engine: Engine, asked: str, closes: str, workers: int
) -> None:
    """Everybody else is told, also who asked for it and does not see when it happens."""
    server = engine.server if workers == 1 else engine.another_worker()
    third = Client(engine, server=server).ready()
    cache(client)
    options = FILE_DELETE_ON_CLOSE if asked == "at its end" else 0

    def opened(who: Client, key: bytes, parent: bytes, options: int = 0) -> FileId:
        access = DELETE | FILE_READ_ATTRIBUTES
        body = leased(r"dir\file", R, key, parent, access=access, options=options)
        reply = who.call(Command.CREATE, body)
        assert reply.status is NtStatus.SUCCESS
        return reply.file_id

    mine = opened(client, b"1" * 16, KEY, options)
    his = opened(third, b"2" * 16, b"p" * 16, FILE_DELETE_ON_CLOSE if options else 0)
    if asked == "by SET_INFO":
        dispose = requests.set_info(mine, FileDispositionInformation, b"\1")
        assert client.call(Command.SET_INFO, dispose).status is NtStatus.SUCCESS
    ends = [(client, mine), (third, his)]
    for who, file in ends if closes == "the other" else ends[::-1]:
        assert (engine.files / "dir" / "file").exists()
        who.close(file)
    assert not (engine.files / "dir" / "file").exists()
    wait(engine)
    knows = closes == "who asked" and asked == "by SET_INFO"
    assert breaks(client) == ([] if knows else LOST)


def test_lost_events_end_all_leases(
    client: Client, other: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache(client)
    read, once = os.read, [struct.pack("=iIII", -1, 0x4000, 0, 0)]
    monkeypatch.setattr(os, "read", lambda fd, size: once.pop() if once else read(fd, size))
    engine.settle()
    assert breaks(client) == LOST


def test_a_directory_is_followed_as_long_as_it_is_open(
    client: Client, other: Client, engine: Engine
) -> None:
    notifier = engine.server.notifier
    second = Client(engine).ready()
    one, two = cache(client), cache(second)
    assert (notifier.watched, notifier.directories.used) == (1, 2)
    assert notifier.wanted
    client.close(one)
    assert (notifier.watched, notifier.directories.used) == (1, 1)
    second.close(two)
    engine.settle()
    assert (notifier.watched, notifier.directories.used) == (0, 0)
    assert not engine.store.anybody_watches()


def test_what_is_refused_is_not_followed(client: Client, other: Client, engine: Engine) -> None:
    other.open("dir", options=FILE_DIRECTORY_FILE, share=0, access=FILE_LIST_DIRECTORY | DELETE)
    asked = leased("dir", options=FILE_DIRECTORY_FILE, access=LOOK)
    assert client.call(Command.CREATE, asked).status is NtStatus.SHARING_VIOLATION
    assert engine.server.notifier.directories.used == 0


def test_no_lease_where_the_kernel_cannot_tell(
    client: Client, other: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "max_user_watches", lambda: 0)
    reply = client.call(Command.CREATE, leased("dir", options=FILE_DIRECTORY_FILE, access=LOOK))
    lease = lease_of(reply)
    assert lease is not None
    assert lease.lease_state == NONE


def test_without_the_kernel_it_follows_what_clients_do(engine: Engine, other: Client) -> None:
    engine.server.config = engine.config({"kernel_change_notify": False})
    client = Client(engine).ready()
    cache(client)
    assert engine.server.notifier.watched == 0
    local_create(engine.files / "dir")
    wait(engine)
    assert breaks(client) == []
    write(other)
    assert breaks(client) == LOST


def test_more_events_than_are_kept_end_the_leases(
    client: Client, other: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_module, "MOST_WORDS", 2)
    cache(client)
    for number in range(3):
        (engine.files / "dir" / f"new{number}").mkdir()
    engine.settle()
    assert breaks(client) == LOST
