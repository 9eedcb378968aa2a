"""Two seconds of fuzzing for each target, on what longer runs left: half a minute of all."""

import platform
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import NAMES, Fuzzers, Result

SECONDS = 2

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.version_info >= (3, 15),
    reason="atheris has no wheel for this machine or this Python",
)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Result]]]:
    """Start those that this run of pytest asks for, two at a time."""
    wanted = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    with Fuzzers(2) as fuzzers:
        yield {name: fuzzers.threads.submit(fuzzers.run, name, SECONDS) for name in wanted}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(running: dict[str, Future[Result]], name: str) -> None:
    result = running[name].result()
    assert result.status == 0, result.said
    assert result.executions, result.said
