"""An event loop that a test runs until something is so, and a folder whose name is short."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Until = Callable[[Callable[[], object]], None]
SECONDS = 5.0


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
