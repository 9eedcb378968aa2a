"""The time and the timers of an engine in memory."""

from collections.abc import Callable
from typing import Any

from smbdirect.step_loop import StepTimer


class FakeClock:
    """The event loop's time and timers, which stand still until a test moves them."""

    def __init__(self) -> None:
        """Begin at an hour that is nobody's default."""
        self.now = 3600.0
        self._timers: list[StepTimer] = []

    def time(self) -> float:
        """Return the time in seconds."""
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> StepTimer:
        """Call `callback(*args)` when `delay` seconds have passed."""
        timer = StepTimer(self.now + delay, lambda: callback(*args))
        self._timers.append(timer)
        return timer

    def alarms(self, after: float) -> int:
        """Return how many calls are to come in more than so many seconds."""
        return sum(t.call is not None and t.when > self.now + after for t in self._timers)

    def turn(self) -> int:
        """Call what is due by now, as the loop does in its next turn; return how much was."""
        due = [t for t in self._timers if t.call is not None and t.when <= self.now]
        if due:
            self.advance(0)
        return len(due)

    def advance(self, seconds: float) -> None:
        """Let time pass; what falls due is called in its order."""
        end = self.now + seconds
        while due := [t for t in self._timers if t.call is not None and t.when <= end]:
            timer = min(due, key=lambda t: t.when)
            self.now = max(self.now, timer.when)
            call, timer.call = timer.call, None
            assert call is not None
            call()
        self.now = end
