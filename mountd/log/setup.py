"""What a process does once: the log's level and form; and its debug areas at any time."""

import logging
import sys
import threading
from collections.abc import Collection, Iterable
from types import TracebackType

from usmbd.mountd.log import form
from usmbd.mountd.log.form import REFUSED
from usmbd.mountd.log.writer import QUEUE_BYTES, Journal, QueueHandler, Stream, journal_reads

AREAS = ("smb", "auth", "vfs", "oplock", "ipc", "conn", "rdma")
"""The areas of `usmbd.control --debug`; each is the logger `usmbd.AREA`."""

DEBUG_LEVEL = 3
"""The `log level` of `-v`."""

_LEVELS = (logging.ERROR, logging.INFO, REFUSED)
"""`log level` 0, 1, 2; 3 and more is debugging of all areas."""

_log = logging.getLogger("usmbd.log")
_handler: QueueHandler | None = None


def _level(log_level: int) -> int:
    """Return what the standard library calls a `log level`."""
    return _LEVELS[log_level] if log_level < len(_LEVELS) else logging.DEBUG


def set_up(process: str, log_level: int, *, as_json: bool = False) -> None:
    """Have what is important enough written, marked with the process's name; again at a reload.

    It goes to standard error as text or JSON, and as text to journald where that reads it.
    """
    global _handler
    if _handler is None:
        _handler = QueueHandler(Stream(), form.text, process)
        logging.getLogger().addHandler(_handler)  # what libraries say has the same form
        logging.captureWarnings(True)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread
        sys.unraisablehook = _unraisable
    if as_json:
        _handler.sink, _handler.form = Stream(), form.as_json
    elif journal_reads():
        if not isinstance(_handler.sink, Journal):
            _handler.sink, _handler.form = Journal(), form.journal
    else:
        _handler.sink, _handler.form = Stream(), form.text
    _handler.process = process
    logging.getLogger("usmbd").setLevel(_level(log_level))


def start() -> None:
    """Begin to write, by a thread: after a process has forked and has given up its rights."""
    if _handler is not None:
        _handler.start()


def say(line: str) -> None:
    """Write a line as it is, whatever the level: what others wait for."""
    if _handler is None:
        print(line, file=sys.stderr, flush=True)
    elif isinstance(_handler.sink, Journal):
        values = {"name": "usmbd.conn", "levelno": logging.INFO, "msg": line}
        _handler.put(form.journal(logging.makeLogRecord(values), _handler.process))
    else:
        _handler.put(f"{line}\n".encode())


def queue_state() -> tuple[int, int, int]:
    """Return how many bytes of lines may wait, how many do, and how many lines were lost."""
    if _handler is None:
        return QUEUE_BYTES, 0, 0
    return QUEUE_BYTES, _handler.waiting, _handler.lost


def debug(areas: Iterable[str], enable: bool) -> None:
    """Switch debugging of areas ("all" for every one) on or off."""
    for area in AREAS if "all" in areas else areas:
        if area in AREAS:
            level = logging.DEBUG if enable else logging.NOTSET
            logging.getLogger(f"usmbd.{area}").setLevel(level)


def debug_only(areas: Collection[str]) -> None:
    """Have these areas debugged, and no others."""
    for area in AREAS:
        debug([area], area in areas)


def debugged() -> list[str]:
    """Return the areas whose debugging was switched on."""
    return [a for a in AREAS if logging.getLogger(f"usmbd.{a}").level == logging.DEBUG]


# What Python would print itself, and wait for a reader who has stopped.


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("the process ends by an error", exc_info=(kind, error, trace))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    _log.error("a thread ends by an error", exc_info=arguments.exc_value)


def _unraisable(arguments: "sys.UnraisableHookArgs") -> None:
    _log.error("an error that nobody can handle", exc_info=arguments.exc_value)
