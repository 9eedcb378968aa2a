"""One boot of the guest for all tests of this folder; its results, by scenario."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import guest_run
import matrix

OUTCOME = pytest.StashKey[guest_run.Outcome]()
"""What the guest brought back, for the table at the end."""


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest) -> guest_run.Outcome:
    """Boot the guest once; `USMBD_LAB_RESULTS` names a directory with another run's results."""
    if earlier := os.environ.get("USMBD_LAB_RESULTS"):
        return guest_run.read(Path(earlier))
    try:
        done = guest_run.run(matrix.VARIANTS, guest_run.results_directory())
    except guest_run.boot.UnsupportedError as error:
        pytest.skip(str(error))
    except guest_run.boot.LabError as error:
        pytest.fail(f"the lab is not there: {error}")
    request.config.stash[OUTCOME] = done
    return done


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table of the guest's scenarios, with the ratio to ksmbd."""
    done = config.stash.get(OUTCOME, None)
    if done is not None:
        terminalreporter.section("scenarios on the kernel client's mounts")
        terminalreporter.write_line(guest_run.table(done))
        terminalreporter.write_line(f"logs, dmesg and captures: {done.out}")
