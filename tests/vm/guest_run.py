"""One boot of the guest for a whole plan: run it, read what came back, print it as a table.

.venv/bin/python tests/vm/guest_run.py [--full] [--only TEXT] [--scenario TEXT] [--capture]

(`make lab-report`)
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "lab/vm"), str(Path(__file__).parent)]

import boot  # noqa: E402 - in lab/vm, which both use
import matrix  # noqa: E402

SECONDS = 1800.0
"""A guest is ended after so long: the plan of `make test` takes under 480 on two quiet cores, more
than 600 where others use them too."""

LOST = "frames are missing in the capture"
"""What a result says when its pcap has gaps."""

FULL_SECONDS = 3 * 3600.0
"""The same for `make lab-full`, which takes about two hours."""


@dataclass(frozen=True)
class Result:
    """What a scenario came to."""

    server: str
    variant: str
    scenario: str
    outcome: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Outcome:
    """All that a guest brought back."""

    results: dict[tuple[str, str, str], Result]
    finished: bool
    out: Path

    def lines(self, name: str) -> list[str]:
        """Return one of the files that came back; OSError when it did not."""
        return (self.out / name).read_text(errors="replace").splitlines()

    def tail(self, name: str, lines: int = 30) -> str:
        """Return the end of one of the files that came back."""
        path = self.out / name
        if not path.exists():
            return f"no {name}"
        return "\n".join(self.lines(name)[-lines:])


def run(
    variants: tuple[matrix.Variant, ...],
    out: Path,
    *,
    seconds: float = SECONDS,
    capture: bool = False,
) -> Outcome:
    """Boot, run the plan of these variants, and read the results; raises boot.LabError."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("results.jsonl", "finished", "guest.log", "dmesg.log"):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "logs", ignore_errors=True)
    plan = {"capture": capture, "variants": matrix.plan(variants)}
    (out / "plan.json").write_text(json.dumps(plan))
    guest = boot.Guest(boot.prepare(), out, cpus=2, memory="4G", kvm=False)
    guest.run(["tests/vm/guest/run.py"], seconds)
    return read(out)


def read(out: Path) -> Outcome:
    """Read the results in a directory; a line that was cut off is left out."""
    results = {}
    path = out / "results.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            result = Result(**json.loads(line))
        except ValueError:
            continue
        results[result.server, result.variant, result.scenario] = result
    return Outcome(results, (out / "finished").exists(), out)


def table(outcome: Outcome) -> str:
    """Format every scenario with both servers' outcomes, seconds and their ratio."""
    results = outcome.results
    rows = [("variant", "scenario", "usmbd", "s", "ksmbd", "s", "usmbd/ksmbd")]
    for variant, scenario in dict.fromkeys((key[1], key[2]) for key in results):
        cells = [variant, scenario]
        times = []
        for server in ("usmbd", "ksmbd"):
            result = results.get((server, variant, scenario))
            cells += [result.outcome, f"{result.seconds:.1f}"] if result else ["", ""]
            times.append(result.seconds if result and result.outcome == "passed" else 0.0)
        cells.append(f"{times[0] / times[1]:.2f}" if all(times) else "")
        rows.append(tuple(cells))
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def results_directory() -> Path:
    """Make a new directory that the guest sees too (below /tmp it would not); keep few old ones.

    One without `finished` may be in use: another run's guest, or one that waits for it.
    """
    runs = boot.prepare().parent / "runs"
    runs.mkdir(exist_ok=True)
    for old in sorted(runs.iterdir(), key=lambda path: path.stat().st_mtime)[:-4]:
        age = time.time() - old.stat().st_mtime
        if (old / "finished").exists() or age > 2 * FULL_SECONDS:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=runs, prefix="run-"))


def main() -> int:
    """Run what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(prog="guest_run.py", description="the scenarios in one guest")
    parser.add_argument("--full", action="store_true", help="every scenario on every variant")
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    parser.add_argument("--scenario", default="", help="scenarios whose name has this in it")
    parser.add_argument("--capture", action="store_true", help="a pcap of each scenario")
    parser.add_argument("--out", type=Path, help="where the results go")
    options = parser.parse_args()
    try:
        variants = matrix.select(options.only, options.scenario)
    except ValueError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    if options.full:
        variants = matrix.full(variants)
    try:
        outcome = run(
            variants,
            options.out.resolve() if options.out else results_directory(),
            seconds=FULL_SECONDS if options.full else SECONDS,
            capture=options.capture,
        )
    except boot.LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    print(table(outcome))
    for result in outcome.results.values():
        if result.outcome == "failed":
            print(f"\n{result.server} {result.variant} {result.scenario}:\n{result.detail}")
        elif LOST in result.detail:
            print(f"\n{result.server} {result.variant} {result.scenario}: {result.detail}")
    print(f"\neverything that came back: {outcome.out}")
    if options.capture:
        print("captures: logs/SERVER/VARIANT/SCENARIO.pcap there")
    if not outcome.finished:
        print(f"the guest did not finish:\n{outcome.tail('guest.log')}")
    failed = any(r.outcome == "failed" and r.server == "usmbd" for r in outcome.results.values())
    return 1 if failed or not outcome.finished else 0


if __name__ == "__main__":
    sys.exit(main())
