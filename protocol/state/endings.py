"""Sessions and tree connects that end: their opens are closed in slices, others between them.

What ends is known to have ended at once: no request finds it any more. Its opens go one by one, and
who has to come after the last of them (a LOGOFF's answer, the login that names a previous session)
says so.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from usmbd.protocol.state.open import Open
from usmbd.protocol.state.session import Session
from usmbd.protocol.state.turns import Turns, in_turns

Ended = Callable[[], object]


class Host(Protocol):
    """What endings need of the server."""

    turns: Turns
    closing: int

    def close_lost_open(self, open_: Open, *, lost: bool) -> None:
        """Close an open of what ends; a durable one of a `lost` session may stay."""


class Endings:
    """What ends just now, and who waits for that."""

    def __init__(self, host: Host) -> None:
        """Begin with nothing."""
        self._host = host
        self._sessions: dict[int, list[Ended]] = {}

    def end(self, session: Session, opens: Iterable[Open], lost: bool, ended: Ended) -> bool:
        """Close opens, then call `ended()`; False where that comes later.

        Users take turns: who has much to close does not hold up another's LOGOFF.
        """
        over = False

        def last() -> None:
            nonlocal over
            over = True
            self._host.closing -= 1
            ended()

        self._host.closing += 1
        in_turns(self._host.turns, session.user, self._close(opens, lost), last)
        return over

    def begin(self, session_id: int) -> None:
        """Let others wait for a session's end."""
        self._sessions[session_id] = []

    def over(self, session_id: int) -> None:
        """Let go on who waits for a session's end."""
        for ended in self._sessions.pop(session_id, ()):
            ended()

    def after(self, session_id: int, ended: Ended) -> None:
        """Call `ended()` when a session has ended: now, if it is none that ends."""
        waiting = self._sessions.get(session_id)
        if waiting is None:
            ended()
        else:
            waiting.append(ended)

    def _close(self, opens: Iterable[Open], lost: bool) -> Iterator[None]:
        """Close one open a step."""
        for open_ in opens:
            self._host.close_lost_open(open_, lost=lost)
            yield
