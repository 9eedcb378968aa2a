"""A program that runs beside the tests, from the start of the run on, and ends with it.

One process of pytest starts it, and any of them may read what it says: the workers of pytest-xdist
too, which are told its folder.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

UNTIL_STDIN_ENDS = "--until-stdin-ends"
"""The option of such a program: it calls `end_with_stdin`."""

LOOK_SECONDS = 0.2
"""Between two looks at whether a program has ended."""

_STARTED = pytest.StashKey[dict[str, "Beside"]]()
"""The programs that this process has started, by name."""
_FOLDERS = "beside"
"""Where a worker of pytest-xdist is told the folders."""


class Said:
    """What a program says and how it ends, for whoever waits for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def wait(self, seconds: float | None = None) -> int | None:
        """Return its exit status, None when it has not ended in so many seconds."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            status = self._status()
            if status is not None or (deadline is not None and time.monotonic() >= deadline):
                return status
            time.sleep(LOOK_SECONDS)

    def _status(self) -> int | None:
        """Return its exit status if it has ended."""
        try:
            return int((self.folder / "status").read_text())
        except FileNotFoundError:
            return None

    def lines(self) -> list[str]:
        """Return what it has said until now, in whole lines."""
        text = (self.folder / "said").read_bytes()
        return text[: text.rfind(b"\n") + 1].decode(errors="replace").splitlines()


class Beside:
    """One of them; what it says goes to a file, so that it never waits for a reader."""

    def __init__(self, program: Path, *arguments: str) -> None:
        """Start it, to end when pytest does, whatever ends that."""
        self._folder = tempfile.TemporaryDirectory(prefix="beside-")
        self.said = Said(Path(self._folder.name))
        with (self.said.folder / "said").open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, program, UNTIL_STDIN_ENDS, *arguments],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                # Told its end once: a ctrl-C besides would break off what it puts away then.
                start_new_session=True,
            )
        self._waits = threading.Thread(target=self._note_the_end, daemon=True)
        self._waits.start()

    def _note_the_end(self) -> None:
        """Write the exit status when there is one."""
        noted = self.said.folder / "noted"
        noted.write_text(str(self._process.wait()))
        noted.rename(self.said.folder / "status")  # a reader finds all of it or nothing

    def end(self) -> None:
        """End it if it still runs."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._waits.join()
        self._folder.cleanup()


def start(config: pytest.Config, name: str, program: Path, *arguments: str) -> None:
    """Start a program for this run, once; a worker of pytest-xdist has none of its own."""
    if not hasattr(config, "workerinput"):
        started = config.stash.setdefault(_STARTED, {})
        if name not in started:
            started[name] = Beside(program, *arguments)


def tell_worker(config: pytest.Config, told: dict[str, object]) -> None:
    """Tell a worker of pytest-xdist what runs."""
    started = config.stash.get(_STARTED, {})
    told[_FOLDERS] = {name: str(one.said.folder) for name, one in started.items()}


def find(config: pytest.Config, name: str) -> Said | None:
    """Return what the program of that name says, None where it was not started."""
    told: dict[str, dict[str, str]] = getattr(config, "workerinput", {})
    if folder := told.get(_FOLDERS, {}).get(name):
        return Said(Path(folder))
    one = config.stash.get(_STARTED, {}).get(name)
    return one.said if one else None


def said(config: pytest.Config, name: str) -> Said:
    """Return the same; fails where it was not started."""
    found = find(config, name)
    if found is None:
        pytest.fail(f"{name} does not run: with -n, run all tests, or these without -n")
    return found


def end_all(config: pytest.Config) -> None:
    """Leave none of them behind."""
    for one in config.stash.get(_STARTED, {}).values():
        one.end()


def end_with_stdin() -> None:
    """Have this program be told to end (SIGTERM) when the other end of stdin has."""

    def wait() -> None:
        os.read(0, 1)  # not sys.stdin, whose lock would keep this program from ending by itself
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
