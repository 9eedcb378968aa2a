"""Durable opens that delete their file on close: kept for their clients, and deleted in the end."""

import os

import pytest
from smbengine import notify, requests
from smbengine.client import Client
from smbengine.durable import GUID, again, back, create, durable, v2
from smbengine.leases import breaks, take
from smbengine.macos import Serve, write
from smbengine.server import Engine

from usmbd.protocol.state.caching.rules import RH
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire.access import FILE_LIST_DIRECTORY
from usmbd.protocol.wire.create import (
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OPEN_IF,
    FILE_OPENED,
    CreateResponse,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus


def test_a_file_to_be_deleted_goes_at_the_close_of_who_is_back(
    client: Client, engine: Engine
) -> None:
    """[MS-SMB2] 3.3.7.1: such an open survives, too (smb2.durable-open.delete_on_close2)."""
    file = durable(client, options=FILE_DELETE_ON_CLOSE)
    client.call(Command.WRITE, requests.write(file, b"data"))
    client.disconnect()
    assert (engine.files / "file").read_bytes() == b"data"
    client = back(engine, client)
    file = create(client, again(file)).file_id
    assert (engine.files / "file").exists()
    client.close(file)
    assert not (engine.files / "file").exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_to_be_deleted_goes_when_its_time_is_over(
    client: Client, engine: Engine, replaced: bool
) -> None:
    """But no other that has its name by then."""
    file = durable(client, v2(1000), options=FILE_DELETE_ON_CLOSE)
    client.disconnect()
    if replaced:
        (engine.files / "file").rename(engine.files / "old")
        (engine.files / "file").write_bytes(b"another")
    engine.clock.advance(1)
    engine.settle()
    assert (engine.files / "file").exists() == replaced
    client = back(engine, client)
    assert create(client, again(file, GUID)).status is NtStatus.OBJECT_NAME_NOT_FOUND
    created = create(client, disposition=FILE_OPEN_IF).parse(CreateResponse)
    assert created.create_action == (FILE_OPENED if replaced else FILE_CREATED)


def test_a_file_to_be_deleted_goes_when_another_wants_it(client: Client, engine: Engine) -> None:
    """Who waits for that, and gets a new one, as from Windows (delete_on_close1)."""
    durable(client, options=FILE_DELETE_ON_CLOSE, share=0)
    (engine.files / "file").write_bytes(b"old")
    client.disconnect()
    other = Client(engine).ready(user="bob")
    engine.threads.held = True
    number = other.post(Command.CREATE, requests.create("file", disposition=FILE_OPEN_IF, share=0))
    engine.settle()
    assert not any(reply.status is NtStatus.SUCCESS for reply in other.taken(number))
    engine.threads.held = False
    engine.release(engine.threads)
    engine.settle()
    created = other.taken(number)[-1].parse(CreateResponse)
    assert (created.create_action, created.end_of_file) == (FILE_CREATED, 0)
    assert engine.server.closing == 0


def test_one_of_several_names_goes_with_the_connection(client: Client, engine: Engine) -> None:
    """[MS-FSA] 2.1.5.5: that name is deleted at the close, whoever has the file by another."""
    (engine.files / "file").touch()
    os.link(engine.files / "file", engine.files / "other")
    file = durable(client, options=FILE_DELETE_ON_CLOSE)
    client.disconnect()
    assert not (engine.files / "file").exists()
    assert (engine.files / "other").exists()
    assert create(back(engine, client), again(file)).status is NtStatus.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize("disconnected", [True, False])
def test_its_fork_goes_with_it(serve: Serve, disconnected: bool) -> None:
    """The next file of that name is somebody else's."""
    client = serve()
    engine = client.engine
    file = durable(client, v2(1000), options=FILE_DELETE_ON_CLOSE)
    assert write(client, "file:AFP_Resource", b"the fork") is NtStatus.SUCCESS
    assert sorted(os.listdir(engine.files)) == ["._file", "file"]
    if disconnected:
        client.disconnect()
        engine.clock.advance(2)
        engine.settle()
    else:
        client.close(file)
    assert os.listdir(engine.files) == []


def test_so_does_that_of_a_dead_workers_file(serve: Serve) -> None:
    client = serve()
    engine = client.engine
    client.open("file", options=FILE_DELETE_ON_CLOSE)
    assert write(client, "file:AFP_Resource", b"the fork") is NtStatus.SUCCESS
    engine.server.store.drop_worker(engine.server.worker)
    engine.server.durable.take_over()
    engine.settle()
    assert os.listdir(engine.files) == []


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("closed", [True, False])
def test_who_watches_is_told_of_it_as_at_a_close(
    client: Client, engine: Engine, kernel: bool, closed: bool
) -> None:
    """And who has a lease on the directory."""
    notify.configure(engine, kernel_change_notify=kernel)
    (engine.files / "dir").mkdir()
    file = durable(client, v2(1000), name="dir\\file", options=FILE_DELETE_ON_CLOSE)
    other = Client(engine).ready(user="bob")
    watcher = notify.Watcher(Client(engine).ready(user="bob"), "dir")
    options, access = FILE_DIRECTORY_FILE, FILE_LIST_DIRECTORY
    take(other, RH, name="dir", version=2, options=options, access=access)
    if closed:
        client.close(file)
    else:
        client.disconnect()
        engine.clock.advance(2)
    engine.settle()
    engine.clock.advance(1)
    engine.settle()
    assert not (engine.files / "dir" / "file").exists()
    assert len(breaks(other)) == 1
    assert watcher.told() == [(notify.REMOVED, "file")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("allowed", [True, False])
def test_it_goes_by_the_rights_that_its_user_has_then(
    client: Client, engine: Engine, allowed: bool
) -> None:
    """As at a CLOSE; nothing is deleted as root."""
    folder = engine.files / "dir"
    folder.mkdir()
    os.chown(folder, 31001, 31001)
    alice = engine.mountd.identities["alice"] = Identity(31001, 31001, (31003,))
    client.session.tree_connect_table[client.tree_id].identity = alice
    try:
        durable(client, v2(1000), name="dir\\file", options=FILE_DELETE_ON_CLOSE)
        client.disconnect()
    finally:
        become(None)
    folder.chmod(0o755)
    os.chown(folder, 31001 if allowed else 31002, 31002)
    engine.clock.advance(2)
    engine.settle()
    assert (folder / "file").exists() is not allowed
