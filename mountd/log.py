"""mountd's log: one line an event, on standard error; JSON on request.

A value from a client is never trusted to be printable: control characters are escaped, so that
no name can forge a line.
"""

import json
import sys
import time
from enum import IntEnum
from typing import TextIO


class Level(IntEnum):
    """How much an event matters; `log level` is the least important that is written."""

    ERROR = 0
    INFO = 1
    REFUSED = 2
    DEBUG = 3


class Log:
    """Writes events as lines."""

    def __init__(
        self, level: int = Level.INFO, *, as_json: bool = False, stream: TextIO | None = None
    ) -> None:
        """Write to `stream`, standard error unless given, what is at most `level`."""
        self.level = level
        self.as_json = as_json
        self._stream = stream or sys.stderr

    def event(self, level: Level, message: str, **facts: object) -> None:
        """Write one event; `facts` are its particulars, in order."""
        if level > self.level:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        if self.as_json:
            shown = {key: _plain(value) for key, value in facts.items()}
            record = {"time": stamp, "level": level.name.lower(), "part": "mountd"}
            line = json.dumps({**record, "event": message, **shown})
        else:
            particulars = "".join(f" {key}={_quoted(value)}" for key, value in facts.items())
            line = f"{stamp} mountd {level.name.lower()}: {_escaped(message)}{particulars}"
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever reads the log is gone; that is no reason to stop serving.
            return

    def error(self, message: str, **facts: object) -> None:
        """Write what an administrator must see."""
        self.event(Level.ERROR, message, **facts)

    def info(self, message: str, **facts: object) -> None:
        """Write what happened."""
        self.event(Level.INFO, message, **facts)

    def refused(self, message: str, **facts: object) -> None:
        """Write that a client was refused."""
        self.event(Level.REFUSED, message, **facts)

    def debug(self, message: str, **facts: object) -> None:
        """Write what helps to find a fault."""
        self.event(Level.DEBUG, message, **facts)


def _plain(value: object) -> object:
    """Return the value as JSON can hold it."""
    return value if isinstance(value, int | float | bool | None) else str(value)


def _escaped(text: str) -> str:
    """Return the text on one line, with what is not printable escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _quoted(value: object) -> str:
    """Return a value that a reader can tell from the next key."""
    text = _escaped(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text
