"""What follows from a change of a file's data: others' caches of it are broken.

Behind the change: who is granted a cache meanwhile has looked at the file as it was, and who is
granted one later looks at it then.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Protocol

from usmbd.protocol.state.caching.needed import Break
from usmbd.protocol.state.caching.rules import (
    BREAKS,
    STATE_OF_LEVEL,
    Operation,
    W,
    held,
    is_breaking,
    lease_of,
)
from usmbd.protocol.state.open import Open
from usmbd.protocol.state.store.base import Store
from usmbd.protocol.state.store.records import OPEN_DISCONNECTED, OpenRecord

FEW_HOLDERS: Final = 16
"""So many are waited for: each that answers has all looked at again that are left."""

_NOBODY: Final[list[Break]] = []


class RequestBreaks(Protocol):
    """How holders are asked for what they cache."""

    def __call__(
        self, key: bytes, breaks: Iterable[Break], done: Callable[[], None] | None = None
    ) -> None:
        """Ask the holders of a file; `done()` comes behind the last."""


class Changes:
    """The changes of data in files that clients of this worker have open."""

    def __init__(self, store: Store, request_breaks: RequestBreaks) -> None:
        """Begin without one."""
        self._store = store
        self._request_breaks = request_breaks
        self._under_way: dict[bytes, dict[tuple[Open, bool], None]] = {}
        """Files whose caches are being broken, in slices, and who has changed them since."""

    def changed(self, open_: Open) -> list[Break]:
        """Break what others cache of the data that an open has changed.

        Returns whose clients had not been asked before, but its own; empty where they are many.
        """
        count = self._store.oplock_count(open_.key)
        if count and count != _own(open_):
            return self._break(open_, stays=False)
        return _NOBODY

    def overwritten(self, open_: Open) -> None:
        """Do the same for an open that has overwritten the file before its client knows of it.

        It keeps its own level II, which its CREATE is about to tell and other changes end.
        """
        own = 1 if open_.oplock_level and open_.lease is None else _own(open_)
        count = self._store.oplock_count(open_.key)
        if count and count != own:
            self._break(open_, stays=True)

    def _break(self, open_: Open, *, stays: bool) -> list[Break]:
        """Break all read caches of a file but an open's lease, and its oplock if that `stays`.

        Where that is under way, again behind it: each writer would begin with all that are left.
        """
        under_way = self._under_way.get(open_.key)
        if under_way is not None:
            under_way[open_, stays] = None
            return _NOBODY
        # By its name: the open may be closed by now, and others of its lease are there.
        own = None if open_.lease is None else open_.lease.name
        verdicts = BREAKS[Operation.CHANGE]
        breaks = [
            Break(other, verdict.left)
            for other in self._store.holders(open_.key)
            if (verdict := verdicts.get(held(other))) is not None
            and not (stays and other.open_id == open_.persistent_id)
            and not (own is not None and lease_of(other) == own)
        ]
        if len(breaks) > 1:
            self._under_way[open_.key] = {}
        self._request_breaks(open_.key, breaks, partial(self._break_again, open_.key))
        if len(breaks) > FEW_HOLDERS:
            return _NOBODY
        client = open_.connection.client_guid
        return [one for one in breaks if one.record.client_guid != client and _is_news(one.record)]

    def _break_again(self, key: bytes) -> None:
        """Break what was granted while the breaks of a file's caches were under way."""
        for open_, stays in self._under_way.pop(key, ()):
            self._break(open_, stays=stays)


def _is_news(record: OpenRecord) -> bool:
    """Tell whether a client is there that had not been asked."""
    return not (is_breaking(record) or record.flags & OPEN_DISCONNECTED)


def _own(open_: Open) -> int:
    """Return how many of a file's opens have what a change by `open_` does not break."""
    if open_.lease is not None:
        return len(open_.lease.opens)
    if open_.oplock_level:
        return 1 if STATE_OF_LEVEL[open_.oplock_level] & W else 0
    return 1 if open_.durable is not None and open_.durable.lasting else 0
