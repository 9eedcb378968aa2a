"""Matching of patterns against an independent, recursive reading of [MS-FSA] 2.1.4.4."""

import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usmbd.protocol.vfs.wildcard import Pattern
from usmbd.protocol.wire.status import SmbError


def oracle(pattern: str, name: str) -> bool:
    if pattern in ("*", "*.*"):
        return bool(name)
    if not name:
        return not pattern
    if pattern and pattern[0] == "*" and not set(pattern[1:]) & set('*?<>"'):
        return name.endswith(pattern[1:])
    last = name.rfind(".")

    @cache
    def match(p: int, n: int) -> bool:
        if p == len(pattern):
            return n == len(name)
        c, end = pattern[p], n == len(name)
        if c == "*":
            return match(p + 1, n) or (not end and match(p, n + 1))
        if c == "<":
            return match(p + 1, n) or (not end and n != last and match(p, n + 1))
        if c == ">":
            if end or name[n] == ".":
                return match(p + 1, n)
            return match(p + 1, n + 1)
        if c == '"':
            return match(p + 1, n) if end else name[n] == "." and match(p + 1, n + 1)
        return not end and c in ("?", name[n]) and match(p + 1, n + 1)

    return match(0, 0)


@given(st.text('ab.*?<>"', max_size=8), st.text("ab.", max_size=8))
def test_as_the_document(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name) == oracle(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", ".", True),
        ("*.*", "noext", True),
        ("*.TXT", "file.txt", True),
        ("*.txt", "file.txtx", False),
        ("FILE", "file", True),
        ("<", "a.b", False),
        ('<"*', "a.b.c", True),
        (">>>>>>>>.>>>", "file.c", True),
        ("f?le", "fle", False),
        ("größe*", "GRÖSSE1", False),
        ("GRÖ*", "größe", True),
    ],
)
def test_examples(pattern: str, name: str, expected: bool) -> None:
    assert Pattern(pattern).matches(name) is expected


def test_case_sensitive() -> None:
    assert not Pattern("A*", case_sensitive=True).matches("abc")
    assert Pattern("a*", case_sensitive=True).matches("abc")


def lines_of(call: Callable[[], object], module: str) -> int:
    """Count the lines of a module that a call runs through: its work, whatever the machine."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line" and frame.f_globals["__name__"] == module
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("letter", ["a", "."])
@pytest.mark.parametrize(
    "text", ["a*" * 100 + "b", "<*" * 100 + "b", "a<" * 100 + "b", ">" * 200, '*"' * 120 + "b",
             "<>" * 120 + "b", '>"' * 120 + "b", "?>" * 120 + "b"],
)  # fmt: skip
def test_the_work_grows_with_the_name_alone(text: str, letter: str) -> None:
    pattern = Pattern(text)
    for length in (16, 255):
        work = lines_of(lambda: pattern.matches(letter * length), Pattern.__module__)  # noqa: B023
        assert work <= 16 * (length + 2)


def test_a_pattern_has_the_length_of_a_name() -> None:
    with pytest.raises(SmbError):
        Pattern("*" * 256)
