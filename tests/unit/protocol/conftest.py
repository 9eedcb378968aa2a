"""An engine for the tests of state, commands and dispatch, and clients of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.server import Engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Run one worker's engine in memory."""
    engine = Engine(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def client(engine: Engine) -> Client:
    """Return a client of 3.1.1 that is logged in as alice and connected to `data`."""
    return Client(engine).ready()
