"""A meter of memory that is full when a test says so."""

from collections.abc import Callable


class Meter:
    """Counts what is kept; `full` and `limit` as the test sets them."""

    def __init__(self) -> None:
        """Begin with room for everything."""
        self.kept = 0
        self.most = 0
        self.full = False
        self.limit = 1 << 40
        self.starved: list[Callable[[], None]] = []

    def room(self, size: int) -> bool:
        """Tell whether it fits."""
        return self.kept + size <= self.limit

    def keep(self, change: int) -> None:
        """Count."""
        self.kept += change
        self.most = max(self.most, self.kept)

    def starve(self, go_on: Callable[[], None]) -> None:
        """Take down who waits."""
        self.starved.append(go_on)

    def feed(self) -> None:
        """Let all go on."""
        starved, self.starved = self.starved, []
        for go_on in starved:
            go_on()
