"""All mounts in guests of their own, some at once, for all tests of this folder; their results."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lab_run
import matrix
import outcome as outcomes

OUTCOME = pytest.StashKey[outcomes.Outcome]()
"""What the guests brought back, for the table at the end."""


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest) -> outcomes.Outcome:
    """Run the plan once; `USMBD_LAB_RESULTS` names a directory with another run's results."""
    if earlier := os.environ.get("USMBD_LAB_RESULTS"):
        return outcomes.read(Path(earlier))
    try:
        done = lab_run.run(matrix.VARIANTS, lab_run.results_directory())
    except lab_run.UnsupportedError as error:
        pytest.skip(str(error))
    except lab_run.LabError as error:
        pytest.fail(f"the lab is not there: {error}")
    request.config.stash[OUTCOME] = done
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
        terminalreporter.write_line(f"run twice, {where}: {result.detail.splitlines()[0]}")
    for result in done.failures("ksmbd"):
        last = (result.detail.splitlines() or [""])[-1]
        terminalreporter.write_line(f"ksmbd {result.variant} {result.scenario}: {last[:150]}")
    terminalreporter.write_line(f"logs, dmesg and captures: {done.out}")
