"""All mounts in guests of their own, beside the other tests, and what came of them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import lab_run
import outcome as outcomes

OUTCOME = pytest.StashKey[outcomes.Outcome]()
"""What the guests brought back, for the table at the end."""

LAB = pytest.StashKey["LabProcess"]()
READS_RESULTS = "test_kernel_client.py"
"""The tests of this file come last of all: the guests run while the others do."""


class LabProcess:
    """lab_run.py beside pytest: guests wait a good deal, and most tests keep one core busy."""

    def __init__(self) -> None:
        """Start it, to end when pytest does, whatever ends that; what it says goes to a file."""
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (end() closes it)
        self.process = subprocess.Popen(
            [sys.executable, Path(lab_run.__file__), "--until-stdin-ends"],
            stdin=subprocess.PIPE,
            stdout=self.said,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> outcomes.Outcome:
        """Return what came out; skips where there is no lab, fails with its last words."""
        status = self.process.wait()
        self.said.seek(0)
        lines = self.said.read().splitlines()
        where = [line for line in lines if line.startswith(lab_run.RESULTS)]
        if where and status in (0, 1):
            return outcomes.read(Path(where[0].removeprefix(lab_run.RESULTS)))
        if status == lab_run.UNSUPPORTED:
            pytest.skip(lines[-1])
        pytest.fail("the lab is not there: " + "\n".join(lines[-20:]))

    def end(self) -> None:
        """End what is still running."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.said.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that wait for the guests behind all others."""
    items.sort(key=lambda item: item.path.name == READS_RESULTS)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the guests where their results are asked for."""
    asked = any(item.path.name == READS_RESULTS for item in session.items)
    if asked and not session.config.option.collectonly and "USMBD_LAB_RESULTS" not in os.environ:
        session.config.stash[LAB] = LabProcess()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no guest behind."""
    if process := config.stash.get(LAB, None):
        process.end()


@pytest.fixture(scope="session")
def outcome(request: pytest.FixtureRequest) -> outcomes.Outcome:
    """Wait for all mounts; `USMBD_LAB_RESULTS` names a directory with another run's results."""
    if earlier := os.environ.get("USMBD_LAB_RESULTS"):
        return outcomes.read(Path(earlier))
    done = request.config.stash[OUTCOME] = request.config.stash[LAB].wait()
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
