"""A line is a line, whatever a client's names hold, in each form."""

import json
import logging
import re
import sys

import pytest

from usmbd.mountd.log import form

EVIL = [
    "x\n2026-11-28T00:00:00+0000 worker0[1] info auth: root logged in",
    "x\r\x1b[2J\x1b]0;title\x07",
    "\u2028\u2029\u0085\x0b\x0c",
    "\u202etxt.exe\u2066\u200f\u061c\ufeff",
    "\udc80\udfff",
    "\x00\x7f\x9b31m",
    'a" level=error b="',
    "a\\nb",
    "x" * 100_000,
    "\U0001f4a9" * 5_000,
    "\n" * 5_000,
    "",
    " ",
]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "


def record(message: str, *args: object, **facts: object) -> logging.LogRecord:
    values = {"name": "usmbd.auth", "levelno": logging.INFO, "msg": message, "args": args}
    return logging.makeLogRecord({**values, **facts})


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_forges_or_breaks_a_line(evil: str) -> None:
    for line in (
        form.text(record("login refused", user=evil, client="192.0.2.1"), "worker0"),
        form.text(record("login of %s refused", evil), "worker0"),
    ):
        said = line.decode()
        assert len(line) <= form.LINE_BYTES
        assert said.endswith("\n")
        assert said[:-1].isprintable()
        assert re.match(STAMP + r"worker0\[\d+\] info auth: login ", said)


@pytest.mark.parametrize("evil", EVIL)
def test_json_is_one_object_a_line(evil: str) -> None:
    line = form.as_json(record("%s", evil, user=evil, share=evil, path=evil), "worker0")
    assert len(line) <= form.LINE_BYTES
    assert line.count(b"\n") == 1
    assert line.isascii()
    fields = json.loads(line)
    assert list(fields)[:6] == ["time", "process", "pid", "level", "area", "message"]
    assert list(fields)[6:] == ["user", "share", "path"]
    json.dumps(fields, ensure_ascii=False).encode()  # no lone surrogate
    if len(evil) < form.FACT_CHARACTERS and "\udc80" not in evil:
        assert fields["user"] == evil


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_forges_a_field_of_the_journal(evil: str) -> None:
    entry = form.journal(record("login of %s", evil, user=evil), "worker0")
    names = [line.partition(b"=")[0] for line in entry.splitlines()]
    assert names == [
        b"MESSAGE", b"PRIORITY", b"SYSLOG_IDENTIFIER", b"USMBD_PROCESS", b"USMBD_AREA",
        b"USMBD_USER",
    ]  # fmt: skip


def test_a_reader_can_tell_a_value_from_the_next_key() -> None:
    line = form.text(record("refused", user='a" why=b', share="a b", path="c:\\d", n=3), "mountd")
    assert line.endswith(b'refused user="a\\" why=b" share="a b" path="c:\\\\d" n=3\n')


def failed(text: str) -> logging.LogRecord:
    try:
        raise ValueError(text)
    except ValueError:
        return record("it failed", exc_info=sys.exc_info())


@pytest.mark.parametrize("evil", EVIL)
def test_a_traceback_forges_no_line(evil: str) -> None:
    first, *rest = form.text(failed(evil), "worker0").decode().split("\n")
    assert "it failed" in first
    assert rest.pop() == ""
    assert all(line.startswith("  | ") and line.isprintable() for line in rest)
    assert len(rest) <= form.TRACE_LINES
    assert all(len(line.encode()) < form.LINE_BYTES for line in rest)
    whole = form.as_json(failed(evil), "worker0")
    assert whole.count(b"\n") == 1
    assert len(whole) <= form.LINE_BYTES
    assert "trace" in json.loads(whole)


def test_a_traceback_in_the_journal_has_its_length() -> None:
    entry = form.journal(failed("why"), "worker0")
    head, _, rest = entry.partition(b"USMBD_TRACE\n")
    assert b"MESSAGE=it failed\nPRIORITY=6\n" in head
    length = int.from_bytes(rest[:8], "little")
    assert len(rest) == 8 + length + 1
    assert rest[8:].startswith(b"Traceback")


@pytest.mark.parametrize("evil", EVIL)
def test_an_entry_of_the_journal_is_bounded(evil: str) -> None:
    try:
        raise ValueError("\n".join([evil[:500]] * 100))
    except ValueError:
        whole = record(evil, user=evil, share=evil, path=evil, exc_info=sys.exc_info())
    assert len(form.journal(whole, "worker0")) < 128 * 1024  # of 208 KiB that a socket takes


def test_levels_are_those_of_syslog() -> None:
    """syslog(3); what was refused as it should be is told from `log level = 2` on."""
    told = {}
    for level in (logging.ERROR, logging.WARNING, logging.INFO, form.REFUSED, logging.DEBUG):
        entry = form.journal(record("x", levelno=level), "worker0")
        told[level] = int(re.search(rb"^PRIORITY=(\d)$", entry, re.MULTILINE)[1])  # type: ignore[index]
    assert list(told.values()) == [3, 4, 6, 6, 7]
    assert logging.DEBUG < form.REFUSED < logging.INFO


def test_a_line_is_as_long_as_it_may_be() -> None:
    """All shortened alike as often as it takes; then it is cut. A new line comes behind it."""
    assert form._fitted(lambda divisor: "x" * 4095) == b"x" * 4095
    assert form._fitted(lambda divisor: "x" * (4096 // divisor)) == b"x" * 1024
    assert form._fitted(lambda divisor: "x" * (64 * 4000 // divisor)) == b"x" * 4000
    assert form._fitted(lambda divisor: "x" * (64 * 4096 // divisor)) == b"x" * 4095
    assert form._cut("x" * 4095 + "y") == b"x" * 4095
    assert form._cut("x" * 4094 + "\u00e4") == b"x" * 4094


def test_a_message_is_whole_as_far_as_it_may_be() -> None:
    said = form.text(record("%s", "x" * form.MESSAGE_CHARACTERS), "worker0").decode()
    assert "x" * form.MESSAGE_CHARACTERS in said
    fields = json.loads(form.as_json(record("m", user="u" * form.FACT_CHARACTERS), "worker0"))
    assert fields["user"] == "u" * form.FACT_CHARACTERS
