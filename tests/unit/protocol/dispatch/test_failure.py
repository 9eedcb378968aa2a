"""Whose fault an error is: a message that cannot be read is the client's, all else is ours."""

import errno
import logging
import struct
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.server import Engine

from usmbd.protocol.commands.ioctl import _HANDLERS
from usmbd.protocol.wire import (
    create_contexts,
    create_contexts_aapl,
    create_contexts_posix,
    fsctl,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.fscc.file_info import FileFullEaInformation
from usmbd.protocol.wire.fscc.set_info import FILE_SETTERS
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK
from usmbd.protocol.wire.oplock_break import OplockBreak
from usmbd.protocol.wire.query_info import SMB2_0_INFO_SECURITY
from usmbd.protocol.wire.status import MalformedError, NtStatus, SmbError

MISTAKES = [
    struct.error("'H' format requires 0 <= number <= 65535"),
    IndexError("list index out of range"),
    KeyError("share"),
    ValueError("no number"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    OverflowError("too large"),
    AssertionError(),
    RecursionError(),
    OSError(errno.EBADF, "Bad file descriptor"),
    OSError(errno.EFAULT, "Bad address"),
]
REFUSALS = [
    (SmbError(NtStatus.SHARING_VIOLATION), NtStatus.SHARING_VIOLATION),
    (MalformedError("short"), NtStatus.INVALID_PARAMETER),
    (OSError(errno.ENOSPC, "No space left"), NtStatus.DISK_FULL),
    (OSError(errno.EREMOTEIO, "nobody foresaw it"), NtStatus.UNSUCCESSFUL),
    (ConnectionError("the peer is gone"), NtStatus.UNSUCCESSFUL),
]


def faults(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def read_that_raises(
    engine: Engine, client: Client, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> NtStatus:
    file = client.open("file")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(engine.store, "check_io", fail)
    return client.call(Command.READ, requests.read(file, 1)).status


@pytest.mark.parametrize("error", MISTAKES, ids=lambda error: type(error).__name__)
def test_a_mistake_of_ours_is_logged_and_an_internal_error(
    engine: Engine,
    client: Client,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read_that_raises(engine, client, error, monkeypatch) is NtStatus.INTERNAL_ERROR
    (record,) = faults(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert client.call(Command.ECHO, requests.EMPTY).status is NtStatus.SUCCESS


@pytest.mark.parametrize(
    ("error", "status"), REFUSALS, ids=lambda value: getattr(value, "name", type(value).__name__)
)
def test_a_refusal_is_its_status(
    engine: Engine,
    client: Client,
    error: Exception,
    status: NtStatus,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read_that_raises(engine, client, error, monkeypatch) is status
    assert faults(caplog) == []


def test_a_message_may_end_anywhere(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is cut off is the client's to mend, and no matter for our log."""
    held = client.open("held")
    folder = client.open("folder", options=FILE_DIRECTORY_FILE)
    bodies = {
        Command.TREE_CONNECT: requests.tree_connect("data"),
        Command.CREATE: requests.create("name", contexts=[(b"MxAc", bytes(8)), (b"QFid", b"")]),
        Command.CLOSE: requests.close(held),
        Command.FLUSH: requests.flush(held),
        Command.READ: requests.read(held, 1),
        Command.WRITE: requests.write(held, b"data"),
        Command.LOCK: requests.lock(held, (0, 1, SMB2_LOCKFLAG_EXCLUSIVE_LOCK)),
        Command.IOCTL: requests.ioctl(held, fsctl.FSCTL_SET_ZERO_DATA, bytes(16)),
        Command.ECHO: requests.EMPTY,
        Command.QUERY_DIRECTORY: requests.query_directory(folder, FileNamesInformation),
        Command.CHANGE_NOTIFY: requests.change_notify(folder, 1),
        Command.QUERY_INFO: requests.query_info(held, 4),
        Command.SET_INFO: requests.set_info(held, 4, bytes(40)),
        Command.OPLOCK_BREAK: OplockBreak(oplock_level=0, persistent=1, volatile=1).pack(),
    }
    for command, body in bodies.items():
        for length in range(len(body)):
            replies = client.taken(client.post(command, body[:length]))
            assert not client.lost, (command, length)
            assert NtStatus.INTERNAL_ERROR not in [reply.status for reply in replies]
            assert replies or command is Command.CHANGE_NOTIFY, (command, length)
    assert faults(caplog) == []


FILLINGS = [bytes, lambda size: b"\xff" * size, lambda size: b"\1\0\0\0" * size]
CONTEXTS = [
    value
    for module in (create_contexts, create_contexts_aapl, create_contexts_posix)
    for name, value in vars(module).items()
    if name.startswith("SMB2_CREATE_") and isinstance(value, bytes)
]


@pytest.mark.parametrize("fill", FILLINGS, ids=["zeros", "ones", "numbers"])
def test_what_a_message_carries_may_be_anything(
    client: Client, caplog: pytest.LogCaptureFixture, fill: Callable[[int], bytes]
) -> None:
    """Every FSCTL, every class of SET_INFO, every create context: of each length up to 64.

    (A FSCTL_VALIDATE_NEGOTIATE_INFO that is wrong ends the connection; a resilient open whose file
    is to be deleted outlives it, so each length has a file of its own.)
    """
    held = client.open("held0")

    def ask(command: Command, body: bytes) -> None:
        replies = client.taken(client.post(command, body))
        assert not client.lost, (command, body)
        assert NtStatus.INTERNAL_ERROR not in [reply.status for reply in replies], (command, body)

    for length in range(64):
        data = fill(length)
        for code in _HANDLERS.keys() - {fsctl.FSCTL_VALIDATE_NEGOTIATE_INFO}:
            ask(Command.IOCTL, requests.ioctl(held, code, data, 64))
        for level in FILE_SETTERS.keys() | {FileFullEaInformation}:
            ask(Command.SET_INFO, requests.set_info(held, level, data))
        ask(Command.SET_INFO, requests.set_info(held, 0, data, SMB2_0_INFO_SECURITY, 7))
        for name in CONTEXTS:
            ask(Command.CREATE, requests.create(f"held{length}", contexts=[(name, data)]))
        client.disconnect()
        client = Client(client.engine).ready()
        held = client.open(f"held{length + 1}")
    assert faults(caplog) == []


@pytest.mark.parametrize("length", [0, 1, 3, 4, 63])
def test_a_message_without_a_whole_header_ends_its_connection(
    client: Client, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    client.send(client.pack(Command.ECHO, requests.EMPTY)[:length])
    client.engine.settle()
    assert client.lost
    assert "internal" not in client.lost
    assert faults(caplog) == []
