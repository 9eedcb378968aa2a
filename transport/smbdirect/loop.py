"""What a connection needs of an event loop, and its turns there: asyncio's loops will do too."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Do not call."""


class Loop(Protocol):
    """An event loop; everything is called on its one thread."""

    def time(self) -> float:
        """Return the loop's time, in seconds."""

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> object:
        """Call `callback(*args)` in the loop's next turn."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call `callback(*args)` in `delay` seconds."""

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> object:
        """Call `callback(*args)` whenever `fd` is readable."""

    def remove_reader(self, fd: int) -> object:
        """Do not look at `fd` any more."""


class Turn:
    """A call in the loop's next turn: once, however often it is asked for."""

    __slots__ = ("_call", "_loop", "due")

    def __init__(self, loop: Loop, call: Callable[[], None]) -> None:
        """Begin with none asked for."""
        self._loop = loop
        self._call = call
        self.due = False
        """Whether the call is going to be made."""

    def ask(self) -> None:
        """Have the call made."""
        if not self.due:
            self.due = True
            self._loop.call_soon(self._take)

    def _take(self) -> None:
        self.due = False
        self._call()
