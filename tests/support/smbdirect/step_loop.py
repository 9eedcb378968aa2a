"""An event loop that moves when a test says so: its time stands still until `advance`."""

import select
from collections import deque
from collections.abc import Callable
from typing import Any

ROUNDS = 100_000


class StepTimer:
    """One call that is due at some time; None once it was made or cancelled."""

    def __init__(self, when: float, call: Callable[[], Any]) -> None:
        """Call at `when`."""
        self.when = when
        self.call: Callable[[], Any] | None = call

    def cancel(self) -> None:
        """Do not call."""
        self.call = None


class StepLoop:
    """The part of an event loop that SMB Direct uses (`usmbd.transport.loop.EventLoop`)."""

    def __init__(self) -> None:
        """Begin at an hour that is nobody's default, with nothing to do."""
        self.now = 3600.0
        self.turn_number = 0
        self.readers: dict[int, Callable[[], Any]] = {}
        self._soon: deque[Callable[[], Any]] = deque()
        self._timers: list[StepTimer] = []

    @property
    def timers(self) -> list[float]:
        """Return when something is due."""
        return sorted(timer.when for timer in self._timers if timer.call is not None)

    def time(self) -> float:
        """Return the time in seconds."""
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call in the next turn."""
        self._soon.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> StepTimer:
        """Call when `delay` seconds have passed."""
        timer = StepTimer(self.now + delay, lambda: callback(*args))
        self._timers.append(timer)
        return timer

    def add_reader(self, fd: int, callback: Callable[..., Any], *args: Any) -> None:
        """Call whenever `fd` is readable."""
        self.readers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: int) -> bool:
        """Do not look at `fd` any more."""
        return self.readers.pop(fd, None) is not None

    def turn(self) -> int:
        """Make the calls that are due now, once; return how many."""
        self.turn_number += 1
        calls = list(self._soon)
        self._soon.clear()
        if self.readers:
            poll = select.poll()
            for fd in self.readers:
                poll.register(fd, select.POLLIN)
            calls += [self.readers[fd] for fd, _ in poll.poll(0)]
        for call in calls:
            call()
        return len(calls)

    def pump(self) -> int:
        """Make calls until none is due; return how many."""
        total = 0
        while moved := self.turn():
            total += moved
            assert total < ROUNDS, "the loop never comes to rest"
        return total

    def advance(self, seconds: float, settle: Callable[[], Any] | None = None) -> None:
        """Let time pass; after each call that falls due, `settle` (default: `pump`)."""
        settle = settle or self.pump
        end = self.now + seconds
        settle()
        while due := [t for t in self._timers if t.call is not None and t.when <= end]:
            timer = min(due, key=lambda t: t.when)
            self.now = max(self.now, timer.when)
            call, timer.call = timer.call, None
            assert call is not None
            call()
            settle()
        self._timers = [timer for timer in self._timers if timer.call is not None]
        self.now = end
