"""The links of DFS by rpcclient: listed, made, removed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbtest.peer import only_usmbd
from smbtest.samba_tools import rpcclient
from smbtest.server import BOB, NETBIOS_NAME, Options, Server
from smbtest.usmbd import Usmbd


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run a server with a root that BOB administrates."""
    only_usmbd("smbd asks for root itself")
    made = Usmbd(Options({"admin users": BOB.name}))
    root = made.folder / "root"
    (root / "folder").mkdir(parents=True)
    os.symlink("msdfs:fs1\\a,fs2\\b", root / "link")
    made.shares |= {"root": {"path": str(root), "msdfs root": "yes"}}
    with made.running() as running:
        yield running


def root_of(server: Server) -> Path:
    return server.folder / "root"


def test_version(server: Server) -> None:
    assert "dfs is present (1)" in rpcclient(server, "dfsversion")


def test_lists(server: Server) -> None:
    for level in (1, 2, 3):  # rpcclient knows no 4
        said = rpcclient(server, f"dfsenum {level}")
        assert f"\\\\{NETBIOS_NAME}\\root\\link" in said
    assert (
        "server[0]: fs1 share[0]: a" in " ".join(said.replace("\t", " ").split()) or "fs1" in said
    )
    assert "fs2" in said
    of_root = rpcclient(server, f"dfsenumex \\\\\\\\{NETBIOS_NAME}\\\\root 1")
    assert "link" in of_root


def test_changes(server: Server) -> None:
    place = f"\\\\\\\\{NETBIOS_NAME}\\\\root\\\\folder\\\\new"
    link = root_of(server) / "folder" / "new"
    refused = rpcclient(server, f"dfsadd {place} fs3 c comment", ok=False)
    assert "ACCESS_DENIED" in refused
    rpcclient(server, f"dfsadd {place} fs3 c comment", account=BOB)
    assert os.readlink(link) == "msdfs:fs3\\c"
    rpcclient(server, f"dfsadd {place} fs4 d comment", account=BOB)
    assert os.readlink(link) == "msdfs:fs3\\c,fs4\\d"
    said = rpcclient(server, f"dfsgetinfo {place} fs3 c 3")
    assert "fs4" in said
    rpcclient(server, f"dfsremove {place} fs3 c", account=BOB)
    assert os.readlink(link) == "msdfs:fs4\\d"
    rpcclient(server, f"dfsremove {place} fs4 d", account=BOB)
    assert not os.path.lexists(link)
