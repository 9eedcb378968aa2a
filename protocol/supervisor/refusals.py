"""What the log says of refused RDMA clients: each with its reason, but no flood of them."""

import logging
from collections import Counter

from usmbd.transport.loop import Cancellable, EventLoop

log = logging.getLogger("usmbd.rdma")

PERIOD_SECONDS = 60.0
"""After this time the counts begin again, and what was left out is told as a number."""

LINES_OF_ADDRESS = 5
"""Lines of one address in a period: a client that comes again and again says no more by them."""

LINES = 50
"""Lines of all addresses in a period: addresses are easily made up."""


class Refusals:
    """Writes refusals to the log, at the level that is always on."""

    def __init__(self, loop: EventLoop) -> None:
        """Begin a period with the first refusal."""
        self._loop = loop
        self._lines: Counter[str] = Counter()
        self._left_out = 0
        self._timer: Cancellable | None = None

    def tell(self, peer: str, why: str) -> None:
        """Say why a client was refused, unless much was said already."""
        if self._timer is None:
            self._timer = self._loop.call_later(PERIOD_SECONDS, self._end)
        if self._lines.total() >= LINES or self._lines[peer] >= LINES_OF_ADDRESS:
            self._left_out += 1
            return
        self._lines[peer] += 1
        log.error("%s: refused: %s", peer, why)

    def close(self) -> None:
        """Say what was left out."""
        if self._timer is not None:
            self._timer.cancel()
            self._end()

    def _end(self) -> None:
        """End the period."""
        if self._left_out:
            log.error("%d more RDMA connections were refused", self._left_out)
        self._timer = None
        self._left_out = 0
        self._lines.clear()
