"""All mounts in guests of their own, beside the other tests, and what came of them."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lab_run
import outcome as outcomes
from smbtest.beside import Beside
from smbtest.guests import LAB, start_guests

OUTCOME = pytest.StashKey[outcomes.Outcome]()
"""What the guests brought back, for the table at the end."""

READS_RESULTS = "test_kernel_client.py"


def _results(lab: Beside) -> outcomes.Outcome:
    """Wait for what came out; skips where there is no lab, fails with its last words."""
    status = lab.wait()
    lines = lab.lines()
    where = [line for line in lines if line.startswith(lab_run.RESULTS)]
    if where and status in (0, 1):
        return outcomes.read(Path(where[0].removeprefix(lab_run.RESULTS)))
    if status == lab_run.UNSUPPORTED:
        pytest.skip(lines[-1])
    pytest.fail("the lab is not there: " + "\n".join(lines[-20:]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the guests where their results are asked for; for all tests they run already."""
    if any(item.path.name == READS_RESULTS for item in session.items):
        start_guests(session.config)


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest) -> outcomes.Outcome:
    """Wait for all mounts; `USMBD_LAB_RESULTS` names a directory with another run's results."""
    if earlier := os.environ.get("USMBD_LAB_RESULTS"):
        return outcomes.read(Path(earlier))
    done = request.config.stash[OUTCOME] = _results(request.config.stash[LAB])
    return done


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table of the scenarios with the ratio to ksmbd, and what the client did wrong."""
    done = config.stash.get(OUTCOME, None)
    if done is None:
        return
    terminalreporter.section("scenarios on the kernel client's mounts")
    terminalreporter.write_line(outcomes.table(done))
    for result in done.known():
        where = f"{result.server} {result.variant}"
        terminalreporter.write_line(f"tried twice, {where}: {result.detail.splitlines()[0]}")
    for result in done.failures("ksmbd"):
        last = (result.detail.splitlines() or [""])[-1]
        terminalreporter.write_line(f"ksmbd {result.variant} {result.scenario}: {last[:150]}")
    terminalreporter.write_line(f"logs, dmesg and captures: {done.out}")
