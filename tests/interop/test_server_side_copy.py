"""Copies that the server makes itself, as smbclient, smbprotocol and impacket ask for them."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import smbclient as smbprotocol_client
from impacket.smb3 import SessionError
from impacket.smb3structs import (
    FSCTL_SRV_COPYCHUNK,
    FSCTL_SRV_REQUEST_RESUME_KEY,
    SMB2_0_IOCTL_IS_FSCTL,
    SRV_COPYCHUNK_RESPONSE,
    SRV_REQUEST_RESUME_KEY,
)
from impacket.smbconnection import SMBConnection
from smbtest import client as smb
from smbtest.client import Client, refused
from smbtest.samba_tools import smbclient
from smbtest.samples import MIB, checksum, content, fill
from smbtest.server import ALICE, BOB, HOST, Server

FILE_LOCK_CONFLICT = 0xC0000054
SIZES = (1, 4095, MIB - 1, MIB, 16 * MIB, 16 * MIB + 1, 40 * MIB + 77)


@pytest.mark.parametrize(
    ("dialect", "protection"),
    [("SMB2_02", None), ("SMB2_10", "sign"), ("SMB3_00", None), ("SMB3_11", "encrypt")],
)
def test_smbclient(server: Server, folder: Path, dialect: str, protection: str | None) -> None:
    """`scopy`, of sizes about those of a chunk and of a request."""
    for number, size in enumerate(SIZES):
        fill(folder / f"source{number}", size, seed=number + 1)
    commands = [f"cd {folder.name}", *(f"scopy source{n} copy{n}" for n in range(len(SIZES)))]
    smbclient(server, commands, dialect=dialect, protection=protection)
    for number in range(len(SIZES)):
        assert checksum(folder / f"copy{number}") == checksum(folder / f"source{number}")


@pytest.fixture
def session(server: Server) -> Iterator[str]:
    """Log smbprotocol's file functions in; the server as they name it."""
    smbprotocol_client.reset_connection_cache()
    smbprotocol_client.register_session(
        HOST, username=ALICE.name, password=ALICE.password, port=server.port
    )
    yield rf"\\{HOST}"
    smbprotocol_client.reset_connection_cache()


def test_smbprotocol(server: Server, folder: Path, session: str) -> None:
    """COPYCHUNK_WRITE, within a share and from one to another, onto a longer file too."""
    (folder / "source").write_bytes(content(5 * MIB + 3))
    (folder / "data").write_bytes(content(6 * MIB, seed=2))
    (folder / "data").chmod(0o666)
    for share in ("data", "hidden"):
        source, target = (
            rf"{session}\{name}"
            for name in (rf"data\{folder.name}\source", rf"{share}\{folder.name}\{share}")
        )
        smbprotocol_client.copyfile(source, target, port=server.port)
        assert (folder / share).read_bytes() == content(5 * MIB + 3)


def test_impacket(server: Server, folder: Path) -> None:
    """COPYCHUNK by hand: the counts of its answer, and the limits of a refusal."""
    (folder / "source").write_bytes(content(1000))
    connection = SMBConnection(HOST, HOST, sess_port=server.port, timeout=20)
    try:
        connection.login(*ALICE)
        tree = connection.connectTree("data")
        source = connection.openFile(tree, rf"{folder.name}\source", desiredAccess=1)
        target = connection.createFile(tree, rf"{folder.name}\target")
        low = connection.getSMBServer()
        answer = low.ioctl(
            tree, source, FSCTL_SRV_REQUEST_RESUME_KEY, SMB2_0_IOCTL_IS_FSCTL,
            inputBlob=b"", maxOutputResponse=32,
        )  # fmt: skip
        key = SRV_REQUEST_RESUME_KEY(answer)["ResumeKey"]
        chunks = struct.pack("<QQII", 0, 10, 600, 0) + struct.pack("<QQII", 600, 610, 400, 0)
        request = key + struct.pack("<II", 2, 0) + chunks
        answer = low.ioctl(
            tree, target, FSCTL_SRV_COPYCHUNK, SMB2_0_IOCTL_IS_FSCTL,
            inputBlob=request, maxOutputResponse=12,
        )  # fmt: skip
        copied = SRV_COPYCHUNK_RESPONSE(answer)
        assert (copied["ChunksWritten"], copied["TotalBytesWritten"]) == (2, 1000)
        with pytest.raises(SessionError, match="INVALID_PARAMETER"):
            low.ioctl(
                tree, target, FSCTL_SRV_COPYCHUNK, SMB2_0_IOCTL_IS_FSCTL,
                inputBlob=request[:-1], maxOutputResponse=12,
            )  # fmt: skip
    finally:
        connection.close()
    assert (folder / "target").read_bytes() == bytes(10) + content(1000)


def test_a_sparse_file_stays_one(server: Server, folder: Path) -> None:
    """4 GiB with 3 MiB of data: the copy takes the blocks of the data."""
    if server.kind == "smbd":
        pytest.skip("smbd writes the holes")
    with (folder / "source").open("wb") as file:
        for place in (0, 2_000_000_000, (4 << 30) - MIB):
            file.seek(place)
            file.write(content(MIB))
    smbclient(server, [f"cd {folder.name}", "scopy source target"], timeout=120)
    source, target = (os.stat(folder / name) for name in ("source", "target"))
    assert target.st_size == source.st_size == 4 << 30
    assert target.st_blocks <= source.st_blocks + 64
    with (folder / "target").open("rb") as file:
        for place in (0, 2_000_000_000, (4 << 30) - MIB):
            file.seek(place)
            assert file.read(MIB) == content(MIB)


def test_the_locks_of_a_client_of_any_worker(server: Server, folder: Path) -> None:
    """What another has locked is not read, and not written."""
    (folder / "file").write_bytes(content(1000))
    (folder / "file").chmod(0o666)
    path = rf"{folder.name}\file"
    with Client(server, ALICE) as client:
        for _ in range(6):
            with Client(server, BOB) as other:
                locked = other.open(path, smb.READ | smb.WRITE)
                other.lock(locked, 500, 1, smb.LOCK_EXCLUSIVE | smb.LOCK_FAIL_IMMEDIATELY)
                opened = client.open(path, smb.READ | smb.WRITE)
                key = client.ioctl(opened.file_id, FSCTL_SRV_REQUEST_RESUME_KEY, size=32)[:24]
                for chunk in ((0, 500, 1, 0), (500, 0, 1, 0)):
                    request = key + struct.pack("<II", 1, 0) + struct.pack("<QQII", *chunk)
                    with refused(FILE_LOCK_CONFLICT):
                        client.ioctl(opened.file_id, FSCTL_SRV_COPYCHUNK, request, 12)
                opened.close()
    assert (folder / "file").read_bytes() == content(1000)
