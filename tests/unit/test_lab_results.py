"""Where the lab's runs leave what came out, several at once."""

import os
import time
from pathlib import Path

import lab_run
import pytest


def test_old_results_are_removed_by_several_runs_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run has removed one while this looks at them."""
    monkeypatch.setattr(lab_run, "prepare_kernel", lambda: tmp_path / "linux")
    runs = tmp_path / "runs"
    there = [runs / f"run-{number}" for number in range(lab_run.KEPT + 2)]
    for age, run in enumerate(reversed(there)):
        run.mkdir(parents=True)
        (run / "finished").touch()
        last = time.time() - lab_run.RECENT_SECONDS * (age + 1)
        os.utime(run, (last, last))
    listed = [*there, runs / "run-removed"]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(listed))
    new = lab_run.results_directory()
    monkeypatch.undo()
    assert set(runs.iterdir()) == {new, *there[2:]}


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").touch()
    monkeypatch.setattr(lab_run, "prepare_kernel", lambda: tmp_path / "linux")
    with pytest.raises(lab_run.LabError, match="set USMBD_LAB_CACHE"):
        lab_run.results_directory()
