"""Do the unit tests notice when one thing in the source is otherwise? `make mutate`.

Takes a seeded sample of the single-point mutants of protocol/, transport/ and mountd/ (points.py),
runs for each the unit tests that run its line (covering.py) and says which no test noticed.
`known-survivors.txt` has those that no test can notice, with the reason.

A driver of our own: mutmut knows mutants by their paths, ours are imported by another name, and
it leaves constants out, which limits are. cosmic-ray runs one command, not the tests of a line
(one hour for 100 mutants instead of two minutes). Neither takes a sample.
"""

import argparse
import contextlib
import importlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from covering import FOLDERS, Covering, copy_tree, cover
from points import Mutant, mutants

# What the tests import is imported once, before the forks: of that what is not ours.
for _name in (
    *("asyncio", "cryptography.hazmat.primitives.ciphers.aead", "hypothesis.strategies", "lmdb"),
    *("msgspec", "yaml"),
):
    importlib.import_module(_name)

ROOT = Path(__file__).resolve().parents[2]
KNOWN = Path(__file__).parent / "known-survivors.txt"
CACHE = ROOT / "run" / "mutation"
WANTED = 85.0  # percent
FEW = 40  # the narrowest tests go first: most mutants do not survive them
MANY = 400  # tests at most: who runs more of them than this for one line waits for nothing new
CPU_SECONDS = 90  # a loop without an end; the whole of the unit tests takes half of it
WALL_SECONDS = 400.0  # a wait without an end
MEMORY = 8 << 30  # bytes of address space: a list without an end


class Verdict(NamedTuple):
    """What came of a mutant: `killed`, `survived`, or `uncovered` (no test runs its line)."""

    mutant: Mutant
    status: str
    tests: int
    seconds: float


def known_survivors() -> dict[str, str]:
    """Read the list of mutants that change nothing a test could see: name -> reason."""
    known, reason = {}, ""
    for line in KNOWN.read_text().splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            known[line] = reason
    return known


_place = Path()
_covering: Covering


def _settle(covering: Covering, source: Path, base: Path) -> None:
    """Give a worker a copy of the tree of its own."""
    global _place, _covering
    _place = base / str(os.getpid())
    _covering = covering
    shutil.copytree(source, _place, symlinks=True)


def _judge(mutant: Mutant) -> Verdict:
    """Put a mutant into this worker's copy and run its tests in a process of their own."""
    begin = time.monotonic()
    tests = _covering.tests(mutant)[:MANY]
    if not tests:
        return Verdict(mutant, "uncovered", 0, 0.0)
    file = _place / mutant.path
    source = file.read_bytes()
    file.write_bytes(mutant.apply(source))
    for cached in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        cached.unlink()
    try:
        passed = _passes(tests)
    finally:
        file.write_bytes(source)
    return Verdict(mutant, "survived" if passed else "killed", len(tests), time.monotonic() - begin)


def _passes(tests: list[str]) -> bool:
    """Run tests in a child; False when one fails, or the child does not end."""
    child = os.fork()
    if child == 0:
        _run(tests)
    deadline = time.monotonic() + WALL_SECONDS
    pause = 0.02
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _end_group(child)
            return status == 0
        time.sleep(pause)
        pause = min(pause * 1.5, 0.3)
    _end_group(child)
    os.waitpid(child, 0)
    return False


def _end_group(group: int) -> None:
    """End what a test left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _run(tests: list[str]) -> None:
    """Run tests in this process, which then ends: 0 when all pass."""
    status = 1
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.chdir(_place)
        silence = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silence, fd)
        sys.dont_write_bytecode = True
        options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=no", "-o", "timeout=120"]
        options += ["--hypothesis-seed=0", f"--basetemp={_place}/tmp"]
        for some in (tests[:FEW], tests[FEW:]):
            status = pytest.main([*options, *some]) if some else 0
            if status:
                break
    finally:
        os._exit(int(status))


def sample(count: int, seed: int, only: list[str]) -> tuple[list[Mutant], int]:
    """Choose mutants by chance; returns them and how many there are."""
    everything = [
        mutant
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for mutant in mutants(ROOT, str(path.relative_to(ROOT)))
        if not only or any(part in mutant.name for part in only)
    ]
    return random.Random(seed).sample(everything, min(count, len(everything))), len(everything)


def main() -> int:
    """Judge a sample and print what survived; 1 when fewer than 85 percent are noticed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="mutants in the sample")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("only", nargs="*", help="parts of names: mutants of these alone")
    arguments = parser.parse_args()
    begin = time.monotonic()
    chosen, there_are = sample(arguments.count, arguments.seed, arguments.only)
    known = known_survivors()
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="usmbd-mutation-") as folder:
        os.chmod(folder, 0o755)  # tests become users, who have to reach it
        source = Path(folder) / "source"
        copy_tree(ROOT, source)
        covering = cover(source, CACHE)
        seconds = time.monotonic() - begin
        print(
            f"{len(chosen)} of {there_are} mutants, --seed {arguments.seed}; "
            f"{seconds:.0f} s to know which tests run which line",
            flush=True,
        )
        with multiprocessing.get_context("fork").Pool(
            arguments.jobs, _settle, (covering, source, Path(folder))
        ) as pool:
            for verdict in pool.imap_unordered(_judge, chosen):
                verdicts.append(verdict)
                if verdict.status != "killed":
                    known_as = known.get(verdict.mutant.name, "")
                    _tell(verdict, known_as)
    return _report(verdicts, known, time.monotonic() - begin)


def _tell(verdict: Verdict, reason: str) -> None:
    mutant = verdict.mutant
    said = f"known: {reason}" if reason else f"{verdict.tests} tests, {verdict.seconds:.0f} s"
    print(
        f"{verdict.status} ({said})\n  {mutant.path}:{mutant.lines[0]}\n  {mutant.name}", flush=True
    )


def _report(verdicts: list[Verdict], known: dict[str, str], seconds: float) -> int:
    killed = sum(verdict.status == "killed" for verdict in verdicts)
    excused = sum(
        verdict.status != "killed" and verdict.mutant.name in known for verdict in verdicts
    )
    counted = len(verdicts) - excused
    percent = 100 * killed / counted if counted else 100.0
    print(
        f"{killed} of {counted} mutants killed: {percent:.0f} %"
        f" ({excused} more are known to change nothing that a test can see), {seconds:.0f} s"
    )
    return int(percent < WANTED)


if __name__ == "__main__":
    sys.exit(main())
