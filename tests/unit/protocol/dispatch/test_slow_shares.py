"""A share that may hang: nothing that touches its files runs on the loop."""

import os
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.mountd.ipc.settings import Slow
from usmbd.protocol.dispatch.slices import Slices
from usmbd.protocol.effects import Slow as SlowCall
from usmbd.protocol.state.tree import TreeConnect
from usmbd.protocol.vfs import kernel
from usmbd.protocol.vfs.pace import LongCallError
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_ALL_ACCESS, FILE_READ_DATA
from usmbd.protocol.wire.close import SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB
from usmbd.protocol.wire.create import (
    FILE_DELETE_ON_CLOSE,
    FILE_DIRECTORY_FILE,
    FILE_OVERWRITE_IF,
)
from usmbd.protocol.wire.fscc import file_info, fs_info, set_info
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

CALLS = [
    (
        os,
        "close fstat fstatvfs ftruncate fsync getxattr listdir listxattr lseek open preadv pwrite",
    ),
    (os, "copy_file_range"),
    (
        os,
        "pwrite pwritev readlink removexattr rename rmdir scandir sendfile setxattr stat statvfs",
    ),
    (kernel, "access_at fallocate getxattr_at statx_at statx_fd"),
    (kernel.How, "open"),
]


def tree(client: Client) -> TreeConnect:
    return client.session.tree_connect_table[client.tree_id]


@pytest.fixture
def on_loop(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Note the calls of the engine for files that are made while no thread works."""
    noted: list[str] = []
    inside = False
    submit = engine.threads.submit

    def marked(function: Callable[..., Any], args: tuple[Any, ...], *rest: Any) -> None:
        def call(*args: Any) -> Any:
            nonlocal inside
            inside = True
            try:
                return function(*args)
            finally:
                inside = False

        submit(call, args, *rest)

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals["__name__"]
            if not inside and caller.startswith("usmbd.protocol") and ".store" not in caller:
                noted.append(f"{name} by {caller}")
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(engine.threads, "submit", marked)
    for module, names in CALLS:
        for name in names.split():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    yield noted
    monkeypatch.undo()


@pytest.fixture
def slow(engine: Engine) -> Client:
    """Return a client of a share whose calls may hang."""
    client = Client(engine).ready()
    tree(client).speed.may_hang = True
    return client


def copy_of(file: tuple[int, int]) -> bytes:
    """Ask for a copy of the file's first byte behind its end."""
    key = struct.pack("<QQQ", *file, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY)
    return key + struct.pack("<IIQQII", 1, 0, 0, 2**64 - 1, 1, 0)


def everything(client: Client) -> None:
    """Do what a client can do with files."""
    file = client.open("file", FILE_ALL_ACCESS)
    big = b"x" * 200_000
    for command, body in [
        (Command.WRITE, requests.write(file, b"data")),
        (Command.READ, requests.read(file, 4)),
        (Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY)),
        (Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_SRV_COPYCHUNK, copy_of(file))),
        (Command.FLUSH, requests.flush(file)),
        (Command.LOCK, requests.lock(file, (0, 1, 2))),
        (Command.QUERY_INFO, requests.query_info(file, file_info.FileAllInformation)),
        (Command.QUERY_INFO, requests.query_info(file, file_info.FileBasicInformation)),
        (Command.QUERY_INFO, requests.query_info(file, fs_info.FileFsSizeInformation, 2)),
        (Command.QUERY_INFO, requests.query_info(file, 0, 3, additional=7)),
        (Command.SET_INFO, requests.set_info(file, set_info.FileEndOfFileInformation, bytes(8))),
        (Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_SET_SPARSE)),
        (Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_QUERY_ALLOCATED_RANGES, bytes(16))),
        (Command.CLOSE, requests.close(file, SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB)),
    ]:
        assert client.call(command, body).status is NtStatus.SUCCESS, command
    file = client.open("file")
    assert client.call(Command.WRITE, requests.write(file, big), credit_charge=4).status == 0
    assert client.call(Command.READ, requests.read(file, len(big)), credit_charge=4).status == 0
    root = client.open("", FILE_READ_DATA, options=FILE_DIRECTORY_FILE)
    assert client.call(Command.QUERY_DIRECTORY, requests.query_directory(root, 12)).status == 0
    exclusive = client.open("exclusive", share=0)
    assert client.create("exclusive") is NtStatus.SHARING_VIOLATION
    assert client.create("exclusive", disposition=FILE_OVERWRITE_IF) is NtStatus.SHARING_VIOLATION
    assert client.create("none", disposition=1) is NtStatus.OBJECT_NAME_NOT_FOUND
    assert client.close(exclusive) is NtStatus.SUCCESS
    doomed = client.open("doomed", FILE_ALL_ACCESS, options=FILE_DELETE_ON_CLOSE)
    assert client.close(doomed) is NtStatus.SUCCESS


def test_nothing_of_a_client_touches_files_on_the_loop(
    slow: Client, engine: Engine, on_loop: list[str]
) -> None:
    everything(slow)
    assert on_loop == []
    speed = tree(slow).speed
    assert set(engine.threads.lanes) == {"data", speed, (Slices, speed), (SlowCall, speed)}


@pytest.mark.parametrize("how", ["tree", "logoff", "gone"])
def test_what_a_client_leaves_open_is_closed_on_threads(
    slow: Client, engine: Engine, on_loop: list[str], how: str
) -> None:
    """The doomed file is deleted, and the reply to the end does not wait for a share that hangs."""
    slow.open("file")
    slow.open("doomed", FILE_ALL_ACCESS, options=FILE_DELETE_ON_CLOSE)
    engine.threads.held = True
    if how == "gone":
        slow.disconnect()
    else:
        command = Command.TREE_DISCONNECT if how == "tree" else Command.LOGOFF
        assert slow.call(command, requests.EMPTY).status is NtStatus.SUCCESS
    assert engine.server.closing == 2
    assert (engine.files / "doomed").exists()
    engine.release(engine.threads)
    assert engine.server.closing == 0
    assert on_loop == []
    assert sorted(path.name for path in engine.files.iterdir()) == ["file"]
    assert not engine.server.waiters


def test_the_parameter_decides(engine: Engine) -> None:
    """`auto` asks the file system, which here is this machine's own."""
    for value, may_hang in ((Slow.YES, True), (Slow.NO, False)):
        share = engine.mountd.shares["data"]
        engine.mountd.shares["data"] = type(share)(
            **{name: getattr(share, name) for name in share.__struct_fields__} | {"slow": value}
        )
        client = Client(engine).ready()
        assert tree(client).speed.may_hang is may_hang
        assert tree(client).speed.fast() is not may_hang


def test_a_call_that_turns_out_to_be_long_is_made_again_on_a_thread(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares the threads of long work, and others are answered meanwhile."""
    client = Client(engine).ready()
    volume = tree(client).volume
    assert volume is not None
    tries: list[str] = []
    lookup = type(volume).lookup

    def long(self: Any, path: str, **options: Any) -> Any:
        tries.append(path)
        if len(tries) == 1:
            raise LongCallError
        return lookup(self, path, **options)

    monkeypatch.setattr(type(volume), "lookup", long)
    engine.threads.held = True
    number = client.post(Command.CREATE, requests.create("file"))
    engine.settle()
    assert tries == ["file"]
    assert engine.threads.lanes[-1] == (Slices, tree(client).speed)
    assert client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS
    engine.release(engine.threads)
    assert client.taken(number)[0].status is NtStatus.SUCCESS
    assert tries == ["file", "file"]
