"""When a client is stopped that takes no replies, and what it goes on asking until it does."""

from collections import deque
from collections.abc import Callable

from usmbd.transport.base import Transport
from usmbd.transport.smbdirect.engine import Engine
from usmbd.transport.turns import LARGE_MESSAGE, Turns

HIGH_WATER = 1 << 20
"""Queued bytes from which on no further request of this client is taken up: a client that gives
no credits for its replies stops being served."""

LOW_WATER = 1 << 18
"""Queued bytes below which a stopped client is served again."""

TRANSFERS_HIGH = 32 << 20
"""Bytes of direct transfers from which on no further request is taken up: four of the largest,
so that no client has more than an eighth of the pool. A short READ counts as what it asked for."""

TRANSFERS_LOW = 16 << 20
"""Bytes of direct transfers below which a stopped client is served again."""

LEAST_POSTED = 4
"""Receives that a stopped client keeps: it needs some to grant us what gets it going again."""

HELD_HIGH = 16 << 20
"""Bytes of a stopped client's messages from which on it is lost: a half of what it may keep."""

HELD_OVERHEAD = 512
"""Bytes that a held message takes beside its own."""


class Backlog:
    """Messages in their order; their memory counts, which may be more than is used."""

    __slots__ = (
        "_began",
        "_bytes",
        "_first",
        "_messages",
        "_serve",
        "_transport",
        "_turns",
        "waits",
    )

    def __init__(
        self, transport: Transport, serve: Callable[[], None], turns: Turns | None
    ) -> None:
        """Begin empty; `serve` takes it up when the transport's meter says that there is room.

        Or when others have had their turn, by `turns`.
        """
        self._transport = transport
        self._serve = serve
        self._messages: deque[memoryview] = deque()
        self._bytes = 0
        self._turns = turns
        self._began = 0.0
        """When, by the turns' clock, what came together began to be received."""
        self._first = True
        """Whether none of it has been served, after which nobody looks at the clock."""
        self.waits = False
        """Whether others have their turn first."""

    def begin(self) -> float:
        """Count the time of what has come anew; return when, by the turns' clock.

        0.0: it waits behind what came before, or no time is counted.
        """
        if self._turns is None or self.waits:
            return 0.0
        self._first = True
        self._began = self._turns.clock()
        return self._began

    def stops(self, queued: int, under_way: int) -> bool:
        """Whether no further request is taken up, with these bytes of replies and transfers."""
        if self._gives_way():
            return True
        return queued >= HIGH_WATER or under_way >= TRANSFERS_HIGH or self._starves()

    def begins_later(self, size: int) -> bool:
        """Whether a message of this size waits for a turn, as others have used this one's slice."""
        turns = self._turns
        if size < LARGE_MESSAGE or turns is None or not turns.over():
            return False
        self._wait(turns)
        return True

    def goes_on(self, queued: int, under_way: int) -> bool:
        """Whether a stopped client is served again."""
        if self.waits:
            return False
        return queued <= LOW_WATER and under_way <= TRANSFERS_LOW and not self._starves()

    def _gives_way(self) -> bool:
        """Whether others have to have their turn first."""
        turns = self._turns
        if turns is None:
            return False
        if self._first:
            self._first = False
            return False
        if not turns.over(self._began):
            return False
        self._wait(turns)
        return True

    def _wait(self, turns: Turns) -> None:
        """Be served on after the others."""
        if not self.waits:
            self.waits = True
            turns.later(self._transport, self._go_on)

    def _go_on(self) -> None:
        """Serve on after the others."""
        self.waits = False
        self._serve()

    def _starves(self) -> bool:
        """Whether the meter is full, and not by what is held here: to serve that makes room."""
        meter = self._transport.meter
        held = self._bytes
        if held:
            meter.keep(-held)
        full = meter.full
        if held:
            meter.keep(held)
        if full:
            meter.starve(self._serve)
        return full

    @staticmethod
    def needs_no_receive(engine: Engine) -> bool:
        """Whether a stopped client has all it needs: one to grant with our last credit, too."""
        return engine.posted_receives > max(engine.receive_credits, LEAST_POSTED - 1)

    def add(self, message: memoryview) -> bool:
        """Keep one more; False when that is too much."""
        size = memoryview(message.obj).nbytes + HELD_OVERHEAD
        self._messages.append(message)
        fits = self._bytes + size <= HELD_HIGH and self._transport.meter.room(size)
        self._count(size)
        return fits

    def take(self) -> memoryview | None:
        """Return the oldest, None when there is none."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._count(-memoryview(message.obj).nbytes - HELD_OVERHEAD)
        return message

    def clear(self) -> None:
        """Forget all."""
        self._messages.clear()
        if self._bytes:
            self._count(-self._bytes)

    def _count(self, change: int) -> None:
        """Count bytes, here and by the meter."""
        self._bytes += change
        self._transport.meter.keep(change)
