"""The log of all processes: the standard library's loggers, with one form, one queue, one way out.

    logging.getLogger("usmbd.AREA").info("what happened", extra={"client": ..., "user": ...})
      -> limit    no flood of one kind of line, or of one address
      -> form     text, JSON, or journald's fields; nothing that a client sends can forge a line
      -> writer   a bounded queue; a thread writes, so that nobody waits for who reads the log

What is particular to an event is in `extra`, by the keys that all processes use: `client` (an
address), `user`, `session`, `share`, `path`, `why`. The engine and mountd import this package;
the transports need the standard library alone.
"""

from usmbd.mountd.log.form import REFUSED
from usmbd.mountd.log.setup import (
    AREAS,
    DEBUG_LEVEL,
    debug,
    debug_only,
    debugged,
    queue_state,
    say,
    set_up,
    start,
)

__all__ = [
    "AREAS",
    "DEBUG_LEVEL",
    "REFUSED",
    "debug",
    "debug_only",
    "debugged",
    "queue_state",
    "say",
    "set_up",
    "start",
]
