"""A worker that a test is the supervisor of."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smbengine.server import Engine
from smbengine.worker import Supervised

from usmbd.protocol.worker.recheck import Recheck


@pytest.fixture
def supervised(
    state: Path, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest
) -> Iterator[Supervised]:
    made = Supervised(state, loop, **getattr(request, "param", {}))
    yield made
    made.end(loop)


@pytest.fixture
def reload(engine: Engine) -> Callable[[], None]:
    """Return what tells the engine that mountd has read its files."""
    made = Recheck(engine.server, engine.clock)

    def run() -> None:
        engine.run(made.begin)
        engine.settle()

    return run
