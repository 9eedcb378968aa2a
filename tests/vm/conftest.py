"""All mounts in guests of their own, beside the other tests, and what came of them."""

import os
from pathlib import Path

import outcome as outcomes
import pytest
from smbtest.guests import start_guests, wait_for_results

READS_RESULTS = "test_kernel_client.py"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the guests where their results are asked for; for all tests they run already."""
    if any(item.path.name == READS_RESULTS for item in session.items):
        start_guests(session.config)


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest) -> outcomes.Outcome:
    """Wait for all mounts; `USMBD_LAB_RESULTS` names a directory with another run's results."""
    if earlier := os.environ.get("USMBD_LAB_RESULTS"):
        return outcomes.read(Path(earlier))
    return wait_for_results(request.config)
