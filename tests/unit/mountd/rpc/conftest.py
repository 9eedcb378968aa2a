"""A server with three shares, and a client that speaks to a pipe by impacket's structures."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from usmbd.mountd.ipc.settings import ServerConfig, ShareConfig
from usmbd.mountd.rpc.view import Caller, Snapshot, View

CLOCK = 1_700_000_000.25  # 2023-11-14 22:13:20.25 UTC, a Tuesday


@pytest.fixture
def snapshot() -> Snapshot:
    """Return a configuration: a share for all, one with other letters, one that is hidden."""
    return Snapshot(
        ServerConfig(netbios_name="NAS", server_string="Ablage", workgroup="HOME"),
        (
            ShareConfig(name="data", path="/srv/data", comment="", max_connections=0),
            ShareConfig(
                name="Büro",
                path="/srv/büro",
                comment="日本 \U0001f600",
                read_only=False,
                encryption_required=True,
            ),
            ShareConfig(name="secret", path="/srv/secret", browseable=False),
        ),
    )


@pytest.fixture
def view(snapshot: Snapshot) -> View:
    """Return what an ordinary user sees."""
    return View(snapshot, Caller(user="alice", domain="HOME", uid=1000), clock=lambda: CLOCK)
