"""Coverage-guided fuzzing of what reads foreign bytes: `make fuzz MINUTES=n [TARGET='rpc yaml']`.

Each target (targets.py) runs in processes of its own (one.py) under atheris, which is libFuzzer.
It begins with the inputs in `corpus/TARGET`, which are committed, and those that earlier runs left
in `run/fuzz/corpus/TARGET`. `--keep` makes the committed ones again: the smallest inputs that reach
all that is reached, as far as SMALL goes. What is found lies in `run/fuzz/found`; give it to
`fuzz.py --repeat TARGET FILE`, and make it a unit test.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUN = ROOT / "run" / "fuzz"
NAMES = (
    *("frame", "header", "negotiate", "command", "session_setup", "ntlm", "der_encoding"),
    *("contexts", "extended_attributes", "descriptor", "rpc", "ipc", "door", "mountd"),
    *("compression", "smbdirect", "ini", "yaml", "referral", "pac", "bind_tokens"),
)
LONGEST = 4096  # bytes of one input: what matters is in headers and counts
SLOW = 20  # seconds for one input, on a machine that does other things as well
MEMORY = 2048  # MiB
SMALL = 16 << 10  # bytes of one target's committed inputs


class Result(NamedTuple):
    """What came of a target: 0, its process's exit status and the last lines that it said."""

    name: str
    status: int
    executions: int
    said: str


class Instrumented:
    """A process with all targets imported, which runs one after the other in forks of its own."""

    def __init__(self) -> None:
        """Start it; it ends with this process."""
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (as long as it)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "one.py")],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT / '.src'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def call(self, name: str, options: Sequence[str]) -> Result:
        """Run a target to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with tempfile.NamedTemporaryFile("r", errors="replace") as said:
            self.process.stdin.write(json.dumps([said.name, name, *options]) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            lines = said.read()
        if not answer:
            self.errors.seek(0)
            return Result(name, self.process.wait() or 1, 0, self.errors.read()[-3000:])
        executions = 0
        for line in lines.splitlines():
            if line.startswith("stat::number_of_executed_units:"):
                executions = int(line.split()[-1])
        return Result(name, int(answer), executions, lines[-3000:])


class Fuzzers:
    """Some of these processes, each with one target at a time, and a thread for each."""

    def __init__(self, jobs: int) -> None:
        """Start them."""
        self._all = [Instrumented() for _ in range(jobs)]
        self._free = SimpleQueue[Instrumented]()
        for process in self._all:
            self._free.put(process)
        self.threads = ThreadPoolExecutor(jobs)

    def __enter__(self) -> Self:
        """Return itself: they end with the block."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for what was submitted, and end them."""
        self.threads.shutdown()
        for one in self._all:
            assert one.process.stdin is not None
            one.process.stdin.close()
            one.process.wait()

    def _call(self, name: str, options: Sequence[str]) -> Result:
        """Run a target in the next process that is free."""
        process = self._free.get()
        try:
            return process.call(name, options)
        finally:
            self._free.put(process)

    def run(self, name: str, seconds: float, *, inputs: int = -1, seed: int = 0) -> Result:
        """Fuzz one target for some seconds, or until it has had so many inputs."""
        corpus, found = RUN / "corpus" / name, RUN / "found"
        for folder in (corpus, found):
            folder.mkdir(parents=True, exist_ok=True)
        committed = HERE / "corpus" / name
        if not any(corpus.iterdir()):
            self._call(name, ["--seeds", str(corpus)])
        return self._call(
            name,
            [
                *(f"-max_total_time={int(seconds)}", f"-runs={inputs}", f"-max_len={LONGEST}"),
                *(f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY}"),
                *(f"-artifact_prefix={found}/{name}-", f"-seed={seed}"),
                *("-print_final_stats=1", "-use_value_profile=1", str(corpus)),
                *([str(committed)] if committed.is_dir() else []),
            ],
        )

    def keep(self, name: str) -> int:
        """Replace a target's committed inputs by the smallest that reach the same; return bytes."""
        committed, merged = HERE / "corpus" / name, RUN / "merged" / name
        merged.mkdir(parents=True, exist_ok=True)
        for old in merged.iterdir():
            old.unlink()
        self._call(name, ["--seeds", str(RUN / "corpus" / name)])
        sources = [str(folder) for folder in (committed, RUN / "corpus" / name) if folder.is_dir()]
        options = ["-merge=1", f"-max_len={LONGEST}", f"-timeout={SLOW}"]
        self._call(name, [*options, f"-artifact_prefix={RUN}/found/{name}-", str(merged), *sources])
        committed.mkdir(parents=True, exist_ok=True)
        for old in committed.iterdir():
            old.unlink()
        size = 0
        for file in sorted(merged.iterdir(), key=lambda file: file.stat().st_size):
            if size + file.stat().st_size <= SMALL:
                size += file.stat().st_size
                (committed / file.name[:12]).write_bytes(file.read_bytes())
        return size


def main() -> int:
    """Fuzz targets side by side and say what they found; 1 when there is anything."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1, help="of each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help="make the committed inputs again")
    parser.add_argument("--repeat", type=Path, help="give a target this input alone")
    parser.add_argument("target", nargs="*", choices=[*NAMES, []], default=[])
    arguments = parser.parse_args()
    names = arguments.target or NAMES
    if arguments.repeat:
        result = Instrumented().call(names[0], [str(arguments.repeat.resolve())])
        print(result.said)
        return int(result.status != 0)
    begin, failed = time.monotonic(), 0
    with Fuzzers(arguments.jobs) as fuzzers:
        seed = int(time.time()) & 0xFFFFFFF or 1
        seconds = arguments.minutes * 60
        submit = fuzzers.threads.submit
        running = [submit(fuzzers.run, name, seconds, seed=seed) for name in names]
        for future in running:
            result = future.result()
            print(f"{result.name:20}{result.executions:>12} inputs", flush=True)
            if result.status:
                failed += 1
                print(f"{result.name} FOUND something (exit {result.status}):\n{result.said}")
        if arguments.keep:
            for name, size in zip(names, fuzzers.threads.map(fuzzers.keep, names), strict=True):
                print(f"{name:20}{size:>12} bytes are kept")
    print(f"{failed} of {len(names)} targets found something, {time.monotonic() - begin:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
