"""How fast volumes answer: whether their calls may be made on the event loop.

To read the clock before and after each call would tell exactly. Where the clock is a system call
(user-mode Linux, virtual machines without a steady TSC) the two cost more than the call itself. So
a `Pulse` beats while volumes are called; a beat that comes late says that something held the
loop, and only then the calls of the volumes in question are measured for a second. What held it may
have been a machine with more to do than cores: a late beat alone makes no volume slow, so that
one that gets stuck holds the loop once more before its calls leave it.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

SLOW_CALL: Final = 0.02
"""Seconds. File system calls that took longer make the volume a slow one: its calls leave
the event loop for threads. A call from the page cache takes 5 to 50 us; a disk's seek, a hung
server or a writer throttled by the kernel take 10 ms and more."""

SLOW_CALLS: Final = 3
"""That many slow calls within SLOW_SPAN seconds: one alone may be a machine with more to do than
cores, which threads would only slow down further."""

SLOW_SPAN: Final = 1.0

STUCK_CALL: Final = 0.25
"""Seconds. One call that took longer is enough."""

SLOW_FOR: Final = 5.0
"""Seconds for which a volume stays slow after its last slow call."""

BEAT: Final = 0.05
"""Seconds from a call to the beat that follows it: 20 timers a second at most, and a volume whose
calls are slow one after the other meets the first of them."""

LATE: Final = 0.01
"""Seconds. A beat that is late by more makes suspicious; the loop's timers are exact to 1 ms."""


class VolumeSpeed:
    """Whether a volume answers fast enough to be called on the event loop."""

    __slots__ = ("_measured_until", "_slow_calls", "may_hang", "measured", "noted", "slow_until")

    def __init__(self) -> None:
        """Begin fast."""
        self.may_hang = False  # one call may take forever: none is made on the loop
        self.slow_until = 0.0
        self.noted = False  # the pulse knows that it was called since the last beat
        self.measured = False  # how long its calls take is to be measured
        self._measured_until = 0.0
        self._slow_calls: deque[float] = deque(maxlen=SLOW_CALLS)  # when they ended

    def fast(self) -> bool:
        """Tell whether calls may run on the event loop now."""
        if not self.slow_until:
            return not self.may_hang
        if time.monotonic() <= self.slow_until:
            return False
        self.slow_until = 0.0
        return not self.may_hang

    def took(self, seconds: float) -> None:
        """Learn how long one call took."""
        if seconds > SLOW_CALL:
            now = time.monotonic()
            calls = self._slow_calls
            calls.append(now)
            if seconds > STUCK_CALL or (len(calls) == SLOW_CALLS and now - calls[0] < SLOW_SPAN):
                self.slow_until = now + SLOW_FOR

    def beat(self, now: float, late: float) -> None:
        """Learn that the beat after a call came `late` seconds late; `now` is the pulse's time."""
        self.noted = False
        if late > LATE:
            self.measured = True
            self._measured_until = now + SLOW_SPAN
        elif self.measured and now > self._measured_until:
            self.measured = False


class Alarm(Protocol):
    """A call that is due at some time, with all that it refers to."""

    def cancel(self) -> object:
        """Do not call."""


class Clock(Protocol):
    """The event loop's time and timers."""

    def time(self) -> float:
        """Return the time, in seconds."""

    def call_later(self, delay: float, callback: Callable[..., None], *args: object) -> Alarm:
        """Call `callback(*args)` in `delay` seconds."""


class Pulse:
    """One a worker: beats BEAT seconds after a call, and tells the volumes called since.

    It goes on while they are called: to begin anew takes two system calls more.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin at rest."""
        self._clock = clock
        self._called: list[VolumeSpeed] = []
        self._due = 0.0  # when the next beat is; 0.0: at rest

    def note(self, speed: VolumeSpeed) -> None:
        """Learn that a volume that is not `noted` yet is going to be called."""
        speed.noted = True
        self._called.append(speed)
        if not self._due:
            self._begin(self._clock.time())

    def _begin(self, now: float) -> None:
        """Have the next beat come."""
        self._due = now + BEAT
        self._clock.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        """Tell by how much the loop was late."""
        called, self._called = self._called, []
        now = self._clock.time()
        for speed in called:
            speed.beat(now, now - self._due)
        self._due = 0.0
        if called:
            self._begin(now)
