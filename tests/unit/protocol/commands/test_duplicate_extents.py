"""Files that share blocks: what is asked of the kernel, and what is refused before.

The kernel's call is played here, with its rules; tests/interop/test_clones.py has file systems that
know it.
"""

import errno
import os
import struct
from collections.abc import Iterator

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.vfs import extents
from usmbd.protocol.vfs.abilities import Abilities
from usmbd.protocol.vfs.base import VolumeBase
from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.access import FILE_APPEND_DATA, FILE_READ_DATA, FILE_WRITE_DATA
from usmbd.protocol.wire.create import FILE_DIRECTORY_FILE
from usmbd.protocol.wire.header import UNSOLICITED_MESSAGE_ID, Command
from usmbd.protocol.wire.lock import SMB2_LOCKFLAG_EXCLUSIVE_LOCK
from usmbd.protocol.wire.status import NtStatus

PLAIN, EX = fsctl.FSCTL_DUPLICATE_EXTENTS_TO_FILE, fsctl.FSCTL_DUPLICATE_EXTENTS_TO_FILE_EX
BLOCK = 4096
CONTENT = bytes(n * 7 % 251 for n in range(3 * BLOCK + 100))
OLD = b"o" * (4 * BLOCK)


class Kernel:
    """Clones as Linux does: by whole blocks, but for the last where both files end."""

    def __init__(self) -> None:
        """Begin without a call."""
        self.calls: list[tuple[int, int, int]] = []

    def clone(self, source: int, at: int, length: int, target: int, to: int) -> None:
        """Share, which is a copy here."""
        assert length > 0
        ends = at + length == os.fstat(source).st_size and to + length >= os.fstat(target).st_size
        if at % BLOCK or to % BLOCK or (length % BLOCK and not ends):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.calls.append((at, to, length))
        os.pwrite(target, os.pread(source, length, at), to)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """Let the volumes know how to share blocks."""
    kernel = Kernel()
    monkeypatch.setattr(extents, "clone", kernel.clone)
    monkeypatch.setattr(VolumeBase, "abilities", lambda *_: Abilities(clones=True))
    return kernel


@pytest.fixture
def source(client: Client, engine: Engine) -> FileId:
    (engine.files / "source").write_bytes(CONTENT)
    return client.open("source")


@pytest.fixture
def target(client: Client, engine: Engine) -> FileId:
    (engine.files / "target").write_bytes(OLD)
    return client.open("target")


def duplicate(
    client: Client, source: FileId, target: FileId, *part: int, code: int = PLAIN, flags: int = 0
) -> NtStatus:
    """Ask for offset in the source, in the target, and length."""
    data = struct.pack("<QQ", *source) + struct.pack("<QQQ", *(n & (2**64 - 1) for n in part))
    if code == EX:
        data = struct.pack("<Q", 48) + data + struct.pack("<II", flags, 0)
    return client.call(Command.IOCTL, requests.ioctl(target, code, data)).status


def content(engine: Engine, name: str = "target") -> bytes:
    return (engine.files / name).read_bytes()


@pytest.mark.parametrize("code", [PLAIN, EX])
@pytest.mark.parametrize("flags", [0, 1])
def test_whole_blocks(
    kernel: Kernel,
    client: Client,
    engine: Engine,
    source: FileId,
    target: FileId,
    code: int,
    flags: int,
) -> None:
    status = duplicate(client, source, target, BLOCK, 0, 2 * BLOCK, code=code, flags=flags)
    assert status is NtStatus.SUCCESS
    assert kernel.calls == [(BLOCK, 0, 2 * BLOCK)]
    assert content(engine) == CONTENT[BLOCK : 3 * BLOCK] + OLD[2 * BLOCK :]


def test_the_last_block(
    kernel: Kernel, client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    """Cut, or told by the length of its block; shared where the target ends there, or copied."""
    assert duplicate(client, source, target, 0, 0, len(CONTENT)) is NtStatus.SUCCESS
    assert kernel.calls == [(0, 0, 3 * BLOCK)]
    assert content(engine) == CONTENT + OLD[len(CONTENT) :]
    os.truncate(engine.files / "target", len(CONTENT))
    kernel.calls.clear()
    assert duplicate(client, source, target, 0, 0, 4 * BLOCK) is NtStatus.SUCCESS
    assert kernel.calls == [(0, 0, len(CONTENT))]
    assert content(engine) == CONTENT


def test_the_target_keeps_its_size(
    kernel: Kernel, client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    """As Windows does it; a target that ends earlier gets what it has room for."""
    assert duplicate(client, source, target, 0, 3 * BLOCK, 3 * BLOCK) is NtStatus.SUCCESS
    assert content(engine) == OLD[: 3 * BLOCK] + CONTENT[:BLOCK]
    os.truncate(engine.files / "target", BLOCK + 50)
    assert duplicate(client, source, target, 0, 0, 3 * BLOCK) is NtStatus.SUCCESS
    assert content(engine) == CONTENT[: BLOCK + 50]
    os.truncate(engine.files / "target", 0)
    kernel.calls.clear()
    assert duplicate(client, source, target, 0, 0, 3 * BLOCK) is NtStatus.SUCCESS
    assert (content(engine), kernel.calls) == (b"", [])


def test_nothing_is_not_the_rest(
    kernel: Kernel, client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    """0 bytes are the rest of the file to the kernel."""
    assert duplicate(client, source, target, 0, 0, 0) is NtStatus.SUCCESS
    assert duplicate(client, source, target, BLOCK, BLOCK, 0) is NtStatus.SUCCESS
    assert (content(engine), kernel.calls) == (OLD, [])


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ((-BLOCK, 0, BLOCK), NtStatus.INVALID_PARAMETER),
        ((0, -BLOCK, BLOCK), NtStatus.INVALID_PARAMETER),
        ((0, 0, -1), NtStatus.INVALID_PARAMETER),
        ((0, 5 * BLOCK, BLOCK), NtStatus.INVALID_PARAMETER),
        ((0, 2**63 - BLOCK, 2 * BLOCK), NtStatus.INVALID_PARAMETER),
        ((100, 0, BLOCK), NtStatus.INVALID_PARAMETER),
        ((0, 100, BLOCK), NtStatus.INVALID_PARAMETER),
        ((0, 0, 4 * BLOCK + 1), NtStatus.NOT_SUPPORTED),
        ((4 * BLOCK, 0, BLOCK), NtStatus.NOT_SUPPORTED),
        ((2**63 - BLOCK, 0, BLOCK), NtStatus.NOT_SUPPORTED),
    ],
)
def test_ranges_that_cannot_be(
    kernel: Kernel,
    client: Client,
    engine: Engine,
    source: FileId,
    target: FileId,
    part: tuple[int, int, int],
    status: NtStatus,
) -> None:
    assert duplicate(client, source, target, *part) is status
    assert (content(engine), kernel.calls) == (OLD, [])


def test_within_a_file(kernel: Kernel, client: Client, engine: Engine, target: FileId) -> None:
    (engine.files / "target").write_bytes(CONTENT[: 2 * BLOCK] + OLD[2 * BLOCK :])
    assert duplicate(client, target, target, 0, BLOCK, 2 * BLOCK) is NtStatus.NOT_SUPPORTED
    assert duplicate(client, target, target, 0, 2 * BLOCK, 2 * BLOCK) is NtStatus.SUCCESS
    assert content(engine) == CONTENT[: 2 * BLOCK] * 2


def test_sparse_files(kernel: Kernel, client: Client, source: FileId, target: FileId) -> None:
    """What is not sparse gets no holes; the other way round there is nothing against it."""

    def set_sparse(file: FileId, sparse: bool) -> None:
        request = requests.ioctl(file, fsctl.FSCTL_SET_SPARSE, bytes([sparse]))
        assert client.call(Command.IOCTL, request).status is NtStatus.SUCCESS

    set_sparse(source, True)
    assert duplicate(client, source, target, 0, 0, BLOCK) is NtStatus.NOT_SUPPORTED
    set_sparse(target, True)
    assert duplicate(client, source, target, 0, 0, BLOCK) is NtStatus.SUCCESS
    set_sparse(source, False)
    assert duplicate(client, source, target, 0, 0, BLOCK) is NtStatus.SUCCESS


def test_bad_sources(
    kernel: Kernel, client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    other = Client(engine).ready()
    closed = client.open("source")
    client.close(closed)
    for bad in (other.open("source"), closed, (source[0] + 1, source[1]), (2**64 - 1,) * 2):
        assert duplicate(client, bad, target, 0, 0, BLOCK) is NtStatus.INVALID_HANDLE
    assert duplicate(client, source, closed, 0, 0, BLOCK) is NtStatus.FILE_CLOSED
    directory = client.open("dir", options=FILE_DIRECTORY_FILE)
    stream = client.open("target:stream")
    for bad in (directory, stream):
        for pair in ((bad, target), (source, bad)):
            status = duplicate(client, *pair, 0, 0, BLOCK)
            assert status is NtStatus.INVALID_DEVICE_REQUEST
    assert content(engine) == OLD


def test_rights(kernel: Kernel, client: Client, source: FileId, target: FileId) -> None:
    for access in (FILE_WRITE_DATA, FILE_APPEND_DATA):
        unreadable = client.open("source", access)
        assert duplicate(client, unreadable, target, 0, 0, BLOCK) is NtStatus.ACCESS_DENIED
    for access in (FILE_READ_DATA, FILE_APPEND_DATA):
        fixed = client.open("target", access)
        assert duplicate(client, source, fixed, 0, 0, BLOCK) is NtStatus.ACCESS_DENIED
    written = client.open("target", FILE_WRITE_DATA)
    read = client.open("source", FILE_READ_DATA)
    assert duplicate(client, read, written, 0, 0, BLOCK) is NtStatus.SUCCESS


def test_locks_are_not_asked_and_oplocks_are_broken(
    kernel: Kernel, client: Client, engine: Engine, source: FileId, target: FileId
) -> None:
    other = Client(engine).ready(user="bob")
    other.call(Command.CREATE, requests.create("target", oplock=1))
    lock = requests.lock(client.open("source"), (0, 10, SMB2_LOCKFLAG_EXCLUSIVE_LOCK))
    assert client.call(Command.LOCK, lock).status is NtStatus.SUCCESS
    assert duplicate(client, source, target, 0, 0, BLOCK) is NtStatus.SUCCESS
    (broken,) = other.taken(UNSOLICITED_MESSAGE_ID)
    assert broken.header.command == Command.OPLOCK_BREAK


@pytest.mark.parametrize("code", [PLAIN, EX])
def test_a_request_that_is_cut_off(
    kernel: Kernel, client: Client, source: FileId, target: FileId, code: int
) -> None:
    data = struct.pack("<QQ", *source) + struct.pack("<QQQ", 0, 0, BLOCK)
    if code == EX:
        data = struct.pack("<Q", 48) + data + bytes(8)
    for size in range(len(data)):
        request = requests.ioctl(target, code, data[:size])
        assert client.call(Command.IOCTL, request).status is NtStatus.INVALID_PARAMETER
    assert client.call(Command.IOCTL, requests.ioctl(target, code, data)).status == 0


def test_a_flag_or_size_that_is_none(
    kernel: Kernel, client: Client, source: FileId, target: FileId
) -> None:
    status = duplicate(client, source, target, 0, 0, BLOCK, code=EX, flags=2)
    assert status is NtStatus.INVALID_PARAMETER
    data = struct.pack("<Q", 56) + struct.pack("<QQQQQII", *source, 0, 0, BLOCK, 0, 0)
    reply = client.call(Command.IOCTL, requests.ioctl(target, EX, data))
    assert reply.status is NtStatus.INVALID_PARAMETER


def test_another_file_system(
    kernel: Kernel,
    client: Client,
    source: FileId,
    target: FileId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: int) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(extents, "clone", refuse)
    assert duplicate(client, source, target, 0, 0, BLOCK) is NtStatus.INVALID_HANDLE


@pytest.mark.parametrize("code", [PLAIN, EX])
def test_a_file_system_that_shares_no_blocks(
    client: Client,
    source: FileId,
    target: FileId,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    monkeypatch.setattr(VolumeBase, "abilities", lambda *_: Abilities())
    for length in (0, BLOCK):
        status = duplicate(client, source, target, 0, 0, length, code=code)
        assert status is NtStatus.INVALID_DEVICE_REQUEST
