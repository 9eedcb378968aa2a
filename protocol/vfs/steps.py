"""Calls that grow with what they are given, as generators: each `yield` is a place to pause.

A step takes 0.5 ms at most; what the generator returns is the call's value. The engine runs them
in slices and lets others have their turn in between.
"""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]


def finish(steps: Steps[T]) -> T:
    """Take all steps at once, where nobody waits; return the value."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
