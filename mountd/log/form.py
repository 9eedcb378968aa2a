"""The forms of a line: text, JSON, journald's fields.

Client-chosen text is escaped and bounded here and nowhere else: control characters, line ends,
bidirectional marks and terminal escapes never reach the log, and no line is longer than what a
pipe takes whole, so that lines of several processes never mix.
"""

import json
import logging
import re
import time
from collections.abc import Callable

LINE_BYTES = 4096
"""Of one line with its end: PIPE_BUF (pipe(7)), what the kernel writes whole or not at all."""

MESSAGE_CHARACTERS = 1024
FACT_CHARACTERS = 256
"""A name has at most 255 characters; of a path the end tells more, but the beginning is what shows
where a name came from."""

TRACE_LINES = 40
"""The last of a traceback: what failed stands at its end."""

SHORTER = (1, 4, 16, 64)
"""What the bounds above are divided by, one after the other, until a line is short enough."""

REFUSED = 15
"""The level of what was refused as it should be: `log level = 2`."""

_LEVELS = {
    logging.CRITICAL: "error",
    logging.ERROR: "error",
    logging.WARNING: "warning",
    logging.INFO: "info",
    REFUSED: "refused",
    logging.DEBUG: "debug",
}
_PRIORITIES = {"error": 3, "warning": 4, "info": 6, "refused": 6, "debug": 7}
"""syslog(3)."""

_NO_FACTS = frozenset(
    {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "process"}
)
_BARE = re.compile(r'[^\s"=\\]+')

Value = str | int | float | bool | None


def printable(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text on one line, what is not printable escaped."""
    if len(text) > limit:
        text = f"{text[:limit]}...({len(text) - limit} more)"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(value: Value, limit: int) -> str:
    """Return a value that a reader can tell from the next key, whatever is in it."""
    if not isinstance(value, str):
        return str(value)
    if _BARE.fullmatch(value) and len(value) <= limit and value.isprintable():
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped, limit)}"'


def facts_of(record: logging.LogRecord) -> dict[str, Value]:
    """Return what `extra` brought, in its order."""
    return {
        key: value if isinstance(value, str | int | float | bool | None) else str(value)
        for key, value in record.__dict__.items()
        if key not in _NO_FACTS
    }


def level_name(record: logging.LogRecord) -> str:
    """Return a level as the log has it."""
    return _LEVELS.get(record.levelno, "info")


def area_of(record: logging.LogRecord) -> str:
    """Return the debug area, or the library, that a record is of."""
    return record.name.removeprefix("usmbd.")


def _stamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))


def _trace(record: logging.LogRecord) -> list[str]:
    """Return the lines of a traceback, without their ends."""
    if not record.exc_info:
        return []
    lines = logging.Formatter().formatException(record.exc_info).split("\n")
    return lines[-TRACE_LINES:]


def text(record: logging.LogRecord, process: str) -> bytes:
    """Return a line of text; a traceback follows in lines that begin with a bar."""
    head = f"{_stamp(record)} {process}[{record.process}] {level_name(record)} {area_of(record)}: "
    lines = [_fitted(lambda divisor: head + _said(record, divisor))]
    for line in _trace(record):
        lines.append(_cut(f"  | {printable(line, MESSAGE_CHARACTERS)}"))
    return b"".join(line + b"\n" for line in lines)


def _said(record: logging.LogRecord, divisor: int = 1) -> str:
    """Return message and facts."""
    message = printable(record.getMessage(), MESSAGE_CHARACTERS // divisor)
    limit = FACT_CHARACTERS // divisor
    return message + "".join(
        f" {key}={quoted(value, limit)}" for key, value in facts_of(record).items()
    )


def as_json(record: logging.LogRecord, process: str) -> bytes:
    """Return one object on one line: time, process, pid, level, area, message, facts, trace."""
    facts, trace = facts_of(record), _trace(record)

    def line(divisor: int) -> str:
        fields: dict[str, Value] = {
            "time": _stamp(record),
            "process": process,
            "pid": record.process,
            "level": level_name(record),
            "area": area_of(record),
            "message": _encodable(record.getMessage(), MESSAGE_CHARACTERS // divisor),
        }
        for key, value in facts.items():
            limit = FACT_CHARACTERS // divisor
            fields[key] = _encodable(value, limit) if isinstance(value, str) else value
        if trace:
            fields["trace"] = _encodable("\n".join(trace), 2 * MESSAGE_CHARACTERS // divisor, -1)
        return json.dumps(fields)

    return _fitted(line) + b"\n"


def journal(record: logging.LogRecord, process: str) -> bytes:
    """Return an entry in journald's native protocol (systemd's Journal Native Protocol page)."""
    level = level_name(record)
    fields = {
        "MESSAGE": _cut(_said(record)),
        "PRIORITY": str(_PRIORITIES[level]).encode(),
        "SYSLOG_IDENTIFIER": b"usmbd",
        "USMBD_PROCESS": process.encode(),
        "USMBD_AREA": area_of(record).encode(),
    }
    for key, value in facts_of(record).items():
        fields[f"USMBD_{key.upper()}"] = printable(str(value), FACT_CHARACTERS).encode()
    trace = b"\n".join(_cut(printable(line, FACT_CHARACTERS)) for line in _trace(record))
    if trace:
        fields["USMBD_TRACE"] = trace
    return b"".join(_field(name, value) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    """Return one field: with its length where it has several lines."""
    if b"\n" in value:
        return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
    return b"%s=%s\n" % (name.encode(), value)


def _encodable(value: str, limit: int, keep: int = 1) -> str:
    """Return at most `limit` characters, from the end if `keep` is negative, that UTF-8 can say."""
    if len(value) > limit:
        rest = f"...({len(value) - limit} more)"
        value = value[:limit] + rest if keep > 0 else rest + value[-limit:]
    return value.encode("utf-8", "backslashreplace").decode()


def _fitted(line: Callable[[int], str]) -> bytes:
    """Return the longest of the shortened lines that fits."""
    for divisor in SHORTER:
        encoded = line(divisor).encode()
        if len(encoded) < LINE_BYTES:
            return encoded
    return encoded[: LINE_BYTES - 1]


def _cut(line: str) -> bytes:
    """Return as much of a line as fits."""
    return line.encode()[: LINE_BYTES - 1].decode(errors="ignore").encode()
