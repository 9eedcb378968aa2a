"""The list of what usmbd and Samba's smbd make of each test of smbtorture.

A line is `NAME USMBD SMBD  # REASON`, blanks between, a status as in `torture.Outcome`. Beneath it
stands where and how a test stopped that does not pass (`torture.Outcome.place`), in a line for each
server or in one for `both`::

    smb2.rw.invalid   failure failure  # the file system says how long a file may be
        usmbd: read_write.c:323: status was NT_STATUS_OK, expected NT_STATUS_INVALID_PARAMETER
        smbd: read_write.c:334: status was NT_STATUS_OK, expected NT_STATUS_DISK_FULL

The reason says why usmbd does not pass. It is required where smbd does, and where smbd fails
elsewhere: what two failures hide is a difference as well.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from smbtest.torture import Outcome, suite_of

PATH = Path(__file__).resolve().parents[2] / "interop" / "smbtorture-expected.txt"
"""Of the smbtorture that the tests install; another's has its series in its name."""
RPC_PATH = PATH.with_name("smbtorture-rpc-expected.txt")
"""The same of DCE/RPC, by an administrator."""
UNKNOWN = "unknown"  # of a server that was not tried, or whose smbtorture did not have the test
_PASS = "success"


class Row(NamedTuple):
    """One test of the list."""

    status: str
    smbd: str
    reason: str = ""
    place: str = ""
    smbd_place: str = ""

    @property
    def open(self) -> bool:
        """Whether smbd passes and usmbd does not."""
        return self.smbd == _PASS != self.status

    @property
    def differs(self) -> bool:
        """Whether usmbd does not pass and smbd does, or stops elsewhere."""
        if self.status == _PASS or UNKNOWN in (self.status, self.smbd):
            return False
        return (self.status, self.place) != (self.smbd, self.smbd_place)

    def expected(self, kind: str) -> tuple[str, str]:
        """Return the status and the place of a server."""
        return (self.smbd, self.smbd_place) if kind == "smbd" else (self.status, self.place)


def path_of(version: str, common: Path | None = None) -> Path:
    """Return the list of a version of smbtorture: that of its series, if there is one."""
    common = common or PATH
    series = ".".join(version.split(".")[:2])
    path = common.with_stem(f"{common.stem}-{series}")
    return path if path.exists() else common


def made_with(path: Path = PATH) -> str:
    """Return the version of smbtorture whose source lines the list's places name."""
    found = re.search(r"smbtorture \((\d+\.\d+\.\d+)", path.read_text())
    return found[1] if found else ""


def load(path: Path = PATH) -> dict[str, Row]:
    """Read the list; ValueError for a line that has not three words, or names no server."""
    rows: dict[str, Row] = {}
    name = ""
    for line in path.read_text().splitlines():
        if line.startswith("    "):
            of, _, place = line.strip().partition(": ")
            fields = {"usmbd": ("place",), "smbd": ("smbd_place",), "both": ("place", "smbd_place")}
            if of not in fields:
                raise ValueError(line)
            rows[name] = rows[name]._replace(**dict.fromkeys(fields[of], place))
            continue
        before, _, reason = line.partition("#")
        if before.strip():
            # the names of two tests hold blanks
            name, status, smbd = (word.strip() for word in before.rsplit(maxsplit=2))
            rows[name] = Row(status, smbd, reason.strip())
    return rows


def suites() -> tuple[str, ...]:
    """Return the suites that the list has, in its order."""
    return tuple(dict.fromkeys(map(suite_of, load())))


def save(rows: Mapping[str, Row], path: Path = PATH) -> None:
    """Write the list in the order of `rows`; the comment at its head stays."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("#")]
    width = max(map(len, rows), default=0)
    for name, row in rows.items():
        reason = f"# {row.reason}" if row.reason else ""
        lines.append(f"{name:{width}} {row.status:8} {row.smbd:8} {reason}".rstrip())
        places = {"usmbd": row.place, "smbd": row.smbd_place}
        if row.place == row.smbd_place:
            places = {"both": row.place}
        lines += [f"    {of}: {place}" for of, place in places.items() if place]
    path.write_text("".join(f"{line}\n" for line in lines))


def updated(
    rows: Mapping[str, Row], outcomes: Mapping[str, Outcome], kind: str = "usmbd"
) -> dict[str, Row]:
    """Return the list with what came out; the reason of a test that now passes goes."""
    new = dict(rows)
    for name, outcome in outcomes.items():
        row = rows.get(name, Row(UNKNOWN, UNKNOWN))
        if kind == "smbd":
            row = row._replace(smbd=outcome.status, smbd_place=outcome.place)
        else:
            row = row._replace(status=outcome.status, place=outcome.place)
        new[name] = row._replace(reason="" if row.status == _PASS else row.reason)
    return new


def complaint(
    name: str, outcome: Outcome, row: Row | None, kind: str = "usmbd", places: bool = True
) -> str | None:
    """Say how the outcome differs from the list, None when it does not.

    A test that the list does not have (of a newer smbtorture) is not complained about;
    `places` says whether smbtorture is the one that the list was made with.
    """
    if row is None:
        return None
    expected, place = row.expected(kind)
    if expected in (outcome.status, UNKNOWN):
        if not places or place == outcome.place or expected == UNKNOWN:
            return None
        return (
            f"{name}: {expected} at another place:\n  {outcome.place}\n  the list says\n  {place}"
        )
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
    places: bool = True,
) -> dict[str, Outcome]:
    """Run tests together, and again alone each that came out otherwise than the list says.

    So a test is not blamed for what another one left behind, nor for one bad moment; what was wrong
    at the first try stays in `Outcome.retried`.
    """
    outcomes = run(list(names))
    for name, outcome in outcomes.items():
        if wrong := complaint(name, outcome, rows.get(name), kind, places):
            outcomes[name] = run([name])[name]._replace(retried=wrong)
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
