"""Long work in slices: the event loop lends it SLICE seconds a turn, to its owners by rotation.

Work that grows with what a client sends or a directory holds asks `over` between its steps. When
that says yes it gives itself to `later` and returns; the loop then looks after everybody else
before it calls it again. Each owner (a connection, say) has one piece of its work called before
any has two, so that who has much of it waits for himself.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final

from usmbd.transport.loop import EventLoop

SLICE: Final = 0.004
"""Seconds of a turn for all long work together. A request beside it waits 5 ms at most: before the
first look at the clock are two requests, and after the last one, of 0.4 ms if it makes a file."""

ALLOWANCE: Final = 0.0005
"""Seconds for small requests of one client that come together, whoever else waits for a slice: a
client that asks for a few things is answered though others flood."""

UNSEEN: Final = 0.00025
"""Seconds that count for the two requests before the first look at the clock, which is a system
call on some machines. Less than they take if they make files, so that who asks for little has
most of its ALLOWANCE left; together with the slice and the last request still 5 ms."""

_ONE: Final = -1.0
"""What `Turns.served` says when one was served: it has not looked at the clock."""

LARGE_MESSAGE: Final = 1 << 18
"""Such a message takes up to a millisecond to check and write, by HMAC-SHA256 8 MiB take 26: it
begins while the turn's slice lasts, else each connection would have one a turn."""

Work = Callable[[], None]


class Turns:
    """The long work of one event loop."""

    def __init__(self, loop: EventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without work; `clock` is that of the loop's time."""
        self._loop = loop
        self.clock = clock
        self._works: OrderedDict[Hashable, deque[Work]] = OrderedDict()
        self._turn_number = -1  # of the loop's turn that the next two are about
        # Of its slice; 0.0: that is for what waits already; below: it begins with the next look.
        self._end = 0.0
        self._begins = 0.0  # until when work may begin beside the slice; 0.0: none has yet
        self._called = False  # the loop is going to call `_turn`

    def served(self, began: float) -> float:
        """Count one more of the requests that came together; 0.0: what is left has to wait.

        `began` is what this said when the one before was served; 0.0 for the first.
        """
        if began > 0:
            return 0.0 if self.over(began) else began
        if not began:
            return _ONE
        began = self.clock() - UNSEEN
        if self._turn_number != self._loop.turn_number:
            self._begin(began)
        return began

    def over(self, began: float = 0.0) -> bool:
        """Tell whether long work has to stop now and go on `later`.

        The first to ask in a turn gets the whole slice, unless others wait already. What has come
        together says when, by `clock`, work on it `began`: it has its ALLOWANCE.
        """
        now = self.clock()
        if self._turn_number != self._loop.turn_number:
            self._begin(began or now)
        elif self._end < 0:
            self._end = now - UNSEEN + SLICE
        return now >= self._end and now - began >= ALLOWANCE

    def full(self) -> bool:
        """Tell whether long work that would begin now has to wait for a later turn.

        Beside the slice all that begins has one ALLOWANCE together: who asks for little is answered
        though others have much done, and many that begin at once hold up nobody.
        """
        if self._turn_number != self._loop.turn_number:
            self._begin(0.0)
            if not self._works:
                self._end = -1.0  # its first step is as short as a request
                return False
        if not self.over():
            return False
        now = self.clock()
        if not self._begins:
            self._begins = now + ALLOWANCE
        return now >= self._begins

    def _begin(self, began: float) -> None:
        """Begin with the loop's next turn; its slice, unless others wait, began at a time."""
        self._turn_number = self._loop.turn_number
        self._end = 0.0 if self._works else began + SLICE
        self._begins = 0.0

    def later(self, owner: Hashable, work: Work) -> None:
        """Call `work` in a later turn, after what `owner` has given before."""
        waiting = self._works.get(owner)
        if waiting is None:
            waiting = self._works[owner] = deque()
        waiting.append(work)
        self._call()

    def _call(self) -> None:
        """Have the loop call `_turn` once more."""
        if not self._called:
            self._called = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Give what waits this turn's slice, or what was left of it beside the descriptors.

        The loop makes these calls after it has looked after the descriptors, in the same turn.
        """
        self._called = False
        works = self._works
        if self._turn_number != self._loop.turn_number:
            self._turn_number = self._loop.turn_number
            self._end = self._begins = 0.0
        if self._end <= 0:
            self._end = self.clock() + SLICE
        try:
            while works and self.clock() < self._end:
                self._next()()
        finally:
            if works:
                self._call()

    def _next(self) -> Work:
        """Take the next piece of work; its owner's turn comes again after all others'."""
        owner, waiting = self._works.popitem(last=False)
        work = waiting.popleft()
        if waiting:
            self._works[owner] = waiting
        return work
