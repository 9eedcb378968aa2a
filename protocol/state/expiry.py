"""Sessions end when the tickets do that they began by ([MS-SMB2] 3.3.2.3, 3.3.6.2), or accounts.

Nothing is asked per request: a timer changes Session.State.
"""

import heapq
import time
from collections.abc import Mapping
from typing import Final

from usmbd.protocol.state.session import Session, SessionState
from usmbd.protocol.state.speed import Clock

LOOK_SECONDS: Final = 60.0
"""The longest sleep: the machine's clock may be set meanwhile."""

SPARE_ENTRIES: Final = 256
"""Entries of sessions that have ended, beside one for each that is there: 100 bytes each."""


class Expiries:
    """When which session expires."""

    def __init__(self, sessions: Mapping[int, Session], clock: Clock) -> None:
        """Watch over those of `sessions`, by their ids."""
        self._sessions = sessions
        self._clock = clock
        self._queue: list[tuple[int, int]] = []
        """A heap of seconds since 1970 with session ids."""
        self._armed = 0.0
        """When the timer that counts is due, in seconds since 1970; 0: there is none."""

    def watch(self, session: Session) -> None:
        """Have a session expire at its `expires`; called again when that has changed."""
        if not session.expires:
            return
        heapq.heappush(self._queue, (session.expires, session.session_id))
        if len(self._queue) > 2 * len(self._sessions) + SPARE_ENTRIES:
            there = self._sessions.values()
            self._queue = [(s.expires, s.session_id) for s in there if s.expires]
            heapq.heapify(self._queue)
        self._arm()

    def _arm(self) -> None:
        """Look again when the next one is due; an earlier timer makes those before it void."""
        if not self._queue:
            return
        now = time.time()
        due = min(self._queue[0][0], now + LOOK_SECONDS)
        if not self._armed or due < self._armed:
            self._armed = due
            self._clock.call_later(max(due - now, 0.0), self._look, due)

    def _look(self, due: float) -> None:
        """Let expire what is due."""
        if due != self._armed:
            return
        self._armed, now = 0.0, time.time()
        while self._queue and self._queue[0][0] <= now:
            session = self._sessions.get(heapq.heappop(self._queue)[1])
            # It may have been re-authenticated by a ticket that is good for longer.
            if session is not None and session.valid and 0 < session.expires <= now:
                session.state = SessionState.EXPIRED
        self._arm()
