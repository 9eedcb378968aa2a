"""A call in the next turn of the event loop."""

from collections.abc import Callable

from usmbd.transport.loop import EventLoop


class Turn:
    """A call in the loop's next turn: once, however often it is asked for."""

    __slots__ = ("_call", "_loop", "due")

    def __init__(self, loop: EventLoop, call: Callable[[], None]) -> None:
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
