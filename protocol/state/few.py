"""Work of which few pieces are under way at a time, as each takes much memory."""

from collections import deque
from collections.abc import Callable

Start = Callable[[], bool]


class Few:
    """Starts work in the order of its coming, and no more than a number of pieces at a time."""

    def __init__(self, most: int) -> None:
        """Begin without work."""
        self._most = most
        self._under_way = 0
        self._waiting: deque[Start] = deque()

    def begin(self, start: Start) -> None:
        """Call `start()` when there is a place.

        It returns False where the work is needless by then; else `end` follows, once.
        """
        self._waiting.append(start)
        self._go_on()

    def end(self) -> None:
        """Let the next begin."""
        self._under_way -= 1
        self._go_on()

    def _go_on(self) -> None:
        """Start what has a place."""
        while self._waiting and self._under_way < self._most:
            self._under_way += 1
            if not self._waiting.popleft()():
                self._under_way -= 1
