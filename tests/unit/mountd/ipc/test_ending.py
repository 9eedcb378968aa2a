"""The end of a process: what waits is written, nothing else is done."""

import subprocess
import sys


def test_what_waits_is_written_and_nothing_taken_apart() -> None:
    program = """
import atexit, logging.handlers, sys
from usmbd.mountd.ipc.ending import leave
keeps = logging.handlers.MemoryHandler(9, target=logging.StreamHandler(sys.stdout))
logging.getLogger().addHandler(keeps)
atexit.register(print, "taken apart")
logging.error("the log")
print("the output", end="")
leave(3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("the log\nthe output", 3)
