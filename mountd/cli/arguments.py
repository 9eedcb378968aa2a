"""The command line as others see it in the list of processes."""

import ctypes
from pathlib import Path

_ARG_START, _ARG_END = 47, 48
"""Where /proc/self/stat has them, counted from 0 (proc(5): fields 48 and 49)."""


def hide(secret: str) -> None:
    """Overwrite an argument of this process by `*`, so that `ps` shows it no longer.

    Who looked before has seen it: a moment is left in which one can.
    """
    try:
        # "pid (name) state ...": the name may hold spaces and brackets.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    except (OSError, ValueError, IndexError):
        return
    if not start or end <= start:
        return  # hidden from this process, too
    arguments = ctypes.string_at(start, end - start)
    wanted = secret.encode(errors="surrogateescape")
    at = 0
    for argument in arguments.split(b"\0"):
        # `-pPWD` and `--password=PWD` end with it.
        if wanted and argument.endswith(wanted):
            place = at + len(argument) - len(wanted)
            ctypes.memmove(start + place, b"*" * len(wanted), len(wanted))
        at += len(argument) + 1
