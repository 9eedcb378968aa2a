"""LIMITS.md tells what holds: each of its numbers is the constant's that it names."""

import importlib
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "LIMITS.md"
ROW = re.compile(r"\| (?P<what>.+) \| (?P<number>[^|]+) \| `(?P<module>.+)\.(?P<name>\w+)` \|")
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "s": 1, "ms": 1}

ROWS = [
    match.groupdict() for match in map(ROW.fullmatch, DOCUMENT.read_text().splitlines()) if match
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['module']}.{row['name']}" for row in ROWS])
def test_a_number_is_what_holds(row: dict[str, str]) -> None:
    number, _, unit = row["number"].replace(",", "").partition(" ")
    module = importlib.import_module(f"usmbd.{row['module']}")
    assert getattr(module, row["name"]) == float(number) * UNITS[unit], row["what"]


def test_each_row_is_read() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    headings = [line for line in lines if "`" not in line]
    assert len(ROWS) == len(lines) - len(headings) > 100
    constants = [(row["module"], row["name"]) for row in ROWS]
    assert len(set(constants)) == len(constants)
