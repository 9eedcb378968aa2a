"""A log whose reader is slow: a pipe that is full until the test reads it."""

import os
import signal
import subprocess
import threading
from contextlib import suppress

SIGNALS_SECONDS = 0.02


class SlowLog:
    """A pipe without room; what is written into it waits."""

    def __init__(self) -> None:
        """Fill it."""
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"." * 4096)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, b".")
        os.set_blocking(self.writing, True)

    def read_to_end(self) -> str:
        """Return what all have written, when all have ended."""
        os.close(self.writing)
        with os.fdopen(self.reading, "rb") as file:
            return file.read().decode().lstrip(".")


class Terminator:
    """Sends a process SIGTERM again and again until it has ended, as managers and parents do."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Begin at once."""
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(SIGNALS_SECONDS):
            with suppress(OSError):
                self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Wait for the process' end; return its exit code."""
        try:
            return self._process.wait(seconds)
        finally:
            self._over.set()
            self._thread.join()
