"""A connection's next call by the event loop: in the next turn, or by rotation with the others."""

from collections.abc import Callable, Hashable

from usmbd.transport.loop import EventLoop
from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.turns import LARGE_MESSAGE, Turns


class Turn:
    """A call in a later turn of the loop: once, however often it is asked for."""

    __slots__ = ("_call", "_loop", "_ours", "_owner", "_turns", "due")

    def __init__(
        self, loop: EventLoop, call: Callable[[], None], owner: Hashable, turns: Turns | None
    ) -> None:
        """Begin with none asked for; `owner` is whose turn it is among all `turns`."""
        self._loop = loop
        self._call = call
        self._owner = owner
        self._turns = turns
        self._ours = False
        self.due = False
        """Whether the call is going to be made."""

    def ask(self) -> None:
        """Have the call made in the next turn."""
        if not self.due:
            self.due = True
            self._loop.call_soon(self._take)

    def is_over(self, engine: Engine, waits: bool) -> bool:
        """Whether the call has to end and is made again: what it serves `waits`, or by rotation."""
        if waits:  # so does what has come since
            self.ask()
        return waits or self.gives_way(engine)

    def gives_way(self, engine: Engine) -> bool:
        """Whether the call is made by rotation, as a large message is under way.

        Its fragments are taken while the turn's slice lasts; in its own turn some of them always.
        """
        if engine.held_bytes < LARGE_MESSAGE or self._turns is None:
            return False
        if self._ours:
            self._ours = False
            return False
        if not self._turns.over():
            return False
        if not self.due:
            self.due = True
            self._turns.later(self._owner, self._take_ours)
        return True

    def _take_ours(self) -> None:
        self._ours = True
        self._take()
        self._ours = False

    def _take(self) -> None:
        self.due = False
        self._call()
