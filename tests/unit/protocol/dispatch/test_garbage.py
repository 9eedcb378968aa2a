"""What a request or a connection leaves is freed at once: the cycle collector runs seldom.

One that waits for it keeps the message, 64 KiB and more, and descriptors of files; under load a
worker had 200 MiB of them.
"""

import gc
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands.request import Request
from usmbd.protocol.state.connection import Connection
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.pipe import Pipe
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_ALL_ACCESS, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_OPEN
from usmbd.protocol.wire.fscc.directory import FileNamesInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK
from usmbd.protocol.wire.status import NtStatus

NAMES = 12
OURS = (Connection, Open, Pipe, Request, memoryview)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that nothing of what is made meanwhile waits for the collector."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = [type(each).__name__ for each in gc.garbage if isinstance(each, OURS)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


def listing(client: Client) -> None:
    """List a folder to its end, which is an error."""
    for number in range(NAMES):
        client.open(f"name-{number}")
    folder = client.open("", FILE_READ_DATA, options=FILE_DIRECTORY_FILE)
    body = requests.query_directory(folder, FileNamesInformation)
    assert client.call(Command.QUERY_DIRECTORY, body).status is NtStatus.SUCCESS
    assert client.call(Command.QUERY_DIRECTORY, body).status is NtStatus.NO_MORE_FILES


def slow_listing(client: Client) -> None:
    """Do the same on threads."""
    (tree,) = client.session.tree_connect_table.values()
    tree.speed.may_hang = True
    listing(client)


def errors(client: Client) -> None:
    """Ask for what is not there, on the loop and in a compound."""
    assert client.create("nothing", disposition=FILE_OPEN) is NtStatus.OBJECT_NAME_NOT_FOUND
    body = requests.create("nothing", disposition=FILE_OPEN)
    client.compound((Command.CREATE, body), (Command.CLOSE, requests.close((2**64 - 1,) * 2)))


def wait_for_lock(client: Client) -> FileId:
    """Wait for a range that another open has locked."""
    held, wanted = client.open("file"), client.open("file")
    ranges = (0, 1, SMB2_LOCKFLAG_EXCLUSIVE_LOCK)
    assert client.call(Command.LOCK, requests.lock(held, ranges)).status is NtStatus.SUCCESS
    client.pending(Command.LOCK, requests.lock(wanted, ranges))
    return held


def granted(client: Client) -> None:
    """Get the lock at last."""
    client.close(wait_for_lock(client))


def read_of_a_pipe(client: Client) -> None:
    """Wait at a pipe, until something comes and until the end."""
    client.connect("IPC$")
    pipe = client.open("echo", FILE_ALL_ACCESS, FILE_OPEN)
    client.pending(Command.READ, requests.read(pipe, 10))
    client.call(Command.WRITE, requests.write(pipe, b"late"))
    client.pending(Command.READ, requests.read(pipe, 10))


def stopped_copy(client: Client) -> None:
    """Copy more than there is."""
    file = client.open("file")
    chunk = struct.pack("<QQII", 0, 0, 1, 0)
    key = struct.pack("<QQQ", *file, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY)
    body = requests.ioctl(file, fsctl.FSCTL_SRV_COPYCHUNK, key + struct.pack("<II", 1, 0) + chunk)
    assert client.call(Command.IOCTL, body).status is NtStatus.INVALID_VIEW_SIZE


def logoff(client: Client) -> None:
    """End the session with a lock that waits."""
    wait_for_lock(client)
    client.call(Command.LOGOFF, requests.EMPTY)


@pytest.mark.parametrize(
    "work",
    [listing, slow_listing, errors, wait_for_lock, granted, read_of_a_pipe, stopped_copy, logoff],
    ids=lambda work: work.__name__,
)
def test_nothing_waits_for_the_collector(engine: Engine, work: Callable[[Client], object]) -> None:
    first = Client(engine).ready()
    work(first)  # what is made once: caches, the buffers' pool
    first.disconnect()
    with nothing_left():
        client = Client(engine).ready()
        work(client)
        client.disconnect()
        del client
