"""Where things lie when nobody says otherwise.

=================  ===================================  ======================================
what               root                                 anyone else
=================  ===================================  ======================================
configuration      /etc/usmbd                           $XDG_CONFIG_HOME/usmbd (~/.config)
sockets, store     /run/usmbd                           $XDG_RUNTIME_DIR/usmbd
what outlives it   /var/lib/usmbd                       $XDG_STATE_HOME/usmbd (~/.local/state)
=================  ===================================  ======================================
"""

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

# Own names first; a directory with ksmbd's files works as it is.
CONFIG_NAMES = ("usmbd.conf", "usmbd.yaml", "usmbd.yml", "ksmbd.conf")
PASSWORD_NAMES = ("usmbdpwd.db", "ksmbdpwd.db")

ANSWER_SECONDS = 0.2
"""How long a share's file system may think about whether a directory is there."""

SILENCES = 5
"""Directories that do not answer, after which no others are asked for: they may all be on one
machine that is gone, and logins wait."""


_Question = tuple[Callable[[str], Any], str]


def _xdg(variable: str, fallback: Path) -> Path:
    """Return the directory that the variable names, when it names one as the XDG rules want."""
    value = os.environ.get(variable, "")
    return Path(value) / "usmbd" if value.startswith("/") else fallback


def config_directory() -> Path:
    """Return the directory of the configuration and the password file."""
    if os.geteuid() == 0:
        return Path("/etc/usmbd")
    return _xdg("XDG_CONFIG_HOME", Path.home() / ".config" / "usmbd")


def state_directory() -> Path:
    """Return the directory of the sockets and the store, which a boot may empty."""
    if os.geteuid() == 0:
        return Path("/run/usmbd")
    return _xdg("XDG_RUNTIME_DIR", data_directory() / "run")


def data_directory() -> Path:
    """Return the directory of what must outlive a boot."""
    if os.geteuid() == 0:
        return Path("/var/lib/usmbd")
    return _xdg("XDG_STATE_HOME", Path.home() / ".local" / "state" / "usmbd")


def _first(directory: Path, names: tuple[str, ...]) -> Path:
    """Return the first of the names that exists, else the first."""
    candidates = [directory / name for name in names]
    return next((path for path in candidates if path.exists()), candidates[0])


def config_file() -> Path:
    """Return the configuration file to use: the one that exists, else where one belongs."""
    return _first(config_directory(), CONFIG_NAMES)


def password_file(directory: Path | None = None) -> Path:
    """Return the password file to use in a directory: the one that exists, else the first."""
    return _first(directory or config_directory(), PASSWORD_NAMES)


class Facts(NamedTuple):
    """What has to be known of a folder that somebody wants to share."""

    is_directory: bool
    owner: int
    real: str
    """Where its links lead."""


class Directories:
    """Asks whether directories are there, in a thread: one may be on a machine that is gone.

    There is one thread for all questions, until one hangs; a thousand shares have as many.
    """

    def __init__(self) -> None:
        """Begin without a thread."""
        self._patience = SILENCES
        self._questions: SimpleQueue[_Question | None] | None = None
        self._answers: SimpleQueue[Any] = SimpleQueue()

    def has(self, path: str) -> bool | None:
        """Whether `path` is a directory now; None when its file system does not say in time."""
        found: bool | None = self._ask(os.path.isdir, path)
        return found

    def facts(self, path: str) -> Facts | None:
        """Return what is to be known of a directory; None when its file system does not say."""
        found: Facts | None = self._ask(_facts, path)
        return found

    def _ask(self, look: Callable[[str], Any], path: str) -> Any:
        """Ask in the thread; None when there is no answer in time."""
        if not self._patience:
            return None
        if self._questions is None:
            self._questions, self._answers = SimpleQueue(), SimpleQueue()
            queues = self._questions, self._answers
            threading.Thread(target=_answer, args=queues, daemon=True).start()
        self._questions.put((look, path))
        try:
            return self._answers.get(timeout=ANSWER_SECONDS)
        except Empty:
            self._patience -= 1
            self.close()
            return None

    def close(self) -> None:
        """End the thread, when it can."""
        if self._questions is not None:
            self._questions.put(None)
            self._questions = None


def _answer(questions: "SimpleQueue[_Question | None]", answers: "SimpleQueue[Any]") -> None:
    while (question := questions.get()) is not None:
        look, path = question
        answers.put(look(path))


def _facts(path: str) -> Facts:
    try:
        found = os.stat(path)
        return Facts(stat.S_ISDIR(found.st_mode), found.st_uid, os.path.realpath(path))
    except (OSError, ValueError):
        return Facts(False, -1, path)
