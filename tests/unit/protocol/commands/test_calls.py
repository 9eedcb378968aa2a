"""The system calls of a READ and a WRITE: the file's own one, and nothing beside it."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import TRANSPORT, Engine

from usmbd.protocol.commands.read import COPIED_SIZE
from usmbd.protocol.state.speed import BEAT, LATE
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.header import Command
from usmbd.transport.base import FileSpan

pytestmark = pytest.mark.skipif(TRANSPORT != "memory", reason="the fabric has memory of its own")

OF_FILES = [
    *("preadv", "pread", "read", "pwrite", "pwritev", "write", "sendfile", "fstat", "stat"),
    *("lseek", "open", "close", "getxattr", "setxattr", "listxattr", "utime", "fsync", "readlink"),
]
"""What of `os` may be called for a file."""

Calls = list[str]


@pytest.fixture
def calls(client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Return the names of the calls that are made: `os`, statx, and the store's transactions."""
    made: Calls = []
    client.signs = False

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: (made.append(name), function(*args, **named))[1]

    for name in OF_FILES:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    monkeypatch.setattr(kernel, "statx_fd", counted("statx", kernel.statx_fd))
    for table in engine.store._opens, engine.store._locks:
        monkeypatch.setattr(table, "_begin", counted("store", table._begin))
    yield made
    monkeypatch.undo()


def read(client: Client, file: tuple[int, int], length: int) -> bytes:
    charge = -(-length // 65536)
    return client.call(Command.READ, requests.read(file, length), credit_charge=charge).data


@pytest.mark.parametrize("size", [4096, 65536])
def test_a_read_is_one_call(client: Client, calls: Calls, size: int) -> None:
    data = os.urandom(size)
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, data))
    read(client, file, size)  # the first learns whether the file system can read without waiting
    calls.clear()
    assert read(client, file, size) == data
    assert calls == ["preadv"]


@pytest.mark.parametrize("size", [1, 4096, 65536])
def test_a_write_is_one_call(client: Client, calls: Calls, size: int) -> None:
    file = client.open("file")
    calls.clear()
    client.call(Command.WRITE, requests.write(file, bytes(size)))
    assert calls == ["pwrite"]


def test_a_file_system_that_always_waits_is_asked_once(
    client: Client, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RWF_NOWAIT is refused by tmpfs, FUSE and others, and by Linux before 4.14."""

    def refuse(fd: int, buffers: Sequence[memoryview], offset: int, flags: int = 0) -> int:
        calls.append("nowait" if flags else "wait")
        if flags:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return preadv(fd, buffers, offset)

    preadv = os.preadv
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, b"data"))
    monkeypatch.setattr(os, "preadv", refuse)
    calls.clear()
    for _ in range(3):
        assert read(client, file, 4) == b"data"
    assert [call for call in calls if call != "preadv"] == ["nowait", "wait", "wait", "wait"]


def test_what_is_not_in_memory_now_is_asked_for_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EAGAIN is about this read alone."""
    tries: list[int] = []

    def refuse(node: Node, buffers: Sequence[memoryview], offset: int) -> int:
        tries.append(offset)
        raise BlockingIOError

    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, b"data"))
    monkeypatch.setattr(Node, "read_nowait_into", refuse)
    assert [read(client, file, 4) for _ in range(2)] == [b"data"] * 2
    assert len(tries) == 2


def test_sendfile_is_for_volumes_that_are_known_to_be_fast(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot leave the loop, nor be measured: by it a volume is noted, and then not trusted."""
    sent: list[object] = []
    transport = client.connection.transport
    send = transport.send
    monkeypatch.setattr(transport, "send", lambda parts: (sent.extend(parts), send(parts)))
    client.signs = False
    speed = client.session.tree_connect_table[client.tree_id].speed
    size = COPIED_SIZE + 1
    file = client.open("file")
    client.call(Command.WRITE, requests.write(file, bytes(size)), credit_charge=2)

    def by_sendfile() -> bool:
        sent.clear()
        assert read(client, file, size) == bytes(size)
        return any(isinstance(part, FileSpan) for part in sent)

    engine.clock.advance(BEAT)
    assert by_sendfile()
    assert speed.noted
    engine.clock.now += BEAT + LATE * 2
    engine.clock.advance(0)
    assert speed.measured
    assert not by_sendfile()
    speed.measured, speed.slow_until = False, float("inf")
    assert not by_sendfile()
