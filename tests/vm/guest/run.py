#!/usr/bin/python3
"""In the guest: mount each variant of the plan, run its scenarios, write a line of JSON for each.

usmbd comes first; then ksmbd runs what the plan asks of it and all that failed, as the control.
Reads `plan.json` and writes `results.jsonl`, `logs/` and `dmesg.log` in the directory that the host
sees (LAB_OUT). Standard library only. Nothing here decides what is right: a scenario's exit status
does, and the host turns it into tests.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

OUT, DATA = Path(os.environ["LAB_OUT"]), Path(os.environ["DATA"])
PROJECT = Path(os.environ["PROJECT"])
SCENARIOS = PROJECT / "tests/vm/scenarios"
SEED = DATA / "seed"
SERVERS = {
    "usmbd": (("10.99.0.1", "10.99.1.1"), 5445),
    "ksmbd": (("10.99.0.3", "10.99.0.3"), 1445),
}
"""Addresses of the two mounts and TCP port; for SMB Direct the client tries 5445, where usmbd is,
and then 445. From another network the second mount is another client, whom usmbd gives to another
worker; ksmbd has no workers."""

OPTIONS = "username=lab,password=pw,iocharset=utf8,file_mode=0755,dir_mode=0755"
SKIPPED = 77
LIMIT = 300.0
"""Seconds for one scenario. The longest of `make test`, git_work.sh, took 24 on one machine and 118
on a busy one: a limit tells what hangs, and not what is slow."""

START_LIMIT = 300.0
"""Seconds for the servers to start: Python imports thirty times slower here."""

LIMITS = {"tree_full.sh": 900.0}

CAPTURE_KIB = 256 << 10
"""Memory for frames that tcpdump has not written yet: it is slow here, and a scenario short."""

EVENTS = {
    b"RESTART": ("stop", "start"),
    b"CRASH": ("kill", "start"),
    b"CRASH WORKERS": ("kill-workers",),
}
"""What a scenario may ask for by a line of its output, and the steps of the server's script."""


def log(text: str) -> None:
    """Write into the guest's log, with the seconds since the boot."""
    print(f"{time.clock_gettime(time.CLOCK_BOOTTIME):8.1f} s  {text}", flush=True)


def command(*words: object, limit: float = 60.0) -> str:
    """Run a program; return nothing, or what it complained about.

    What hangs in the kernel (a umount, say) cannot be killed: the harness goes on without it.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            end(process)
            return f"{words[0]}: nothing after {limit:g} s"
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    return "" if status == 0 else said or f"exit status {status}"


def end(process: subprocess.Popen) -> None:
    """Kill a process and what it started; it may hang in the kernel all the same."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(20.0)
    except subprocess.TimeoutExpired:
        log("a process hangs in the kernel")


def record(
    results: TextIO,
    server: str,
    variant: str,
    scenario: str,
    outcome: str,
    seconds: float,
    detail: str,
) -> None:
    """Write a result where the host finds it at once."""
    line = {
        "server": server,
        "variant": variant,
        "scenario": scenario,
        "outcome": outcome,
        "seconds": round(seconds, 2),
        "detail": detail[-4000:],
    }
    results.write(json.dumps(line) + "\n")
    results.flush()
    log(f"{server} {variant} {scenario}: {outcome} ({seconds:.1f} s)")


class Run:
    """One server and variant: two mounts, the scenarios, their results."""

    def __init__(self, server: str, variant: dict, scenarios: list[str], results: TextIO) -> None:
        """Note what to run and where to write it."""
        self.server, self.variant, self.scenarios = server, variant["name"], scenarios
        self.options, self.expect_refusal = variant["options"], variant["expect_refusal"]
        self.results = results
        self.failed: list[str] = []
        self.peer_serves = True
        self.mounts = [DATA / "mnt/one", DATA / "mnt/two"]
        self.logs = OUT / "logs" / self.server / self.variant
        self.logs.mkdir(parents=True, exist_ok=True)

    def record(self, scenario: str, outcome: str, seconds: float, detail: str = "") -> None:
        """Write one of this run's results."""
        record(self.results, self.server, self.variant, scenario, outcome, seconds, detail)
        if outcome == "failed":
            self.failed.append(scenario)

    def mount(self) -> str:
        """Mount the share twice, on connections of their own; return what went wrong."""
        addresses, port = SERVERS[self.server]
        transport = "" if "rdma" in self.options.split(",") else f"port={port},"
        for mount, address in zip(self.mounts, addresses, strict=True):
            mount.mkdir(parents=True, exist_ok=True)
            options = f"{OPTIONS},{transport}nosharesock,{self.options}"
            failure = command("mount", "-t", "cifs", f"//{address}/data", mount, "-o", options)
            if failure:
                return failure
        return ""

    def unmount(self) -> str:
        """Unmount both; what hangs is detached, so that the next variant can go on."""
        failures = []
        # Not by looking at it: a mount that has lost its server answers with errors.
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in self.mounts:
            if str(mount) in mounted:
                failure = command("umount", mount)
                if failure:
                    failures.append(failure)
                    command("umount", "-l", "-f", mount)
        # Memory for the next ones; through the mount it would take half a minute for a tree.
        for folder in (DATA / "share" / self.server).iterdir():
            command("rm", "-rf", folder)
        return "\n".join(failures)

    def run(self) -> None:
        """Mount, run all, unmount."""
        began = time.monotonic()
        failure = self.mount()
        if self.expect_refusal:
            outcome = "passed" if self.expect_refusal in failure else "failed"
            self.record("mount", outcome, time.monotonic() - began, failure or "it was accepted")
        else:
            self.record(
                "mount", "failed" if failure else "passed", time.monotonic() - began, failure
            )
            if not failure:
                facts = Path("/proc/fs/cifs/DebugData").read_text(errors="replace")
                (self.logs / "DebugData.txt").write_text(facts)
                with open(self.logs / "queue-pairs.txt", "wb") as file:
                    subprocess.run(["rdma", "resource", "show", "qp"], stdout=file, check=False)
                for name in self.scenarios:
                    self.scenario(name)
        began = time.monotonic()
        failure = self.unmount()
        if not self.expect_refusal:
            outcome = "failed" if failure else "passed"
            self.record("unmount", outcome, time.monotonic() - began, failure)

    def scenario(self, name: str) -> None:
        """Run one scenario in directories of its own."""
        label = name.partition(".")[0]
        folders = {
            "MOUNT": self.mounts[0] / f"{self.variant}-{label}",
            "MOUNT2": self.mounts[1] / f"{self.variant}-{label}",
            "SCRATCH": DATA / "scratch" / f"{self.server}-{self.variant}-{label}",
        }
        environment = os.environ | {key: str(path) for key, path in folders.items()}
        environment |= {"SEED": str(SEED), "VARIANT": self.options, "SERVER": self.server}
        began = time.monotonic()
        try:
            folders["MOUNT"].mkdir()
            folders["SCRATCH"].mkdir(parents=True)
        except OSError as error:
            self.record(label, "failed", time.monotonic() - began, f"no directory: {error}")
            return
        output = self.logs / f"{label}.txt"
        with open(output, "w+b") as file, capture(self.logs / f"{label}.pcap", file):
            process = subprocess.Popen(
                [SCENARIOS / name],
                env=environment,
                cwd=folders["SCRATCH"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
            status = self.watch(process, began + LIMITS.get(name, LIMIT), file)
            seconds = time.monotonic() - began
        said = output.read_text(errors="replace").strip()
        if status is None:
            self.record(label, "failed", seconds, f"{said}\nended after {seconds:.0f} s")
        else:
            outcome = {0: "passed", SKIPPED: "skipped"}.get(status, "failed")
            self.record(label, outcome, seconds, said or f"exit status {status}")
        command("rm", "-rf", folders["SCRATCH"])
        if not self.peer_serves:
            command("ksmbd.sh", "start")
            self.peer_serves = True

    def watch(self, process: subprocess.Popen, deadline: float, file: BinaryIO) -> int | None:
        """Wait for a scenario, restarting the server when it asks; None: it was ended."""
        stdout, stdin = process.stdout, process.stdin
        assert stdout is not None
        assert stdin is not None
        pending = b""
        while True:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([stdout], [], [], left)[0]
            chunk = os.read(stdout.fileno(), 65536) if ready else None
            if chunk == b"":
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(max(1.0, left))
            if not chunk:
                end(process)
                return None
            file.write(chunk)
            file.flush()
            pending += chunk
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                if line.strip() in EVENTS:
                    for complaint in self.happen(EVENTS[line.strip()]):
                        file.write(f"{complaint}\n".encode())
                    with suppress(BrokenPipeError):  # it did not wait for the answer
                        stdin.write(b"DONE\n")
                        stdin.flush()

    def happen(self, event: tuple[str, ...]) -> list[str]:
        """Stop and start the server, or the like; return what went wrong.

        ksmbd has SMB Direct's second port at every address: a client whose server is away would
        go on with ksmbd, so that is away as well until the scenario has ended.
        """
        steps = [(self.server, step) for step in event]
        if self.server == "usmbd" and "rdma" in self.options.split(",") and self.peer_serves:
            steps = [("ksmbd", "stop"), *steps]
            self.peer_serves = False
        said = [(step, command(f"{step[0]}.sh", step[1], limit=START_LIMIT)) for step in steps]
        return [f"{' '.join(step)}: {failure}" for step, failure in said if failure]


@contextmanager
def capture(path: Path, said: BinaryIO) -> Iterator[None]:
    """Capture the scenario's frames when the plan asks for it (lab/capture/show.py reads them)."""
    if not os.environ.get("LAB_CAPTURE"):
        yield
        return
    with open(path.with_suffix(".tcpdump.log"), "wb") as errors:
        expression = "udp port 4791 or tcp port 5445 or tcp port 1445"
        tcpdump = subprocess.Popen(
            [
                "tcpdump",
                "-i",
                "rdma0",
                "-s",
                "0",
                "-B",
                str(CAPTURE_KIB),
                "-w",
                path,
                "-Z",
                "root",
                *expression.split(),
            ],
            stderr=errors,
        )
        time.sleep(1.0)  # tcpdump listens
        try:
            yield
        finally:
            time.sleep(0.5)
            tcpdump.send_signal(signal.SIGINT)
            tcpdump.wait(20.0)
            for line in path.with_suffix(".tcpdump.log").read_text(errors="replace").splitlines():
                lost = line.partition(" ")[0]
                if "dropped by kernel" in line and lost != "0":
                    said.write(f"{lost} frames are missing in the capture\n".encode())
                    said.flush()


def start(servers: list[str], results: TextIO) -> dict[str, str]:
    """Start all servers while the scenarios' material is made; return what went wrong."""
    began = time.monotonic()
    scripts = {
        server: subprocess.Popen(
            [f"{server}.sh", "start"],
            stdin=subprocess.DEVNULL,
            stdout=open(OUT / "logs" / f"{server}-start.log", "wb"),  # noqa: SIM115
            stderr=subprocess.STDOUT,
        )
        for server in servers
    }
    failure = command(sys.executable, SCENARIOS / "prepare.py", SEED, limit=START_LIMIT)
    log(failure or "the scenarios' material is there")
    failures = {}
    for server, script in scripts.items():
        try:
            status = script.wait(max(1.0, began + START_LIMIT - time.monotonic()))
        except subprocess.TimeoutExpired:
            script.kill()
            status = -1
        seconds = time.monotonic() - began
        said = (OUT / "logs" / f"{server}-start.log").read_text(errors="replace")
        failures[server] = "" if status == 0 else said or f"exit status {status}"
        record(results, server, "-", "start", "failed" if status else "passed", seconds, said)
    return failures


def leftovers(results: TextIO) -> None:
    """After all unmounts usmbd has no connection, session or open any more, and no queue pair."""
    began = time.monotonic()
    said = "nobody looked"
    while said.strip() and time.monotonic() < began + 30.0:  # queue pairs end a little later
        said = ""
        for words in (["usmbd.sh", "list"], ["rdma", "resource", "show", "qp"]):
            try:
                done = subprocess.run(
                    words, capture_output=True, text=True, timeout=100.0, check=False
                )
            except subprocess.TimeoutExpired:
                said += f"{words[0]}: nothing after 100 s\n"
                continue
            lines = (done.stdout + done.stderr).splitlines(keepends=True)
            if words[0] == "rdma":
                lines = [line for line in lines if "comm python" in line]
            elif done.returncode:
                lines.append(f"exit status {done.returncode}\n")
            said += "".join(lines)
    outcome = "failed" if said else "passed"
    record(results, "usmbd", "-", "leftovers", outcome, time.monotonic() - began, said)


def main() -> None:
    """Run the plan."""
    plan = json.loads((OUT / "plan.json").read_text())
    if plan["capture"]:
        os.environ["LAB_CAPTURE"] = "1"
    (DATA / "scratch").mkdir()
    (OUT / "logs").mkdir(exist_ok=True)
    dmesg = subprocess.Popen(["dmesg", "-w"], stdout=open(OUT / "dmesg.log", "wb"))  # noqa: SIM115
    with open(OUT / "results.jsonl", "w") as results:
        servers = ["usmbd", "ksmbd"]
        failures = start(servers, results)
        for variant in plan["variants"]:
            failed: list[str] = []
            for server, wanted in (("usmbd", variant["scenarios"]), ("ksmbd", variant["peer"])):
                again = [s for s in variant["scenarios"] if s.partition(".")[0] in failed]
                one = Run(server, variant, list(dict.fromkeys([*wanted, *again])), results)
                if failures[server]:
                    one.record("mount", "failed", 0.0, "the server did not start")
                elif server == "usmbd" or one.scenarios or "mount" in failed:
                    one.run()
                failed = one.failed
        leftovers(results)
        for server in servers:
            began = time.monotonic()
            failure = command(f"{server}.sh", "stop", limit=60.0)
            outcome = "failed" if failure else "passed"
            record(results, server, "-", "stop", outcome, time.monotonic() - began, failure)
    dmesg.terminate()
    for path in (DATA / "log").iterdir():
        (OUT / "logs" / path.name).write_bytes(path.read_bytes())
    (OUT / "finished").touch()


if __name__ == "__main__":
    main()
