"""Clients that make the server keep what they send: it keeps little, and gives it back."""

import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from smbtest import smb2
from smbtest.bystander import Bystander
from smbtest.processes import own_memory, wait_for
from smbtest.raw import Raw
from smbtest.server import ALICE, BOB, Options
from smbtest.usmbd import Usmbd

MIB = 1 << 20
PADDING = bytes(8 * MIB)
GIVEN_BACK_SECONDS = 30


class One(Usmbd):
    """A server with one worker, whose memory is looked at."""

    def memory(self) -> int:
        """Return the worker's anonymous memory in bytes."""
        (pid,) = self.workers()
        return own_memory(pid)


@pytest.fixture(scope="module")
def server() -> Iterator[One]:
    made = One(Options({"workers": "1", "restrict anonymous": "0"}))
    with made.running():
        yield made


def test_locks_that_wait_keep_nothing_of_their_messages(server: One) -> None:
    """100 LOCKs of 8 MiB each: 800 MiB were sent, and 1,600 MiB of memory taken for them once."""
    holder, waiter = Raw(server).ready(), Raw(server, timeout=30).ready(account=BOB)
    held, wanted = holder.open("locked"), waiter.open("locked")
    assert holder.call(smb2.LOCK, smb2.lock_body(held, [(0, 1, 0x12)])).status == smb2.SUCCESS
    before = server.memory()
    body = smb2.lock_body(wanted, [(0, 1, 2)]) + PADDING
    with Bystander(server):
        for _ in range(100):
            waiter.post(smb2.LOCK, body, credits=200)
            assert waiter.reply().status == smb2.PENDING
        grown = server.memory() - before
    assert grown < 64 * MIB
    for client in (holder, waiter):
        client.close()


def test_what_many_clients_have_begun_to_send_is_bounded(server: One) -> None:
    """80 connections begin 8 MiB each: all but a part wait, and nobody else does."""
    before = server.memory()
    clients = [Raw(server, timeout=30, source=f"127.81.0.{n % 8 + 1}").ready() for n in range(80)]
    with Bystander(server):
        for client in clients:
            client.socket.setblocking(False)
            client.socket.send(struct.pack(">I", 8 * MIB) + bytes(100_000))
        time.sleep(1)
        grown = server.memory() - before
    assert grown < 450 * MIB  # the pool has 512 MiB, of which requests keep a quarter
    for client in clients:
        client.close()
    wait_for(lambda: server.memory() - before < 64 * MIB, GIVEN_BACK_SECONDS, "free memory")


def test_large_requests_of_many_clients_are_answered(server: One) -> None:
    """The limits let everybody finish: 12 clients write 8 MiB four times, all at once."""
    clients = [Raw(server, timeout=60, source="127.82.0.1").ready() for _ in range(12)]
    files = [client.open(f"large-{n}") for n, client in enumerate(clients)]
    for client in clients:
        client.call(smb2.ECHO, smb2.ECHO_BODY, credits=600)
    for number in range(4):
        for client, file in zip(clients, files, strict=True):
            body = smb2.write_body(file, bytes([number]) * (8 * MIB))
            client.post(smb2.WRITE, body, charge=128, credits=128)
    for client in clients:
        for _ in range(4):
            assert client.reply().status == smb2.SUCCESS
        client.close()
    for number in range(12):
        assert (server.data / f"large-{number}").read_bytes() == bytes([3]) * (8 * MIB)


def test_memory_goes_back_when_clients_have_gone(server: One) -> None:
    """Buffers and the allocator's free memory: 278 MiB stayed for ever once."""
    before = server.memory()
    clients = [Raw(server, timeout=60).ready(account=ALICE) for _ in range(8)]
    for client in clients:
        client.call(smb2.ECHO, smb2.ECHO_BODY, credits=600)
        client.seals = True
        file = client.open("sealed")
        for _ in range(3):
            client.call(smb2.WRITE, smb2.write_body(file, PADDING[: 4 * MIB]), charge=64)
            client.call(smb2.READ, smb2.read_body(file, 4 * MIB), charge=64)
    for client in clients:
        client.close()
    wait_for(lambda: server.memory() - before < 32 * MIB, GIVEN_BACK_SECONDS, "free memory")


@pytest.mark.parametrize("size", [0, 8 * MIB])
def test_nothing_is_left_of_many_connections(server: One, size: int) -> None:
    """Nothing waits for the cycle collector: a listing to its end kept 125 KiB once."""

    def connect() -> None:
        with Raw(server, timeout=60).ready() as client:
            folder = client.call(smb2.CREATE, smb2.create_body("", 0x100081, smb2.OPEN)).file_id
            for _ in range(2):
                reply = client.call(smb2.QUERY_DIRECTORY, smb2.directory_body(folder))
            assert reply.status == smb2.NO_MORE_FILES
            file = client.open("left")
            if size:
                client.call(smb2.ECHO, smb2.ECHO_BODY, credits=600)
                client.call(smb2.WRITE, smb2.write_body(file, PADDING[:size]), charge=128)
            client.call(smb2.LOCK, smb2.lock_body(file, [(0, 1, 0x12)]))
            client.post(smb2.LOCK, smb2.lock_body(client.open("left"), [(0, 1, 2)]))
            assert client.reply().status == smb2.PENDING

    for _ in range(20):  # what is kept anyway is there then
        connect()
    before = server.memory()
    for _ in range(30 if size else 250):
        connect()
    wait_for(lambda: server.memory() - before < 4 * MIB, GIVEN_BACK_SECONDS, "nothing is kept")


def test_an_anonymous_session_sends_small_messages(server: One) -> None:
    client = Raw(server)
    client.negotiate()
    assert client.anonymous() == smb2.SUCCESS
    assert client.connect("IPC$").status == smb2.SUCCESS
    pipe = client.call(smb2.CREATE, smb2.create_body("srvsvc", 0x12019F, smb2.OPEN)).file_id
    client.post(smb2.READ, smb2.read_body(pipe, 1024) + bytes(100_000))
    assert client.reply().status == smb2.PENDING
    with suppress(ConnectionError):  # it may end while the message is still sent
        client.post(smb2.READ, smb2.read_body(pipe, 1024) + PADDING)
    with pytest.raises(ConnectionError):
        client.reply()
