"""The list of what usmbd and Samba's smbd make of each test of smbtorture.

A line is `NAME USMBD SMBD  # REASON`, blanks between, a status as in `torture.Outcome`. The reason
says what is missing where usmbd does not pass; it is required where smbd does.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from smbtest.torture import Outcome, suite_of

PATH = Path(__file__).resolve().parents[2] / "interop" / "smbtorture-expected.txt"
UNKNOWN = "unknown"  # smbd's status in a test that its smbtorture did not have
_PASS = "success"


class Row(NamedTuple):
    """One test of the list."""

    status: str
    smbd: str
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether smbd passes and usmbd does not."""
        return self.smbd == _PASS != self.status


def load(path: Path = PATH) -> dict[str, Row]:
    """Read the list; ValueError for a line that has not three words."""
    rows = {}
    for line in path.read_text().splitlines():
        fields, _, reason = line.partition("#")
        if fields.strip():
            # the names of two tests hold blanks
            name, status, smbd = fields.rsplit(maxsplit=2)
            rows[name.strip()] = Row(status, smbd, reason.strip())
    return rows


def save(rows: Mapping[str, Row], path: Path = PATH) -> None:
    """Write the list in the order of `rows`; the comment at its head stays."""
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    width = max(map(len, rows), default=0)
    lines = [
        f"{name:{width}} {row.status:8} {row.smbd:8} {f'# {row.reason}' if row.reason else ''}"
        for name, row in rows.items()
    ]
    path.write_text("".join(f"{line.rstrip()}\n" for line in [*head, *lines]))


def updated(rows: Mapping[str, Row], outcomes: Mapping[str, Outcome]) -> dict[str, Row]:
    """Return the list with what came out; the reason of a test that now passes goes."""
    new = dict(rows)
    for name, outcome in outcomes.items():
        row = rows.get(name, Row("", UNKNOWN))
        reason = "" if outcome.status == _PASS else row.reason
        new[name] = row._replace(status=outcome.status, reason=reason)
    return new


def complaint(name: str, outcome: Outcome, row: Row | None, kind: str = "usmbd") -> str | None:
    """Say how the outcome differs from the list, None when it does not.

    A test that the list does not have (of a newer smbtorture) is not complained about.
    """
    expected = None if row is None else row.smbd if kind == "smbd" else row.status
    if row is None or expected in (outcome.status, UNKNOWN):
        return None
    if outcome.status == _PASS:
        return f"{name}: passes, the list says {expected}"
    said = f"{name}: {outcome.status} after {outcome.seconds:.1f} s instead of {expected}"
    if kind == "usmbd":
        said += f" (smbd: {row.smbd})"
    return f"{said}: {outcome.reason}"


def judge(
    names: Iterable[str],
    run: Callable[[list[str]], dict[str, Outcome]],
    rows: Mapping[str, Row],
    kind: str = "usmbd",
) -> dict[str, Outcome]:
    """Run tests together, and again alone each that came out otherwise than the list says.

    So a test is not blamed for what another one left behind, nor for one bad moment.
    """
    outcomes = run(list(names))
    for name, outcome in outcomes.items():
        if complaint(name, outcome, rows.get(name), kind):
            outcomes[name] = run([name])[name]
    return outcomes


def scores(rows: Mapping[str, Row], suites: Iterable[str] = ()) -> str:
    """Return a table: how many tests of each suite usmbd and smbd pass, and what is open."""
    by_suite: dict[str, list[Row]] = {}
    for name, row in rows.items():
        by_suite.setdefault(suite_of(name), []).append(row)
    if wanted := set(suites):
        by_suite = {suite: found for suite, found in by_suite.items() if suite in wanted}
    everything = [row for found in by_suite.values() for row in found]
    table = [("suite", "tests", "usmbd", "smbd", "smbd only")]
    for suite, found in [*sorted(by_suite.items()), ("all", everything)]:
        table.append(
            (
                suite,
                str(len(found)),
                str(sum(row.status == _PASS for row in found)),
                str(sum(row.smbd == _PASS for row in found)),
                str(sum(row.open for row in found)),
            )
        )
    return "\n".join(f"{row[0]:28}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in table)
