"""The log: one line an event on standard error, as text or JSON; levels and ksmbd's debug areas."""

import json
import logging
import sys
import time
from collections.abc import Iterable

AREAS = ("smb", "auth", "vfs", "oplock", "ipc", "conn", "rdma")
"""The areas of `usmbd.control --debug`; each is the logger `usmbd.AREA`."""

_LEVELS = (logging.ERROR, logging.INFO, logging.INFO)
"""`log level` 0, 1, 2; 3 and more is debugging of all areas."""


class _Formatter(logging.Formatter):
    """Time, process, level, area, message; nothing that a client sends can begin a new line."""

    def __init__(self, process: str, as_json: bool) -> None:
        super().__init__()
        self._process = process
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a traceback makes it several."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))
        message = record.getMessage()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            fields = {
                "time": stamp,
                "process": self._process,
                "level": record.levelname.lower(),
                "area": record.name.removeprefix("usmbd."),
                "message": message,
            }
            if trace:
                fields["trace"] = trace
            return json.dumps(fields)
        message = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in message)
        area = record.name.removeprefix("usmbd.")
        line = f"{stamp} {self._process} {record.levelname.lower()} {area}: {message}"
        return f"{line}\n{trace}" if trace else line


def set_up(process: str, level: int, as_json: bool) -> None:
    """Send what is important enough to standard error, marked with the process's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(process, as_json))
    root = logging.getLogger("usmbd")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(_LEVELS[level] if level < len(_LEVELS) else logging.DEBUG)


def debug(areas: Iterable[str], enable: bool) -> None:
    """Switch debugging of areas ("all" for every one) on or off."""
    for area in AREAS if "all" in areas else areas:
        if area in AREAS:
            level = logging.DEBUG if enable else logging.NOTSET
            logging.getLogger(f"usmbd.{area}").setLevel(level)
