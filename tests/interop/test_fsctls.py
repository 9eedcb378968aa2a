"""What clients ask by FSCTL beside copies: previous versions, compression, trims, pipes."""

import os
import pwd
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import smbclient as smbprotocol_client
from impacket.smbconnection import SessionError, SMBConnection
from smbprotocol.header import NtStatus
from smbtest import client as smb
from smbtest.client import Client, refused
from smbtest.samba_tools import client_configuration, credentials, smbclient
from smbtest.samples import content
from smbtest.server import ALICE, HOST, Server

GET_COMPRESSION, SET_COMPRESSION = 0x0009003C, 0x0009C040
QUERY_FILE_REGIONS, FILE_LEVEL_TRIM, PIPE_PEEK = 0x00090284, 0x00098208, 0x0011400C
OFFLOAD_READ, GET_INTEGRITY, QUERY_ON_DISK_VOLUME = 0x00094264, 0x0009027C, 0x0009013C
INVALID_DEVICE_REQUEST = 0xC0000010


@pytest.fixture
def impacket(server: Server) -> Iterator[SMBConnection]:
    """Log in with impacket."""
    connection = SMBConnection(HOST, HOST, sess_port=server.port, timeout=20)
    connection.login(*ALICE)
    yield connection
    connection.close()


def test_previous_versions(server: Server, folder: Path, impacket: SMBConnection) -> None:
    """There are none, which is no error: smbclient's `allinfo` asks, and Explorer's tab."""
    if server.kind == "smbd":
        pytest.skip("smbd knows the question with a module for snapshots alone")
    assert impacket.listSnapshots(impacket.connectTree("data"), folder.name) == []
    (folder / "file").touch()
    said = smbclient(server, [f"cd {folder.name}", "allinfo file"])
    assert "@GMT" not in said


def test_waiting_for_a_pipe(server: Server, impacket: SMBConnection) -> None:
    tree = impacket.connectTree("IPC$")
    impacket.waitNamedPipe(tree, "srvsvc")
    if server.kind == "smbd":
        pytest.skip("smbd says so of any name")
    with pytest.raises(SessionError, match="OBJECT_NAME_NOT_FOUND"):
        impacket.waitNamedPipe(tree, "no such pipe")


def test_what_is_refused(server: Server, folder: Path) -> None:
    (folder / "file").write_bytes(content(1000))
    with Client(server) as client:
        opened = client.open(rf"{folder.name}\file", smb.READ)
        for code in (OFFLOAD_READ, GET_INTEGRITY, QUERY_ON_DISK_VOLUME):
            with refused(INVALID_DEVICE_REQUEST):
                client.ioctl(opened.file_id, code, bytes(64))


def test_compression(server: Server, folder: Path) -> None:
    (folder / "file").touch()
    (folder / "file").chmod(0o666)
    with Client(server) as client:
        opened = client.open(rf"{folder.name}\file", smb.READ | smb.WRITE)
        assert client.ioctl(opened.file_id, GET_COMPRESSION, size=2) == b"\0\0"
        client.ioctl(opened.file_id, SET_COMPRESSION, b"\0\0")
        with refused(NtStatus.STATUS_NOT_SUPPORTED):
            client.ioctl(opened.file_id, SET_COMPRESSION, b"\2\0")


def test_regions_and_trims(server: Server, folder: Path) -> None:
    if server.kind == "smbd":
        pytest.skip("smbd knows neither")
    path = folder / "file"
    path.write_bytes(content(1 << 20))
    path.chmod(0o666)
    os.sync()
    before = path.stat().st_blocks
    with Client(server) as client:
        opened = client.open(rf"{folder.name}\file", smb.READ | smb.WRITE)
        found = client.ioctl(opened.file_id, QUERY_FILE_REGIONS)
        assert found == struct.pack("<IIIIQQII", 0, 1, 1, 0, 0, 1 << 20, 1, 0)
        asked = struct.pack("<IIQQ", 0, 1, 1 << 16, 1 << 18)
        assert client.ioctl(opened.file_id, FILE_LEVEL_TRIM, asked, 4) == b"\1\0\0\0"
    assert path.stat().st_blocks <= before - (1 << 18) // 512
    data = path.read_bytes()
    assert data[: 1 << 16] == content(1 << 20)[: 1 << 16]
    assert data[(1 << 16) + (1 << 18) :] == content(1 << 20)[(1 << 16) + (1 << 18) :]


def test_looking_into_a_pipe(server: Server) -> None:
    if server.kind == "smbd":
        pytest.skip("smbd refuses it")
    with Client(server, share="IPC$") as client:
        pipe = client.open("srvsvc", smb.READ | smb.WRITE)
        found = client.ioctl(pipe.file_id, PIPE_PEEK, size=1024)
        assert found == struct.pack("<IIII", 3, 0, 0, 0)


def torture(server: Server, test: str, **options: object) -> None:
    """Run one of smbtorture's tools on the share `data`; it must succeed."""
    command = ["smbtorture", "-s", client_configuration(server), f"//{HOST}/data"]
    command += ["-p", str(server.port), *credentials(ALICE), f"--basedir={server.state}"]
    command += [f"--option=torture:{name}={value}" for name, value in options.items()]
    run = subprocess.run([*command, test], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_smbtorture_s_own_tools(server: Server, folder: Path) -> None:
    """smb2.set-sparse-ioctl and smb2.zero-data-ioctl, which act on a file that they are told."""
    path = folder / "file"
    path.write_bytes(content(1 << 18))
    if os.geteuid() == 0:
        os.chown(path, pwd.getpwnam(ALICE.name).pw_uid, -1)
    os.sync()
    before, name = path.stat().st_blocks, rf"{folder.name}\file"
    torture(server, "smb2.set-sparse-ioctl", filename=name, set_sparse="true")
    torture(
        server, "smb2.zero-data-ioctl", filename=name, offset=1 << 16, beyond_final_zero=1 << 17
    )
    assert path.read_bytes()[1 << 16 : 1 << 17] == bytes(1 << 16)
    assert path.stat().st_blocks <= before - (1 << 16) // 512
    with Client(server) as client:
        opened = client.open(name, smb.READ)
        (attributes,) = struct.unpack_from("<32xI", client.query(opened, 4))
        assert attributes & 0x200
        opened.close()
    torture(server, "smb2.set-sparse-ioctl", filename=name, set_sparse="false")
    with Client(server) as client:
        opened = client.open(name, smb.READ)
        (attributes,) = struct.unpack_from("<32xI", client.query(opened, 4))
        assert not attributes & 0x200


def test_where_links_lead(server: Server, folder: Path) -> None:
    """Smbprotocol's readlink, which asks by FSCTL_GET_REPARSE_POINT."""
    if server.kind == "smbd":
        pytest.skip("smbd shows no links")
    (folder / "within").symlink_to("nothing/here")
    (folder / "beyond").symlink_to("/etc/hostname")
    smbprotocol_client.reset_connection_cache()
    share = rf"\\{HOST}\data\{folder.name}"
    options = {"username": ALICE.name, "password": ALICE.password, "port": server.port}
    found = smbprotocol_client.readlink(rf"{share}\within", **options)
    assert found.endswith(rf"\{folder.name}\nothing\here") or found == r"nothing\here"
    with pytest.raises(OSError, match="NOT_SUPPORTED"):
        smbprotocol_client.readlink(rf"{share}\beyond", **options)
    smbprotocol_client.reset_connection_cache()
