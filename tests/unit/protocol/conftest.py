"""An engine with its clients; an event loop that a test runs until something is so."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine.client import Client
from smbengine.server import Engine

Until = Callable[[Callable[[], object]], None]
SECONDS = 5.0


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


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Return an event loop."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def until(loop: asyncio.AbstractEventLoop) -> Until:
    """Return a function that runs the loop until a condition holds."""

    def run(condition: Callable[[], object]) -> None:
        end = loop.time() + SECONDS
        while not condition():
            assert loop.time() < end, "it does not come"
            loop.run_until_complete(asyncio.sleep(0.001))

    return run


@pytest.fixture
def state() -> Iterator[Path]:
    """Return a state directory: the name of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="u") as name:
        yield Path(name)
