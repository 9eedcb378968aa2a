"""The loop's time by count: a slice has so many looks, and a test says when the next comes."""

from collections import deque
from collections.abc import Callable, Hashable

from smbengine.server import Engine


class Rotation:
    """Stands in for `transport.turns.Turns`."""

    def __init__(self, engine: Engine, looks: int) -> None:
        """Divide the engine's time; each slice is over at the look after `looks`."""
        self._engine = engine
        self._left = self._looks = looks
        self.waiting: deque[tuple[Hashable, Callable[[], None]]] = deque()
        engine.server.turns = self

    clock = staticmethod(lambda: 1.0)

    def served(self, began: float) -> float:
        """Look at the clock for the third, and each after it, of those that came together."""
        if began <= 0:
            return 1.0 if began else -1.0
        return 0.0 if self.over() else began

    def over(self, began: float = 0.0) -> bool:
        """Count a look at the clock."""
        self._left -= 1
        return self._left < 0

    def full(self) -> bool:
        """Count a look as well."""
        return self.over()

    def later(self, owner: Hashable, work: Callable[[], None]) -> None:
        """Keep work for `turn`."""
        self.waiting.append((owner, work))

    def turn(self) -> None:
        """Give one piece of work a slice."""
        self._left = self._looks
        self._engine.run(self.waiting.popleft()[1])
        self._engine.settle()
