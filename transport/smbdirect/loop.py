"""What a connection needs of an event loop: asyncio's and uvloop's have it."""

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
