"""Two clients in two processes of the server, which have to respect what the other one holds."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbprotocol.header import NtStatus
from smbprotocol.open import SMB2LockElement
from smbtest import client as smb
from smbtest.client import Client, refused
from smbtest.processes import wait_for
from smbtest.server import ALICE, BOB, Server

SECONDS = 60.0  # tells a hang from a busy machine

# smbprotocol's NtStatus has no names for these
FILE_LOCK_CONFLICT, LOCK_NOT_GRANTED, RANGE_NOT_LOCKED = 0xC0000054, 0xC0000055, 0xC000007E
Pair = tuple[Client, Client]
TRIES = 32  # distinct ClientGuids are spread over the workers by the server


@pytest.fixture
def pair(server: Server) -> Iterator[Pair]:
    """Connect until two clients are served by different processes."""
    clients = [Client(server, ALICE)]
    try:
        while True:
            clients.append(Client(server, BOB))
            mine, other = (server.process_of(clients[i].port) for i in (0, -1))
            if mine != other:
                break
            assert len(clients) < TRIES, "all clients are served by one process"
        yield clients[0], clients[-1]
    finally:
        for client in clients:
            client.close()


def test_share_modes(pair: Pair, folder: Path) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    holder = one.open(path, smb.ALL, smb.CREATE, share=smb.SHARE_READ)
    with refused(NtStatus.STATUS_SHARING_VIOLATION):
        two.open(path, smb.WRITE)
    with refused(NtStatus.STATUS_SHARING_VIOLATION):  # the other direction: it does not share write
        two.open(path, smb.READ, share=smb.SHARE_READ)
    reader = two.open(path, smb.READ)
    stat = two.open(path, smb.READ_ATTRIBUTES, share=smb.SHARE_NONE)
    stat.close()
    reader.close()
    holder.close()
    two.open(path, smb.WRITE).close()


@pytest.mark.parametrize("access", [smb.READ, smb.WRITE, smb.DELETE])
@pytest.mark.parametrize("share", [smb.SHARE_READ, smb.SHARE_WRITE, smb.SHARE_DELETE])
def test_each_right_needs_its_share_mode(pair: Pair, folder: Path, access: int, share: int) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    holder = one.open(path, smb.READ_ATTRIBUTES | smb.READ_DATA, smb.CREATE, share=share)
    needed = {smb.READ: smb.SHARE_READ, smb.WRITE: smb.SHARE_WRITE, smb.DELETE: smb.SHARE_DELETE}
    if needed[access] == share:
        two.open(path, access).close()
    else:
        with refused(NtStatus.STATUS_SHARING_VIOLATION):
            two.open(path, access)
    holder.close()


def test_delete_pending_is_seen_by_all(pair: Pair, folder: Path) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    mine = one.open(path, smb.ALL, smb.CREATE)
    other = two.open(path, smb.READ)
    one.set(mine, 13, b"\1")
    with refused(NtStatus.STATUS_DELETE_PENDING):
        two.open(path, smb.READ)
    mine.close()
    assert (folder / "file").exists()
    other.close()
    assert not (folder / "file").exists()
    two.open(path, smb.ALL, smb.CREATE).close()


def test_a_renamed_file_is_still_the_same(pair: Pair, folder: Path) -> None:
    one, two = pair
    holder = one.open(rf"{folder.name}\old", smb.ALL, smb.CREATE, share=smb.SHARE_ALL)
    name = rf"{folder.name}\new".encode("utf-16-le")
    one.set(holder, 10, bytes(16) + len(name).to_bytes(4, "little") + name)
    with refused(NtStatus.STATUS_SHARING_VIOLATION):
        two.open(rf"{folder.name}\new", smb.READ, share=smb.SHARE_NONE)
    with refused(NtStatus.STATUS_OBJECT_NAME_NOT_FOUND):
        two.open(rf"{folder.name}\old", smb.READ)
    holder.close()
    two.open(rf"{folder.name}\new", smb.READ, share=smb.SHARE_NONE).close()


def test_byte_range_locks(pair: Pair, folder: Path) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    mine = one.open(path, smb.ALL, smb.CREATE)
    other = two.open(path, smb.READ | smb.WRITE)
    mine.write(bytes(300), 0)
    exclusive = smb.LOCK_EXCLUSIVE | smb.LOCK_FAIL_IMMEDIATELY
    shared = smb.LOCK_SHARED | smb.LOCK_FAIL_IMMEDIATELY

    one.lock(mine, 100, 100, exclusive)
    with refused(LOCK_NOT_GRANTED):
        two.lock(other, 150, 100, exclusive)
    with refused(LOCK_NOT_GRANTED):
        two.lock(other, 199, 1, shared)
    two.lock(other, 200, 100, exclusive)
    with refused(FILE_LOCK_CONFLICT):
        other.read(150, 10)
    with refused(FILE_LOCK_CONFLICT):
        other.write(b"x", 199)
    with refused(FILE_LOCK_CONFLICT):
        mine.read(200, 1)
    other.write(b"x", 99)
    assert mine.read(100, 100) == bytes(100)

    one.lock(mine, 100, 100, smb.LOCK_UNLOCK)
    with refused(RANGE_NOT_LOCKED):
        one.lock(mine, 100, 100, smb.LOCK_UNLOCK)
    two.lock(other, 100, 100, shared)
    one.lock(mine, 100, 100, shared)
    with refused(FILE_LOCK_CONFLICT):
        mine.write(b"x", 100)
    assert mine.read(100, 1) == b"\0"
    other.close()
    mine.close()


def test_a_lock_that_waits(pair: Pair, folder: Path) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    mine = one.open(path, smb.ALL, smb.CREATE)
    other = two.open(path, smb.READ | smb.WRITE)
    one.lock(mine, 0, 10, smb.LOCK_EXCLUSIVE)
    granted: list[bool] = []

    def wait() -> None:
        two.lock(other, 0, 10, smb.LOCK_EXCLUSIVE)
        granted.append(True)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(0.3)
    assert not granted
    two.connection.echo()  # the waiting request holds nothing else up
    one.lock(mine, 0, 10, smb.LOCK_UNLOCK)
    thread.join(SECONDS)
    assert granted
    other.close()
    mine.close()


@pytest.mark.parametrize("end", ["close", "drop"])
def test_a_lock_that_waits_for_an_end(pair: Pair, folder: Path, end: str) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    mine = one.open(path, smb.ALL, smb.CREATE)
    other = two.open(path, smb.READ | smb.WRITE)
    one.lock(mine, 0, 10, smb.LOCK_EXCLUSIVE)
    thread = threading.Thread(target=two.lock, args=(other, 0, 10, smb.LOCK_EXCLUSIVE), daemon=True)
    thread.start()
    time.sleep(0.2)
    assert thread.is_alive()
    mine.close() if end == "close" else one.drop()
    thread.join(SECONDS)
    assert not thread.is_alive()
    other.close()


def test_a_lock_that_is_cancelled(pair: Pair, folder: Path) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    mine = one.open(path, smb.ALL, smb.CREATE)
    other = two.open(path, smb.READ | smb.WRITE)
    one.lock(mine, 0, 10, smb.LOCK_EXCLUSIVE)
    element = SMB2LockElement()
    element["length"] = 10
    element["flags"] = smb.LOCK_EXCLUSIVE
    message, _ = other.lock([element], send=False)
    request = two.connection.send(message, two.session.session_id, two.tree.tree_connect_id)
    wait_for(lambda: request.async_id is not None, SECONDS, "the interim response")
    request.cancel()
    with refused(NtStatus.STATUS_CANCELLED):
        two.connection.receive(request, timeout=SECONDS)
    one.lock(mine, 0, 10, smb.LOCK_UNLOCK)
    one.lock(mine, 0, 10, smb.LOCK_EXCLUSIVE | smb.LOCK_FAIL_IMMEDIATELY)  # nobody took it
    other.close()
    mine.close()


def test_what_one_writes_the_other_reads(pair: Pair, folder: Path) -> None:
    one, two = pair
    path = rf"{folder.name}\file"
    mine = one.open(path, smb.ALL, smb.CREATE)
    other = two.open(path, smb.READ | smb.WRITE)
    for turn in range(50):
        writer, reader = (mine, other) if turn % 2 else (other, mine)
        data = bytes([turn]) * (turn + 1)
        writer.write(data, turn * 10)
        assert reader.read(turn * 10, 100) == data
    mine.close()
    other.close()
    name = f"{folder.name}/made by two".replace("/", "\\")
    two.open(name, smb.ALL, smb.CREATE).close()
    one.open(name.upper(), smb.READ).close()
