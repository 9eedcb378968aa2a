"""Room that clients ask for: by AllocationSize of CREATE and of SET_INFO."""

import errno
import os
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client, Reply
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import create as commands_create
from usmbd.protocol.commands import find_or_create
from usmbd.protocol.commands.create import LEASE_LOOK_SECONDS
from usmbd.protocol.state.open import LARGE_FILE
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.vfs.pace import LongCallError
from usmbd.protocol.wire.access import DELETE
from usmbd.protocol.wire.create import FILE_DELETE_ON_CLOSE, FILE_OVERWRITE
from usmbd.protocol.wire.create_contexts import SMB2_CREATE_ALLOCATION_SIZE
from usmbd.protocol.wire.fscc.set_info import (
    FileAllocationInformation,
    FileLinkInformation,
    FileRenameInformation,
)
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus, SmbError

MIB = 1 << 20


@pytest.fixture
def quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody have more than a MiB, as ext4 does it: what there was has been taken."""
    real = kernel.fallocate

    def until_full(fd: int, mode: int, offset: int, length: int) -> None:
        real(fd, mode, offset, min(length, MIB))
        if length > MIB:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(kernel, "fallocate", until_full)


@pytest.fixture
def loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the event loop is made to do of what takes long for a large file."""
    done: list[str] = []

    def counted(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            if not engine.threads.running:
                done.append(name)
            return real(*args, **options)

        monkeypatch.setattr(module, name, call)

    def long_call() -> None:
        if not engine.threads.running:
            raise LongCallError

    counted(kernel, "fallocate")
    counted(kernel, "rename")
    counted(os, "ftruncate")
    counted(os, "unlink")
    monkeypatch.setattr(find_or_create, "long_call", long_call)
    return done


def create(client: Client, size: int, **options: int) -> Reply:
    """CREATE with an AllocationSize."""
    context = SMB2_CREATE_ALLOCATION_SIZE, struct.pack("<Q", size)
    contexts = [context] if size else []
    return client.call(Command.CREATE, requests.create("file", contexts=contexts, **options))


def allocate(client: Client, file: FileId, size: int) -> NtStatus:
    body = requests.set_info(file, FileAllocationInformation, struct.pack("<Q", size))
    return client.call(Command.SET_INFO, body).status


def room(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.mark.usefixtures("quota")
def test_in_vain_it_goes_back_where_nobody_else_writes(client: Client, engine: Engine) -> None:
    """What others append at that moment would be cut off."""
    path = engine.files / "file"
    opened = client.open("file")
    other = Client(engine).ready()
    also = other.open("file")
    client.call(Command.WRITE, requests.write(opened, b"data"))
    assert allocate(client, opened, 2 * MIB) is NtStatus.DISK_FULL
    assert room(path) >= MIB
    other.close(also)
    assert allocate(client, opened, 2 * MIB) is NtStatus.DISK_FULL
    assert room(path) < MIB
    assert path.read_bytes() == b"data"
    assert allocate(client, client.open("file:stream"), 2) is NtStatus.SUCCESS


def test_what_is_new_has_much_room_from_a_thread(
    client: Client, engine: Engine, loop: list[str]
) -> None:
    """And gives it back from one, though it is empty."""
    opened = create(client, LARGE_FILE + 1, options=FILE_DELETE_ON_CLOSE)
    assert opened.status is NtStatus.SUCCESS
    assert room(engine.files / "file") > LARGE_FILE
    client.close(opened.file_id)
    assert not (engine.files / "file").exists()
    assert loop == []
    client.close(create(client, MIB, options=FILE_DELETE_ON_CLOSE).file_id)
    assert loop == ["fallocate", "unlink"], "what is small is done at once"


def test_what_is_overwritten_has_and_had_much_room(
    client: Client, engine: Engine, loop: list[str]
) -> None:
    client.close(create(client, LARGE_FILE + 1).file_id)
    for size in (0, LARGE_FILE + 1):
        opened = create(client, size, disposition=FILE_OVERWRITE)
        assert opened.status is NtStatus.SUCCESS
        client.close(opened.file_id)
        assert (room(engine.files / "file") > LARGE_FILE) is bool(size)
    assert loop == []


@pytest.mark.parametrize("change", [FileRenameInformation, FileLinkInformation])
def test_what_is_replaced_gives_much_room_back(
    client: Client, engine: Engine, loop: list[str], change: int
) -> None:
    for size in (LARGE_FILE + 1, MIB):
        client.close(create(client, size).file_id)
        loop.clear()
        opened = client.open("new", DELETE)
        data = requests.named("file", replace=True)
        body = requests.set_info(opened, change, data)
        assert client.call(Command.SET_INFO, body).status is NtStatus.SUCCESS
        client.close(opened)
        assert room(engine.files / "file") == 0
        assert loop == ([] if size > MIB else ["rename"])
        (engine.files / "file").unlink()


def test_what_others_do_not_admit_gives_it_back(
    client: Client, engine: Engine, loop: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one who opened it in between, not to share it."""

    def refuse(*_: object) -> None:
        raise SmbError(NtStatus.SHARING_VIOLATION)

    monkeypatch.setattr(commands_create, "admit", refuse)
    assert create(client, LARGE_FILE + 1).status is NtStatus.SHARING_VIOLATION
    assert not (engine.files / "file").exists()
    assert loop == []


def test_what_a_local_program_gives_up_gets_it_later(
    client: Client, engine: Engine, loop: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.close(client.open("file"))
    opened = Node.open_data
    tries: list[bool] = []

    def leased(node: Node, **options: bool) -> None:
        tries.append(engine.threads.running)
        if len(tries) == 1:
            raise BlockingIOError
        opened(node, **options)

    monkeypatch.setattr(Node, "open_data", leased)
    body = requests.create(
        "file",
        disposition=FILE_OVERWRITE,
        contexts=[(SMB2_CREATE_ALLOCATION_SIZE, struct.pack("<Q", LARGE_FILE + 1))],
    )
    client.pending(Command.CREATE, body)
    engine.clock.advance(LEASE_LOOK_SECONDS)
    engine.settle()
    assert tries == [True, True]
    assert room(engine.files / "file") > LARGE_FILE
    assert loop == []
