"""Samba's Python client, which speaks through Samba's own client library."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbtest.proxy import at_port_445
from smbtest.samba_tools import client_configuration
from smbtest.server import ALICE, REPOSITORY, Server

SCRIPT = REPOSITORY / "tests/support/samba_client.py"


@pytest.fixture(scope="module")
def address(server: Server) -> Iterator[str]:
    """Return an address at whose port 445 the server is."""
    with at_port_445(server) as address:
        yield address


@pytest.mark.parametrize(
    ("dialect", "protection"),
    [
        ("SMB2_02", "off"),
        ("SMB2_10", "sign"),
        ("SMB3_00", "off"),
        ("SMB3_02", "encrypt"),
        ("SMB3_11", "off"),
        ("SMB3_11", "sign"),
        ("SMB3_11", "encrypt"),
    ],
)
def test_work(server: Server, address: str, folder: Path, dialect: str, protection: str) -> None:
    arguments = [address, "data", folder.name, ALICE.name, ALICE.password]
    arguments += [client_configuration(server), dialect, protection]
    run = subprocess.run(
        ["/usr/bin/python3", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout == "worked\n"
    assert not list(folder.iterdir())
