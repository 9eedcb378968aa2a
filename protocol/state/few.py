"""Work of which few pieces are under way at a time, as each takes much memory."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

Start = Callable[[], bool]


class Few:
    """Starts work, no more than a number of pieces at a time, of its owners by rotation."""

    def __init__(self, most: int) -> None:
        """Begin without work."""
        self._most = most
        self._under_way = 0
        self._waiting: OrderedDict[Hashable, deque[Start]] = OrderedDict()

    def begin(self, owner: Hashable, start: Start) -> None:
        """Call `start()` when there is a place, after what `owner` has given before.

        It returns False where the work is needless by then; else `end` follows, once.
        """
        self._waiting.setdefault(owner, deque()).append(start)
        self._go_on()

    def end(self) -> None:
        """Let the next begin."""
        self._under_way -= 1
        self._go_on()

    def _go_on(self) -> None:
        """Start what has a place."""
        while self._waiting and self._under_way < self._most:
            owner, starts = self._waiting.popitem(last=False)
            start = starts.popleft()
            if starts:
                self._waiting[owner] = starts
            self._under_way += 1
            if not start():
                self._under_way -= 1
