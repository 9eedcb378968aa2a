"""The lab's guests, beside a run of pytest."""

import os
from pathlib import Path

import lab_run
import outcome as outcomes
import pytest

from smbtest import beside

LAB = "the lab"
"""The name of what runs them."""


def start_guests(config: pytest.Config) -> None:
    """Start them, once, where this run is to have results of its own.

    They wait a good deal, and most tests keep one core busy.
    """
    if not config.option.collectonly and "USMBD_LAB_RESULTS" not in os.environ:
        beside.start(config, LAB, Path(lab_run.__file__))


def wait_for_results(config: pytest.Config) -> outcomes.Outcome:
    """Wait for what came out; skips where there is no lab, fails with its last words."""
    said = beside.said(config, LAB)
    said.wait()
    found = _results(said)
    if found is not None:
        return found
    lines = said.lines()
    if said.wait() == lab_run.UNSUPPORTED:
        pytest.skip(lines[-1])
    pytest.fail("the lab is not there: " + "\n".join(lines[-20:]))


def _results(said: beside.Said) -> outcomes.Outcome | None:
    """Return what came out, None while there is nothing."""
    where = [line for line in said.lines() if line.startswith(lab_run.RESULTS)]
    if where and said.wait(0) in (0, 1):
        return outcomes.read(Path(where[0].removeprefix(lab_run.RESULTS)))
    return None


def tell_results(config: pytest.Config, reporter: pytest.TerminalReporter) -> None:
    """Print the table of the scenarios with the ratio to ksmbd, and what the client did wrong."""
    said = beside.find(config, LAB)
    done = _results(said) if said else None
    if done is None:
        return
    reporter.section("scenarios on the kernel client's mounts")
    reporter.write_line(outcomes.table(done))
    for result in done.known():
        where = f"{result.server} {result.variant}"
        reporter.write_line(f"tried twice, {where}: {result.detail.splitlines()[0]}")
    for result in done.failures("ksmbd"):
        last = (result.detail.splitlines() or [""])[-1]
        reporter.write_line(f"ksmbd {result.variant} {result.scenario}: {last[:150]}")
    reporter.write_line(f"logs, dmesg and captures: {done.out}")
