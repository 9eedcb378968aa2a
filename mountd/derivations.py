"""Keys of new passwords, which clients make costly (PBKDF2): on a thread, one at a time.

A stranger says how many iterations it takes, half a second of a processor at most. The cheapest
goes first: what honest clients ask for takes 5 ms, and never waits for more than one of the others.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

log = logging.getLogger("usmbd.auth")

MAX_WAITING: Final = 16
"""Beyond it the most costly of all is refused."""


class Derivations:
    """What is derived for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with nothing to do."""
        self._loop = loop
        self._count = itertools.count()
        self._waiting: list[tuple[int, int, Callable[[], Any], Callable[[Any], None]]] = []
        self._works = False

    def begin(self, cost: int, derive: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Call `derive` on the thread, then `done` with its result; None: there is none."""
        heapq.heappush(self._waiting, (cost, next(self._count), derive, done))
        if not self._works:
            self._next()
        elif len(self._waiting) > MAX_WAITING:
            last = max(self._waiting)
            self._waiting.remove(last)
            heapq.heapify(self._waiting)
            last[-1](None)

    def _next(self) -> None:
        """Begin with the cheapest of what waits."""
        self._works = bool(self._waiting)
        if self._works:
            _, _, derive, done = heapq.heappop(self._waiting)
            threading.Thread(target=self._work, args=(derive, done), daemon=True).start()

    def _work(self, derive: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Derive, on the thread."""
        found = None
        try:
            found = derive()
        except Exception:
            log.exception("a key cannot be derived")
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._derived, done, found)

    def _derived(self, done: Callable[[Any], None], found: Any) -> None:
        """Tell, and go on with the next."""
        self._next()
        done(found)
