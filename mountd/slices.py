"""Long answers in slices of mountd's time, by rotation: a login waits for one slice alone."""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

SLICE: Final = 0.002
"""Seconds of a turn of the loop for all long answers together. To ask the system for one account
takes 0.1 ms, or some where it asks another machine."""

FEW: Final = 64
"""Steps of an answer that is never refused: the RPC process asks 1,024 questions at a time."""

MAX_LARGE: Final = 64
"""Answers of more steps that are under way, of 0.3 MB each; a further one is refused."""

Steps = Generator[None, None, Any]
"""Each step asks the system once; the answer is what it returns."""


class BusyError(Exception):
    """Too many large questions are being answered."""


class Slices:
    """The long answers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin without any."""
        self._loop = loop
        self._waiting: deque[tuple[Steps, int, Callable[[Any], None]]] = deque()
        self._large = 0

    def begin(self, steps: Steps, count: int, done: Callable[[Any], None]) -> None:
        """Take all steps, so many, from the next turn on; then call `done` with the answer.

        It is called with the error of a step as well.
        """
        if count > FEW:
            if self._large >= MAX_LARGE:
                done(BusyError("too many are asked for at once"))
                return
            self._large += 1
        self._waiting.append((steps, count, done))
        if len(self._waiting) == 1:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Take one step of each, as often as the slice allows."""
        end = self._loop.time() + SLICE
        while self._waiting:
            work = steps, count, done = self._waiting.popleft()
            try:
                next(steps)
            except StopIteration as ended:
                self._ended(count, done, ended.value)
            except Exception as error:
                self._ended(count, done, error)
            else:
                self._waiting.append(work)
            if self._loop.time() >= end:
                break
        if self._waiting:
            self._loop.call_soon(self._turn)

    def _ended(self, count: int, done: Callable[[Any], None], answer: Any) -> None:
        """Give an answer."""
        self._large -= count > FEW
        done(answer)
