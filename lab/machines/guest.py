"""One guest: Linux as a program of this machine, and the programs that run in it.

    with Guest(linux, out, "server", host=1, wire=end) as server:
        server.run("usmbd.sh", "start", limit=120)

A guest boots in under a second. Its root file system is this machine's, read-only; `out` is the one
directory that both see and may write. What runs in it is asked for over a second console, whose
other end is lab/guest/agent.py; a guest ends with the process that booted it, even when that is
killed.
"""

import itertools
import json
import os
import queue
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

PROJECT = Path(__file__).resolve().parents[2]
INIT = PROJECT / "lab/guest/init.sh"
PREPARE = PROJECT / "lab/kernel/prepare.sh"
UNSUPPORTED = 77
"""The exit status by which prepare.sh says that this machine is none for the lab."""

DATA = "/run/lab"
"""Where a guest has its files: a share's, mounts, scratch."""

ACCOUNTS = {"passwd": "lab:x:2000:2000::/:/bin/sh", "group": "lab:x:2000:"}
"""The share's user, who has an account in a guest and not on this machine."""

SHARED = Path("/dev/shm")
"""This machine's own memory, in which files can be."""

HIDDEN = ("/dev/shm", "/run", "/tmp", "/var/tmp")
"""Directories of which a guest has its own, empty."""

BOOT = 120.0
"""Seconds for a guest to boot: it takes one, ten on a machine that has much else to do."""

GRACE = 15.0
"""Seconds for a guest to power off, which takes one; then it is killed."""

LIMIT = 300.0
"""Seconds for a program in a guest, where nobody says otherwise: they tell a hang from a slow
machine. A mount takes 0.3."""

SLACK = 60.0
"""Seconds that the host waits longer than the agent, which ends programs itself."""

WATCH = 'read -r _ || { kill -TERM "$0"; sleep 2; kill -KILL "$0"; } 2>/dev/null'
"""The watchdog, in the shell: stdin ends without a line when this process was killed."""

LOOPS = 41_000_000
"""Turns of an empty loop in a tick of 10 ms: a kernel that is not told counts them for 0.05 s,
as long as six programs take to start. Only delays of microseconds go by it, of devices that are not
there."""

ENDS = "oops=panic panic=-1"
"""A kernel that complains ends its guest at once: what it does afterwards says nothing. init.sh
lets warnings end it too, of which this kernel of few devices gives one while it boots."""


def watchdog(pid: int) -> subprocess.Popen[bytes]:
    """Start what ends a guest when this process ends; a line to it ends it first."""
    return subprocess.Popen(
        ["/bin/bash", "-c", WATCH, str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


class LabError(Exception):
    """What keeps a guest from booting or working, and what to do about it."""


class UnsupportedError(LabError):
    """No lab on this machine: it is not amd64, or has no apt."""


def prepare_kernel() -> Path:
    """Build the kernel where it is not there yet, which takes minutes; return its directory.

    What it says goes to stderr; LabError has its last words.
    """
    said = ""
    with subprocess.Popen(
        [PREPARE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for said in process.stderr:
            sys.stderr.write(said)
        answer = process.stdout.read()
    if process.returncode:
        error = UnsupportedError if process.returncode == UNSUPPORTED else LabError
        raise error(f"lab/kernel/prepare.sh: {said.strip() or f'exit status {process.returncode}'}")
    return Path(answer.splitlines()[-1])


ROOM = 256 << 20
"""Bytes for what a run leaves: 20 MiB of data to copy, its logs, and for a while its captures."""


def make_directory(path: Path, advice: str = "set USMBD_LAB_CACHE") -> Path:
    """Make a directory for what guests write, and those above it; LabError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            free = shutil.disk_usage(path).free
    except OSError as error:
        raise LabError(f"{path}: {error.strerror} ({advice})") from None
    if free < ROOM:
        raise LabError(f"{path}: {free >> 20} MiB are free, of {ROOM >> 20} ({advice})")
    return path


def find_kernel(series: str) -> Path | None:
    """Return the directory of a series' kernel if it was built; nothing is built for it."""
    done = subprocess.run([PREPARE, "--find", series], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) if done.stdout.strip() else None


@dataclass(frozen=True)
class Done:
    """How a program in a guest ended: status None when it was ended, and what it printed."""

    status: int | None
    seconds: float
    said: str

    @property
    def failure(self) -> str:
        """Nothing when it succeeded, else what it complained about."""
        if self.status == 0:
            return ""
        if self.status is None:
            return f"{self.said}\nended after {self.seconds:.0f} s".lstrip()
        return self.said or f"exit status {self.status}"


class Running:
    """A program that runs in a guest."""

    def __init__(self, guest: "Guest", number: int, output: Path, limit: float) -> None:
        """Note what is needed to talk about it."""
        self.guest, self.number, self.output, self.limit = guest, number, output, limit
        self.start = output.stat().st_size if output.exists() else 0
        self.messages: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()

    def feed(self, line: str) -> None:
        """Give it a line on its standard input."""
        self.guest.order(id=self.number, input=line)

    def next_message(self) -> dict[str, object]:
        """Return what the agent says next; LabError when the guest has ended."""
        try:
            message = self.messages.get(timeout=self.limit + SLACK)
        except queue.Empty:
            raise LabError(f"{self.guest.name} does not answer any more") from None
        if message is None:
            raise LabError(f"{self.guest.name} has ended: {self.guest.last_words()}")
        return message

    def line(self) -> str:
        """Wait for the next line that it prints; LabError when it ends before."""
        message = self.next_message()
        if "line" not in message:
            raise LabError(f"it ended with status {message['status']}, see {self.output}")
        return str(message["line"])

    def wait(self, heard: Callable[[str], None] | None = None) -> Done:
        """Wait for its end, `heard` gets each line meanwhile; LabError when the guest ends."""
        while True:
            message = self.next_message()
            if "line" in message:
                if heard is not None:
                    heard(str(message["line"]))
                continue
            status = message["status"]
            said = ""
            if self.output.exists():  # else the program was not found: its last line says so
                with open(self.output, "rb") as file:
                    file.seek(self.start)
                    said = file.read().decode(errors="replace").strip()
            assert status is None or isinstance(status, int)
            return Done(status, float(str(message["seconds"])), said)


_BOOTED = itertools.count()


def next_core() -> int:
    """Return the core for the next guest; in pairs, of which each has its server on another one.

    A guest is two threads that wait for each other. On two cores each wakes a sleeping core up,
    which is dear on a machine that is a virtual one itself, and the dearer the less it has to do.
    """
    cores = sorted(os.sched_getaffinity(0))
    number = next(_BOOTED)
    return cores[(number + number // 2) % len(cores)]


class Guest:
    """One booted guest; `host` is its number on the wire, whose end it has (None: it is alone).

    The wire stays the caller's, who closes it: a machine that is booted again is at the same cable.
    """

    def __init__(
        self,
        kernel: Path,
        out: Path,
        name: str,
        *,
        host: int | None = None,
        wire: socket.socket | None = None,
        rdma: str = "rxe",
        cpus: int = 1,
        memory: str = "2G",
        role: str = "agent",
    ) -> None:
        """Note what to boot; nothing runs before `boot`.

        `role`: "agent" takes orders, "shell" has a person who gives them.
        """
        self.kernel, self.out, self.name = kernel, out, name
        self.host, self.wire, self.rdma = host, wire, rdma
        self.cpus, self.memory, self.role = cpus, memory, role
        self.process: subprocess.Popen[bytes] | None = None
        self.programs: dict[int, Running] = {}
        self.count = 0
        self.ready = threading.Event()
        self.ended = False
        self.broken = ""
        """What the agent said that is none of its messages."""
        self.lock = threading.Lock()

    # -- booting and ending

    def boot(self) -> Self:
        """Start it, and wait until it takes orders; raises LabError with its last words."""
        self.prepare()
        self.programs.clear()
        self.ready.clear()
        self.ended = False
        ours, theirs = socket.socketpair()
        self.line = ours
        log = open(self.out / "dmesg.log", "wb")  # noqa: SIM115 - closed below, the guest has it
        ends = [theirs.fileno()] + ([self.wire.fileno()] if self.wire is not None else [])
        with log, theirs:
            try:
                self.process = subprocess.Popen(
                    self.command(console="null,fd:1", line=f"fd:{theirs.fileno()}"),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=ends,
                    start_new_session=True,
                    env=os.environ | {"TMPDIR": str(self.memory_directory())},
                )
            except OSError as error:
                ours.close()
                raise LabError(f"{error} (remove {self.kernel}, then: make lab)") from None
        os.sched_setaffinity(self.process.pid, {next_core()})
        self.watchdog = watchdog(self.process.pid)
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()
        if not self.ready.wait(BOOT) or self.ended:
            words, status = self.last_words(), self.process.poll()
            self.close()
            raise LabError(f"{self.name} does not boot (status {status}): {words}")
        return self

    def prepare(self) -> None:
        """Write the guest's directory: its first program, and what that has to know."""
        self.out.mkdir(parents=True, exist_ok=True)
        values = {
            "DATA": DATA,
            "LAB_NAME": self.name,
            "LAB_ROLE": self.role,
            "LAB_HOST": "" if self.host is None else str(self.host),
            "LAB_RDMA": self.rdma,
            "LAB_KERNEL": str(self.kernel),
            "LAB_PYTHON": str(PROJECT / ".venv/bin/python"),
            "LAB_PYTHON_BASE": sys.base_prefix,
            "PROJECT": str(PROJECT),
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        (self.out / "environment.sh").write_text("\n".join(lines) + "\n")
        shutil.copy(INIT, self.out / "init")
        for name, account in ACCOUNTS.items():
            (self.out / name).write_text(with_account(Path("/etc", name), account))
        (self.out / "fstab").write_text(self.file_systems())

    def file_systems(self) -> str:
        """Return what the guest mounts, as fstab(5).

        What this machine writes elsewhere is hidden, so that a guest cannot depend on it; what it
        needs of it comes back.
        """
        lines = ["sys /sys sysfs", "pts /dev/pts devpts X-mount.mkdir"]
        lines += [f"tmp {hidden} tmpfs X-mount.mkdir" for hidden in HIDDEN]
        needed = {PROJECT: ",ro", self.kernel: ",ro", Path(sys.base_prefix): ",ro", self.out: ""}
        for path, more in needed.items():
            if not more or any(path.is_relative_to(hidden) for hidden in HIDDEN):
                name = _escaped(path)
                lines.append(f"none {name} hostfs {name}{more},X-mount.mkdir")
        lines += [f"{_escaped(self.out / name)} /etc/{name} none bind" for name in ACCOUNTS]
        lines.append(f"lab {DATA} tmpfs size=75%,usrquota,X-mount.mkdir")
        return "\n".join(lines) + "\n"

    def memory_directory(self) -> Path:
        """Where the guest's memory is, as a file: in memory where there is room for it.

        A container's has 64 MiB, and allows no programs in it, which the guest's would be.
        """
        try:
            there = os.statvfs(SHARED)
        except OSError:
            return self.out
        room = there.f_bavail * there.f_frsize
        fits = room > 2 * size(self.memory) and not there.f_flag & os.ST_NOEXEC
        return SHARED if fits else self.out

    def command(self, console: str, line: str) -> list[str]:
        """Return the kernel's command line."""
        words = [str(self.kernel / "linux"), f"mem={self.memory}", f"ncpus={self.cpus}"]
        words += ["seccomp=auto", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"]
        words += [f"init={self.out / 'init'}", f"con0={console}", f"con1={line}"]
        words += [
            "con=null",
            "ssl=null",
            f"uml_dir={self.out}/",
            "umid=uml",
            "loglevel=7",
            f"lpj={LOOPS}",
            *ENDS.split(),
        ]
        if self.wire is not None:
            address = f"02:00:00:00:00:{self.host:02x}"
            wire = f"transport=fd,fd={self.wire.fileno()},mac={address},depth=64,mtu=4500"
            words.append(f"vec0:{wire}")
        return words

    def close(self) -> None:
        """End it; what it does not do by itself is done to it."""
        if self.process is None:
            return
        # Not by closing the line, which user-mode Linux has been seen to trip over.
        with suppress(LabError):
            self.order(end=True)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        self.kill()  # what is left of its processes: one that panics leaves some
        with suppress(BrokenPipeError):
            self.watchdog.communicate(b"\n")
        with suppress(OSError):
            self.line.shutdown(socket.SHUT_RDWR)
        self.reader.join()
        self.line.close()
        self.process = None

    def kill(self) -> None:
        """Cut its power: nothing is said to anybody."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self, lines: int = 25) -> str:
        """Return the end of what the kernel and the first process said."""
        said = f"not understood: {self.broken}\n" if self.broken else ""
        for name in ("guest.log", "dmesg.log"):
            path = self.out / name
            if path.exists():
                said += "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + "\n"
        return said

    def __enter__(self) -> Self:
        """Boot it."""
        return self.boot()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self.close()

    # -- programs

    def start(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        output: Path | None = None,
        limit: float = LIMIT,
        lines: bool = False,
    ) -> Running:
        """Start a program; `lines`: its standard output is heard line by line by `wait`.

        After `limit` seconds it is ended. LabError when the guest has ended.
        """
        with self.lock:
            self.count += 1
            number = self.count
        if output is None:
            output = self.out / "said" / f"{number}.txt"
        if not output.is_relative_to(self.out):
            raise ValueError(f"{output}: a guest writes nowhere but in {self.out}")
        output.parent.mkdir(parents=True, exist_ok=True)
        running = Running(self, number, output, limit)
        with self.lock:
            if self.ended:
                raise LabError(f"{self.name} has ended: {self.last_words()}")
            self.programs[number] = running
        order: dict[str, object] = {"id": number, "argv": [str(word) for word in argv]}
        order |= {"output": str(output), "limit": limit, "lines": lines, "env": dict(env or {})}
        self.order(**order, **({"cwd": cwd} if cwd else {}))
        return running

    def run(self, *argv: object, limit: float = LIMIT, **options: object) -> Done:
        """Run a program to its end; LabError when the guest ends first."""
        return self.start(*argv, limit=limit, **options).wait()  # type: ignore[arg-type]

    def order(self, **message: object) -> None:
        """Send one line to the agent."""
        try:
            self.line.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise LabError(f"{self.name} has ended: {self.last_words()}") from None

    def listen(self) -> None:
        """Hand the agent's lines to the programs that they are about, until the line ends."""
        stream: IO[bytes] = self.line.makefile("rb")
        with suppress(OSError):
            for data in stream:
                try:
                    message = json.loads(data)
                    if "ready" in message:
                        self.ready.set()
                    elif running := self.programs.get(message["id"]):
                        running.messages.put(message)
                except (ValueError, LookupError, TypeError):
                    self.broken = data.decode(errors="replace")
                    break
        with self.lock:
            self.ended = True
            programs = list(self.programs.values())
        for running in programs:
            running.messages.put(None)
        self.ready.set()


def size(memory: str) -> int:
    """Return the bytes of a size as the kernel's command line has it: 512M, 2G."""
    units = {"K": 10, "M": 20, "G": 30}
    return int(memory[:-1]) << units[memory[-1].upper()]


def with_account(file: Path, account: str) -> str:
    """Return what a file of accounts has, with one more if none is called so."""
    lines = file.read_text().splitlines()
    name = account.partition(":")[0] + ":"
    if not any(line.startswith(name) for line in lines):
        lines.append(account)
    return "\n".join(lines) + "\n"


def _escaped(path: Path) -> str:
    """Return a path as fstab(5) has it."""
    return str(path).replace(" ", r"\040")
