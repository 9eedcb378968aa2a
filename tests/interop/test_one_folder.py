"""One folder served by usmbd and smbd in turn: each reads what the other has kept with the files.

Streams, EAs, DOS attributes, times and NT ACLs, byte for byte as clients see them.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from smbtest import client as smb
from smbtest.client import Client
from smbtest.server import Options, Server, shared_folder
from smbtest.smbd import Smbd
from smbtest.usmbd import Usmbd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="smbd needs root")

BASIC, FULL_EA, STREAMS = 4, 15, 22
SECURITY = 3
DACL = 4  # each names the owner by an account of its own machine
WRITE_DAC = 0x40000
HIDDEN, SYSTEM, ARCHIVE = 2, 4, 32
# 2001-02-03 04:05:06 UTC, which no file of today has by chance.
CREATED = 126_256_611_060_000_000

BOTH = [(Usmbd, Smbd), (Smbd, Usmbd)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make the folder that both serve."""
    with shared_folder() as folder:
        yield folder


@contextmanager
def serving(kind: type[Server], folder: Path) -> Iterator[Client]:
    """Serve it by one of them, with a client."""
    share = {
        "path": str(folder),
        "read only": "no",
        "create mask": "0777",
        "directory mask": "0777",
        "store dos attributes": "yes",
        "vfs objects": "acl_xattr streams_xattr",
    }
    options = Options(shares={"both": share})
    with kind(options).running() as server, Client(server, share="both") as client:
        yield client


class Facts(NamedTuple):
    """What a client is told of a file, without what its look changes."""

    attributes: int
    created: int
    written: int
    streams: set[bytes]
    eas: bytes
    descriptor: bytes


def streams(data: bytes) -> set[bytes]:
    """Take FileStreamInformation apart: each with its size, in no order.

    Not with its allocation: smbd counts the block that a file system has for attributes, too.
    """
    found = set()
    while True:
        following, length = struct.unpack_from("<II", data)
        found.add(data[8:16] + data[24 : 24 + length])
        if not following:
            return found
        data = data[following:]


def facts(client: Client, name: str) -> Facts:
    """Ask for everything."""
    opened = client.open(name, smb.READ | smb.READ_CONTROL)
    created, _, written, _, attributes = struct.unpack_from("<QQQQI", client.query(opened, BASIC))
    found = Facts(
        attributes,
        created,
        written,
        streams(client.query(opened, STREAMS)),
        client.query(opened, FULL_EA),
        client.query(opened, 0, SECURITY, additional=DACL),
    )
    opened.close(False)
    return found


def ace(mask: int, sid: bytes, kind: int = 0, flags: int = 0) -> bytes:
    return struct.pack("<BBHI", kind, flags, 8 + len(sid), mask) + sid


def dacl(*aces: bytes) -> bytes:
    """Build a descriptor with a DACL alone, that is not inherited."""
    body = b"".join(aces)
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(body), len(aces), 0) + body
    return struct.pack("<BBHIIII", 1, 0, 0x9004, 0, 0, 0, 20) + acl


EVERYONE = bytes.fromhex("010100000000000100000000")
USERS = bytes.fromhex("01020000000000052000000021020000")
STRANGER = struct.pack("<BB6s5I", 1, 5, (5).to_bytes(6, "big"), 21, 1, 2, 3, 1000)


def make(client: Client) -> None:
    """Make a file with everything."""
    opened = client.open("file", smb.ALL | WRITE_DAC, smb.CREATE)
    opened.write(b"its own data", 0)
    basic = struct.pack("<QQQQI4x", CREATED, 0, CREATED + 10_000_000, 0, HIDDEN | SYSTEM | ARCHIVE)
    entry = struct.pack("<IBBH", 0, 0, 5, 6) + b"color\0yellow"
    client.set(opened, FULL_EA, entry)
    for name, text in (("one", b"first"), ("Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")):
        stream = client.open(f"file:{name}", smb.READ | smb.WRITE, smb.CREATE)
        stream.write(text, 0)
        stream.close(False)
    descriptor = dacl(
        ace(0x001F01FF, EVERYONE),
        ace(0x00120089, USERS),
        ace(0x00000002, STRANGER, kind=1),
        ace(0x001301BF, STRANGER),
    )
    request = smb.SMB2SetInfoRequest()
    request["info_type"] = SECURITY
    request["additional_information"] = DACL
    request["file_id"] = opened.file_id
    request["buffer"] = descriptor
    smb.SMB2SetInfoResponse().unpack(client.send(request))
    client.set(opened, BASIC, basic)
    opened.close(False)


@pytest.mark.parametrize(("writer", "reader"), BOTH, ids=lambda kind: kind.kind)
def test_everything_is_read_by_the_other(
    folder: Path, writer: type[Server], reader: type[Server]
) -> None:
    with serving(writer, folder) as client:
        make(client)
        known = facts(client, "file")
    assert known.attributes & (HIDDEN | SYSTEM | ARCHIVE) == HIDDEN | SYSTEM | ARCHIVE
    assert (known.created, known.written) == (CREATED, CREATED + 10_000_000)
    assert STRANGER in known.descriptor
    with serving(reader, folder) as client:
        assert facts(client, "file") == known
        for name, text in (("one", b"first"), ("ZONE.identifier", b"[ZoneTransfer]")):
            stream = client.open(f"file:{name}", smb.READ)
            assert stream.read(0, 100).startswith(text)
            stream.close(False)


@pytest.mark.parametrize(("writer", "reader"), BOTH, ids=lambda kind: kind.kind)
def test_what_the_other_changes_counts(
    folder: Path, writer: type[Server], reader: type[Server]
) -> None:
    """The other's change is neither lost nor taken for a change behind the ACL's back."""
    with serving(writer, folder) as client:
        make(client)
    with serving(reader, folder) as client:
        opened = client.open("file", smb.ALL | WRITE_DAC)
        client.set(opened, BASIC, struct.pack("<QQQQI4x", 0, 0, 0, 0, ARCHIVE))
        opened.close(False)
        stream = client.open("file:one", smb.READ | smb.WRITE | smb.DELETE)
        client.set(stream, 13, b"\1")
        stream.close(False)
        changed = facts(client, "file")
    with serving(writer, folder) as client:
        assert facts(client, "file") == changed
    assert len(changed.streams) == 2, "its own and one of the two"
    assert STRANGER in changed.descriptor


@pytest.mark.parametrize(("writer", "reader"), BOTH, ids=lambda kind: kind.kind)
def test_what_a_local_program_changes_ends_the_acl(
    folder: Path, writer: type[Server], reader: type[Server]
) -> None:
    """Both compare the hash of the permissions, and both then go by these."""
    with serving(writer, folder) as client:
        make(client)
    (folder / "file").chmod(0o640)
    with serving(reader, folder) as client:
        assert STRANGER not in facts(client, "file").descriptor
