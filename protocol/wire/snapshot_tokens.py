"""Times of previous versions as clients say them ([MS-SMB2] 2.2.32.2, 2.2.13.2.7)."""

import calendar
import re
import time
from typing import Final

from usmbd.protocol.wire.filetime import EPOCH

_TOKEN: Final = re.compile(r"@GMT-(\d{4})\.(\d\d)\.(\d\d)-(\d\d)\.(\d\d)\.(\d\d)", re.ASCII)
_FORM: Final = "@GMT-%Y.%m.%d-%H.%M.%S"
_TICKS: Final = 10_000_000


def token(seconds: int) -> str:
    """Return the token of a time, in seconds since 1970; ValueError, OverflowError."""
    return time.strftime(_FORM, time.gmtime(seconds))


def parse_token(name: str) -> int | None:
    """Return the time that a path's component says; None for one that is a name."""
    found = _TOKEN.fullmatch(name)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    if year < 1970 or not 1 <= month <= 12:
        return None
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    return seconds if token(seconds) == name else None


def take_token(path: str) -> tuple[str, int | None]:
    """Take the first token out of a path with slashes: (the path without it, its time or None)."""
    parts = path.split("/")
    for at, part in enumerate(parts):
        seconds = parse_token(part) if part.startswith("@GMT-") else None
        if seconds is not None:
            del parts[at]
            return "/".join(parts), seconds
    return path, None


def seconds_of(filetime: int) -> int:
    """Return the second of a FILETIME, since 1970; negative for what was before."""
    return (filetime - EPOCH) // _TICKS
