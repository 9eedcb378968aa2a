"""Where the lab's runs leave what came out, several at once, and how they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import guest
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


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "ROOM", 1 << 60)
    with pytest.raises(lab_run.LabError, match="MiB are free, of"):
        lab_run.make_directory(tmp_path / "run")


def test_a_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """And not when all mounts are through, an hour later."""
    program = """
import lab_run, sys, time
from concurrent.futures import ThreadPoolExecutor
def run(*_, **__):
    with ThreadPoolExecutor() as pool:
        pool.submit(time.sleep, 600).result()
lab_run.run, lab_run.HIDDEN = run, ()
sys.exit(lab_run.main())
"""
    words = [sys.executable, "-c", program, "--out", tmp_path / "out"]
    folder = Path(lab_run.__file__).parent
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(lab_run.RESULTS)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
