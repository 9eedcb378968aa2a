"""What macOS does on a share: asks by AAPL, writes and reads streams, lists, copies whole files."""

import struct
from collections.abc import Callable

from smbengine import requests
from smbengine.client import Client
from usmbd.protocol.wire.create import FILE_OPEN, CreateResponse
from usmbd.protocol.wire.create_contexts import parse_contexts
from usmbd.protocol.wire.fscc.directory import FileIdBothDirectoryInformation
from usmbd.protocol.wire.fscc.file_info import FileStreamInformation
from usmbd.protocol.wire.fsctl import FSCTL_SRV_COPYCHUNK, FSCTL_SRV_REQUEST_RESUME_KEY
from usmbd.protocol.wire.header import Command
from usmbd.protocol.wire.status import NtStatus

QUERY = struct.pack("<IIQQ", 1, 0, 7, 7)
"""The first CREATE of macOS asks for capabilities, volume and model."""

FINDER = b"TEXTttxt" + bytes(8) + b"\x40\0" + bytes(14)
INFO = struct.pack(">4sI4xI", b"AFP\0", 0x100, 0x80000000) + FINDER + bytes(12)

Serve = Callable[..., Client]
"""Serves a share for macOS with more parameters, to a client that is connected."""


def aapl(client: Client, query: bytes = QUERY) -> bytes | None:
    """Send AAPL as macOS does, with the share's root; return the answer's data."""
    reply = client.call(
        Command.CREATE,
        requests.create("", 0x81, FILE_OPEN, contexts=[(b"AAPL", query)]),
    )
    assert reply.status is NtStatus.SUCCESS
    client.close(reply.file_id)
    created = reply.parse(CreateResponse)
    start = created.create_contexts_offset
    found = memoryview(reply.message)[start : start + created.create_contexts_length]
    answer = parse_contexts(found).get(b"AAPL") if len(found) else None
    return None if answer is None else bytes(answer)


def write(client: Client, name: str, data: bytes, offset: int = 0) -> NtStatus:
    opened = client.open(name)
    status = client.call(Command.WRITE, requests.write(opened, data, offset)).status
    client.close(opened)
    return status


def read(client: Client, name: str, size: int = 100, offset: int = 0) -> bytes:
    opened = client.open(name, 0x1, FILE_OPEN)
    reply = client.call(Command.READ, requests.read(opened, size, offset))
    client.close(opened)
    return reply.data if reply.status is NtStatus.SUCCESS else b""


def names(client: Client, name: str) -> list[str]:
    """Return the names of a file's streams."""
    opened = client.open(name, 0x80, FILE_OPEN)
    asked = requests.query_info(opened, FileStreamInformation)
    data = client.call(Command.QUERY_INFO, asked).data
    client.close(opened)
    found = []
    while data:
        following, length = struct.unpack_from("<II", data)
        found.append(data[24 : 24 + length].decode("utf-16-le"))
        data = data[following:] if following else b""
    return sorted(found)


def listing(client: Client) -> dict[str, bytes]:
    """Return the entries of the share's root, by their names."""
    opened = client.open("", 0x81, FILE_OPEN)
    asked = requests.query_directory(opened, FileIdBothDirectoryInformation)
    reply = client.call(Command.QUERY_DIRECTORY, asked)
    assert reply.status is NtStatus.SUCCESS
    data = reply.data
    client.close(opened)
    found = {}
    while data:
        following, length = struct.unpack_from("<I56xI", data)
        found[data[104 : 104 + length].decode("utf-16-le")] = data[:104]
        data = data[following:] if following else b""
    return found


def copy(client: Client, source: str, target: str) -> tuple[NtStatus, bytes]:
    """Send FSCTL_SRV_COPYCHUNK without a chunk."""
    opened = client.open(source, 0x1, FILE_OPEN)
    asked = requests.ioctl(opened, FSCTL_SRV_REQUEST_RESUME_KEY, limit=32)
    reply = client.call(Command.IOCTL, asked)
    key = reply.message[112:136]
    to = client.open(target, 0x3)
    body = requests.ioctl(to, FSCTL_SRV_COPYCHUNK, key + bytes(8), limit=12)
    reply = client.call(Command.IOCTL, body)
    client.close(opened)
    client.close(to)
    return reply.status, reply.message[112:124]


def double(fork: bytes, *, finder: bytes = bytes(32), by: bytes = b"Netatalk        ") -> bytes:
    """Return AppleDouble with two entries, and the fork at 82."""
    behind = finder[32:]
    head = struct.pack(">II16sH", 0x51607, 0x20000, by, 2)
    entries = (9, 50, len(finder)), (2, 82 + len(behind), len(fork))
    return head + b"".join(struct.pack(">III", *entry) for entry in entries) + finder + fork


def of_macos(fork: bytes, attributes: dict[bytes, bytes], finder: bytes = FINDER) -> bytes:
    """Return what macOS writes: attributes behind FinderInfo."""
    entries, data = b"", b""
    size = sum(11 + len(name) + 1 + 3 & ~3 for name in attributes)
    start = 50 + 32 + 2 + 36 + size
    for name, value in attributes.items():
        entry = struct.pack(">IIHB", start + len(data), len(value), 0, len(name) + 1) + name + b"\0"
        entries += entry.ljust(len(entry) + 3 & ~3, b"\0")
        data += value
    end = start + len(data)
    head = struct.pack(">4sIIII12xHH", b"ATTR", 7, end, start, len(data), 0, len(attributes))
    return double(fork, finder=finder + bytes(2) + head + entries + data, by=b"Mac OS X        ")


def files(client: Client) -> dict[str, bytes]:
    """Return what is in the share's folder."""
    return {path.name: path.read_bytes() for path in client.engine.files.iterdir()}
