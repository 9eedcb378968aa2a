"""Random writes, copies, zeros, trims and cuts of two files, against what they have to contain."""

import random
import struct
from collections.abc import Callable

import pytest
from smbengine import requests
from smbengine.client import Client
from smbengine.requests import FileId
from smbengine.server import Engine

from usmbd.protocol.wire import fsctl
from usmbd.protocol.wire.fscc.set_info import FileEndOfFileInformation
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

LARGEST = 200_000
ROUNDS = 300
SUCCESS = NtStatus.SUCCESS


class Files:
    """Two files by two opens each, in memory and at the server."""

    def __init__(self, engine: Engine, client: Client, seed: int) -> None:
        """Begin with empty ones."""
        self.chance = random.Random(seed)
        self.engine, self.client = engine, client
        self.names = ("one", "two")
        self.opens = [[client.open(name) for name in self.names] for _ in range(2)]
        self.content = [bytearray(), bytearray()]

    def open(self, which: int) -> FileId:
        """Return one of a file's opens."""
        return self.chance.choice(self.opens)[which]

    def ioctl(self, which: int, code: int, data: bytes) -> NtStatus:
        """Send an FSCTL."""
        body = requests.ioctl(self.open(which), code, data, 32)
        return self.client.call(Command.IOCTL, body).status

    def put(self, which: int, at: int, data: bytes) -> None:
        """Remember what is at a place now."""
        content = self.content[which]
        content.extend(bytes(max(at - len(content), 0)))
        content[at : at + len(data)] = data

    def write(self, which: int) -> None:
        """Write anywhere."""
        at = self.chance.randrange(LARGEST)
        data = self.chance.randbytes(self.chance.randrange(1, 30_000))
        body = requests.write(self.open(which), data, at)
        assert self.client.call(Command.WRITE, body).status is SUCCESS
        self.put(which, at, data)

    def copy(self, which: int) -> None:
        """Copy up to three chunks from either file, in their order."""
        source = self.chance.randrange(2)
        size = len(self.content[source])
        if not size:
            return
        chunks = []
        for _ in range(self.chance.randrange(1, 4)):
            begin = self.chance.randrange(size)
            length = self.chance.randrange(1, size - begin + 1)
            chunks.append((begin, self.chance.randrange(LARGEST), length))
        key = struct.pack("<QQQ", *self.open(source), fsctl.FSCTL_SRV_REQUEST_RESUME_KEY)
        data = key + struct.pack("<II", len(chunks), 0)
        data += b"".join(struct.pack("<QQII", *chunk, 0) for chunk in chunks)
        assert self.ioctl(which, fsctl.FSCTL_SRV_COPYCHUNK, data) is SUCCESS
        for begin, at, length in chunks:
            self.put(which, at, bytes(self.content[source][begin : begin + length]))

    def zero(self, which: int) -> None:
        """Make a range zeros; the file keeps its length."""
        begin = self.chance.randrange(LARGEST)
        end = begin + self.chance.randrange(50_000)
        data = struct.pack("<QQ", begin, end)
        assert self.ioctl(which, fsctl.FSCTL_SET_ZERO_DATA, data) is SUCCESS
        content = self.content[which]
        end = min(end, len(content))
        if begin < end:
            content[begin:end] = bytes(end - begin)

    def trim(self, which: int) -> None:
        """Trim whole blocks: they are zeros here, though no client may rely on it."""
        begin, count = self.chance.randrange(LARGEST // 4096), self.chance.randrange(5)
        data = struct.pack("<IIQQ", 0, 1, begin * 4096, count * 4096)
        assert self.ioctl(which, fsctl.FSCTL_FILE_LEVEL_TRIM, data) is SUCCESS
        content = self.content[which]
        end = min(begin + count, len(content) // 4096) * 4096
        if begin * 4096 < end:
            content[begin * 4096 : end] = bytes(end - begin * 4096)

    def cut(self, which: int) -> None:
        """Give the file another length."""
        size = self.chance.randrange(LARGEST)
        data = struct.pack("<Q", size)
        body = requests.set_info(self.open(which), FileEndOfFileInformation, data)
        assert self.client.call(Command.SET_INFO, body).status is SUCCESS
        content = self.content[which]
        del content[size:]
        content.extend(bytes(size - len(content)))

    def sparse(self, which: int) -> None:
        """Let it have holes, or none from now on."""
        data = self.chance.choice((b"", b"\0", b"\1"))
        assert self.ioctl(which, fsctl.FSCTL_SET_SPARSE, data) is SUCCESS

    def compare(self, done: str) -> None:
        """Look at the files on disk."""
        for name, content in zip(self.names, self.content, strict=True):
            found = (self.engine.files / name).read_bytes()
            assert len(found) == len(content), (name, done)
            assert found == content, (name, done)


@pytest.mark.parametrize("seed", range(4))
def test_random_work(engine: Engine, client: Client, seed: int) -> None:
    files = Files(engine, client, seed)
    often = [files.write] * 4 + [files.copy] * 6
    work: list[Callable[[int], None]] = [
        *often, files.zero, files.zero, files.trim, files.cut, files.sparse,
    ]  # fmt: skip
    for number in range(ROUNDS):
        operation = files.chance.choice(work)
        operation(files.chance.randrange(2))
        files.compare(f"{operation.__name__}, number {number}")
