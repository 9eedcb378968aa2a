"""What macOS keeps with files: one folder served by usmbd and smbd in turn, and smbtorture's say.

Samba's suite `vfs.fruit` was written beside a macOS server: what it expects is what that does.
"""

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbtest import client as smb
from smbtest.client import Client
from smbtest.samba_tools import client_configuration, credentials
from smbtest.server import ALICE, Server, shared_folder
from smbtest.smbd import Smbd
from smbtest.usmbd import Usmbd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="smbd needs root")

STREAMS = 22
FINDER = b"TEXTttxt" + bytes(8) + b"\x40\0" + bytes(14)
INFO = struct.pack(">4sI4xI", b"AFP\0", 0x100, 0x80000000) + FINDER + bytes(12)
FORK = b"the resource fork" * 20

BOTH = [(Usmbd, Smbd), (Smbd, Usmbd)]

IN_STREAMS = {
    "OS X AppleDouble file conversion",
    "OS X AppleDouble file conversion without embedded xattr",
    "resource fork IO",
}
"""What needs forks in files, with smbd too: `._NAME`, and 64 MiB, which no attribute holds."""

KINDS = [("netatalk", "stream"), ("stream", "stream"), ("netatalk", "file")]
"""Where FinderInfo and forks are: `fruit:metadata`, `fruit:resource`."""


Servers = dict[type[Server], Server]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Make the folder that both serve."""
    with shared_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Servers]:
    """Run both, each with a share for macOS of each kind, and one more for smbtorture."""
    with server_of(Usmbd, folder).running() as ours, server_of(Smbd, folder).running() as theirs:
        yield {Usmbd: ours, Smbd: theirs}


def server_of(kind: type[Server], folder: Path) -> Server:
    """Return one of them."""
    server = kind()
    for metadata, resource in KINDS:
        for name in (f"{metadata}-{resource}", f"suite-{metadata}-{resource}"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name).chmod(0o777)
            share = server.shares[name] = {
                "path": str(folder / name),
                "read only": "no",
                "create mask": "0777",
                "directory mask": "0777",
                "store dos attributes": "yes",
                "vfs objects": "fruit streams_xattr",
                "fruit:metadata": metadata,
                "mangled names": "illegal" if kind is Usmbd else "no",
                "fruit:resource": resource,
                "fruit:veto_appledouble": "no",
            }
            if kind is Usmbd:
                share["fruit:copyfile"] = "yes"
    if kind is Smbd:
        server.options.parameters["fruit:copyfile"] = "yes"
    return server


def names(data: bytes) -> set[bytes]:
    """Take FileStreamInformation apart: each with its sizes, in no order."""
    found = set()
    while True:
        following, length = struct.unpack_from("<II", data)
        found.add(data[8:16] + data[24 : 24 + length])
        if not following:
            return found
        data = data[following:]


def facts(client: Client) -> tuple[set[bytes], bytes, bytes]:
    """Return a file's streams, and what the two of macOS hold."""
    opened = client.open("file", smb.READ)
    told = names(client.query(opened, STREAMS))
    opened.close(False)
    parts = []
    for name in ("AFP_AfpInfo", "AFP_Resource"):
        stream = client.open(f"file:{name}", smb.READ)
        parts.append(stream.read(0, 1000))
        stream.close(False)
    return told, parts[0], parts[1]


def write(client: Client, name: str, data: bytes, disposition: int) -> None:
    opened = client.open(name, smb.READ | smb.WRITE, disposition)
    opened.write(data, 0)
    opened.close(False)


@pytest.mark.parametrize(("metadata", "resource"), KINDS)
@pytest.mark.parametrize(("writer", "reader"), BOTH, ids=lambda kind: kind.kind)
def test_what_one_keeps_the_other_reads_and_changes(
    folder: Path,
    servers: Servers,
    writer: type[Server],
    reader: type[Server],
    metadata: str,
    resource: str,
) -> None:
    share = f"{metadata}-{resource}"
    for left in (folder / share).iterdir():
        left.unlink()
    with Client(servers[writer], share=share) as client:
        write(client, "file", b"data", smb.CREATE)
        write(client, "file:AFP_AfpInfo", INFO, smb.CREATE)
        write(client, "file:AFP_Resource", FORK, smb.CREATE)
        known = facts(client)
    assert known[1:] == (INFO, FORK)
    other = INFO[:16] + FINDER[::-1] + INFO[48:]
    with Client(servers[reader], share=share) as client:
        assert facts(client) == known
        write(client, "file:AFP_AfpInfo", other, smb.OPEN)
    kept = os.listxattr(folder / share / "file")
    assert ("user.org.netatalk.Metadata" in kept) is (metadata == "netatalk")
    assert (folder / share / "._file").exists() is (resource == "file")
    with Client(servers[writer], share=share) as client:
        assert facts(client)[1:] == (other, FORK)
        write(client, "file:AFP_AfpInfo", INFO[:16] + bytes(44), smb.OPEN)
    with Client(servers[reader], share=share) as client:
        opened = client.open("file", smb.READ)
        assert len(names(client.query(opened, STREAMS))) == 2
        opened.close(False)


@pytest.mark.parametrize(("metadata", "resource"), KINDS)
def test_sambas_own_suite(servers: Servers, metadata: str, resource: str) -> None:
    server = servers[Usmbd]
    share = f"suite-{metadata}-{resource}"
    ran = subprocess.run(
        [
            *("/usr/bin/smbtorture", f"//{server.host}/{share}", "-p", str(server.port)),
            *credentials(ALICE),
            *("-s", client_configuration(server), "--option=torture:osx=no", "vfs.fruit"),
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    said = [line.partition(": ") for line in ran.stdout.splitlines()]
    results = {rest.removesuffix(" ["): word for word, _, rest in said if word in WORDS}
    wrong = {name for name, word in results.items() if word in ("failure", "error")}
    expected = IN_STREAMS if resource == "stream" else set()
    assert wrong == expected, ran.stdout
    assert sum(word == "success" for word in results.values()) == 31 - len(expected)


WORDS = ("success", "failure", "error", "skip")
