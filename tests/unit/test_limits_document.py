"""LIMITS.md tells what holds: each of its numbers is the constant's that it names."""

import importlib
import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "LIMITS.md"
ROW = re.compile(r"\| (?P<what>.+) \| (?P<number>[^|]+) \| `(?P<module>.+)\.(?P<name>\w+)` \|")
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1, "ms": 1}

ROWS = [
    match.groupdict() for match in map(ROW.fullmatch, DOCUMENT.read_text().splitlines()) if match
]


def test_each_number_is_what_holds() -> None:
    wrong = []
    for row in ROWS:
        number, _, unit = row["number"].replace(",", "").partition(" ")
        module = importlib.import_module(f"usmbd.{row['module']}")
        holds = getattr(module, row["name"], None)
        if holds != float(number) * UNITS[unit]:
            wrong.append(f"{row['module']}.{row['name']} is {holds}")
    assert not wrong


def test_each_row_is_read() -> None:
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    headings = [line for line in lines if "`" not in line]
    assert len(ROWS) == len(lines) - len(headings) > 300
    constants = [(row["module"], row["name"]) for row in ROWS]
    assert len(set(constants)) == len(constants)
