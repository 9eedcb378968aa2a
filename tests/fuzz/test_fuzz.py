"""2,000 inputs of each target, by what longer runs left."""

import platform
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fuzz import NAMES, Fuzzers, Result

INPUTS = 2_000
"""Ten times as many as are committed of one target; most make them in half a second."""

SECONDS = 2
"""The end for the slowest, of which each input is a request to a whole engine."""

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.version_info >= (3, 15),
    reason="atheris has no wheel for this machine or this Python",
)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Result]]]:
    """Start those that this run asks for, in one process: to instrument it takes longest."""
    wanted = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    with Fuzzers(1) as fuzzers:
        submit = fuzzers.threads.submit
        yield {name: submit(fuzzers.run, name, SECONDS, inputs=INPUTS) for name in wanted}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_found(running: dict[str, Future[Result]], name: str) -> None:
    result = running[name].result()
    assert result.status == 0, result.said
    assert result.executions, result.said
