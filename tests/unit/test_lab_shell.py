"""`make lab-shell`: a guest that has a terminal for itself."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import lab_run
import pytest

MACHINES = Path(lab_run.__file__).parents[2] / "lab/machines"
GUEST = ["sh", "-c", "trap '' HUP; echo $$; exec sleep 600"]


def test_a_shell_wants_a_terminal() -> None:
    """Without one the guest would wait for ever for what nobody can type."""
    program = [sys.executable, MACHINES / "shell.py"]
    done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("needs a terminal")) == (2, 1)


@pytest.mark.parametrize("ends", ["its terminal", "its program"])
def test_a_guest_ends_with(ends: str) -> None:
    ours, theirs = os.openpty()
    attend = f"import os, shell; shell.attend({GUEST}, os.environ)"
    with subprocess.Popen(
        [sys.executable, "-c", attend], cwd=MACHINES, stdin=theirs, stdout=theirs
    ) as process:
        os.close(theirs)
        guest = os.pidfd_open(int(os.read(ours, 100).split()[0]))
        if ends == "its program":
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while len(children.read_text().split()) < 2:  # its watchdog comes after it
                time.sleep(0.01)
            process.kill()
            process.wait()
        else:
            os.close(ours)
        ended = select.poll()
        ended.register(guest, select.POLLIN)
        ended.poll()
    os.close(guest)
    if ends == "its program":
        os.close(ours)
