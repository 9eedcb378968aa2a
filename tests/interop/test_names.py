"""Names that a local program made and Windows cannot say, and links: for clients of all kinds."""

import os
from pathlib import Path

import pytest
from smbtest import client as smb
from smbtest.client import Client
from smbtest.samba_tools import smbclient
from smbtest.server import Server

ODD = [
    *(b"12:30 meeting.txt", b"what?", b"a|b", b"x*", b'"quoted"', b"<tag>", b"back\\slash"),
    *(b"Jr.", b"sp ", b"CON", b"aux.c", b"com1.txt", b"tab\there", b"caf\xe9.txt"),
]


@pytest.fixture
def odd(folder: Path) -> Path:
    """Make a folder with every odd name, as a file that holds its name and as a directory."""
    path = folder / "odd"
    path.mkdir()
    for name in ODD:
        (path / os.fsdecode(name)).write_bytes(name)
        (path / os.fsdecode(b"d " + name)).mkdir()
        (path / os.fsdecode(b"d " + name) / "in").write_bytes(name)
    for entry in path.rglob("*"):
        entry.chmod(0o777)
    path.chmod(0o777)
    return path


def test_smbclient_fetches_what_it_is_shown(server: Server, odd: Path, tmp_path: Path) -> None:
    commands = [
        f"cd {odd.parent.name}\\odd",
        f"lcd {tmp_path}",
        "prompt off",
        "recurse on",
        "mget *",
    ]
    smbclient(server, commands)
    fetched = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(fetched) == sorted(ODD * 2)


def test_smbclient_deletes_what_it_is_shown(server: Server, odd: Path) -> None:
    smbclient(server, [f"cd {odd.parent.name}", "deltree odd"])
    assert not odd.exists()


def test_what_smbclient_calls_so_is_called_so(server: Server, odd: Path, tmp_path: Path) -> None:
    """A program that saves by way of another file leaves the local name as it was."""
    if server.kind != "usmbd":
        pytest.skip("Samba keeps the name by which the client calls it")
    (tmp_path / "new").write_bytes(b"saved")
    said = "12\uf02230 meeting.txt"
    commands = [f"put {tmp_path}/new saved.tmp", f'del "{said}"', f'rename saved.tmp "{said}"']
    smbclient(server, [f"cd {odd.parent.name}\\odd", *commands])
    assert (odd / "12:30 meeting.txt").read_bytes() == b"saved"


def test_links_that_are_not_followed(server: Server, folder: Path, tmp_path: Path) -> None:
    if server.kind != "usmbd":
        pytest.skip("Samba shows no link that it does not follow")
    (tmp_path / "kept").touch()
    (folder / "sub").mkdir(mode=0o777)
    (folder / "sub").chmod(0o777)
    for name, target in {"nowhere": "nothing", "away": tmp_path, "file": tmp_path / "kept"}.items():
        (folder / "sub" / name).symlink_to(target)
    cd = f"cd {folder.name}"
    said = smbclient(server, [cd, "ls sub\\*"])
    assert all(name in said for name in ("nowhere", "away", "file"))
    smbclient(server, [cd, "del sub\\nowhere", "deltree sub"])
    assert not (folder / "sub").exists()
    assert (tmp_path / "kept").exists()


def test_two_backslashes(server: Server, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "file").touch()
    (folder / "sub").chmod(0o777)
    with Client(server) as client:
        name = folder.name
        for path in (rf"{name}\\sub\file", rf"{name}\sub\\\file", rf"{name}\\SUB\\FILE"):
            client.open(path, smb.READ_ATTRIBUTES).close()
        client.open(rf"{name}\\sub\\", smb.READ_ATTRIBUTES, options=smb.DIRECTORY_FILE).close()
        with smb.refused(smb.NtStatus.STATUS_OBJECT_PATH_SYNTAX_BAD):
            client.open(r"..\\file")


def test_streams_of_the_root(server: Server) -> None:
    with Client(server) as client:
        stream = client.open(":usmbd-test", smb.ALL, smb.CREATE)
        stream.write(b"12345")
        stream.close()
        stream = client.open(":USMBD-test:$DATA", smb.READ)
        assert stream.read(0, 10) == b"12345"
        stream.close()
        stream = client.open(":usmbd-test", smb.DELETE, options=smb.DELETE_ON_CLOSE)
        stream.close()
        with smb.refused(smb.NtStatus.STATUS_OBJECT_NAME_NOT_FOUND):
            client.open(":usmbd-test")
