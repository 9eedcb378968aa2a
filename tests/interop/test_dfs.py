"""DFS by Samba's clients: through links and a proxy to another server."""

import os
import socket
from collections.abc import Iterator

import pytest
from smbtest.peer import only_usmbd
from smbtest.samba_tools import smbclient
from smbtest.server import Options
from smbtest.usmbd import Usmbd

PORT = 445
"""smbclient follows links to no other port, whatever `-p` says."""


def addresses() -> tuple[str, str]:
    """Return two addresses of this machine, which no other run of the tests has."""
    ours = f"127.{os.getpid() >> 8 & 0xFF}.{os.getpid() & 0xFF}"
    return f"{ours}.1", f"{ours}.2"


class At(Usmbd):
    """A server at one address, at the port where links lead."""

    def __init__(self, host: str) -> None:
        super().__init__(Options({"interfaces": host}))
        self.host, self.port = host, PORT


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Usmbd, Usmbd]]:
    """Run a root with links, and the server that they lead to."""
    only_usmbd("it is usmbd's links that are followed")
    here, there = addresses()
    try:
        with socket.socket() as probe:
            probe.bind((here, PORT))
    except PermissionError:
        pytest.skip("needs root: links lead to port 445")
    first = At(here)
    root = first.folder / "root"
    (root / "folder").mkdir(parents=True)
    os.symlink(f"msdfs:{there}\\data", root / "link")
    os.symlink(f"msdfs:{here}\\gone,{there}\\data", root / "folder" / "second-best")
    first.shares |= {
        "root": {"path": str(root), "msdfs root": "yes", "read only": "no"},
        "proxy": {"msdfs proxy": f"\\{there}\\data"},
    }
    with first.running(), At(there).running() as second:
        (second.data / "far").write_text("on the other server")
        yield first, second


@pytest.mark.parametrize("dialect", ["SMB2_10", "SMB3_11"])
@pytest.mark.parametrize("path", ["link", "folder/second-best"])
def test_smbclient_goes_through_a_link(
    servers: tuple[Usmbd, Usmbd], dialect: str, path: str
) -> None:
    first, _ = servers
    # Of the second smbclient says that its first target is not there, and goes on.
    said = smbclient(
        first, [f"cd {path}", "ls", "get far -"], share="root", dialect=dialect, ok=path == "link"
    )
    assert "on the other server" in said


def test_smbclient_writes_through_a_link(servers: tuple[Usmbd, Usmbd]) -> None:
    first, second = servers
    (first.folder / "sent").write_text("there and back")
    smbclient(first, [f"put {first.folder}/sent link/arrived"], share="root")
    assert (second.data / "arrived").read_text() == "there and back"
    smbclient(first, ["rm link/arrived", "ls folder"], share="root")
    assert not (second.data / "arrived").exists()


def test_a_proxy_is_the_other_share(servers: tuple[Usmbd, Usmbd]) -> None:
    first, _ = servers
    assert "on the other server" in smbclient(first, ["get far -"], share="proxy")


def test_listing(servers: tuple[Usmbd, Usmbd]) -> None:
    first, _ = servers
    kinds = {
        line.split()[0]: line.split()[1]
        for line in smbclient(first, ["ls"], share="root").splitlines()
        if len(line.split()) > 3
    }
    assert kinds["link"].startswith("D")
    assert "r" in kinds["link"]
    assert kinds["folder"] == "D"
