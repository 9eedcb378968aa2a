"""Slow, greedy and lost clients, and requests that overtake each other (rows 15, 18, 36)."""

import struct
import time
from pathlib import Path

import pytest
from smbtest import smb2
from smbtest.raw import Raw
from smbtest.smb2 import ECHO, ECHO_BODY, create_body

from .conftest import Connect, Target


def batch(client: Raw, *requests: tuple[int, bytes], charge: int = 1) -> None:
    """Send several requests in one segment."""
    data = b""
    for command, body in requests:
        message = client.header(command, charge=charge) + body
        data += struct.pack(">I", len(message)) + message
    client.socket.sendall(data)


@pytest.fixture
def big(target: Target) -> Path:
    """Make a file of 8 MiB."""
    path = target.data / "resource"
    with path.open("wb") as file:
        file.truncate(8 << 20)
    path.chmod(0o666)
    return path


@pytest.mark.parametrize("how", ["plain", "signed", "encrypted"])
def test_a_client_that_does_not_read(connect: Connect, target: Target, big: Path, how: str) -> None:
    """60 READs of 8 MiB by each of four clients that take nothing: memory stays bounded."""
    before = target.memory()
    for _ in range(4):
        client = connect().ready()
        file_id = client.open(big.name)
        client.signs, client.seals = how == "signed", how == "encrypted"
        for _ in range(60):
            client.post(smb2.READ, smb2.read_body(file_id, 8 << 20), charge=128)
    time.sleep(0.3)
    assert target.memory() - before < 160 << 20


def test_small_requests_of_a_client_that_does_not_read(connect: Connect, target: Target) -> None:
    before = target.memory()
    client = connect().ready()
    client.socket.settimeout(1)  # it takes no more of them
    root = client.open("", disposition=smb2.OPEN, options=1, access=0x120089)
    try:
        for _ in range(7000):
            client.post(smb2.QUERY_DIRECTORY, smb2.directory_body(root, flags=0x10))
    except TimeoutError:
        pass
    assert target.memory() - before < 40 << 20


def test_slow_loris(connect: Connect, target: Target) -> None:
    """Many that send a byte now and then, before and after the login, hold nobody up."""
    slow = [connect() for _ in range(50)]
    for _ in range(20):
        client = connect()
        client.negotiate()
        slow.append(client)
    for number in range(4):
        for client in slow:
            client.socket.sendall(struct.pack(">I", 5000)[number : number + 1])
        began = time.monotonic()
        quick = connect().ready()
        assert time.monotonic() - began < 10
        quick.close()


def test_a_close_beside_a_read(connect: Connect, target: Target) -> None:
    """The descriptor of a READ is not another file's by the time that the data leaves."""
    secret = target.data / "other"
    secret.write_bytes(b"SECRET" * 20000)
    secret.chmod(0o666)
    small = target.data / "small"
    for size in (1, 100, 65536, 1 << 20):
        small.write_bytes(b"." * size)
        small.chmod(0o666)
        for _ in range(10):
            client = connect().ready()
            file_id = client.open("small")
            batch(
                client,
                (smb2.READ, smb2.read_body(file_id, 65536)),
                (smb2.CLOSE, smb2.close_body(file_id)),
                (smb2.CREATE, create_body("other")),
                (ECHO, ECHO_BODY),
            )
            read = client.reply()
            assert read.status == smb2.SUCCESS
            assert set(read.body[16:]) == {ord(".")}
            assert [client.reply().status for _ in range(3)] == [smb2.SUCCESS] * 3
            client.close()


@pytest.fixture
def slow(connect: Connect, target: Target) -> Raw:
    """Make the share a slow one by a call that takes long: then threads serve it."""
    folder = target.data / "crowd"
    if not folder.exists():
        folder.mkdir()
        for i in range(4000):
            (folder / f"{i:0200}").touch()
    client = connect(timeout=60).ready()
    root = client.open("crowd", disposition=smb2.OPEN, options=1, access=0x120089)
    client.call(smb2.QUERY_DIRECTORY, smb2.directory_body(root, "*z*", 1 << 20), charge=16)
    client.call(
        smb2.QUERY_DIRECTORY, smb2.directory_body(root, "*", 1 << 20, flags=0x10), charge=16
    )
    return client


def test_requests_that_overtake_each_other(slow: Raw, target: Target) -> None:
    """Served by threads, pipelined: a file that is closed, a listing that is read twice at once."""
    for i in range(20):
        file_id = slow.open(f"race{i}", options=smb2.DELETE_ON_CLOSE)
        root = slow.open("crowd", disposition=smb2.OPEN, options=1, access=0x120089)
        requests = [(smb2.WRITE, smb2.write_body(file_id, b"x" * 1000))] * 3
        requests += [(smb2.READ, smb2.read_body(file_id, 1000))] * 3
        requests += [(smb2.QUERY_INFO, smb2.query_body(file_id, 1, 18))]
        requests += [(smb2.QUERY_DIRECTORY, smb2.directory_body(root, size=4096))] * 4
        requests += [(smb2.CLOSE, smb2.close_body(file_id)), (smb2.CLOSE, smb2.close_body(root))]
        requests += [(smb2.CREATE, create_body("resource"))]
        batch(slow, *requests)
        statuses = [slow.reply().status for _ in requests]
        assert smb2.INTERNAL_ERROR not in statuses
        assert not (target.data / f"race{i}").exists()


@pytest.mark.parametrize("command", [smb2.LOGOFF, smb2.TREE_DISCONNECT, None])
def test_the_end_overtakes(
    connect: Connect, slow: Raw, target: Target, command: int | None
) -> None:
    """Row 15: logoff, disconnect, or the end of the connection, with all kinds under way."""
    for number in range(15):
        client = connect().ready()
        file_id = client.open("ends")
        requests = [(smb2.CREATE, create_body(f"ends{i}")) for i in range(8)]
        requests += [(smb2.WRITE, smb2.write_body(file_id, b"y" * 5000))]
        requests += [
            (smb2.READ, smb2.read_body(file_id, 1000)),
            (smb2.FLUSH, smb2.close_body(file_id)),
        ]
        requests += [(smb2.LOCK, smb2.lock_body(file_id, [(0, 10, 2)]))] * 2
        if command is not None:
            requests += [(command, ECHO_BODY)]
        batch(client, *requests)
        if command is not None:
            while (reply := client.reply()).command != command:
                assert reply.status != smb2.INTERNAL_ERROR
        else:
            time.sleep(number * 0.0003)
        client.close()
