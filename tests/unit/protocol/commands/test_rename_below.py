"""A directory is not renamed while something below it is open, in whatever worker.

[MS-FSA] 2.1.4.2; what clients only cache is given up first.
"""

from collections.abc import Callable
from typing import Any

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.leases import acknowledge, body, breaks
from smbengine.requests import FileId
from smbengine.rotation import Rotation
from smbengine.server import Engine

from usmbd.protocol.state import below
from usmbd.protocol.state.caching.rules import RH, R
from usmbd.protocol.vfs import directory_entry
from usmbd.protocol.vfs.node import Node
from usmbd.protocol.wire.access import DELETE, FILE_READ_ATTRIBUTES, FILE_READ_DATA
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_IF
from usmbd.protocol.wire.header import UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.oplock_break import LeaseBreakNotification
from usmbd.protocol.wire.status import NtStatus

FileRenameInformation = 10
Rename = Callable[[], int]


@pytest.fixture(params=[1, 2])
def holder(request: pytest.FixtureRequest, engine: Engine) -> Client:
    """Return a client of this worker, or of another one; there are folders."""
    (engine.files / "dir" / "sub").mkdir(parents=True)
    (engine.files / "dir2").mkdir()
    (engine.files / "dir" / "file").touch()
    server = engine.server if request.param == 1 else engine.another_worker()
    return Client(engine, server=server).ready()


@pytest.fixture
def rename(client: Client, holder: Client) -> Rename:
    """Return what asks for the rename of the folder, and gives the MessageId."""
    access = DELETE | FILE_READ_ATTRIBUTES
    folder = client.open("dir", access, FILE_OPEN, options=FILE_DIRECTORY_FILE)
    target = "moved".encode("utf-16-le")
    data = bytes(16) + len(target).to_bytes(4, "little") + target
    asked = requests.set_info(folder, FileRenameInformation, data)
    return lambda: client.post(Command.SET_INFO, asked)


def result(client: Client, message_id: int) -> NtStatus:
    """Return how it has ended."""
    return client.taken(message_id)[-1].status


def hold(client: Client, name: str, number: int) -> FileId:
    """Open a file and cache the handle."""
    reply = client.call(
        Command.CREATE, body(RH, bytes([number] * 16), name, disposition=FILE_OPEN_IF)
    )
    assert reply.status is NtStatus.SUCCESS
    return reply.file_id


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (r"dir\file", NtStatus.ACCESS_DENIED),
        (r"dir\sub", NtStatus.ACCESS_DENIED),
        (r"dir\sub\deep", NtStatus.ACCESS_DENIED),
        (r"dir\file:stream", NtStatus.ACCESS_DENIED),
        (r"dir2\file", NtStatus.SUCCESS),
        (r"dir:stream", NtStatus.SUCCESS),
        ("dir", NtStatus.SUCCESS),
    ],
)
def test_what_is_open_below(
    client: Client, holder: Client, rename: Rename, name: str, status: NtStatus
) -> None:
    access = FILE_READ_ATTRIBUTES if name == "dir" else FILE_READ_DATA
    file = holder.open(name, access, FILE_OPEN_IF)
    assert result(client, rename()) is status
    assert holder.close(file) is NtStatus.SUCCESS
    if status is not NtStatus.SUCCESS:
        assert result(client, rename()) is NtStatus.SUCCESS


def test_cached_handles_are_closed_one_after_the_other(
    client: Client, holder: Client, engine: Engine, rename: Rename
) -> None:
    files = {number: hold(holder, rf"dir\{number}", number) for number in range(1, 6)}
    message_id = rename()
    while files:
        (notice,) = holder.taken(UNSOLICITED_MESSAGE_ID)
        holder.close(files.pop(notice.parse(LeaseBreakNotification).lease_key[0]))
    assert breaks(holder) == []
    assert result(client, message_id) is NtStatus.SUCCESS
    assert (engine.files / "moved").is_dir()


def test_a_handle_that_is_kept(client: Client, holder: Client, rename: Rename) -> None:
    """The first decides; nobody else is asked then."""
    for number in (1, 2):
        hold(holder, rf"dir\{number}", number)
    message_id = rename()
    (notice,) = holder.taken(UNSOLICITED_MESSAGE_ID)
    key = notice.parse(LeaseBreakNotification).lease_key
    assert acknowledge(holder, R, key) is NtStatus.SUCCESS
    assert result(client, message_id) is NtStatus.ACCESS_DENIED
    assert breaks(holder) == []


@pytest.mark.parametrize("cached", [True, False])
def test_what_is_opened_meanwhile(
    client: Client, holder: Client, rename: Rename, cached: bool
) -> None:
    """It is no leftover of a cache."""
    file = hold(holder, r"dir\1", 1)
    message_id = rename()
    assert len(breaks(holder)) == 1
    if cached:
        hold(holder, r"dir\2", 2)
    else:
        holder.open(r"dir\2")
    holder.close(file)
    assert result(client, message_id) is NtStatus.ACCESS_DENIED
    assert breaks(holder) == []


def test_more_than_a_message_holds(
    client: Client, holder: Client, rename: Rename, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for so many."""
    files = [hold(holder, rf"dir\{number}", number) for number in range(1, 4)]
    monkeypatch.setattr(below, "ROOM", 50)
    message_id = rename()
    for file in files:
        holder.close(file)
    assert result(client, message_id) is NtStatus.ACCESS_DENIED


def test_many_opens_are_looked_at_in_slices(
    client: Client, holder: Client, rename: Rename, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of opens, each of which the kernel is asked for its path, hold up nobody else."""
    monkeypatch.setattr(below, "AT_ONCE", 4)
    for number in range(20):
        holder.open(f"dir2\\{number}")
    asked, threads = [0], [0]
    current_path, submit = directory_entry.current_path, engine.server.threads.submit

    def counted(node: Node) -> str:
        asked[-1] += 1
        return current_path(node)

    def on_thread(*args: Any) -> None:
        threads[0] += 1
        submit(*args)

    monkeypatch.setattr(directory_entry, "current_path", counted)
    monkeypatch.setattr(engine.server.threads, "submit", on_thread)
    turns = Rotation(engine, 1)
    message_id = rename()
    while turns.waiting:
        asked.append(0)
        turns.turn()
    assert result(client, message_id) is NtStatus.SUCCESS
    assert sum(asked) > 20
    assert max(asked) <= 12 or threads[0]
