"""A service's key for the tests, and a login with it."""

import sys
from pathlib import Path

import pytest
from smbtest.tickets import Forge

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "rpc"))  # binds of DCE/RPC

from kerberos_server import Server


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """Return the key, which the library of this process uses."""
    pytest.importorskip("gssapi")
    made = Forge(tmp_path / "realm")
    monkeypatch.setenv("KRB5_CONFIG", str(made.configuration))
    monkeypatch.setenv("KRB5RCACHENAME", f"file2:{tmp_path}/rcache")
    return made


@pytest.fixture
def server(forge: Forge, tmp_path: Path) -> Server:
    """Return a server of that key."""
    return Server(forge, tmp_path)
