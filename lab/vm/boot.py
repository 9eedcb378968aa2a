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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import image

PROJECT = Path(__file__).resolve().parents[2]
GRACE = 10.0
"""Seconds for QEMU to end after SIGTERM."""

QUICK = (
    # Without hardware help every change of the page tables costs an emulated TLB flush: PTI makes
    # each system call two of them (adduser: 13 s of system time with it, 2 s without).
    "mitigations=off nopti nowatchdog transparent_hugepage=always tsc=reliable no_timer_check"
)


class LabError(Exception):
    """What keeps a guest from booting, and what to do about it."""


def prepare() -> Path:
    """Run prepare.sh; return the directory of the kernel."""
    done = subprocess.run(
        [PROJECT / "lab/vm/prepare.sh"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise LabError("lab/vm/prepare.sh failed; its message is above")
    return Path(done.stdout.strip().splitlines()[-1])


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

        Raises LabError when another guest runs. Whatever happens, no QEMU is left.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.cache / "guest.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print("lab: waiting for another guest to end", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            image.build(self.disk, self.out / "content")
            self.environment(script)
            try:
                return self._boot(interactive=not script, seconds=seconds)
            finally:
                self.disk.unlink(missing_ok=True)

    def _boot(self, *, interactive: bool, seconds: float | None) -> bool:
        """Run virtme-ng in a process group of its own, and end all of the group."""
        environment = os.environ | {
            "PATH": f"{self.cache / 'virtme/bin'}:{os.environ['PATH']}:/usr/sbin"
        }
        with open(self.out / "console.log", "wb") as console:
            streams = {} if interactive else {"stdin": subprocess.DEVNULL, "stdout": console}
            process = subprocess.Popen(
                self.command(),
                env=environment,
                cwd="/",
                stderr=None if interactive else subprocess.STDOUT,
                start_new_session=not interactive,
                **streams,  # type: ignore[call-overload]
            )
            try:
                process.wait(seconds)
                return True
            except subprocess.TimeoutExpired:
                return False
            finally:
                if not interactive:
                    end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started: QEMU is its grandchild."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue


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
    try:
        kernel = prepare()
        out = (options.out or kernel.parent / "shell").resolve()
        guest = Guest(kernel, out, cpus=options.cpus, memory=options.memory, kvm=options.kvm)
        if not guest.run(options.script, options.seconds):
            print(f"lab: ended after {options.seconds:g} s; see {out}", file=sys.stderr)
            return 1
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
