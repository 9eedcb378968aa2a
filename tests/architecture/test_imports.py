"""The rules that tools can check: who imports whom, style, types."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [
        ["lint-imports", "--no-cache"],
        ["ruff", "check", "--no-cache"],
        ["ruff", "format", "--check", "--no-cache"],
        ["mypy"],
    ],
    ids=["import-contracts", "ruff-check", "ruff-format", "mypy-strict"],
)
def test_clean(command: list[str]) -> None:
    run = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_file_is_too_long() -> None:
    """A file with more than 500 lines holds more than one concern."""
    sources = [
        path
        for folder in ("transport", "protocol", "mountd", "tests", "lab")
        for path in (REPOSITORY / folder).rglob("*.py")
    ]
    lengths = {path.relative_to(REPOSITORY): len(path.read_text().splitlines()) for path in sources}
    assert {path: length for path, length in lengths.items() if length > 500} == {}
