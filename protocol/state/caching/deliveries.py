"""Notices on their way: sent by another channel where the first does not reach its client.

[MS-SMB2] 3.3.4.6 and 3.3.4.7 want a break sent by another connection when sending it fails. But TCP
takes whatever is sent, and says minutes later that nobody has got it: the break would have run out
by then, or the client would go on with what it caches. So, as with smbd, a connection by which a
client was told something is looked at until it has acknowledged all of that; one that does not
acknowledge anything is ended, and what was told on it is told again by the client's others. Who
waits for a machine that was switched off waits for some seconds instead of for the break's end.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usmbd.protocol.state.speed import Clock

if TYPE_CHECKING:
    from usmbd.protocol.state.connection import Connection

LOOK_SECONDS: Final = 0.2
"""Between two looks; the shortest time after which TCP sends anything again."""

SENT_AGAIN: Final = 3
"""Times that TCP has sent the same in vain before a client's other channel is taken: 1.4 s on a
quick network, where the first comes after 0.2 s and each takes twice as long."""

SENT_AGAIN_ALONE: Final = 6
"""The same where there is no other: 12.6 s. The client loses what it has open, if that is not
durable, and its network may come back; others wait 35 s otherwise (BREAK_SECONDS)."""

NOTICES_MAX: Final = 256
"""Notices kept for one connection: a client with more of them under way has stopped reading. The
oldest are forgotten."""

Again = Callable[[], None]


@dataclass(slots=True)
class _OnWay:
    """What is on its way on one connection."""

    times: int = SENT_AGAIN
    """How often it may be sent again before the connection is lost."""
    again: deque[Again] = field(default_factory=lambda: deque(maxlen=NOTICES_MAX))


class Deliveries:
    """Which of one worker's connections have not acknowledged what they were told."""

    def __init__(self, clock: Clock) -> None:
        """Begin with nothing on its way."""
        self._clock = clock
        self._on_way: dict[Connection, _OnWay] = {}
        self._looks = False  # a look is due

    def sent(
        self, connection: "Connection", again: Again | None = None, *, alone: bool = False
    ) -> None:
        """Look after what was just sent by `connection`; `alone`: its client has no other.

        `again()` is called if it is lost before the client has got that.
        """
        on_way = self._on_way.setdefault(connection, _OnWay())
        on_way.times = SENT_AGAIN_ALONE if alone else SENT_AGAIN
        if again is not None:
            on_way.again.append(again)
        self._look_later()

    def connection_lost(self, connection: "Connection") -> Iterator[None]:
        """Have told again what the client may not have got, in steps."""
        on_way = self._on_way.pop(connection, None)
        if on_way is not None:
            for again in on_way.again:
                again()
                yield

    def _look_later(self) -> None:
        """Have `_look` called, once, while something is on its way."""
        if self._on_way and not self._looks:
            self._looks = True
            self._clock.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Forget what has arrived; end connections by which nothing arrives.

        One that is lost, and may still have requests to cancel, is `connection_lost`'s.
        """
        self._looks = False
        for connection, on_way in list(self._on_way.items()):
            if connection.closed:
                continue
            reached = connection.acknowledges and connection.transport.reached(on_way.times)
            if reached:
                del self._on_way[connection]
            elif reached is False:
                connection.transport.close("the client acknowledges nothing on this connection")
        self._look_later()
