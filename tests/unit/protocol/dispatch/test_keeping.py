"""What suspended requests keep: nothing that they do not need, and not more than is counted."""

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.mountd.ipc.messages import LoginStatus
from usmbd.protocol.commands.request import Request
from usmbd.protocol.dispatch.keeping import LEAST_SIZE, MOST_CREDITS
from usmbd.protocol.state.connection import CREDIT_SIZE, UNAUTHENTICATED_LIMIT
from usmbd.protocol.state.memory import CONNECTION_LIMIT, WAITING_SIZE
from usmbd.protocol.state.standing import Standing
from usmbd.protocol.wire.access import FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.create import FILE_OPEN, SMB2_OPLOCK_LEVEL_BATCH
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_EA_BUFFER
from usmbd.protocol.wire.header import HEADER_SIZE, Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK
from usmbd.protocol.wire.status import NtStatus

PADDING = bytes(8 << 20)


@pytest.fixture
def other(engine: Engine) -> Client:
    """Return another user, on a connection of his own."""
    return Client(engine).ready(user="bob")


@pytest.fixture
def slow(client: Client, engine: Engine) -> tuple[Client, FileId]:
    """Return a client with a file on a slow volume, whose threads wait for the test."""
    file = client.open("file")
    client.session.tree_connect_table[client.tree_id].speed.slow_until = float("inf")
    engine.threads.held = True
    return client, file


def waiting(client: Client) -> list[Request]:
    return list(client.connection.async_command_list.values())


def kept(client: Client) -> tuple[int, int]:
    return client.connection.memory.used, client.connection.memory.waiting


def test_a_lock_that_waits_keeps_its_header(client: Client, other: Client) -> None:
    held, wanted = client.open("file"), other.open("file")
    client.call(Command.LOCK, requests.lock(held, (0, 10, SMB2_LOCKFLAG_EXCLUSIVE_LOCK)))
    body = requests.lock(wanted, (5, 1, SMB2_LOCKFLAG_EXCLUSIVE_LOCK)) + PADDING
    message_id, _ = other.pending(Command.LOCK, body)
    (request,) = waiting(other)
    assert len(request.message) == HEADER_SIZE
    assert len(request.message.obj) == HEADER_SIZE
    assert kept(other) == (0, WAITING_SIZE)
    client.close(held)
    assert other.taken(message_id)[0].status is NtStatus.SUCCESS
    assert kept(other) == (0, 0)


def test_a_read_of_a_pipe_that_waits_keeps_its_header(engine: Engine) -> None:
    client = Client(engine).ready(share="ipc$")
    pipe = client.open("echo", FILE_READ_DATA | FILE_WRITE_DATA, FILE_OPEN)
    message_id, async_id = client.pending(Command.READ, requests.read(pipe, 1024) + PADDING)
    (request,) = waiting(client)
    assert len(request.message.obj) == HEADER_SIZE
    client.cancel(message_id, async_id)
    assert kept(client) == (0, 0)


def test_a_create_that_waits_keeps_its_contexts(client: Client, other: Client) -> None:
    client.call(Command.CREATE, requests.create("file", oplock=SMB2_OPLOCK_LEVEL_BATCH))
    contexts = [(SMB2_CREATE_EA_BUFFER, bytes(100))]
    body = requests.create("file", disposition=FILE_OPEN, contexts=contexts) + PADDING
    other.pending(Command.CREATE, body)
    (request,) = waiting(other)
    assert len(request.message.obj) == HEADER_SIZE
    assert kept(other) == (0, WAITING_SIZE + 100)
    client.disconnect()
    assert kept(other) == (0, 0)


def test_a_create_with_too_much_does_not_wait(client: Client, other: Client) -> None:
    client.call(Command.CREATE, requests.create("file", oplock=SMB2_OPLOCK_LEVEL_BATCH))
    contexts = [(SMB2_CREATE_EA_BUFFER, bytes(5 << 20))]
    body = requests.create("file", disposition=FILE_OPEN, contexts=contexts)
    assert other.call(Command.CREATE, body).status is NtStatus.INSUFFICIENT_RESOURCES
    assert kept(other) == (0, 0)


def test_a_compound_that_waits_in_the_middle_keeps_its_rest(client: Client, other: Client) -> None:
    held = client.call(Command.CREATE, requests.create("file", oplock=SMB2_OPLOCK_LEVEL_BATCH))
    elements = (
        (Command.CREATE, requests.create("file", disposition=FILE_OPEN)),
        (Command.ECHO, requests.EMPTY),
    )
    (interim,) = other.compound(*elements)
    assert interim.status is NtStatus.PENDING
    used, waits = kept(other)
    assert used == 0
    assert WAITING_SIZE < waits < WAITING_SIZE + 200
    client.close(held.file_id)
    assert [reply.status for reply in other.replies[-2:]] == [NtStatus.SUCCESS] * 2
    assert kept(other) == (0, 0)


def test_a_question_to_mountd_gives_the_message_back(client: Client, engine: Engine) -> None:
    engine.mountd.held = True
    client.post(Command.TREE_CONNECT, requests.tree_connect("readonly") + PADDING)
    assert kept(client) == (LEAST_SIZE, 0)
    engine.release(engine.mountd)
    assert kept(client) == (0, 0)


def test_a_call_on_a_thread_counts_for_what_its_credits_stand_for(
    slow: tuple[Client, FileId], engine: Engine
) -> None:
    client, file = slow
    client.post(Command.WRITE, requests.write(file, bytes(1 << 20)), credit_charge=16)
    assert (1 << 20) < kept(client)[0] < (1 << 20) + 1000
    client.post(Command.FLUSH, requests.flush(file), credit_charge=300)
    assert kept(client)[0] > (1 << 20) + MOST_CREDITS * CREDIT_SIZE
    assert kept(client)[0] < CONNECTION_LIMIT
    engine.release(engine.threads)
    assert kept(client) == (0, 0)


def test_a_lost_connection_counts_until_its_threads_are_done(
    slow: tuple[Client, FileId], engine: Engine
) -> None:
    client, file = slow
    client.post(Command.WRITE, requests.write(file, b"data"))
    client.disconnect()
    assert engine.server.memory.pools[Standing.USER].used == CREDIT_SIZE
    engine.release(engine.threads)
    assert engine.server.memory.pools[Standing.USER].used == 0
    assert engine.server.memory.clients == {}


def test_a_session_that_proves_nothing_keeps_messages_small(engine: Engine) -> None:
    engine.mountd.anonymous = LoginStatus.ANONYMOUS
    client = Client(engine)
    client.negotiate()
    assert client.anonymous().status is NtStatus.SUCCESS
    dispatcher = client.dispatcher
    assert dispatcher.message_limit == UNAUTHENTICATED_LIMIT
    client.connect("ipc$")
    assert dispatcher.message_limit == UNAUTHENTICATED_LIMIT
    assert not client.connection.admitted
    client.connect("data")  # a share with files that lets it in
    assert dispatcher.message_limit > 8 << 20
