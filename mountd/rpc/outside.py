"""What a pipe needs from around it: mountd's answers, time, and the pace of a session's calls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from usmbd.mountd.ipc.accounts import DirectoryRequest, DirectoryResponse
from usmbd.mountd.ipc.messages import Failed, RpcAsks, RpcTold

CALLS_PER_SECOND = 2000
"""Calls of one session in the long run. A tool that asks for one user after the other makes
some hundred a second; what comes faster waits, so that others have the process meanwhile."""

BURST = 4000
"""Calls that a session makes at once before it is slowed down."""


@dataclass(frozen=True, slots=True)
class Awaits:
    """What a call waits for in this process itself: `listen` is given whom to tell. `Outcome`."""

    listen: Callable[[Callable[[], None]], None]


Question = DirectoryRequest | RpcAsks | Awaits
"""What a call asks of mountd, of the worker whose client has the pipe, or waits for."""


@dataclass(frozen=True, slots=True)
class Denied:
    """It is not done for who calls: mountd does not vouch for him, or the worker knows another."""


Told = DirectoryResponse | RpcTold | Denied

Answered = Callable[[Told], None]


class Outside(Protocol):
    """What is around a pipe."""

    def ask(self, message: Question, answered: Answered) -> None:
        """Ask; `answered` follows, at once or later, with `Failed` where nobody tells."""

    def wait(self) -> float:
        """Count a call; return the seconds that it must wait."""

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Run something after a time."""


class Alone:
    """Nothing around: whoever asks is told nothing, and no call waits."""

    def ask(self, message: Question, answered: Answered) -> None:
        """Tell that there is nobody to ask."""
        answered(Failed("mountd is not there"))

    def wait(self) -> float:
        """Count nothing."""
        return 0.0

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Run it at once."""
        run()


@dataclass(slots=True)
class Pace:
    """Slows one session's calls down to `CALLS_PER_SECOND`: a bucket that fills as time passes."""

    clock: Callable[[], float]
    left: float = BURST
    _seen: float = field(default=0.0, init=False)

    def wait(self) -> float:
        """Count a call; return the seconds that it must wait."""
        now = self.clock()
        if self._seen:
            self.left = min(BURST, self.left + (now - self._seen) * CALLS_PER_SECOND)
        self._seen = now
        self.left -= 1
        return max(0.0, -self.left / CALLS_PER_SECOND)
