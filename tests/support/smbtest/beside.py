"""A program that runs beside pytest, from the moment its tests are chosen, and ends with it."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

UNTIL_STDIN_ENDS = "--until-stdin-ends"
"""The option of such a program: it calls `end_with_stdin`."""


class Beside:
    """One of them; what it says goes to a file, so that it never waits for a reader."""

    def __init__(self, program: Path, *arguments: str) -> None:
        """Start it, to end when pytest does, whatever ends that."""
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (end() closes it)
        self.process = subprocess.Popen(
            [sys.executable, program, UNTIL_STDIN_ENDS, *arguments],
            stdin=subprocess.PIPE,
            stdout=self.said,
            stderr=subprocess.STDOUT,
        )

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, None when it has not ended in so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def lines(self) -> list[str]:
        """Return what it has said until now, in whole lines."""
        text = os.pread(self.said.fileno(), os.fstat(self.said.fileno()).st_size, 0)
        return text[: text.rfind(b"\n") + 1].decode(errors="replace").splitlines()

    def end(self) -> None:
        """End what is still running."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.said.close()


def end_with_stdin() -> None:
    """Have this program be told to end (SIGTERM) when the other end of stdin has."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock would keep this program from ending by itself
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
