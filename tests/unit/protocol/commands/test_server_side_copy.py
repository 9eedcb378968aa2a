"""Copies that the server makes itself: keys, limits, rights, locks, and how far they came."""

import errno
import os
import struct
from typing import Any, NamedTuple

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.commands import server_side_copy
from usmbd.protocol.commands.server_side_copy import MAX_CHUNK_SIZE, MAX_CHUNKS, MAX_DATA_SIZE
from usmbd.protocol.effects import Slow
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import (
    DELETE,
    FILE_APPEND_DATA,
    FILE_EXECUTE,
    FILE_READ_ATTRIBUTES,
    FILE_READ_DATA,
    FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA,
)
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE, FILE_WRITE_THROUGH
from usmbd.protocol.wire.fscc import file_info
from usmbd.protocol.wire.header import HEADER_SIZE, UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.ioctl import IoctlResponse
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK
from usmbd.protocol.wire.status import NtStatus

COPYCHUNK, COPYCHUNK_WRITE = fsctl.FSCTL_SRV_COPYCHUNK, fsctl.FSCTL_SRV_COPYCHUNK_WRITE
SIZE = 10_000
CONTENT = bytes(n % 251 for n in range(SIZE))
TO_END = 2**64 - 1
LIMITS = (MAX_CHUNKS, MAX_CHUNK_SIZE, MAX_DATA_SIZE)
Chunk = tuple[int, int, int]
"""Offset in the source, in the target, length."""


class Copied(NamedTuple):
    """What a COPYCHUNK was answered: chunks, bytes of the last one, of all; () without."""

    status: NtStatus
    counts: tuple[int, ...] = ()


def key_of(client: Client, file: FileId) -> bytes:
    reply = client.call(
        Command.IOCTL, requests.ioctl(file, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY, limit=32)
    )
    assert reply.status is NtStatus.SUCCESS
    assert reply.parse(IoctlResponse).output_count == 32
    return reply.body[48 : 48 + 24]


def packed(key: bytes, chunks: list[Chunk], count: int | None = None) -> bytes:
    parts = b"".join(struct.pack("<QQII", *chunk, 0) for chunk in chunks)
    return key + struct.pack("<II", len(chunks) if count is None else count, 0) + parts


def send(
    client: Client, target: FileId, data: bytes, code: int = COPYCHUNK, limit: int = 12
) -> Copied:
    """Send a COPYCHUNK and read its answer."""
    reply = client.call(Command.IOCTL, requests.ioctl(target, code, data, limit))
    if len(reply.message) < HEADER_SIZE + 48 or not reply.parse(IoctlResponse).output_count:
        return Copied(reply.status)
    return Copied(reply.status, struct.unpack_from("<III", reply.body, 48))


@pytest.fixture
def source(client: Client, engine: Engine) -> FileId:
    (engine.files / "source").write_bytes(CONTENT)
    return client.open("source")


@pytest.fixture
def target(client: Client) -> FileId:
    return client.open("target")


def copy(client: Client, source: FileId, target: FileId, *chunks: Chunk, **more: Any) -> Copied:
    return send(client, target, packed(key_of(client, source), list(chunks)), **more)


def content(engine: Engine, name: str = "target") -> bytes:
    return (engine.files / name).read_bytes()


# -- what is copied --------------------------------------------------------------------------------


def test_chunks_in_any_order(
    client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    chunks = [(5000, 5000, 5000), (0, 0, 3000), (100, 20_000, 1), (3000, 3000, 2000)]
    assert copy(client, source, target, *chunks) == (NtStatus.SUCCESS, (4, 0, 10_001))
    assert content(engine) == CONTENT + bytes(10_000) + CONTENT[100:101]
    assert content(engine, "source") == CONTENT


def test_no_chunk_is_nothing_to_do(
    client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    assert copy(client, source, target) == (NtStatus.SUCCESS, (0, 0, 0))
    assert content(engine) == b""


def test_the_most_that_a_request_may_copy(client: Client, engine: Engine, target: FileId) -> None:
    """In slices, as others wait for the threads of the share."""
    data = os.urandom(MAX_DATA_SIZE)
    (engine.files / "big").write_bytes(data)
    source = client.open("big")
    chunks = [(n << 20, n << 20, 1 << 20) for n in range(16)]
    engine.threads.lanes.clear()
    assert copy(client, source, target, *chunks) == (NtStatus.SUCCESS, (16, 0, MAX_DATA_SIZE))
    assert content(engine) == data
    tree = client.session.tree_connect_table[client.tree_id]
    assert engine.threads.lanes == [(Slow, tree.speed)] * 4


def test_within_one_file(client: Client, engine: Engine, source: FileId) -> None:
    """Ranges that overlap come out as if read first, in either direction."""
    assert copy(client, source, source, (0, 9_999, 5_000)).status is NtStatus.SUCCESS
    expected = CONTENT[:9_999] + CONTENT[:5_000]
    assert content(engine, "source") == expected
    assert copy(client, source, source, (10, 0, 5_000), (0, 3, 9_000)).status is NtStatus.SUCCESS
    expected = expected[10:5_010] + expected[5_000:]
    expected = expected[:3] + expected[:9_000] + expected[9_003:]
    assert content(engine, "source") == expected


def test_from_another_share(client: Client, engine: Engine, target: FileId) -> None:
    """The source's share may only be read, the key names the open all the same."""
    (engine.files / "source").write_bytes(CONTENT)
    first = client.tree_id
    client.connect("readonly")
    key = key_of(client, client.open("source", FILE_READ_DATA, disposition=1))
    client.tree_id = first
    assert send(client, target, packed(key, [(0, 0, SIZE)])).status is NtStatus.SUCCESS
    assert content(engine) == CONTENT


@pytest.mark.parametrize(
    "names", [("source:s", "target:t"), ("source:s", "target"), ("source", "target:t")]
)
def test_streams(client: Client, engine: Engine, names: tuple[str, str]) -> None:
    data = CONTENT[:1_000]
    source, target = (client.open(name) for name in names)
    assert client.call(Command.WRITE, requests.write(source, data)).status is NtStatus.SUCCESS
    assert copy(client, source, target, (0, 0, 400), (400, 400, 600)) == (0, (2, 0, 1_000))
    read = client.call(Command.READ, requests.read(target, 4096))
    assert read.data == data
    assert copy(client, source, target, (0, 0, 1_001)).status is NtStatus.INVALID_VIEW_SIZE


def test_a_stream_that_does_not_fit(client: Client, engine: Engine) -> None:
    (engine.files / "source").write_bytes(bytes(1 << 20))
    source, target = client.open("source"), client.open("target:t")
    chunks = [(0, 0, 100), (0, 100, 1 << 20)]
    assert copy(client, source, target, *chunks) == (NtStatus.DISK_FULL, (1, 0, 100))


# -- where it goes ---------------------------------------------------------------------------------


def test_what_is_appended(client: Client, engine: Engine, source: FileId, target: FileId) -> None:
    """TargetOffset -1 is the end, wherever that is when the chunk's turn comes."""
    chunks = [(0, 0, 100), (100, TO_END, 50), (150, TO_END, 50), (0, 1_000, 1), (1, TO_END, 1)]
    assert copy(client, source, target, *chunks) == (NtStatus.SUCCESS, (5, 0, 202))
    assert content(engine) == CONTENT[:200] + bytes(800) + CONTENT[:2]


def test_an_open_that_may_only_append(client: Client, engine: Engine, source: FileId) -> None:
    (engine.files / "target").write_bytes(b"there")
    target = client.open("target", FILE_APPEND_DATA | FILE_READ_DATA)
    chunks = [(0, 5, 10), (10, TO_END, 10), (0, 4, 1)]
    assert copy(client, source, target, *chunks) == (NtStatus.ACCESS_DENIED, (2, 0, 20))
    assert content(engine) == b"there" + CONTENT[:20]


# -- what cannot be --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        [(0, 0, 0)],
        [(0, 0, 1), (0, 0, 0)],
        [(0, 0, MAX_CHUNK_SIZE + 1)],
        [(0, 0, 2**32 - 1)],
        [(0, 0, 1)] * (MAX_CHUNKS + 1),
        [(0, 0, MAX_CHUNK_SIZE)] * 16 + [(0, 0, 1)],
        [(0, 2**63, 1)],
        [(0, 2**63 - 1, 1)],
        [(0, 2**64 - 2, 1)],
    ],
)
def test_beyond_the_limits(
    client: Client, engine: Engine, source: FileId, target: FileId, chunks: list[Chunk]
) -> None:
    """The answer tells the limits, and nothing is copied."""
    assert copy(client, source, target, *chunks) == (NtStatus.INVALID_PARAMETER, LIMITS)
    short = copy(client, source, target, *chunks, limit=11)
    assert short == (NtStatus.INVALID_PARAMETER, ())
    assert content(engine) == b""


def test_a_request_that_is_cut_off(client: Client, source: FileId, target: FileId) -> None:
    whole = packed(key_of(client, source), [(0, 0, 1), (1, 1, 1)])
    for size in range(len(whole)):
        expected = (NtStatus.INVALID_PARAMETER, LIMITS)
        assert send(client, target, whole[:size]) == expected
    assert send(client, target, whole, limit=11) == (NtStatus.INVALID_PARAMETER, ())
    assert send(client, target, whole + b"more") == (NtStatus.SUCCESS, (2, 0, 2))


def test_keys_of_others(client: Client, engine: Engine, source: FileId, target: FileId) -> None:
    other = Client(engine).ready()
    theirs = key_of(other, other.open("source"))
    closed = client.open("source")
    gone = key_of(client, closed)
    client.close(closed)
    good = key_of(client, source)
    changed = [good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :] for n in range(24)]
    for key in (theirs, gone, bytes(24), b"\xff" * 24, *changed):
        answer = send(client, target, packed(key, [(0, 0, 1)]))
        assert answer == (NtStatus.OBJECT_NAME_NOT_FOUND, ())


def test_a_key_needs_room(client: Client, source: FileId) -> None:
    request = requests.ioctl(source, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY, limit=31)
    assert client.call(Command.IOCTL, request).status is NtStatus.INVALID_PARAMETER
    assert key_of(client, source) == key_of(client, source)


@pytest.mark.parametrize("code", [COPYCHUNK, COPYCHUNK_WRITE, fsctl.FSCTL_SRV_REQUEST_RESUME_KEY])
def test_without_a_file(client: Client, source: FileId, code: int) -> None:
    data = packed(key_of(client, source), [(0, 0, 1)])
    answer = client.call(Command.IOCTL, requests.ioctl((7, 7), code, data))
    assert answer.status is NtStatus.FILE_CLOSED


@pytest.mark.parametrize(
    ("access", "may_be_read", "may_be_copied_to", "may_be_written"),
    [
        (FILE_READ_DATA, True, False, False),
        (FILE_EXECUTE, True, False, False),
        (FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | DELETE, False, False, False),
        (FILE_WRITE_DATA, False, False, True),
        (FILE_WRITE_DATA | FILE_EXECUTE, True, False, True),
        (FILE_APPEND_DATA, False, False, True),
        (FILE_READ_DATA | FILE_WRITE_DATA, True, True, True),
    ],
)
def test_rights(
    client: Client,
    engine: Engine,
    source: FileId,
    target: FileId,
    access: int,
    may_be_read: bool,
    may_be_copied_to: bool,
    may_be_written: bool,
) -> None:
    """COPYCHUNK wants to read what it writes to, COPYCHUNK_WRITE does not."""
    outcome = {True: NtStatus.SUCCESS, False: NtStatus.ACCESS_DENIED}
    opened = client.open("source", access)
    assert copy(client, opened, target, (0, 0, 1)).status is outcome[may_be_read]
    (engine.files / "third").touch()
    opened = client.open("third", access)
    for code, may in ((COPYCHUNK, may_be_copied_to), (COPYCHUNK_WRITE, may_be_written)):
        end = (engine.files / "third").stat().st_size
        answer = copy(client, source, opened, (0, end, 1), code=code)
        assert answer.status is outcome[may], code


def test_directories_and_pipes(client: Client, source: FileId, target: FileId) -> None:
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    assert copy(client, directory, target, (0, 0, 1)).status is NtStatus.INVALID_DEVICE_REQUEST
    assert copy(client, source, directory, (0, 0, 1)).status is NtStatus.INVALID_DEVICE_REQUEST
    key, tree = key_of(client, source), client.tree_id
    client.connect("ipc$")
    pipe = client.open("echo")
    answer = send(client, pipe, packed(key, [(0, 0, 1)]))
    assert answer == (NtStatus.INVALID_PARAMETER, LIMITS)
    key = key_of(client, pipe)
    client.tree_id = tree
    answer = send(client, target, packed(key, [(0, 0, 1)]))
    assert answer == (NtStatus.INVALID_PARAMETER, LIMITS)


# -- what stops it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [SIZE - 99, SIZE, 2**63 - 50, 2**63, 2**64 - 50])
def test_beyond_the_end_of_the_source(
    client: Client, engine: Engine, source: FileId, target: FileId, where: int
) -> None:
    chunks = [(0, 0, 100), (where, 100, 100), (0, 200, 100)]
    assert copy(client, source, target, *chunks) == (NtStatus.INVALID_VIEW_SIZE, (1, 0, 100))
    assert content(engine) == CONTENT[:100]


@pytest.mark.parametrize("locked", ["source", "target"])
def test_locks(client: Client, engine: Engine, source: FileId, target: FileId, locked: str) -> None:
    """The chunks before are copied; the holder's own copy is not stopped."""
    other = client.open(locked)
    lock = requests.lock(other, (150, 10, SMB2_LOCKFLAG_EXCLUSIVE_LOCK))
    assert client.call(Command.LOCK, lock).status is NtStatus.SUCCESS
    chunks = [(0, 0, 100), (100, 100, 100), (200, 200, 100)]
    answer = copy(client, source, target, *chunks)
    assert answer == (NtStatus.FILE_LOCK_CONFLICT, (1, 0, 100))
    assert content(engine) == CONTENT[:100]
    pair = (other, target) if locked == "source" else (source, other)
    assert copy(client, *pair, *chunks) == (NtStatus.SUCCESS, (3, 0, 300))


def test_a_disk_that_becomes_full(
    client: Client,
    engine: Engine,
    source: FileId,
    target: FileId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was written of the chunk is told ([MS-SMB2] 3.3.5.15.6.1)."""
    real, room = os.copy_file_range, 150

    def full(*args: Any) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(args[0], args[1], min(args[2], room), *args[3:])
        room -= done
        return done

    monkeypatch.setattr(os, "copy_file_range", full)
    chunks = [(0, 0, 100), (100, 100, 100), (200, 200, 100)]
    assert copy(client, source, target, *chunks) == (NtStatus.DISK_FULL, (1, 50, 150))
    assert content(engine) == CONTENT[:150]


def test_a_source_that_gives_less_than_it_says(
    client: Client, source: FileId, target: FileId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *args: 0)
    assert copy(client, source, target, (0, 0, 9)) == (NtStatus.END_OF_FILE, (0, 0, 0))


def test_the_source_is_closed_when_the_copy_is_done(
    client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    data = packed(key_of(client, source), [(0, 0, SIZE)])
    engine.threads.held = True
    copying = client.post(Command.IOCTL, requests.ioctl(target, COPYCHUNK, data))
    closing = client.post(Command.CLOSE, requests.close(source))
    assert client.taken(closing) == client.taken(copying) == []
    engine.release(engine.threads)
    assert client.taken(copying)[0].status is NtStatus.SUCCESS
    assert client.taken(closing)[0].status is NtStatus.SUCCESS
    assert content(engine) == CONTENT
    assert list(client.session.open_table) == [target[1]]


def test_the_tree_of_the_source_ends(client: Client, engine: Engine, target: FileId) -> None:
    """The rest is not copied, and the source's descriptor is given back."""
    (engine.files / "big").write_bytes(bytes(MAX_DATA_SIZE))
    tree = client.tree_id
    client.connect()
    source = client.open("big")
    open_, other = client.open_of(source), client.tree_id
    chunks = [(n << 20, n << 20, 1 << 20) for n in range(16)]
    data = packed(key_of(client, source), chunks)
    client.tree_id = tree
    engine.threads.held = True
    copying = client.post(Command.IOCTL, requests.ioctl(target, COPYCHUNK, data))
    client.call(Command.TREE_DISCONNECT, requests.EMPTY, tree_id=other)
    assert open_.in_use == 1
    engine.release(engine.threads)
    (reply,) = client.taken(copying)
    assert reply.status is NtStatus.FILE_CLOSED
    assert struct.unpack_from("<III", reply.body, 48) == (4, 0, 4 << 20)
    assert open_.node.fd == -1


def test_the_client_goes_away(
    client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    opens = [client.open_of(source), client.open_of(target)]
    data = packed(key_of(client, source), [(0, 0, SIZE)])
    engine.threads.held = True
    client.post(Command.IOCTL, requests.ioctl(target, COPYCHUNK, data))
    client.disconnect()
    engine.release(engine.threads)
    assert [open_.node.fd for open_ in opens] == [-1, -1]
    assert engine.server.closing == 0


# -- what else it does -----------------------------------------------------------------------------


def test_level_two_oplocks_are_broken(
    client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    other = Client(engine).ready(user="bob")
    other.call(Command.CREATE, requests.create("target", oplock=1))
    assert copy(client, source, target, (0, 0, 1)).status is NtStatus.SUCCESS
    (broken,) = other.taken(UNSOLICITED_MESSAGE_ID)
    assert broken.header.command == Command.OPLOCK_BREAK


def test_a_write_time_that_was_set_stays(
    client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    info = struct.pack("<QQQQII", 0, 0, 133_000_000_000_000_000, 0, 0, 0)
    set_time = requests.set_info(target, file_info.FileBasicInformation, info)
    assert client.call(Command.SET_INFO, set_time).status is NtStatus.SUCCESS
    before = (engine.files / "target").stat().st_mtime_ns
    assert copy(client, source, target, (0, 0, SIZE)).status is NtStatus.SUCCESS
    assert (engine.files / "target").stat().st_mtime_ns == before
    assert content(engine) == CONTENT


def test_write_through(
    client: Client, engine: Engine, source: FileId, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    target = client.open("target", options=FILE_WRITE_THROUGH)
    assert copy(client, source, target, (0, 0, 1)).status is NtStatus.SUCCESS
    assert synced == [client.open_of(target).node.fd]


def test_in_a_compound(client: Client, source: FileId) -> None:
    """The target is the file that the compound has just made."""
    data = packed(key_of(client, source), [(0, 0, SIZE)])
    replies = client.compound(
        (Command.CREATE, requests.create("made")),
        (Command.IOCTL, requests.ioctl(requests.RELATED, COPYCHUNK, data)),
        (Command.READ, requests.read(requests.RELATED, SIZE)),
        (Command.CLOSE, requests.close(requests.RELATED)),
    )
    assert [reply.status for reply in replies] == [NtStatus.SUCCESS] * 4
    assert replies[2].data == CONTENT


def test_copies_take_turns(client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that run at once none waits for the end of the other."""
    monkeypatch.setattr(server_side_copy, "SLICE", 1)
    (engine.files / "source").write_bytes(CONTENT)
    key = key_of(client, client.open("source"))
    targets = [client.open(name) for name in ("one", "two")]
    engine.threads.held = True
    for target in targets:
        data = packed(key, [(n, n, 1) for n in range(4)])
        client.post(Command.IOCTL, requests.ioctl(target, COPYCHUNK, data))
    sizes = []
    while engine.threads.waiting:
        engine.run(engine.threads.waiting.popleft())
        sizes.append([len(content(engine, name)) for name in ("one", "two")])
    assert sizes == [[1, 0], [1, 1], [2, 1], [2, 2], [3, 2], [3, 3], [4, 3], [4, 4]]
