"""What the runs came to: a line of JSON a step, a folder a mount, a table of all."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import matrix

LOST = "frames are missing in the capture"
"""What a result says when its pcap has gaps."""


@dataclass(frozen=True)
class Result:
    """What a step or scenario came to: passed, failed, skipped, known (a fault of the client)."""

    server: str
    variant: str
    scenario: str
    outcome: str
    seconds: float
    detail: str
    work: float = 0
    """How much it did, where mounts differ in that: only the same can be compared."""


@dataclass(frozen=True)
class Outcome:
    """The results of a whole run, and the directory that has the rest."""

    results: dict[tuple[str, str, str], Result]
    out: Path

    def add(self, results: list[Result]) -> None:
        """Take the results of one mount, and write them where another program finds them."""
        with open(self.out / "results.jsonl", "a") as file:
            for result in results:
                self.results[result.server, result.variant, result.scenario] = result
                file.write(json.dumps(asdict(result)) + "\n")

    def tail(self, name: str, lines: int = 30) -> str:
        """Return the end of a file of the run."""
        path = self.out / name
        if not path.exists():
            return f"no {name}"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def failures(self, server: str) -> list[Result]:
        """Return what failed on a server."""
        return [r for r in self.results.values() if (r.server, r.outcome) == (server, "failed")]

    def known(self) -> list[Result]:
        """Return the known faults of others for which something was tried twice."""
        return [r for r in self.results.values() if r.outcome == "known"]


def read(out: Path) -> Outcome:
    """Read the results in a directory."""
    outcome = Outcome({}, out)
    for line in (out / "results.jsonl").read_text().splitlines():
        result = Result(**json.loads(line))
        outcome.results[result.server, result.variant, result.scenario] = result
    return outcome


def table(outcome: Outcome) -> str:
    """Format every scenario with both servers' outcomes, seconds and their ratio."""
    results = outcome.results
    rows = [("variant", "scenario", "usmbd", "s", "ksmbd", "s", "usmbd/ksmbd")]
    order = {variant.name: number for number, variant in enumerate(matrix.VARIANTS)}
    keys = dict.fromkeys((key[1], key[2]) for key in results)
    for variant, scenario in sorted(keys, key=lambda key: order.get(key[0], 0)):
        cells = [variant, scenario]
        times, work = [], set()
        for server in matrix.SERVERS:
            result = results.get((server, variant, scenario))
            cells += [result.outcome, f"{result.seconds:.1f}"] if result else ["", ""]
            times.append(result.seconds if result and result.outcome == "passed" else 0.0)
            work.add(result.work if result else 0)
        comparable = min(times) >= 0.1 and len(work) == 1
        cells.append(f"{times[0] / times[1]:.2f}" if comparable else "")
        rows.append(tuple(cells))
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
