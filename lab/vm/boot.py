"""Boot one guest on the kernel that prepare.sh made: run a script in it, then end it.

    .venv/bin/python lab/vm/boot.py --out DIR [--seconds N] [--cpus N] SCRIPT [ARGS...]

The guest's root file system is this machine's, read-only; DIR is the one directory that both see
and may write. SCRIPT is a path within the project and runs as root after guest/up.sh. Without a
script there is a shell, with usmbd serving. KVM is used only with --kvm: the rest of the lab's
users have none, and then times mean something else.
"""

import argparse
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).parent))
import image

PROJECT = Path(__file__).resolve().parents[2]
GRACE = 10.0
"""Seconds for a guest's processes to end after SIGTERM, and after SIGKILL."""

WAIT = 1900.0
"""Seconds to wait for another guest to end: the one of `make test` has 1800."""

WATCH = 'read -r _ || { kill -TERM -- "-$0"; sleep 2; kill -KILL -- "-$0"; } 2>/dev/null'
"""The watchdog, in the shell: stdin ends without a line when this process was killed."""

HIDDEN = ("/tmp", "/var/tmp", "/run")
"""What a guest does not see of this machine: it has directories of its own there."""

UNSUPPORTED = 77
"""The exit status by which prepare.sh says that this machine is none for the lab."""

QUICK = (
    # Without hardware help every change of the page tables costs an emulated TLB flush: PTI makes
    # each system call two of them (adduser: 13 s of system time with it, 2 s without).
    "mitigations=off nopti nowatchdog transparent_hugepage=always tsc=reliable no_timer_check"
)


class LabError(Exception):
    """What keeps a guest from booting, and what to do about it."""


class UnsupportedError(LabError):
    """No lab on this machine: it is not Debian, or not amd64."""


def prepare() -> Path:
    """Run prepare.sh, which says on stderr what it does; return the directory of the kernel.

    Raises LabError with its last words.
    """
    said = ""
    with subprocess.Popen(
        [PROJECT / "lab/vm/prepare.sh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for said in process.stderr:
            sys.stderr.write(said)
        answer = process.stdout.read()
    if process.returncode:
        error = UnsupportedError if process.returncode == UNSUPPORTED else LabError
        raise error(f"lab/vm/prepare.sh: {said.strip() or f'exit status {process.returncode}'}")
    return Path(answer.splitlines()[-1])


class Guest:
    """One booted guest; at most one on a machine, for two would share its two cores."""

    def __init__(self, kernel: Path, out: Path, *, cpus: int, memory: str, kvm: bool) -> None:
        """Note what to boot; nothing runs before `run`."""
        self.kernel, self.out, self.cpus, self.memory, self.kvm = kernel, out, cpus, memory, kvm
        version = (kernel / "ready").read_text().strip()
        self.vmlinuz = kernel / "boot" / f"vmlinuz-{version}"
        self.cache = kernel.parent
        self.disk = out / "disk.img"

    def environment(self, script: list[str]) -> None:
        """Write what the guest has to know: where Python is, and what to run."""
        values = {
            "LAB_PYTHON": os.path.realpath(sys._base_executable),  # type: ignore[attr-defined]
            "LAB_STDLIB": sysconfig.get_path("stdlib"),
            "LAB_KERNEL": str(self.kernel),
            "LAB_OUT": str(self.out),
        }
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
        lines.append("LAB_SCRIPT=(" + " ".join(map(shlex.quote, script)) + ")")
        (self.out / "environment.sh").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        """Return virtme-ng's command line."""
        # The script is read through 9p from this machine, as everything before the disk is mounted.
        entry = self.out / "up.sh"
        entry.write_bytes((PROJECT / "lab/vm/guest/up.sh").read_bytes())
        command = [str(self.cache / "virtme/bin/vng"), "--run", str(self.vmlinuz)]
        command += [] if self.kvm else ["--disable-kvm"]
        command += ["--force-9p", "--cpus", str(self.cpus), "--memory", self.memory, "--quiet"]
        command += ["--append", QUICK, "--disk", str(self.disk), "--rwdir", str(self.out)]
        return [*command, "--exec", f"bash {shlex.quote(str(entry))} {shlex.quote(str(self.out))}"]

    def run(self, script: list[str], seconds: float | None) -> bool:
        """Boot, run `script`, power off; say whether the guest ended by itself in time.

        Raises LabError when another guest runs for too long. Whatever happens, no QEMU is left.
        """
        if any(self.out.is_relative_to(path) for path in HIDDEN):
            raise LabError(f"{self.out}: a guest does not see it; name one outside of {HIDDEN}")
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.cache / "guest.lock", "a+") as lock:
            take(lock)
            lock.truncate(0)
            print(f"process {os.getpid()}: {shlex.join(sys.argv)}", file=lock, flush=True)
            image.build(self.disk, self.out / "content")
            self.environment(script)
            try:
                return self._boot(interactive=not script, seconds=seconds)
            finally:
                self.disk.unlink(missing_ok=True)

    def _boot(self, *, interactive: bool, seconds: float | None) -> bool:
        """Run virtme-ng in a process group of its own, and end all of the group.

        A shell's guest keeps the terminal, and so this process's group: it ends with the terminal.
        """
        path = f"{self.cache / 'virtme/bin'}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        environment = os.environ | {"PATH": path}
        if interactive:
            subprocess.call(self.command(), env=environment, cwd="/")
            return True
        with open(self.out / "console.log", "wb") as console:
            process = subprocess.Popen(
                self.command(),
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                with watchdog(process):
                    process.wait(seconds)
                return True
            except subprocess.TimeoutExpired:
                return False
            finally:
                end_group(process)


def take(lock: TextIO) -> None:
    """Lock the file that the one guest of a machine has; raises LabError after WAIT seconds.

    The file says whose guest it is.
    """
    deadline = time.monotonic() + WAIT
    told = False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            if time.monotonic() > deadline:
                text = f"another guest still runs after {WAIT:g} s: end it ({owner})"
                raise LabError(text) from None
        if not told:
            print(f"lab: waiting for another guest to end ({owner})", file=sys.stderr)
            told = True
        time.sleep(1.0)


@contextmanager
def watchdog(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process's group if this process is killed meanwhile, and has no chance to do it."""
    watch = subprocess.Popen(
        ["/bin/bash", "-c", WATCH, str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        watch.communicate(b"\n")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started: QEMU is its grandchild."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        try:
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return


def main() -> int:
    """Boot as the command line says."""
    parser = argparse.ArgumentParser(prog="boot.py", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, help="the directory that both sides see")
    parser.add_argument("--seconds", type=float, help="end the guest after so long")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", default="4G")
    parser.add_argument("--kvm", action="store_true", help="use hardware virtualization")
    parser.add_argument("script", nargs="*", help="nothing: a shell")
    options = parser.parse_args()
    if options.seconds and not options.script:
        parser.error("--seconds is for a script: a shell ends when you leave it")
    try:
        kernel = prepare()
        out = (options.out or kernel.parent / "shell").resolve()
        guest = Guest(kernel, out, cpus=options.cpus, memory=options.memory, kvm=options.kvm)
        if not guest.run(options.script, options.seconds):
            print(f"lab: the guest did not end by itself; see {out}", file=sys.stderr)
            return 1
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
