"""All ways to mount on both servers, some of them at once; what came out as a table.

    .venv/bin/python tests/vm/lab_run.py [--full] [--only TEXT] [--scenario TEXT] [--capture]
        [--server NAME] [--seconds N] [--jobs N] [--out DIR]

(`make lab-report`)
"""

import argparse
import compileall
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import matrix
import mounts
import outcome
from guest import (  # in lab/machines
    HIDDEN,
    UNSUPPORTED,
    LabError,
    UnsupportedError,
    find_kernel,
    make_directory,
    prepare_kernel,
)
from smbtest.beside import UNTIL_STDIN_ENDS, end_with_stdin

JOBS = (os.cpu_count() or 1) + 1
"""Runs at once, of two guests each: they wait for each other and for time-outs a good deal."""

RESULTS = "results: "
"""Before the directory's name, in the first line that the program says."""

KEPT = 4
"""Directories of earlier runs that are kept."""

RECENT_SECONDS = 3600.0
"""Those whose results somebody may have still to read: a run of all tests makes five."""


def plan(
    variants: Iterable[matrix.Variant], kernels: set[str], server: str = ""
) -> list[tuple[matrix.Variant, str]]:
    """Return what is to run, the longest first, as far as the client's kernel is there.

    `server`: on this one alone.
    """
    there = [variant for variant in variants if not variant.kernel or variant.kernel in kernels]
    much = (matrix.LONG_FILE, matrix.LONG_TREE)
    there.sort(key=lambda variant: (variant.work not in much, not variant.over_rdma))
    ours = [(variant, "usmbd") for variant in there]
    theirs = [(replace(v, work=v.peer), "ksmbd") for v in there if v.peer is not None]
    return [(variant, name) for variant, name in ours + theirs if server in ("", name)]


def run(
    variants: tuple[matrix.Variant, ...],
    out: Path,
    *,
    server: str = "",
    capture: bool = False,
    jobs: int = JOBS,
    progress: Callable[[str], None] = lambda text: None,
) -> outcome.Outcome:
    """Run the plan of these variants; raises LabError when there is no lab."""
    kernel = prepare_kernel()
    out.mkdir(parents=True, exist_ok=True)
    wanted = {variant.kernel for variant in variants} - {""}
    others = {series: path for series in wanted if (path := find_kernel(series)) is not None}
    # A guest cannot keep what it compiles: without this each Python there starts seconds later.
    for folder in ("transport", "protocol", "mountd"):
        compileall.compile_dir(mounts.PROJECT / folder, quiet=2)
    seed = out / "seed"
    subprocess.run([matrix.FOLDER / "prepare.py", seed], check=True)
    lab = mounts.Lab(kernel, others, seed, out, capture)
    done = outcome.Outcome({}, out)
    with ThreadPoolExecutor(jobs) as pool:
        began = time.monotonic()
        runs = {
            pool.submit(mounts.MountRun(lab, variant, name).run): f"{variant.name} on {name}"
            for variant, name in plan(variants, set(others), server)
        }
        for finished in as_completed(runs):
            results = finished.result()
            done.add(results)
            failed = [r.scenario for r in results if r.outcome == "failed"]
            came = f"failed: {', '.join(failed)}" if failed else "passed"
            progress(f"{time.monotonic() - began:6.0f} s  {runs[finished]}: {came}")
    (out / "finished").touch()
    return done


def results_directory() -> Path:
    """Make a new directory for a run, and remove old ones; one without `finished` may be in use."""
    folder = make_directory(prepare_kernel().parent / "runs")
    last = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # by another run, which removes old ones as well
            last[path] = path.stat().st_mtime
    for old in sorted(last, key=last.__getitem__)[:-KEPT]:
        age = time.time() - last[old]
        if age > (RECENT_SECONDS if (old / "finished").exists() else 86400):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix="run-"))


def end_at_once(*_: object) -> None:
    """End by ^C: the threads would go on to their runs' end, and these guests end with us."""
    os.write(2, b"lab: interrupted; what had come back is there\n")
    os._exit(130)


def main() -> int:
    """Run what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(prog="lab_run.py", description="scenarios on kernel mounts")
    parser.add_argument(
        "--full", action="store_true", help="all work on each mount, on both servers"
    )
    parser.add_argument("--only", default="", help="variants whose name has this in it")
    parser.add_argument("--scenario", default="", help="scenarios whose name has this in it")
    parser.add_argument("--server", default="", choices=matrix.SERVERS, help="on this one alone")
    parser.add_argument("--seconds", type=float, help="how long random work goes on")
    parser.add_argument("--capture", action="store_true", help="a pcap of each scenario")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"runs at once ({JOBS})")
    parser.add_argument("--out", type=Path, help="where the results go")
    parser.add_argument(UNTIL_STDIN_ENDS, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.until_stdin_ends:
        end_with_stdin()  # and the guests with this program
    try:
        variants = matrix.select(options.only, options.scenario)
        if options.full:
            variants = matrix.full(variants)
        if options.seconds is not None:
            variants = matrix.lasting(variants, options.seconds)
        out = options.out.resolve() if options.out else results_directory()
        if any(out.is_relative_to(hidden) for hidden in HIDDEN):
            raise ValueError(
                f"{out}: guests have their own {', '.join(HIDDEN)}: name another --out"
            )
        if any(make_directory(out, "name another --out").iterdir()):
            raise ValueError(f"{out} is not empty: name another --out")
        signal.signal(signal.SIGINT, end_at_once)
        print(f"{RESULTS}{out}", flush=True)
        done = run(
            variants,
            out,
            server=options.server,
            capture=options.capture,
            jobs=options.jobs,
            progress=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except (ValueError, UnsupportedError, LabError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return UNSUPPORTED if isinstance(error, UnsupportedError) else 2
    print(outcome.table(done))
    for result in done.results.values():
        if result.outcome in ("failed", "known") or outcome.LOST in result.detail:
            where = f"{result.server} {result.variant} {result.scenario}"
            print(f"\n{where}: {result.outcome}\n{result.detail}")
        elif options.scenario and result.detail:
            print(f"\n{result.server} {result.variant} {result.scenario}:\n{result.detail}")
    print(f"\neverything that came back: {out} (SERVER/VARIANT)")
    return 1 if done.failures("usmbd") else 0


if __name__ == "__main__":
    sys.exit(main())
