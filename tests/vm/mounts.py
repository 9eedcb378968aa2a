"""One way to mount on one server: two guests, two mounts, the scenarios, and what was left behind.

The server and the client are machines of their own, booted for this run alone. A kernel that
complains ends its guest; if it is for a known fault of the client (complaints.py), all of it is run
once more in new ones, and the first complaint is told by name. Nothing here
decides what is right: a scenario's exit status does.
"""

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT / "lab/machines"), str(Path(__file__).parent)]

import cable  # noqa: E402
import complaints  # noqa: E402
from guest import DATA, Done, Guest, LabError, Running  # noqa: E402 - in lab/machines
from matrix import FOLDER, Variant  # noqa: E402
from outcome import LOST, Result  # noqa: E402

ADDRESSES = ("10.99.0.1", "10.99.1.1")
"""The server's, one for each mount: from the second network the client is somebody else, whom usmbd
gives to another worker."""

OPTIONS = "username=lab,password=pw,iocharset=utf8,file_mode=0755,dir_mode=0755,nosharesock"
SKIPPED = 77

LIMIT = 300.0
"""Seconds for one scenario beyond what it is told to work: the longest takes 10. It tells a hang
from a slow machine."""

START_LIMIT = 300.0
"""Seconds for a server to start or stop: usmbd takes 3, on a busy machine 10."""

LEFTOVERS = 30.0
"""Seconds until nothing is left of clients that have gone: queue pairs end a little later."""

EVENTS = {
    "RESTART": ("stop", "start"),
    "CRASH": ("kill", "start"),
    "CRASH WORKERS": ("kill-workers",),
}
"""What a scenario may ask for by a line of its output, and the steps of the server's script. A line
`ON SERVER words` starts a program on the server."""


@dataclass(frozen=True)
class Lab:
    """What all runs of a sitting have in common."""

    kernel: Path
    other_kernels: Mapping[str, Path]
    seed: Path
    out: Path
    capture: bool = False


class MountRun:
    """One server and variant."""

    def __init__(self, lab: Lab, variant: Variant, server: str) -> None:
        """Note what to run."""
        self.lab, self.variant, self.name = lab, variant, server
        self.mounts = [f"{DATA}/mnt/one", f"{DATA}/mnt/two"]

    def run(self) -> list[Result]:
        """Run it, twice where a kernel complained; return the results."""
        results = self.attempt(self.lab.out / self.name / self.variant.name)
        began = time.monotonic()
        complaint = self.complaint
        if complaint is None:
            return [*results, self.result("kernel", "passed", began)]
        if complaint.fault:
            results = self.attempt(self.lab.out / self.name / f"{self.variant.name}-again")
            if self.complaint is None:
                said = f"{complaint.fault} (first run)\n{complaint.trace}"
                return [*results, self.result("kernel", "known", began, said)]
            complaint = self.complaint
        said = f"the {complaint.guest}'s kernel:\n{complaint.trace}"
        return [*results, self.result("kernel", "failed", began, said)]

    def result(self, scenario: str, outcome: str, began: float, detail: str = "") -> Result:
        """Return what a step came to."""
        seconds = round(time.monotonic() - began, 2)
        detail = detail[-4000:]
        work = self.variant.work.of(scenario)
        return Result(self.name, self.variant.name, scenario, outcome, seconds, detail, work)

    def attempt(self, out: Path) -> list[Result]:
        """Boot both machines, do all steps, end them; note the first complaint."""
        self.out = out
        self.results: list[Result] = []
        self.complaint = None
        self.lost = 0
        try:
            with ExitStack() as stack:
                self.boot(stack)
                self.serve()
        except LabError as error:
            self.results.append(self.result("guests", "failed", time.monotonic(), str(error)))
        for name in ("server", "client"):
            with suppress(FileNotFoundError):  # it was not booted
                found = complaints.first(name, out / name / "dmesg.log")
                self.complaint = self.complaint or found
        return self.results

    def boot(self, stack: ExitStack) -> None:
        """Boot the server and the client at once; LabError when one of them does not come up."""
        began = time.monotonic()
        ends = cable.direct()
        for end in ends:
            stack.enter_context(end)
        of_client = self.lab.other_kernels.get(self.variant.kernel, self.lab.kernel)
        self.server = Guest(
            self.lab.kernel,
            self.out / "server",
            "server",
            host=1,
            wire=ends[0],
            rdma=self.variant.rdma,
        )
        self.client = Guest(
            of_client,
            self.out / "client",
            "client",
            host=2,
            wire=ends[1],
            rdma=self.variant.rdma,
        )
        with ThreadPoolExecutor() as pool:
            booting = [pool.submit(guest.boot) for guest in (self.server, self.client)]
        for guest in (self.server, self.client):
            stack.callback(guest.close)
        for booted in booting:
            booted.result()
        self.results.append(self.result("boot", "passed", began))

    def step(self, scenario: str, action: Callable[[], str]) -> bool:
        """Do one step, which returns what went wrong; say whether it went well."""
        began = time.monotonic()
        failure = action()
        self.results.append(
            self.result(scenario, "failed" if failure else "passed", began, failure)
        )
        return not failure

    def serve(self) -> None:
        """Start the server, use it, stop it."""
        if not self.step("start", lambda: self.of_server("start")):
            return
        if self.variant.expect_refusal:
            self.step("mount", self.refused)
        elif self.step("mount", self.mount):
            self.tell_lost()
            self.note_facts()
            for name in self.variant.scenarios:
                self.scenario(name)
            self.step("unmount", self.unmount)
        if self.name == "usmbd":
            self.step("leftovers", self.leftovers)
        self.step("stop", lambda: self.of_server("stop"))
        if self.name == "usmbd":
            self.step("log", self.faults)

    def of_server(self, step: str) -> str:
        """Do one step of the server's script; return what went wrong."""
        return self.server.run(f"{self.name}.sh", step, limit=START_LIMIT).failure

    def mount_one(self, number: int) -> str:
        """Mount the share on a connection of its own; return what went wrong."""
        failure = self.try_to_mount(number)
        for _ in range(complaints.SIW_TRIES - 1 if self.variant.rdma == "siw" else 0):
            if not failure:
                break
            lost, self.lost = self.lost, self.lost_by_siw()
            if lost == self.lost:
                break
            failure = self.try_to_mount(number)
        return failure

    def lost_by_siw(self) -> int:
        """Count the clients whose first message the server's device has lost."""
        log = self.out / "server" / f"{self.name}.log"
        return log.read_text(errors="replace").count(complaints.LOST_BY_SIW)

    def tell_lost(self) -> None:
        """Tell how often a mount was tried again."""
        if self.lost:
            said = f"siw lost the client's first message {self.lost} times (complaints.LOST_BY_SIW)"
            self.results.append(self.result("device", "known", time.monotonic(), said))

    def try_to_mount(self, number: int) -> str:
        """Call mount.cifs; return what went wrong."""
        mount = self.mounts[number]
        address = ADDRESSES[0 if self.variant.one_address else number]
        self.client.run("mkdir", "-p", mount)
        options = f"{OPTIONS},{self.variant.options}"
        return self.client.run(
            "mount", "-t", "cifs", f"//{address}/data", mount, "-o", options
        ).failure

    def mount(self) -> str:
        """Mount the share twice; return what went wrong."""
        return self.mount_one(0) or self.mount_one(1)

    def refused(self) -> str:
        """Try to mount; return what is wrong unless it is refused for the right reason."""
        failure = self.mount_one(0)
        if self.variant.expect_refusal in failure:
            return ""
        return failure or "it was accepted"

    def note_facts(self) -> None:
        """Keep what the client says of its connections, and which process has which queue pair."""
        facts = self.client.run("cat", "/proc/fs/cifs/DebugData").said
        (self.out / "DebugData.txt").write_text(facts)
        pairs = self.server.run("rdma", "resource", "show", "qp").said
        (self.out / "queue-pairs.txt").write_text(pairs)

    def unmount(self) -> str:
        """Unmount both; return what went wrong."""
        return "\n".join(filter(None, (self.client.run("umount", m).failure for m in self.mounts)))

    def leftovers(self) -> str:
        """Return the connections, sessions, opens and queue pairs that usmbd still has."""
        deadline = time.monotonic() + LEFTOVERS
        while True:
            late = time.monotonic() > deadline
            pairs = self.server.run("rdma", "resource", "show", "qp")
            left = [line for line in pairs.said.splitlines() if "comm usmbd" in line]
            if not (left or pairs.failure) or late:  # to ask usmbd takes ten times as long
                listed = self.server.run("usmbd.sh", "list")
                said = "\n".join(filter(None, (listed.said, listed.failure, *left, pairs.failure)))
                if not said or late:
                    return said
            time.sleep(0.5)

    def faults(self) -> str:
        """Return the lines of usmbd's log that tell of a fault of its own.

        A refused RDMA connection is none: a client with several channels tries more than it needs.
        """
        lines = (self.out / "server/usmbd.log").read_text(errors="replace").splitlines()
        found = [line for line in lines if "Traceback" in line or " error " in line]
        found = [line for line in found if ": refused: " not in line]
        # Two scenarios kill both workers; nothing else may end one.
        killed = [line for line in found if "worker" in line and "ended (-9)" in line]
        other = [line for line in found if line not in killed]
        return "\n".join(other if len(killed) <= 4 else found)

    def scenario(self, name: str) -> None:
        """Run one scenario in directories of its own."""
        label = name.partition(".")[0]
        began = time.monotonic()
        folders = {
            "MOUNT": f"{self.mounts[0]}/{label}",
            "MOUNT2": f"{self.mounts[1]}/{label}",
            "SCRATCH": f"{DATA}/scratch/{label}",
        }
        made = self.client.run("mkdir", folders["MOUNT"], folders["SCRATCH"])
        if made.failure:
            detail = f"no directory: {made.failure}"
            self.results.append(self.result(label, "failed", began, detail))
            return
        capture = self.start_capture(label) if self.lab.capture else None
        running = self.client.start(
            FOLDER / name,
            env=folders
            | {"SEED": str(self.lab.seed), "VARIANT": self.variant.options, "SERVER": self.name}
            | self.variant.work.told(label),
            cwd=folders["SCRATCH"],
            output=self.client.out / f"{label}.txt",
            limit=LIMIT + self.variant.work.limit(label),
            lines=True,
        )
        happened: list[str] = []
        done = running.wait(lambda line: self.happen(running, line, happened))
        said = "\n".join([*happened, done.said])
        if capture is not None:
            said += self.end_capture(capture)
        self.results.append(self.result(label, _outcome(done), began, said or done.failure))

    def happen(self, running: Running, line: str, complaints: list[str]) -> None:
        """Stop and start the server, or the like, when a scenario asks for it; then tell it."""
        if line.startswith("ON SERVER "):
            self.server.start(*shlex.split(line.removeprefix("ON SERVER ")), limit=LIMIT)
        elif line in EVENTS:
            for step in EVENTS[line]:
                if failure := self.of_server(step):
                    complaints.append(f"{self.name}.sh {step}: {failure}")
        else:
            return
        running.feed("DONE")

    def start_capture(self, label: str) -> Running:
        """Capture the server's frames (lab/capture/show.py reads them)."""
        path = self.server.out / f"{label}.pcap"
        words = ["-i", "vec0", "-s", "0", "-B", "65536", "-U", "-Z", "root", "-w", path]
        program = self.server.start(
            "tcpdump", *words, limit=LIMIT + START_LIMIT, output=path.with_suffix(".tcpdump.log")
        )
        time.sleep(1.0)  # it listens
        return program

    def end_capture(self, program: Running) -> str:
        """End the capture; return a remark when it has gaps."""
        time.sleep(0.5)
        self.server.run("pkill", "-INT", "tcpdump")
        said = program.wait().said
        for line in said.splitlines():
            lost = line.partition(" ")[0]
            if "dropped by kernel" in line and lost != "0":
                return f"\n{lost} {LOST}"
        return ""


def _outcome(done: Done) -> str:
    """Return a scenario's outcome by its exit status."""
    return {0: "passed", SKIPPED: "skipped"}.get(
        -1 if done.status is None else done.status, "failed"
    )
