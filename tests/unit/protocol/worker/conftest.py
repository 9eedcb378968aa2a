"""A worker that a test is the supervisor of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from smbengine.worker import Supervised


@pytest.fixture
def supervised(
    state: Path, loop: asyncio.AbstractEventLoop, request: pytest.FixtureRequest
) -> Iterator[Supervised]:
    made = Supervised(state, loop, **getattr(request, "param", {}))
    yield made
    made.end(loop)
