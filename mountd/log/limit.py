"""How often one kind of line may come: whoever makes the server say something makes no flood of it.

A kind is a place in the source. Debug lines are not counted: who switches them on wants them all.
"""

import logging
from collections import Counter
from collections.abc import Callable

from usmbd.mountd.ipc.network import network

PERIOD_SECONDS = 60.0
"""After this time the counts begin again, and what was left out is told as a number."""

STRANGERS = (5, 50)
"""Lines of a kind in a period, of one address and of all: a client that comes again and again says
no more by them, and addresses are easily made up."""

PROVEN = (300, 1000)
"""The same for lines that name a session, so of somebody who has logged in: a terminal server or a
cluster brings its users within a minute, and each of their logins is worth a line."""

OWN = (100, 100)
"""The same for lines without a client: what goes wrong again and again in the server."""

MAXIMUM_ADDRESSES = 1000
"""Of whom lines were left out, as far as they are counted."""


class _Kind:
    """The lines of one kind in this period."""

    def __init__(self) -> None:
        self.lines = 0
        self.of_address: Counter[str] = Counter()
        self.left_out = 0
        self.addresses: set[str] = set()
        """Of those that were left out."""
        self.first: dict[str, object] = {}
        """What the summary has of the first that was left out."""


class RateLimit:
    """Counts lines by kind and address; any thread that holds the handler's lock may ask."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin a period with the first line; `clock` tells seconds."""
        self._clock = clock
        self._kinds: dict[tuple[str, int], _Kind] = {}
        self._left_out = False
        self._end = 0.0

    def admits(self, record: logging.LogRecord) -> bool:
        """Whether a line may be written; one that may not is counted."""
        if record.levelno <= logging.DEBUG:
            return True
        if not self._end:
            self._end = self._clock() + PERIOD_SECONDS
        place = record.pathname, record.lineno
        kind = self._kinds.get(place)
        if kind is None:
            kind = self._kinds[place] = _Kind()
        client = getattr(record, "client", "")
        address = network(client) if isinstance(client, str) else ""
        if not address:
            most_of_address, most = OWN
        elif hasattr(record, "session"):
            most_of_address, most = PROVEN
        else:
            most_of_address, most = STRANGERS
        if kind.lines < most and kind.of_address[address] < most_of_address:
            kind.lines += 1
            kind.of_address[address] += 1
            return True
        self._left_out = True
        if not kind.left_out:
            kind.first = {
                "name": record.name,
                "levelno": record.levelno,
                "message": record.getMessage(),
            }
        kind.left_out += 1
        if address and len(kind.addresses) < MAXIMUM_ADDRESSES:
            kind.addresses.add(address)
        return False

    @property
    def remaining(self) -> float | None:
        """Seconds until something is to be told; None: nothing was left out."""
        return max(self._end - self._clock(), 0.0) if self._left_out else None

    def over(self) -> bool:
        """Whether the period has ended."""
        return bool(self._end) and self._clock() >= self._end

    def end(self) -> list[logging.LogRecord]:
        """Begin a new period; return what is told of those left out: one line a kind."""
        told = []
        for kind in self._kinds.values():
            if not kind.left_out:
                continue
            message = kind.first.pop("message")
            facts = {"addresses": len(kind.addresses)} if kind.addresses else {}
            summary = {"msg": "%d more like this: %s", "args": (kind.left_out, message)}
            told.append(logging.makeLogRecord({**kind.first, **summary, **facts}))
        self._kinds.clear()
        self._left_out = False
        self._end = 0.0
        return told
