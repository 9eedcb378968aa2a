"""What the engine needs of whoever divides the event loop's time (`transport/turns`)."""

import time
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Protocol


class Turns(Protocol):
    """Slices of the loop's time, for work that grows with what a client sends."""

    clock: Callable[[], float]

    def served(self, began: float) -> float:
        """Count one more of the requests that came together; 0.0: what is left has to wait.

        `began` is what this said when the one before was served; 0.0 for the first.
        """

    def over(self, began: float = 0.0) -> bool:
        """Tell whether long work has to stop now and go on `later`.

        What came together says when, by `clock`, work on it `began`.
        """

    def full(self) -> bool:
        """Tell whether long work that would begin now has to wait for a later turn."""

    def later(self, owner: Hashable, work: Callable[[], None]) -> None:
        """Call `work` in a later turn; owners have their work called by rotation."""


class Loop(Protocol):
    """What there is to know of the loop."""

    @property
    def turns(self) -> Turns:
        """Who divides its time."""

    @property
    def pinned(self) -> bool:
        """Whether its thread never becomes a user."""


class Unhurried:
    """Time without end, where nobody else waits for the loop."""

    clock = staticmethod(time.monotonic)

    def served(self, began: float) -> float:
        """Let all be served."""
        return 1.0

    def over(self, began: float = 0.0) -> bool:
        """Never."""
        return False

    def full(self) -> bool:
        """Never."""
        return False

    def later(self, owner: Hashable, work: Callable[[], None]) -> None:
        """Call at once."""
        work()


def in_turns(
    turns: Turns, owner: Hashable, steps: Iterator[None], done: Callable[[], None] | None = None
) -> None:
    """Take steps now and, where the slice is over, the rest in later turns; then call `done()`."""
    for _ in steps:
        if turns.over():
            turns.later(owner, partial(in_turns, turns, owner, steps, done))
            return
    if done is not None:
        done()
