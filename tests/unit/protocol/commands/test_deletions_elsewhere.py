"""Files that another worker deletes: others wait for it, and a dead worker's successor does it."""

import os

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.durable import create, durable, v2
from smbengine.server import Engine

from usmbd.protocol.state.server import Server
from usmbd.protocol.vfs.identity import Identity, become
from usmbd.protocol.wire.access import DELETE, FILE_READ_DATA
from usmbd.protocol.wire.create import (
    FILE_CREATED,
    FILE_DELETE_ON_CLOSE,
    FILE_OPEN,
    FILE_OPEN_IF,
    CreateResponse,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

DISPOSITION = 13


@pytest.fixture
def other(engine: Engine) -> Server:
    return engine.another_worker()


def ask(client: Client, disposition: int = FILE_OPEN_IF, name: str = "file") -> int:
    """Send a CREATE."""
    body = requests.create(name, disposition=disposition, share=0, access=FILE_READ_DATA)
    return client.post(Command.CREATE, body)


def answers(client: Client, message_id: int) -> list[NtStatus]:
    return [reply.status for reply in client.taken(message_id)]


def held(engine: Engine) -> None:
    """Let deletions be on their way."""
    engine.threads.held = True


@pytest.mark.parametrize("disposition", [FILE_OPEN_IF, FILE_OPEN])
def test_who_comes_while_a_lost_open_s_file_goes_waits(
    client: Client, engine: Engine, other: Server, disposition: int
) -> None:
    """And finds no file that is to be gone, nor one that cannot be opened."""
    comes = Client(engine, server=other).ready(user="bob")
    durable(client, v2(1000), options=FILE_DELETE_ON_CLOSE, share=0)
    client.disconnect()
    held(engine)
    engine.clock.advance(2)
    engine.settle()
    assert (engine.files / "file").exists()
    message_id = ask(comes, disposition)
    assert answers(comes, message_id) in ([], [NtStatus.PENDING])
    engine.release(engine.threads)
    reply = comes.taken(message_id)[-1]
    if disposition == FILE_OPEN:
        assert reply.status is NtStatus.OBJECT_NAME_NOT_FOUND
    else:
        assert reply.parse(CreateResponse).create_action == FILE_CREATED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("asked", ["by its CREATE", "later"])
def test_a_dead_worker_s_deletions_are_made_as_their_user(
    client: Client, engine: Engine, asked: str, allowed: bool
) -> None:
    """By the worker that takes its place; nothing is deleted as root."""
    folder = engine.files / "dir"
    folder.mkdir()
    os.chown(folder, 31001, 31001)
    alice = Identity(31001, 31001, (31003,))
    client.session.tree_connect_table[client.tree_id].identity = alice
    try:
        file = client.open("dir\\file", options=FILE_DELETE_ON_CLOSE if asked != "later" else 0)
        if asked == "later":
            body = requests.set_info(file, DISPOSITION, b"\1")
            assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
    finally:
        become(None)
    folder.chmod(0o775)
    os.chown(folder, 31002, 31003 if allowed else 31002)
    engine.store.drop_worker(1)
    assert (folder / "file").exists()
    engine.server.durable.take_over()
    engine.settle()
    assert (folder / "file").exists() is not allowed
    assert engine.store.left_to_delete() == []


def test_others_wait_for_a_dead_worker_s_successor(
    client: Client, engine: Engine, other: Server
) -> None:
    comes = Client(engine, server=other).ready(user="bob")
    client.open("file", options=FILE_DELETE_ON_CLOSE, access=DELETE)
    assert engine.store.drop_worker(1) == []
    message_id = ask(comes)
    assert answers(comes, message_id) in ([], [NtStatus.PENDING])
    engine.server.durable.take_over()
    engine.settle()
    reply = comes.taken(message_id)[-1]
    assert reply.parse(CreateResponse).create_action == FILE_CREATED


def test_who_waits_for_what_hangs_is_told_so_in_the_end(
    client: Client, engine: Engine, other: Server
) -> None:
    """As if he had been told at once."""
    comes = Client(engine, server=other).ready(user="bob")
    client.open("file", options=FILE_DELETE_ON_CLOSE)
    engine.store.drop_worker(1)
    message_id = ask(comes)
    engine.clock.advance(60)
    engine.settle()
    assert answers(comes, message_id)[-1] is NtStatus.DELETE_PENDING


def test_what_is_open_still_is_not_waited_for(client: Client, engine: Engine) -> None:
    file = client.open("file")
    assert client.call(Command.SET_INFO, requests.set_info(file, DISPOSITION, b"\1")).status == 0
    assert create(client, oplock=0).status is NtStatus.DELETE_PENDING
